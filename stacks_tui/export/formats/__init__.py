"""The formats: one module each, which defines `FORMAT` and imports what is heavy only to write."""
