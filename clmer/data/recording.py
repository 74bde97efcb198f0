"""What readers yield: one `Recording` per (person, trial)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from clmer.data.timeline import Timeline

#: Signal types, each of which has a pass band of its own (`clmer.data.store.filtering`).
KINDS = (
    *("eeg", "ieeg", "eog", "emg", "ecg", "gsr", "resp", "ppg", "temp"),
    *("acc", "gyro", "magn", "other"),
)
#: The root of generated data carries this file; it says what they were made by.
SYNTHETIC_MARKER = "synthetic.json"


@dataclass(frozen=True)
class Marker:
    """What a file says happened at a time: an annotation, a trigger's code, a marker of a stream.

    Args:
        onset_s: on the recording's own clock (`clmer.data.timeline`), on which `start_s` counts.
        duration_s: 0 where it has none.
        text: as in the file; a trigger's code in digits.
    """

    onset_s: float
    duration_s: float
    text: str


@dataclass(frozen=True, eq=False)
class Signal:
    """Regularly sampled channels.

    Args:
        data: [C, T] float32 or float64, in `unit`.
        fs: sampling rate in Hz.
        channels: C names.
        kinds: C signal types out of `KINDS`.
        unit: physical unit of the channels, "uV" for EEG; "mixed" where they differ.
        timeline: when the samples were recorded, on the recording's clock; None for all of them one
            after the other, from 0 s.
        left_out: channels of the file that are not among them, each with its type.
        notes: what was odd about the file and read all the same.
    """

    data: np.ndarray
    fs: float
    channels: tuple[str, ...]
    kinds: tuple[str, ...]
    unit: str = "uV"
    timeline: Timeline | None = None
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = self.data.shape[0]
        if self.data.ndim != 2 or not count == len(self.channels) == len(self.kinds):
            raise ValueError(
                f"Signal: data {self.data.shape} needs [C, T] with C = {len(self.channels)} "
                f"channels = {len(self.kinds)} kinds"
            )
        pieces = self.timeline.pieces if self.timeline else ()
        if self.timeline and sum(p.stop - p.first for p in pieces) != self.data.shape[1]:
            raise ValueError(f"Signal: timeline {pieces} is not of data {self.data.shape}")
        unknown = set(self.kinds) - set(KINDS)
        if unknown:
            raise ValueError(f"Signal: unknown kinds {sorted(unknown)}, expected some of {KINDS}")

    @property
    def duration_s(self) -> float:
        """Length in seconds, pauses included."""
        return self.line.duration_s

    @property
    def line(self) -> Timeline:
        """The samples' timeline."""
        return self.timeline or Timeline.continuous(self.fs, self.data.shape[1])

    def select(self, kind: str) -> Signal:
        """The channels of one kind, in order."""
        rows = [i for i, k in enumerate(self.kinds) if k == kind]
        others = (i for i in range(len(self.kinds)) if i not in rows)
        return replace(
            self,
            data=self.data[rows],
            channels=tuple(self.channels[i] for i in rows),
            kinds=tuple(self.kinds[i] for i in rows),
            left_out=(*(f"{self.channels[i]} ({self.kinds[i]})" for i in others), *self.left_out),
        )


class Textures(Protocol):
    """Texture descriptors of a face series, read when asked for: `clmer.data.face.hog.Hog`."""

    def at(self, frames: np.ndarray | slice) -> Textures:
        """Those of other frames, numbered as those of now."""

    def regions(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Descriptors [k, 496] of frames [k], and [k] bool whether there was a face."""


class Pictures(Protocol):
    """Pictures of a face series, read when asked for: `clmer.data.face.images.FaceImages`."""

    def at(self, frames: np.ndarray | slice) -> Pictures:
        """Those of other frames, numbered as those of now."""

    def near(self, frames: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
        """Pictures [k, 112, 112, 3] uint8 within `reach` of frames [k], and [k] bool if found."""


@dataclass(frozen=True, eq=False)
class FaceSeries:
    """A serialised face: one row per video frame.

    Args:
        fps: frames per second.
        landmarks: [n, 68, 3] iBUG points in `unit`. "mm": camera frame, x to the image's right, y
            down, z away from the camera. "px": image coordinates, x right, y down, third axis 0.
            None where the file has none.
        au_intensity: [n, 17] action-unit intensities, 0-5 (`clmer.data.face.AU_NAMES`), or None.
        au_presence: [n, 17] action-unit presences, 0 or 1, or None.
        valid: [n] bool, False where the face was lost and could not be interpolated.
        gaze: [n, 2] mean direction of the eyes in rad: from the image's left (-) to its right (+),
            from up (-) to down (+), 0 into the camera; None where the tracker has none.
        confidence: [n] the tracker's confidence, 0-1, 0 where a frame is missing; None if unknown.
        hog: OpenFace's texture descriptors, read when asked for; None where there are none.
        images: aligned pictures of the face, read when asked for; None where there are none.
        unit: of the landmarks, "mm" or "px".
        tracker: what made it: "OpenFace", "MediaPipe", "Py-Feat 1" or "Py-Feat 2".
        notes: what was odd in the file, and what was done about it.
    """

    fps: float
    landmarks: np.ndarray | None
    au_intensity: np.ndarray | None
    au_presence: np.ndarray | None
    valid: np.ndarray
    gaze: np.ndarray | None = None
    confidence: np.ndarray | None = None
    hog: Textures | None = None
    images: Pictures | None = None
    unit: str = "mm"
    tracker: str = "OpenFace"
    notes: tuple[str, ...] = ()

    def part(self, start: int, stop: int) -> FaceSeries:
        """Frames `start` to `stop`, the latter left out."""
        part = slice(start, stop)

        def of(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[part]

        return replace(
            self,
            landmarks=of(self.landmarks),
            au_intensity=of(self.au_intensity),
            au_presence=of(self.au_presence),
            valid=self.valid[part],
            gaze=of(self.gaze),
            confidence=of(self.confidence),
            hog=None if self.hog is None else self.hog.at(part),
            images=None if self.images is None else self.images.at(part),
        )


@dataclass(frozen=True, eq=False)
class Recording:
    """One person's one trial.

    Args:
        subject: the person, unique in the data set.
        trial: the recording within the person, unique there.
        stimulus: what was shown or asked; viewers of one video share it.
        group: people who must stay together (the person, or those who watched together).
        labels: rating or class by name, as the file states it ({"valence": 7.1, ...}).
        signals: physiology by modality name ("physio", "eeg", "ecg").
        face: the serialised face, where there is one.
        baseline_s: leading seconds of the signals that precede the stimulus.
        length_s: seconds after the baseline that count; what follows only lets filters settle.
            None: all of them.
        face_start_s: time in the signals' clock at which the face's first frame falls: equal to
            baseline_s where the video begins with the stimulus (DEAP), 0 where both start together.
        source: the file it came from, for messages.
        files: the file of each modality, where they are several.
        interpolated: samples that the reader filled across short gaps.
        problem: why there is nothing to read ("no samples"), for the report; "" where there is.
    """

    subject: str
    trial: str
    stimulus: str
    group: str
    labels: dict[str, float | str]
    signals: dict[str, Signal]
    face: FaceSeries | None = None
    baseline_s: float = 0.0
    face_start_s: float = 0.0
    length_s: float | None = None
    source: Path = field(default_factory=Path)
    files: dict[str, Path] = field(default_factory=dict)
    interpolated: int = 0
    problem: str = ""


@dataclass(frozen=True)
class SharedSamples:
    """Two recordings that share samples of a modality.

    Args:
        one, other: their names.
        modality: whose samples.
        seconds: how much they share, about; None for all up to a file's end; 0 where they are two
            people's out of separate parts of one file.
        file: the file, where its name told.
    """

    one: str
    other: str
    modality: str
    seconds: float | None
    file: str = ""

    @property
    def length(self) -> float:
        """Seconds, for comparison."""
        return np.inf if self.seconds is None else self.seconds

    def __str__(self) -> str:
        parts = [self.modality, self.file]
        parts += [] if self.seconds is None else [f"about {self.seconds:.3g} s"]
        return f"{self.one} and {self.other} ({', '.join(filter(None, parts))})"
