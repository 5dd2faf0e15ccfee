"""Videos: read, stylize, steady, write."""
