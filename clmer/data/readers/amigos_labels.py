"""Whose valence and arousal a recording of AMIGOS carries, and who watched together.

| `labels` | valence and arousal of a recording |
|---|---|
| `stimulus` | the video's: from videos.csv, else the mean self-assessment over people |
| `self` | the person's own rating of the video, 1-9 |
| `external` | the annotators', -1 to 1 in segments of 20 s, mapped to 5 + 4 x |

The two tables of the .mat files differ in their order: self-assessment begins with **arousal**,
valence; an annotation is index, **valence**, arousal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clmer.data.formats.delimited import is_missing, number, read_table
from clmer.data.formats.matfile import Value
from clmer.data.tasks import RATING_MAX, RATING_MIN, task_for
from clmer.errors import DataError
from clmer.text import did_you_mean, folded

LABELS = ("stimulus", "self", "external")
DIMENSIONS = ("valence", "arousal")

Pair = tuple[float, float]  # valence, arousal

_SEGMENT_S = 20.0
_LEVELS = {"low": RATING_MIN, "high": RATING_MAX}


def self_rating(value: Value, path: Path, where: str) -> Pair | None:
    """Valence and arousal of a (1, 12) self-assessment; None where it is empty or not a number.

    Raises:
        DataError: another shape, or a rating outside 1-9.
    """
    rows = _rows(value, 12, path, where)
    if rows is None or not np.isfinite(rows[0, :2]).all():
        return None
    if len(rows) != 1:
        raise DataError(path, where, f"{len(rows)} rows", "one row")
    arousal, valence = rows[0, :2].tolist()
    for name, rating in (("arousal", arousal), ("valence", valence)):
        if not RATING_MIN <= rating <= RATING_MAX:
            raise DataError(path, f"{where}, {name}", rating, "a rating from 1 to 9")
    return valence, arousal


def external(
    value: Value, duration_s: float, at_s: float | None, path: Path, where: str
) -> Pair | None:
    """Valence and arousal of an annotation [segments, 3], on the scale 1-9.

    Of n segments the first is the recording's first 20 s, its baseline of 5 s included; then one
    begins at the stimulus and every 20 s after it; the last is the recording's last 20 s.

    Args:
        value: the annotation.
        duration_s: of the stimulus; it must agree with the number of segments to within one.
        at_s: seconds of the stimulus: the segment that holds it. None: the mean over all.
        path: the file, for messages.
        where: the field, for messages.

    Returns:
        None where it is empty or not a number.

    Raises:
        DataError: another shape, values outside -1 to 1, or segments that do not fit the length.
    """
    rows = _rows(value, 3, path, where)
    if rows is None or not np.isfinite(rows[:, 1:]).all():
        return None
    if np.abs(rows[:, 1:]).max() > 1:
        worst = rows[:, 1:].flat[np.abs(rows[:, 1:]).argmax()]
        raise DataError(path, where, worst, "valence and arousal from -1 to 1")
    expected = int(duration_s // _SEGMENT_S) + 2
    if duration_s > 0 and abs(len(rows) - expected) > 1:
        found = f"{len(rows)} segments"
        raise DataError(path, where, found, f"about {expected}, one every 20 s of {duration_s:g} s")
    chosen = rows if at_s is None else rows[[min(int(at_s // _SEGMENT_S) + 1, len(rows) - 1)]]
    valence, arousal = (5 + 4 * chosen[:, 1:].mean(axis=0)).tolist()
    return valence, arousal


def _rows(value: Value, columns: int, path: Path, where: str) -> np.ndarray | None:
    if isinstance(value, np.ndarray) and value.size == 0:
        return None
    if isinstance(value, str) or value.ndim != 2 or value.shape[1] != columns:
        found = "text" if isinstance(value, str) else f"shape {value.shape}"
        raise DataError(path, where, found, f"[rows, {columns}], or (1, 0) where there is none")
    return value.astype(np.float64)


@dataclass(frozen=True)
class Stimuli:
    """The videos' own valence and arousal.

    Args:
        ratings: by video.
        origin: where they come from, in words.
    """

    ratings: Mapping[str, Pair]
    origin: str

    @classmethod
    def mean(cls, ratings: Mapping[str, Sequence[Pair]]) -> Stimuli:
        """The mean over people of their self-assessments; a video that nobody rated is absent."""
        counts = [len(pairs) for pairs in ratings.values() if pairs] or [0]
        people = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"
        means = {
            video: (float(np.mean(pairs, axis=0)[0]), float(np.mean(pairs, axis=0)[1]))
            for video, pairs in ratings.items()
            if pairs
        }
        return cls(
            means,
            f"the mean self-assessment of {people} people, those under test included, as the "
            "published quadrants are not in the files (videos.csv would be taken instead)",
        )

    def describe(self) -> str:
        """One line: where the labels come from, and each video's quadrant."""
        task = task_for("amigos", "va4")
        videos = (
            f"{video} {task.classes[task.of(dict(zip(DIMENSIONS, pair, strict=True)), 'videos')]}"
            f" ({pair[0]:.2f}, {pair[1]:.2f})"
            for video, pair in sorted(self.ratings.items(), key=lambda item: _by_number(item[0]))
        )
        return f"labels: stimulus, {self.origin}; valence and arousal: {', '.join(videos)}."


def _by_number(video: str) -> tuple[int, str]:
    return (int(video), "") if video.isdecimal() else (10**9, video)


def read_videos(path: Path, videos: Collection[str]) -> Stimuli:
    """videos.csv: video,valence,arousal, each "low", "high" or a rating from 1 to 9.

    Raises:
        DataError: no such columns, another value, or a video that is missing or there twice.
    """
    ratings: dict[str, Pair] = {}
    for line, row in _table(path, ("video", *DIMENSIONS)):
        pair = []
        for name in DIMENSIONS:
            text = row[name].lower()
            rating = _LEVELS.get(text) or number(text)
            if rating is None or not RATING_MIN <= rating <= RATING_MAX:
                raise DataError(
                    path, f"line {line}, {name}", repr(row[name]), "low, high or a rating, 1 to 9"
                )
            pair.append(rating)
        if row["video"] in ratings:
            raise DataError(path, f"line {line}, video", row["video"], "each video once")
        ratings[row["video"]] = pair[0], pair[1]
    missing = sorted(set(videos) - set(ratings), key=_by_number)
    if missing:
        raise DataError(path, "video", f"no {', '.join(missing)}", "a line for every video watched")
    return Stimuli({video: ratings[video] for video in videos}, "the quadrants of videos.csv")


def read_groups(root: Path, people: Collection[str]) -> dict[str, str]:
    """groups.csv, subject,group, of those who watched the long videos together; {} without it.

    Raises:
        DataError: no such columns, a person twice, or nobody who is in the data.
    """
    path = root / "groups.csv"
    if not path.is_file():
        return {}
    groups: dict[str, str] = {}
    for line, row in _table(path, ("subject", "group")):
        written = re.fullmatch("[Pp]?0*(\\d{1,2})", row["subject"])
        subject = f"P{int(written[1]):02d}" if written else row["subject"]
        if subject in groups or is_missing(subject):
            raise DataError(
                path, f"line {line}, subject", repr(row["subject"]), "every person once"
            )
        if is_missing(row["group"]):
            raise DataError(
                path,
                f"line {line}, group",
                repr(row["group"]),
                "every person with a group, that of those who watched together",
                "Leave out the line of a person who watched alone.",
            )
        groups[subject] = f"together:{folded(row['group'])}"
    if not set(groups) & set(people):
        raise DataError(path, "subject", ", ".join(list(groups)[:3]) or "nobody", "P01 and so on")
    return {subject: group for subject, group in groups.items() if subject in people}


def _table(path: Path, names: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Lines of a small table with their numbers, numbers with a decimal point."""
    table = read_table(path)
    header = [name.lower() for name in table.names]
    missing = [name for name in names if name not in header]
    if missing:
        near = (did_you_mean(name, header) for name in missing)
        hint = next(filter(None, near), "")
        raise DataError(path, "header", f"no {', '.join(missing)}", ",".join(names), hint)
    rows = ((line, dict(zip(header, cells, strict=True))) for line, cells in table.lines())
    return [(line, {name: table.plain(row[name]) for name in names}) for line, row in rows]
