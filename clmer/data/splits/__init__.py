"""Training, validation and test: drawn under a protocol, or read from a table of one's own."""

from clmer.data.choices import OWN, PROTOCOLS
from clmer.data.splits.draw import Split, make_splits
from clmer.data.splits.own import splits_of_file
from clmer.data.splits.protocols import note_of

__all__ = ["OWN", "PROTOCOLS", "Split", "make_splits", "note_of", "splits_of_file"]
