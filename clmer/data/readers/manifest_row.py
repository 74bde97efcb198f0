"""`Row`: one checked line of a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One checked line.

    `labels` holds the cells as written, numbers with a decimal point, "" where there is no value.
    """

    line: int
    subject: str
    trial: str
    modality: str
    path: Path
    labels: dict[str, str]
    start_s: float
    stop_s: float | None
    stimulus: str
    group: str
    rate: float | None
    kind: str
    channels: tuple[str, ...]
    unit: str = ""
    face_id: str = ""
