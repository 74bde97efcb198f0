"""Filters for NumPy users: SciPy's signatures and result dtypes, streams, and MNE's recordings."""

from clmer.signal.design import butter_bandpass, notch, resample
from clmer.signal.offline import sosfilt, sosfiltfilt
from clmer.signal.rate import Resampler
from clmer.signal.recording import filter_raw
from clmer.signal.replacing import replacing_scipy
from clmer.signal.stream import Bandpass, Chain, Notch, Stream
from clmer.signal.transfer import filtfilt, lfilter, lfilter_zi

__all__ = [
    "Bandpass",
    "Chain",
    "Notch",
    "Resampler",
    "Stream",
    "butter_bandpass",
    "filter_raw",
    "filtfilt",
    "lfilter",
    "lfilter_zi",
    "notch",
    "replacing_scipy",
    "resample",
    "sosfilt",
    "sosfiltfilt",
]
