"""Runs joined into one page: `clmer report runs`."""
