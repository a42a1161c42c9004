"""AWX as a double, and what it runs."""
