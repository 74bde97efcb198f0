"""The paper's tables and figures, each by one command: `python -m clmer.experiments table4`."""
