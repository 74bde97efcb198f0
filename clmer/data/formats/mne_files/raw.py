"""Recordings that MNE reads, opened with its warnings turned into notes or errors."""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io.matlab import MatReadError

from clmer.data.formats.mne_files.brainvision import BrainVisionHeader, read_header
from clmer.data.formats.mne_files.gdf import GdfHeader, read_gdf_header
from clmer.data.formats.source import StoredChannel
from clmer.data.recording import Marker
from clmer.data.timeline import Timeline, pauses_and_bad_spans, role
from clmer.errors import DataError

#: suffix -> name of MNE's reader
READERS = {
    ".vhdr": "read_raw_brainvision",
    ".ahdr": "read_raw_brainvision",
    ".set": "read_raw_eeglab",
    ".fif": "read_raw_fif",
    ".fif.gz": "read_raw_fif",
    ".gdf": "read_raw_gdf",
    ".cnt": "read_raw_cnt",
    ".mff": "read_raw_egi",
    ".nedf": "read_raw_nedf",
    ".lay": "read_raw_persyst",
}
#: Of these, recordings that are folders.
FOLDERS = (".mff",)
#: Readers that type a channel as EEG only where the file says so.
_TYPED = (".fif", ".fif.gz", ".mff")

#: MNE's channel types -> ours; "" where its name tells more.
_KINDS = {
    **dict.fromkeys(("seeg", "ecog", "dbs"), "ieeg"),
    **{kind: kind for kind in ("eeg", "eog", "emg", "ecg", "gsr", "resp")},
    **dict.fromkeys(("mag", "grad", "ref_meg"), "meg"),
    **dict.fromkeys(("chpi", "exci", "ias", "syst", "dipole", "gof"), "quality"),
    **dict.fromkeys(("eyegaze", "pupil"), "other"),
    "temperature": "temp",
    "stim": "trigger",
    "bio": "other",
}
_UNITS = {"eeg": "V", "ieeg": "V", "eog": "V", "emg": "V", "ecg": "V", "gsr": "S", "temp": "C"}

#: Numbers that mean a joint: EEGLAB's where types are numbers, GDF's "start of a new segment".
_JOINTS = {".set": re.compile(r"-99(\.0*)?"), ".gdf": re.compile("32766")}
_NOTHING = re.compile("(?!)")

#: What MNE's readers raise on files cut off or filled with something else.
_ERRORS = (
    *(ValueError, RuntimeError, OSError, LookupError, AssertionError, TypeError, AttributeError),
    *(
        ArithmeticError,
        NotImplementedError,
        MatReadError,
        struct.error,
        zlib.error,
        EOFError,
        MemoryError,
    ),
)
#: Warnings about what is handled here (pauses, types, places), or does not touch the samples.
_HANDLED = re.compile(
    r"naming convention|'boundary' events|No coordinate information|Not setting position|"
    r"Unknown types found|measurement date|Could not inspect|unit.*(unknown|not recogni|misc)|"
    r"MarkerFile|head radius|cutoff frequency|software filter|No info on DataPoints|"
    r"Unsupported physical dimension|"
    r"(highpass|lowpass) filters|positions|channel type|set as EEG|DigMontage|montage",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class MneFile:
    """An open recording of MNE's, a `clmer.data.formats.source.Source`.

    Args:
        path: the file.
        raw: MNE's object; samples stay on disk.
        annotations: MNE's, with their whole duration.
        header: BrainVision's own, where it is one.
        gdf: GDF's own, where it is one.
        notes: what MNE warned of.
    """

    path: Path
    suffix: str
    raw: Any
    annotations: Any
    header: BrainVisionHeader | None = None
    gdf: GdfHeader | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def fs(self) -> float:
        """Samples per second, as text would state it: MNE keeps FIF's in float32."""
        fs = float(self.raw.info["sfreq"])
        if self.suffix.startswith(".fif") and fs == np.float32(fs):
            return float(str(np.float32(fs)))
        return fs

    @cached_property
    def channels(self) -> list[StoredChannel]:
        """All channels; a type is told only where the file says more than "EEG" of them."""
        raw, types = self.raw, self.raw.get_channel_types()
        known = self.header or self.gdf
        units = known.units if known else ("",) * len(types)
        rates = self.gdf.rates if self.gdf else (self.fs,) * len(types)
        # For MNE, EEGLAB's channels are EEG if the file gives no type; but where it calls some of
        # them MISC, it has typed them.
        typed = self.suffix in _TYPED or (self.suffix == ".set" and "misc" in types)
        kinds = [_KINDS.get(kind, "") for kind in types]
        places = [np.asarray(channel["loc"][:3]) for channel in raw.info["chs"]]
        return [
            StoredChannel(
                name,
                fs,
                unit,
                kind if kind != "eeg" or typed else "",
                bool(np.isfinite(place).all() and place.any()),
                name in raw.info["bads"],
            )
            for name, fs, unit, kind, place in zip(
                raw.ch_names, rates, units, kinds, places, strict=True
            )
        ]

    def unit(self, row: int, kind: str) -> str:
        """The unit of what `samples` gives for a channel of a type."""
        if self.header is not None:
            return self.header.units[row] or "uV"
        if self.gdf is not None:
            return self.gdf.units[row]
        if self.suffix == ".set":
            return "uV" if _UNITS.get(kind) == "V" else ""
        return _UNITS.get(kind, "")

    def samples(self, rows: Sequence[int], first: int, stop: int) -> np.ndarray:
        """Channels between two samples, [C, stop - first] float64, in `unit`.

        Raises:
            DataError: the file ends before its header says.
        """
        for channel in (self.channels[row] for row in rows):
            if abs(channel.fs - self.fs) > 1e-6 * self.fs:
                raise DataError(
                    self.path,
                    f"rate of {channel.label}",
                    f"{channel.fs:g} Hz beside {self.fs:g} Hz",
                    "one rate in a GDF file, since MNE resamples the slower channels",
                    "Export it as EDF, which is read at each channel's own rate.",
                )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                data = self.raw.get_data(
                    picks=list(rows), start=first, stop=stop, verbose="WARNING"
                )
            except _ERRORS as error:  # a FIF file cut off within its samples, for one
                raise unreadable(self.path, error) from error
        serious = [w for w in caught if not _HANDLED.search(str(w.message))]
        if serious:
            raise unreadable(self.path, serious[0].message)
        infos = [self.raw.info["chs"][row] for row in rows]
        if self.header is not None:  # "range" is the unit's factor to SI, as far as MNE knows it
            data /= np.array([info["range"] for info in infos])[:, None]
        elif self.suffix == ".set":  # EEGLAB has no units but uV
            data /= np.array([info["cal"] for info in infos])[:, None]
        elif self.gdf is not None:
            data /= np.array([self.gdf.factors[row] for row in rows])[:, None]
        return np.asarray(data)

    def timeline(self, row: int) -> Timeline:
        """Pieces between joints and pauses, and bad spans; the same for all channels."""
        return self._timeline

    @cached_property
    def _timeline(self) -> Timeline:
        fs, count = self.fs, int(self.raw.n_times)
        pauses, bad = pauses_and_bad_spans(self._annotations, fs)
        if self.header is not None:
            pauses |= self.header.pauses(fs)
        return Timeline.with_pauses(fs, count, pauses, bad)

    @cached_property
    def _annotations(self) -> list[tuple[float, float, str]]:
        """Onset on a clock that counts samples alone, duration (s) and text of each."""
        marks = self.annotations
        found = zip(
            marks.onset - self.raw.first_time, marks.duration, marks.description, strict=True
        )
        joint = _JOINTS.get(self.suffix, _NOTHING)
        return [
            (float(onset), float(duration), "boundary" if joint.fullmatch(text) else str(text))
            for onset, duration, text in found
        ]

    def codes(self, row: int) -> None:
        """Nothing: MNE gives no stored integers."""

    @property
    def markers(self) -> list[Marker]:
        """The annotations, but for those that mark pauses and bad spans."""
        line = self._timeline
        return [
            Marker(line.clock(onset * line.fs), duration, text)
            for onset, duration, text in self._annotations
            if not role(text)
        ]

    @property
    def files(self) -> list[Path]:
        """All files that hold its samples and markers."""
        found = [Path(name) for name in self.raw.filenames if name is not None]
        return [*found, *(self.header.files if self.header else ())]


def suffix_of(path: Path) -> str:
    """The part of a name that tells the format: ".fif.gz" is one suffix."""
    name = path.name.lower()
    return ".fif.gz" if name.endswith(".fif.gz") else path.suffix.lower()


def open_mne(path: Path) -> MneFile:
    """Open a recording by its suffix (`READERS`).

    Raises:
        DataError: a damaged file, an epoched one, or one of another kind.
    """
    import mne  # its import takes about a second, which `clmer --help` need not wait for

    suffix = suffix_of(path)
    header = read_header(path) if READERS[suffix] == "read_raw_brainvision" else None
    read: Callable[..., Any] = getattr(mne.io, READERS[suffix])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            raw = read(path, preload=False, verbose="WARNING")
        except _ERRORS as error:
            raise _refused(path, suffix, error) from error
    if suffix == ".set":
        _check_fdt(path, raw)
    notes = []
    for warning in caught:
        text = str(warning.message)
        # A BrainVision header does not state the length: markers past the end tell a cut file.
        if "outside data range" in text and "Omitted" in text:
            raise DataError(
                path,
                "samples",
                f"{raw.n_times}, which end before the last markers",
                "samples up to the last marker",
                "The data file may be truncated: copy it again.",
            )
        if not _HANDLED.search(text) and issubclass(warning.category, RuntimeWarning):
            notes.append(f"MNE warns: {' '.join(text.split()):.200}")
    gdf = read_gdf_header(path) if suffix == ".gdf" else None
    annotations = raw.annotations
    if suffix == ".set" and "boundary" in annotations.description:
        # What was cut out may be longer than what is left, where a recording's own marks end.
        annotations = mne.read_annotations(path)
    return MneFile(path, suffix, raw, annotations, header, gdf, tuple(dict.fromkeys(notes)))


def _check_fdt(path: Path, raw: Any) -> None:
    """Refuse an EEGLAB data file of another length than its header says."""
    count = len(raw.ch_names) * int(raw.n_times)
    for data in (Path(name) for name in raw.filenames if str(name).endswith(".fdt")):
        size = data.stat().st_size
        if size != 4 * count:
            raise DataError(
                data,
                "length",
                f"{size} bytes",
                f"{4 * count}: {len(raw.ch_names)} channels of {raw.n_times} samples, as in "
                f"{path.name}",
                f"It is truncated, or belongs to another .set: copy it again, with {path.name}.",
            )


def _refused(path: Path, suffix: str, error: Exception) -> DataError:
    """The real cause, where it is known."""
    text = str(error)
    trials = re.search(r"number of trials is (\d+)", text)
    if trials:
        return DataError(
            path,
            "EEG.trials",
            f"{trials[1]} epochs",
            "a continuous recording",
            "It is cut into epochs: give the data set from before the epochs were cut; start_s and "
            "stop_s, or `window_s`, cut it here.",
        )
    if suffix == ".set" and isinstance(error, AttributeError) and "'get'" in text:
        return DataError(
            path,
            "EEG.chaninfo",
            "an empty one, which MNE cannot read",
            "a structure",
            "In EEGLAB: EEG.chaninfo = struct('nosedir', '+X'); then save the data set again.",
        )
    if "No raw data" in text:
        return DataError(
            path,
            "file",
            "no continuous recording in it: epochs, an average, or an ICA",
            "raw data",
            "Give the file from before the epochs were cut (raw.save): start_s and stop_s, or "
            "`window_s`, cut it here.",
        )
    if ".fdt" in text and isinstance(error, OSError):
        return DataError(
            path, "EEG.data", text[:200], "the .fdt file beside it", "Copy both, under one name."
        )
    package = re.search(r"the module (\w+) is needed", text)
    if package:
        name = package[1]
        return DataError(path, "package", f"no {name}", name, f"pip install {name}")
    return unreadable(path, error)


def unreadable(path: Path, error: object) -> DataError:
    """What to say of a file on which MNE gives up."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = said[-1] if said else type(error).__name__
    return DataError(
        path,
        "file",
        f"MNE's error {text:.200}",
        f"a whole {suffix_of(path)} recording",
        "It may be truncated, or of a version that MNE does not know: copy or export it again.",
    )
