"""What MNE reads, by suffix, with the units, pauses and lengths that it takes on trust."""

from clmer.data.formats.mne_files.opening import open_mne
from clmer.data.formats.mne_files.raw import MneFile
from clmer.data.formats.mne_files.readers import FOLDERS, READERS, header_of, suffix_of

__all__ = ["FOLDERS", "READERS", "MneFile", "header_of", "open_mne", "suffix_of"]
