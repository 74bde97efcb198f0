"""One person's one trial, as far as a folder tells."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clmer.data.manifest.propose.names import Named
from clmer.data.manifest.propose.scan import Found
from clmer.data.manifest.table import OPEN


@dataclass
class Trial:
    """One person's one trial.

    Args:
        person: as written.
        person_id: what two spellings share.
        named: what the names of its files say.
        files: of it, one per modality or more.
        labels: by column.
        part: of the files, by name; "" where the trial is all of them.
        start_s, stop_s: of the part, in seconds; None for the file's start and end.
        stimulus: what was shown; "" for the first label.
        unknown: files in which nobody knows when the trial begins.
    """

    person: str
    person_id: str
    named: Named
    files: list[Found] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    part: str = ""
    start_s: float | None = None
    stop_s: float | None = None
    stimulus: str = ""
    unknown: list[Found] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As the manifest calls it."""
        return "_".join(filter(None, (self.named.trial, self.part))) or "1"

    @property
    def duration_s(self) -> float:
        """Seconds of its longest file; 0 where none tells."""
        return max((file.duration_s for file in self.files), default=0.0)

    @property
    def key(self) -> tuple[str, ...]:
        """What it is sorted by."""
        ids = self.person_id, *self.named.trial_id, f"{self.start_s or 0:012.3f}", self.part
        return tuple(part.zfill(8) if part.isdecimal() else part for part in ids)

    def start(self, file: Found) -> str:
        """The cell start_s of a file's row."""
        if file in self.unknown:
            return OPEN
        return "" if self.start_s is None else f"{self.start_s:.10g}"

    def stop(self, file: Found) -> str:
        """The cell stop_s of a file's row."""
        if file in self.unknown:
            return OPEN
        return "" if self.stop_s is None else f"{self.stop_s:.10g}"


@dataclass
class Proposal:
    """A manifest, and what it was made of.

    Args:
        root: the folder.
        found: its files.
        used: the files of recordings.
        trials: of all people, in order.
        columns: of the table.
        rows: a cell by column each.
        labels: the columns that are labels, the reference left out.
        told: what was told of people, trials and each label.
        checks: what was decided and may be wrong.
        questions: what could not be told, each with the column to fill in.
    """

    root: Path
    found: list[Found]
    used: list[Found]
    trials: list[Trial]
    columns: list[str] = field(default_factory=list)
    rows: list[dict[str, str]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    checks: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The table as it is written."""
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, self.columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return out.getvalue()


def some(names: Sequence[str], count: int = 6) -> str:
    """Names with commas between them, those in the middle left out where they are many."""
    shown = list(names) if len(names) <= count else [*names[: count - 2], "...", names[-1]]
    return ", ".join(shown)
