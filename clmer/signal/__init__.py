"""Filters for NumPy users: SciPy's signatures and result dtypes, streams, and MNE's recordings."""

from clmer.signal.design import butter_bandpass, notch, resample
from clmer.signal.offline import sosfilt, sosfiltfilt
from clmer.signal.recording import filter_raw
from clmer.signal.stream import Bandpass, Chain, Notch, Stream

__all__ = [
    "Bandpass",
    "Chain",
    "Notch",
    "Stream",
    "butter_bandpass",
    "filter_raw",
    "notch",
    "resample",
    "sosfilt",
    "sosfiltfilt",
]
