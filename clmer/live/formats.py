"""What goes into `Live` and comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clmer.data.face.table import Header
from clmer.data.face.trackers.openface import groups


@dataclass(frozen=True)
class StreamFormat:
    """What a stream brings.

    A face's stream has a tracker's columns as its channels (`X_0` ..., `AU01_r` ..., `success`,
    `confidence`, as in OpenFace's CSV).

    Args:
        channels: names of the rows that are pushed.
        fs: samples (or frames) a second, nominal.
        units: of each channel ("uV", "mV", "V", "uS", ...; "" where it does not say); none at all
            for those of the run.

    Raises:
        ValueError: no channel, two of one name, or another number of units.
    """

    channels: tuple[str, ...]
    fs: float
    units: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = self.channels
        twice = next((name for name in names if names.count(name) > 1), None)
        if not names or twice is not None or len(self.units) not in (0, len(names)):
            found = f"{twice} twice" if twice else f"{len(names)} channels, {len(self.units)} units"
            raise ValueError(f"StreamFormat: found {found}, expected names once, a unit for each")
        if not 0 < self.fs < np.inf:
            raise ValueError(f"StreamFormat: found fs {self.fs}, expected a finite number > 0")

    @property
    def is_face(self) -> bool:
        """Whether the channels are a face tracker's columns."""
        return bool(groups(Header(Path("stream"), self.channels, ",")))


@dataclass
class StreamCounts:
    """What became of a stream's samples.

    Args:
        received: samples or frames that were pushed.
        lost: that never came, as their times tell, or came as no numbers.
        interpolated: of the lost, those between two that came (`bridge_s`).
        repeated: that came with the time of the one before, and were left out.
        late: that came with an earlier time, and were left out.
        gaps: stretches of lost samples that were too long for interpolation.
        clock_jumps: times that went back by more than a second: everything starts anew.
        drift_ppm: how much slower the stream's clock runs than its rate says, in millionths.
        last_s: the newest sample's time; -inf before the first.
    """

    received: int = 0
    lost: int = 0
    interpolated: int = 0
    repeated: int = 0
    late: int = 0
    gaps: int = 0
    clock_jumps: int = 0
    drift_ppm: float = 0.0
    last_s: float = field(default=-np.inf)


@dataclass(frozen=True, eq=False)
class LiveWindow:
    """A window that became complete.

    Args:
        start_s, stop_s: on the streams' clock.
        values: [classes] probabilities, or a rating (0-d); None where there are none.
        status: "ok"; "interpolated", where lost samples were; "reference", of a window that became
            part of the reference; else why there are no values ("gap in eeg", "no face", ...).
        lost: samples in it that were lost and interpolated, of all streams.
        latency_s: from the push that completed it to its values.
    """

    start_s: float
    stop_s: float
    values: np.ndarray | None
    status: str
    lost: int
    latency_s: float


@dataclass(frozen=True, eq=False)
class Recent:
    """The newest seconds of a modality, before and after the filter.

    Args:
        times: [n] of the samples as they came, on the streams' clock.
        samples: [C, n] in the run's unit.
        prepared_times: [m] of the samples at the common rate.
        prepared: [C, m].
    """

    times: np.ndarray
    samples: np.ndarray
    prepared_times: np.ndarray
    prepared: np.ndarray
