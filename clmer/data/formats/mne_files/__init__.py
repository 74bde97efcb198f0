"""What MNE reads, by suffix, with the units, pauses and lengths that it takes on trust."""

from clmer.data.formats.mne_files.raw import FOLDERS, READERS, MneFile, open_mne, suffix_of

__all__ = ["FOLDERS", "READERS", "MneFile", "open_mne", "suffix_of"]
