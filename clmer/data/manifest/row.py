"""`Row`: one checked line of a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clmer.errors import DataError


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

    def span(self, duration_s: float, tolerance_s: float) -> tuple[float, float]:
        """First and last second of the row's part of a file.

        Args:
            duration_s: of the file.
            tolerance_s: by how much the part may go beyond it.

        Raises:
            DataError: it goes beyond by more.
        """
        if self.start_s >= duration_s or (self.stop_s or 0.0) > duration_s + tolerance_s:
            raise DataError(
                self.path,
                "start_s, stop_s",
                f"{self.start_s:g} to {'the end' if self.stop_s is None else f'{self.stop_s:g}'} s "
                f"in line {self.line} of the manifest",
                f"times within the file's {duration_s:g} s",
                self._times_hint(duration_s + tolerance_s),
            )
        return self.start_s, duration_s if self.stop_s is None else min(self.stop_s, duration_s)

    def _times_hint(self, duration_s: float) -> str:
        """What times beyond a file's end may be."""
        last = self.start_s if self.stop_s is None else self.stop_s
        if last > 100 * duration_s:
            return "Are they milliseconds, or samples? Times are seconds from the file's start."
        return "Times are seconds from the file's start, stop_s the end; a length is duration_s."
