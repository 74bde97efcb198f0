"""The kinds of files that a recording may be, in words."""

#: Suffixes of recordings, in the order in which help and messages list them.
SUFFIXES = (
    *(".edf", ".bdf", ".vhdr", ".ahdr", ".set", ".fif", ".fif.gz", ".gdf", ".cnt", ".mff", ".raw"),
    *(".nedf", ".lay", ".eeg", ".data", ".dat", ".nxe", ".xdf", ".xdfz", ".tsv.gz"),
    *(".csv", ".tsv", ".txt", ".mat", ".npz"),
)
#: What a person may give as a recording.
SUPPORTED = (
    f"{', '.join(SUFFIXES)}, .npy with a rate, an Empatica E4's folder, and .csv of OpenFace, "
    "Py-Feat or MediaPipe or a video for the face"
)
