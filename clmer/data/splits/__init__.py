"""Training, validation and test: drawn under a protocol, or read from a table of one's own."""

from clmer.data.splits.draw import Split, make_splits
from clmer.data.splits.own import OWN, splits_of_file
from clmer.data.splits.protocols import PROTOCOLS, note_of

__all__ = ["OWN", "PROTOCOLS", "Split", "make_splits", "note_of", "splits_of_file"]
