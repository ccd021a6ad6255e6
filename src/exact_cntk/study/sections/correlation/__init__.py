"""Few training images against all of them, and the paper's table."""
