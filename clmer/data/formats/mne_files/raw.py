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

from clmer.data.formats.mne_files.brainvision import BrainVisionHeader
from clmer.data.formats.mne_files.gdf import GdfHeader
from clmer.data.formats.mne_files.readers import parts_of, suffix_of
from clmer.data.formats.source import StoredChannel
from clmer.data.recording import Marker
from clmer.data.timeline import Timeline, pauses_and_bad_spans, role
from clmer.errors import DataError

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

#: Where MNE's voltages are in another unit than V, by its factor: BCI2000's are as stored; EXIMIA's
#: and, unless they are floats, EGI's are in uV (EEGLAB's readegi).
_AS_STORED: dict[str, Callable[[float], str]] = {
    ".dat": lambda factor: "",
    ".nxe": lambda factor: "uV",
    ".raw": lambda factor: "V" if factor == 1e-6 else "uV",
}
#: Numbers that mean a joint: EEGLAB's where types are numbers, GDF's "start of a new segment".
_JOINTS = {".set": re.compile(r"-99(\.0*)?"), ".gdf": re.compile("32766")}
_NOTHING = re.compile("(?!)")

#: What MNE's readers raise on files cut off or filled with something else.
ERRORS = (
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
HANDLED = re.compile(
    r"naming convention|'boundary' events|No coordinate information|Not setting position|"
    r"Unknown types found|meas(urement)? date|Could not inspect|unit.*(unknown|not recogni|misc)|"
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
        if _UNITS.get(kind) == "V" and self.suffix in _AS_STORED:
            return _AS_STORED[self.suffix](float(self.raw.info["chs"][row]["cal"]))
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
                data = self._get(rows, first, stop)
            except ERRORS as error:  # a FIF file cut off within its samples, for one
                raise unreadable(self.path, error) from error
        serious = [w for w in caught if not HANDLED.search(str(w.message))]
        if serious:
            raise unreadable(self.path, serious[0].message)
        infos = [self.raw.info["chs"][row] for row in rows]
        if self.header is not None:  # "range" is the unit's factor to SI, as far as MNE knows it
            data /= np.array([info["range"] for info in infos])[:, None]
        elif self.suffix == ".set":  # EEGLAB has no units but uV
            data /= np.array([info["cal"] for info in infos])[:, None]
        elif self.gdf is not None:
            data /= np.array([self.gdf.factors[row] for row in rows])[:, None]
        return data

    def _get(self, rows: Sequence[int], first: int, stop: int) -> np.ndarray:
        """MNE's numbers, [C, stop - first]."""
        found = self.raw.get_data(list(rows), start=first, stop=stop, verbose="WARNING")
        return np.asarray(found)

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
        return [*found, *(self.header.files if self.header else parts_of(self.path))]


def unreadable(path: Path, error: object) -> DataError:
    """What to say of a file on which MNE gives up."""
    lines = (line.strip() for line in str(error).splitlines())
    said = [line for line in lines if line and not line.startswith("WARNING: mne.io")]
    text = said[-1] if said else type(error).__name__
    return DataError(
        path,
        "file",
        f"MNE's error {text:.200}",
        f"a whole {suffix_of(path)} recording",
        "It may be truncated, or of a version that MNE does not know: copy or export it again.",
    )
