"""What keys do on the main screen, by subject: plain functions of the screen, which binds them."""
