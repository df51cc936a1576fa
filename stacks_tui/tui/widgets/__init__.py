"""What a screen is made of: each widget shows plain values and posts messages."""
