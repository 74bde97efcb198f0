"""Runs joined into one page: `python -m clmer.report runs`."""
