"""EDF, BDF, BrainVision, SET and FIF through MNE, with damage as an error instead of a warning."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.recording import DataError, Signal

#: Bytes a sample, by suffix, of the formats whose header states how long the file must be.
_SAMPLE_BYTES = {".edf": 2, ".bdf": 3}

#: suffix -> name of MNE's reader
SUFFIXES = {
    ".edf": "read_raw_edf",
    ".bdf": "read_raw_bdf",
    ".vhdr": "read_raw_brainvision",
    ".set": "read_raw_eeglab",
    ".fif": "read_raw_fif",
}

#: MNE's channel types -> ours; the rest (stimulus, status, ...) is no physiology.
_KINDS = {
    **dict.fromkeys(("eeg", "seeg", "ecog", "dbs"), "eeg"),
    **{kind: kind for kind in ("eog", "emg", "ecg", "gsr", "resp")},
    "temperature": "temp",
    "bio": "other",
}
#: Types that MNE converts to volts; the others keep their own unit.
_VOLTS = ("eeg", "eog", "emg", "ecg", "other")


#: What Emotiv's EDF holds beside its sensors, all typed as EEG.
_EMOTIV_SERVICE = re.compile(
    r"TIME_STAMP_m?s|(OR_)?(MOTION_)?(COUNTER|INTERPOLATED)|RAW_CQ|BATTERY(_PERCENT)?|"
    r"MARKER_HARDWARE|MarkerHardware|[CE]Q_\w+"
)

#: What MNE's readers raise on files cut off or filled with something else.
_MNE_ERRORS = (ValueError, RuntimeError, OSError, IndexError, KeyError, AssertionError)


@dataclass(frozen=True, eq=False)
class BiosignalFile:
    """An open recording; samples are read when asked for.

    Args:
        path: the file.
        raw: MNE's object.
        channels: names of the physiological channels.
        kinds: their types, out of `recording.KINDS`.
        rates: their native rates in Hz; MNE brings slower ones to the fastest one's.
    """

    path: Path
    raw: Any
    channels: tuple[str, ...]
    kinds: tuple[str, ...]
    rates: tuple[float, ...]

    @property
    def fs(self) -> float:
        """Samples a second."""
        return float(self.raw.info["sfreq"])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return int(self.raw.n_times) / self.fs

    def signal(
        self, channels: Sequence[str], start_s: float = 0.0, stop_s: float | None = None
    ) -> Signal:
        """Some channels between two times.

        Args:
            channels: names, in the order wanted.
            start_s: first second.
            stop_s: end in seconds; None for the file's end.

        Returns:
            float64 samples, in uV where the channel is a voltage.

        Raises:
            DataError: a channel is missing, or the channels' native rates differ.
        """
        missing = [name for name in channels if name not in self.channels]
        if missing:
            raise DataError(
                self.path, "channels", f"no {', '.join(missing)}", f"some of {list(self.channels)}"
            )
        at = [self.channels.index(name) for name in channels]
        rates = sorted({self.rates[i] for i in at})
        if len(rates) > 1:
            raise DataError(
                self.path,
                "sampling rate",
                f"{' and '.join(f'{rate:g}' for rate in rates)} Hz",
                "one rate for the channels of a modality",
                "Make them separate modalities, or resample the file.",
            )
        kinds = tuple(self.kinds[i] for i in at)
        first = round(start_s * self.fs)
        last = self.raw.n_times if stop_s is None else round(stop_s * self.fs)
        try:
            data = self.raw.get_data(
                picks=list(channels), start=first, stop=min(last, self.raw.n_times), verbose="ERROR"
            )
        except _MNE_ERRORS as error:  # a FIF file cut off within its samples, for one
            raise _unreadable(self.path, error) from error
        volts = np.array([kind in _VOLTS for kind in kinds])
        data[volts] *= 1e6
        return Signal(data, self.fs, tuple(channels), kinds, "uV" if volts.all() else "mixed")


def open_biosignal(path: Path) -> BiosignalFile:
    """Open a file by its suffix (`SUFFIXES`); the header is checked, samples stay on disk.

    Raises:
        DataError: no such file, unknown suffix, a damaged or truncated file, no physiology in it.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(path, "suffix", suffix or "none", f"one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise DataError(path, "file", "nothing", f"a {suffix} recording")
    rates = _edf_rates(path, _SAMPLE_BYTES[suffix]) if suffix in _SAMPLE_BYTES else None
    raw = _open_raw(path, suffix)
    types = raw.get_channel_types()
    keep = [
        i
        for i, (kind, name) in enumerate(zip(types, raw.ch_names, strict=True))
        if kind in _KINDS and not _EMOTIV_SERVICE.fullmatch(name)
    ]
    if not keep:
        raise DataError(path, "channels", f"types {sorted(set(types))}", "EEG or other physiology")
    if rates is None or len(rates) != len(types):
        rates = [float(raw.info["sfreq"])] * len(types)
    return BiosignalFile(
        path,
        raw,
        tuple(raw.ch_names[i] for i in keep),
        tuple(_KINDS[types[i]] for i in keep),
        tuple(rates[i] for i in keep),
    )


def _open_raw(path: Path, suffix: str) -> Any:
    import mne  # its import takes about a second, which `clmer --help` need not wait for

    read: Callable[..., Any] = getattr(mne.io, SUFFIXES[suffix])
    # "EEG Fp1" and "ECG ECG" name their types; MNE then takes the prefix off.
    # Annotations, which nobody reads here, are not always UTF-8.
    edf = suffix in _SAMPLE_BYTES
    options = {"infer_types": True, "encoding": "latin1"} if edf else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            raw = read(path, preload=False, verbose="WARNING", **options)
        except _MNE_ERRORS as error:
            raise _unreadable(path, error) from error
    for warning in caught:
        # A BrainVision header does not state the length: markers past the end tell a cut file.
        if "outside data range" in str(warning.message) and "Omitted" in str(warning.message):
            raise DataError(
                path,
                "samples",
                f"{raw.n_times}, which end before the last markers",
                "samples up to the last marker",
                "The data file may be truncated: copy it again.",
            )
    return raw


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        path,
        "file",
        f"MNE's error {error!s:.200}",
        f"a whole {path.suffix.lower()} recording",
        "It may be truncated: copy or export it again.",
    )


def _edf_rates(path: Path, sample_bytes: int) -> list[float]:
    """Native rates of an EDF or BDF file's signals, annotations left out; its length is checked."""
    header_error = DataError(
        path,
        "header",
        f"{path.stat().st_size} bytes that are no EDF or BDF header",
        "a whole EDF or BDF file",
        "It may be truncated: copy or export it again.",
    )
    with path.open("rb") as file:
        head = file.read(256)
        try:
            header_bytes, records = int(head[184:192]), int(head[236:244])
            record_s, signals = float(head[244:252]), int(head[252:256])
            table = file.read(256 * signals)
            labels = [table[16 * i : 16 * i + 16] for i in range(signals)]
            counts = [int(table[216 * signals + 8 * i :][:8]) for i in range(signals)]
        except ValueError as error:
            raise header_error from error
    if header_bytes != 256 * (signals + 1) or min([record_s, *counts]) <= 0:
        raise header_error
    if head[192:197] in (b"EDF+D", b"BDF+D"):
        raise DataError(path, "header", "EDF+D, with interruptions", "a continuous recording")
    expected = header_bytes + records * sum(counts) * sample_bytes
    if records < 1 or path.stat().st_size != expected:
        have = (path.stat().st_size - header_bytes) / (sum(counts) * sample_bytes)
        raise DataError(
            path,
            "number of records",
            f"{have:g} records in the file",
            f"{records} as in its header",
            "The file is truncated, or was not closed: copy or export it again.",
        )
    return [
        count / record_s
        for count, label in zip(counts, labels, strict=True)
        if not label.strip().endswith(b"Annotations")
    ]
