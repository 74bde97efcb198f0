"""From files to a store of windows: filter, resample, drop the baseline, cut, serialise the face.

Filtering comes first, at the native rate and over the whole recording with its baseline, forwards
and backwards (zero phase), so that no inner window sees an edge; then polyphase resampling; then
the baseline goes. Nothing is standardised here: that needs the training part of a split.

One recording is in memory at a time, or as many as the reader holds (DEAP: a person).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from tqdm import tqdm

from clmer.data import Band, Dataset
from clmer.data.cache import Modality, Store, StoreWriter, build, fingerprint
from clmer.data.face.images import folders
from clmer.data.face.mobilevit import RANDOM_NOTE, embedder, weights_digest
from clmer.data.face.windows import FACE_ROWS, FACE_TOKENS, FACES, IMAGES, Embed, FaceWindows
from clmer.data.recording import KINDS, DataError, FaceSeries, Recording, Signal
from clmer.signal import butter_bandpass, resample, sosfiltfilt

FILTERS = ("type", "paper")


def prepare(
    dataset: Dataset,
    root: Path,
    *,
    modalities: Sequence[str] = (),
    window_s: float | None = None,
    stride_s: float | None = None,
    filter: str = "type",
    fps: float = 25.0,
    face: str = "raw",
    labels: str = "",
    mobilevit: str = "",
    cache: Path,
    progress: bool = True,
) -> Store:
    """Open the store of these parameters, or read every recording and build it.

    Stored a window: signals [C, round(window_s fs)]; "landmarks" [204, frames], x of the 68 points,
    then y, then z (mm); "au" [34, frames], 17 intensities (0-5), then 17 presences (0 or 1);
    "gaze" [2, frames], rad; "hog" [496, frames], texture of 16 regions of the face. Of the picture
    in a window's middle: "pixels" and "pixel-rows" [32, 96], rows of 32 pixels, red, green, blue,
    0-1; "mobilevit" [16, 640], patches and features.

    Args:
        dataset: one of `clmer.data.DATASETS`.
        root: its folder.
        modalities: names of signals and of `FACE_TOKENS`; a signal type such as "eeg" takes those
            channels out of a signal that mixes types. Empty for the data set's default.
        window_s: window in seconds; None for the data set's default.
        stride_s: seconds from window to window; None for no overlap.
        filter: "type" filters by signal type, "paper" puts the paper's one band on every channel.
        fps: frames a second that the face is resampled to.
        face: "raw" keeps landmarks in the camera's frame, "aligned" removes the head's motion.
        labels: whose labels, out of the data set's `labels`; "" for its default.
        mobilevit: folder of MobileViT-S's weights; "" for random ones.
        cache: folder of the stores.
        progress: show a bar.

    Returns:
        The store; its report says what was used, skipped and dropped, and why.

    Raises:
        DataError: files that cannot be used, parameters out of range, no window left, a full disk.
    """
    window_s = dataset.window_s if window_s is None else window_s
    stride_s = window_s if stride_s is None else stride_s
    files = dataset.sources(root)
    names = tuple(modalities) or dataset.modalities or dataset.found(root)
    plan = _Plan(dataset, root, names, window_s, stride_s, filter, fps, face)
    options = dataset.options(root, labels)
    parameters = {
        "dataset": dataset.name,
        "modalities": list(names),
        "window_s": window_s,
        "stride_s": stride_s,
        "filter": filter,
        "band": {kind: plan.band(kind) for kind in KINDS},
        "fs": dataset.fs,
        "fps": fps,
        "face": face,
        **options,
    }
    weights = Path(mobilevit) if mobilevit else None
    if "mobilevit" in names:
        parameters["mobilevit"] = weights_digest(weights)
    pictures = folders(files) if plan.has_images else []
    key = fingerprint(parameters, root, [*files, *pictures])

    def fill(writer: StoreWriter) -> None:
        job = _Job(plan, writer, embedder(weights) if "mobilevit" in names else None)
        label = f"preparing {dataset.name}"
        with tqdm(total=len(files), desc=label, unit="file", disable=not progress) as bar:
            for recording in dataset.read(root, face=plan.has_face, **options):
                job.follow(recording.source, files, bar)
                job.add(recording)
            bar.update(len(files) - bar.n)
        notes = [*dataset.describe(root, **options)]
        if job.embed is not None and weights is None:
            notes.append(RANDOM_NOTE)
        report = job.report(notes)
        writer.finish(
            fingerprint=key,
            parameters=parameters,
            modalities=[job.modalities[name] for name in names],
            window_s=window_s,
            report=report,
        )

    return build(cache, dataset.name, key, fill)


@dataclass(frozen=True)
class _Plan:
    """Validated parameters."""

    dataset: Dataset
    root: Path
    modalities: tuple[str, ...]
    window_s: float
    stride_s: float
    filter: str
    fps: float
    face: str

    def __post_init__(self) -> None:
        for option, value, fine, expected in (
            ("--window", self.window_s, self.length >= 1, f"at least {1 / self.dataset.fs:g} s"),
            ("--stride", self.stride_s, self.step >= 1, f"at least {1 / self.dataset.fs:g} s"),
            ("--fps", self.fps, self.fps > 0, "frames a second above 0"),
            ("--window", self.window_s, self.frames >= 1 or not self.has_face, "a video frame"),
            ("--filter", self.filter, self.filter in FILTERS, f"one of {', '.join(FILTERS)}"),
            ("--face", self.face, self.face in FACES, f"one of {', '.join(FACES)}"),
        ):
            if not fine:
                raise DataError(self.root, option, value, expected)
        if len(set(self.modalities)) < len(self.modalities):
            raise DataError(self.root, "--modalities", ",".join(self.modalities), "each name once")
        for name in self.modalities:
            self._check_name(name)

    def _check_name(self, name: str) -> None:
        """Modalities name files, and modules of the model."""
        if name == "face":
            raise DataError(self.root, "modality", name, f"some of {', '.join(FACE_TOKENS)}")
        if not re.fullmatch(r"\w[\w +-]*", name) or hasattr(nn.ModuleDict(), name):
            raise DataError(
                self.root,
                "modality",
                repr(name),
                "letters, digits, spaces, _, + and -, and no word that PyTorch's modules use",
                f"Call it my_{re.sub(r'[^A-Za-z0-9]', '_', name)}, for example.",
            )

    @property
    def length(self) -> int:
        """Samples of a window."""
        return round(self.window_s * self.dataset.fs)

    @property
    def step(self) -> int:
        """Samples from window to window."""
        return round(self.stride_s * self.dataset.fs)

    @property
    def frames(self) -> int:
        """Frames of a window."""
        return round(self.window_s * self.fps)

    @property
    def has_face(self) -> bool:
        """Whether the face is asked for."""
        return bool(self.face_names)

    @property
    def has_images(self) -> bool:
        """Whether pictures of the face are asked for."""
        return any(name in IMAGES for name in self.modalities)

    @property
    def face_names(self) -> tuple[str, ...]:
        """Modalities that come from the face."""
        return tuple(name for name in self.modalities if name in FACE_TOKENS)

    def band(self, kind: str) -> Band:
        """Edges in Hz for a signal type."""
        return self.dataset.paper_band if self.filter == "paper" else self.dataset.band.get(kind)


class _Skip(Exception):
    """A recording that cannot be used, and why."""


@dataclass
class _Job:
    """Recordings into windows, and the account of them."""

    plan: _Plan
    writer: StoreWriter
    embed: Embed | None = None
    modalities: dict[str, Modality] = field(default_factory=dict)
    people: set[str] = field(default_factory=set)
    recordings: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    interpolated: int = 0
    filters: dict[str, str] = field(default_factory=dict)
    trackers: Counter[str] = field(default_factory=Counter)
    _sources: set[Path] = field(default_factory=set)
    _first: str = ""
    _unit: str = ""

    def follow(self, source: Path, files: Sequence[Path], bar: Any) -> None:
        """Move the bar when a recording comes from a new file: those before it are done."""
        if source in self._sources:
            return
        alike = sum(file.suffix == source.suffix for file in files)
        self.writer.share_done = min(1.0, len(self._sources) / max(alike, 1))
        bar.update(max(0, int(len(files) * self.writer.share_done) - bar.n))
        self._sources.add(source)

    def add(self, recording: Recording) -> None:
        """Write one recording's windows, or note why there are none."""
        name = f"{recording.subject}/{recording.trial}"
        self.recordings += 1
        try:
            if recording.problem:
                raise _Skip(recording.problem)
            arrays, start_s = self._cut(recording)
        except _Skip as reason:
            self.skipped[name] = str(reason)
            return
        self._first = self._first or name
        self.people.add(recording.subject)
        self.interpolated += recording.interpolated
        self.writer.append(
            arrays,
            subject=recording.subject,
            group=recording.group,
            recording=name,
            stimulus=recording.stimulus,
            start_s=start_s,
            labels=recording.labels,
        )

    def report(self, notes: Sequence[str]) -> dict[str, Any]:
        """What was read, used and left out.

        Raises:
            DataError: nothing is left.
        """
        if not len(self.writer):
            reasons = Counter(self.skipped.values()).most_common(3)
            raise DataError(
                self.plan.root,
                f"--modalities {','.join(self.plan.modalities)}",
                f"no window in {self.recordings} recordings ("
                + ("; ".join(f"{why}: {n}" for why, n in reasons) or "none was read")
                + ")",
                "at least one",
                "Choose other modalities or a shorter --window.",
            )
        return {
            "people": len(self.people),
            "recordings": self.recordings,
            "recordings_used": self.recordings - len(self.skipped),
            "recordings_skipped": self.skipped,
            "windows": len(self.writer),
            "windows_dropped": dict(self.dropped),
            "samples_interpolated": self.interpolated,
            "filter": self.filters,
            "notes": [*self.plan.dataset.notes, *notes, *self._notes()],
        }

    def _notes(self) -> list[str]:
        """What to say of the faces."""
        if len(self.trackers) < 2:
            return []
        counts = ", ".join(f"{name} {count}" for name, count in self.trackers.items())
        return [f"Faces come from different trackers, whose values are not comparable: {counts}."]

    def _cut(self, recording: Recording) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The windows that hold every modality, [n, C, T] each, and their start times."""
        plan = self.plan
        signals = {n: _find(recording, n) for n in plan.modalities if n not in FACE_TOKENS}
        face = recording.face if plan.has_face else None
        if plan.has_face and face is None:
            raise _Skip("no face")
        series = {n: self._filtered(n, s, recording) for n, s in signals.items()}
        lengths = [x.shape[1] for x in series.values()]
        if face is not None and not lengths:
            seconds = recording.face_start_s + len(face.valid) / face.fps - recording.baseline_s
            seconds = min(seconds, recording.length_s or seconds)
            lengths = [int(seconds * plan.dataset.fs + 1e-6)]
        if min(lengths) < plan.length:
            raise _Skip("shorter than a window")
        starts = np.arange(0, min(lengths) - plan.length + 1, plan.step)
        start_s = starts / plan.dataset.fs
        keep = np.ones(len(starts), dtype=bool)
        arrays = {n: _windows(x, starts, plan.length) for n, x in series.items()}
        if face is not None:
            windows = self._face(face, recording, start_s)
            arrays |= windows.arrays
            keep = self._drop(windows.lost, windows.outside)
        return {name: arrays[name][keep] for name in plan.modalities}, start_s[keep]

    def _face(self, face: FaceSeries, recording: Recording, start_s: np.ndarray) -> FaceWindows:
        """The face at the windows' times."""
        plan = self.plan
        for name in plan.face_names:
            if getattr(face, "images" if name in IMAGES else name, face) is None:
                raise _Skip(f"no {name} from {face.tracker}")
        if "landmarks" in plan.face_names and plan.face == "raw":
            known = self._unit = self._unit or face.unit
            if face.unit != known:
                raise DataError(
                    recording.files.get("face", recording.source),
                    "unit of landmarks",
                    f"{face.unit} ({face.tracker})",
                    f"{known} as in the recordings before it",
                    "Use one tracker for all, or --face aligned, which scales pixels to mm.",
                )
        self.trackers[face.tracker] += 1
        for name in plan.face_names:
            self.modalities[name] = Modality(name, FACE_TOKENS[name], plan.fps, FACE_ROWS[name])
        times = recording.baseline_s - recording.face_start_s + start_s[:, None]
        times = times + np.arange(plan.frames) / plan.fps
        return FaceWindows.cut(face, times, plan.face_names, plan.face, self.embed)

    def _drop(self, lost: np.ndarray, outside: np.ndarray) -> np.ndarray:
        """Count the windows [n] without a face; returns those that stay."""
        for reason, rows in (("outside the face video", outside), ("face lost", lost & ~outside)):
            if rows.any():
                self.dropped[reason] += int(rows.sum())
        keep = ~(lost | outside)
        if not keep.any():
            raise _Skip("the face lost in every window")
        return keep

    def _filtered(self, name: str, signal: Signal, recording: Recording) -> np.ndarray:
        """[C, T] at the common rate, from the stimulus on."""
        self._describe(name, signal, recording)
        x = np.array(signal.data, dtype=np.float64)
        if not np.isfinite(x).all():
            raise _Skip(f"{name} has samples that are not finite")
        rows: dict[Band, list[int]] = {}
        for row, kind in enumerate(signal.kinds):
            band = self.plan.band(kind)
            self.filters.setdefault(kind, sections_of(band, signal.fs)[1])
            rows.setdefault(band, []).append(row)
        for band, own in rows.items():  # channels of one band together: a vector takes several
            sos, _ = sections_of(band, signal.fs)
            if sos is None:
                continue
            if x.shape[1] <= 3 * (2 * len(sos) + 1):
                raise _Skip("shorter than the filter needs")
            at: slice | list[int] = slice(None) if len(own) == len(x) else own
            x[at] = sosfiltfilt(sos, x[at])
        try:
            x = resample(x, signal.fs, self.plan.dataset.fs)
        except ValueError as error:
            raise DataError(
                recording.files.get(name, recording.source),
                f"rate of {name}",
                f"{signal.fs} Hz",
                "a rounded rate",
                str(error),
            ) from error
        fs, seconds = self.plan.dataset.fs, recording.length_s
        first = round(recording.baseline_s * fs)
        return x[:, first : None if seconds is None else first + round(seconds * fs)]

    def _describe(self, name: str, signal: Signal, recording: Recording) -> None:
        new = Modality(name, len(signal.channels), self.plan.dataset.fs, signal.channels)
        known = self.modalities.setdefault(name, new)
        if known != new:
            raise DataError(
                recording.files.get(name, recording.source),
                f"channels of {name}",
                " ".join(signal.channels),
                f"{' '.join(known.channels)} as in the recordings before it",
                "Every recording needs the same channels in the same order.",
            )


def _find(recording: Recording, name: str) -> Signal:
    """A signal by name, or the channels of a type out of one that has them."""
    if name in recording.signals:
        return recording.signals[name]
    for signal in recording.signals.values():
        if name in signal.kinds:
            return signal.select(name)
    raise _Skip(f"no {name}, only {', '.join(recording.signals) or 'a face'}")


@lru_cache
def sections_of(band: Band, fs: float) -> tuple[np.ndarray | None, str]:
    """The filter of a band at a rate, and what to call it."""
    if band is None:
        return None, "as recorded"
    low, high = band
    if high is not None and high >= fs / 2:
        high = None  # there is nothing above it to remove
    if low is None and high is None:
        return None, "as recorded"
    text = f"{low:g}-{high:g} Hz" if low and high else f"above {low:g} Hz" if low else ""
    return butter_bandpass(low, high, fs), text or f"below {high:g} Hz"


def _windows(x: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """[C, T] -> [n, C, length] float32."""
    views = np.lib.stride_tricks.sliding_window_view(x, length, axis=1)  # [C, starts, length]
    return views[:, starts].transpose(1, 0, 2).astype(np.float32, order="C")
