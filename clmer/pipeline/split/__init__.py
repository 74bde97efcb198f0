"""What a split trained, and its files."""
