"""Windows of recordings, prepared once and kept on disk."""
