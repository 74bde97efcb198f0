"""What `clmer manifest` prints: a screen of 80 columns, whatever the number of files."""

from __future__ import annotations

import shlex
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from clmer.data.channels import canonical
from clmer.data.formats.delimited import number
from clmer.data.manifest.columns import REFERENCE
from clmer.data.manifest.propose.scan import Found
from clmer.data.manifest.propose.trials import Proposal, some
from clmer.data.tasks import DIMENSIONS

_WIDTH = 80
_HEAD = 12
_SHOWN = 5


def screen(made: Proposal, out: Path) -> list[str]:
    """The lines: files by kind, what was told, what to check, what is open, what is next."""
    lines = [f"{made.root}: {_count(len(made.found), 'file')}"]
    lines += _kinds(made.found)
    lines.append("")
    for head, text in made.told.items():
        lines += _item(head, text)
    for head, texts in (("check", made.checks), ("open", made.questions)):
        if texts:
            lines.append("")
        for text in texts[:_SHOWN]:
            lines += _item(head, text)
        if len(texts) > _SHOWN:
            lines += _item(head, f"and {len(texts) - _SHOWN} more")
    lines.append("")
    lines += _item("written", f"{out}: {_count(len(made.rows), 'row')}, {', '.join(made.columns)}")
    return lines + _next(made, out)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _item(head: str, text: str) -> list[str]:
    """A heading and its text, wrapped."""
    start = f"  {head:<{_HEAD - 3}} " if len(head) < _HEAD - 2 else f"  {head}: "
    return _wrapped(start, text)


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=" " * _HEAD,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _kinds(found: Sequence[Found]) -> list[str]:
    """A few lines per kind of file."""
    groups: dict[tuple[str, str, object], list[Found]] = {}
    for each in found:
        if each.sort != "other":
            groups.setdefault((each.sort, each.format, _alike(each)), []).append(each)
    lines: list[str] = []
    order = ("signals", "face", "video", "table", "unread")
    for (sort, format_, _), files in sorted(groups.items(), key=lambda g: order.index(g[0][0])):
        names = some([file.path.as_posix() for file in files], 3)
        head = f"{len(files):4d} {'not read' if sort == 'unread' else format_}"
        start = f"{head:<{_HEAD - 1}} " if len(head) < _HEAD else f"{head}: "
        said = (_signature(files[0]), _lengths(files), names)
        lines += _wrapped(start, "; ".join(filter(None, said)))
    others = [each.path.name for each in found if each.sort == "other"]
    if others:
        lines += _wrapped(f"{len(others):4d} others ", some(others, 3))
    return lines


def _alike(file: Found) -> object:
    """What files have in common that one line describes."""
    channels = sorted((canonical(c.name), c.kind, c.unit, c.fs) for c in file.channels)
    return tuple(channels), file.table.table.names if file.table else file.says


def _signature(file: Found) -> str:
    """What one file holds: channels by type, with unit and rate."""
    if file.table:
        return ", ".join(file.table.table.names)
    if file.sort != "signals":
        return file.says
    kinds: dict[tuple[str, float], list[str]] = {}
    units: dict[tuple[str, float], Counter[str]] = {}
    for channel in file.channels:
        key = "bad" if channel.bad else channel.kind, channel.fs
        kinds.setdefault(key, []).append(channel.name)
        units.setdefault(key, Counter())[channel.unit] += 1
    parts = []
    for (kind, fs), names in kinds.items():
        unit = units[kind, fs].most_common(1)[0][0]
        rate = f" at {fs:g} Hz" if fs else ""
        parts.append(f"{len(names)} {kind} ({some(names, 4)}{'; ' + unit if unit else ''}){rate}")
    return ", ".join(parts)


def _lengths(files: Sequence[Found]) -> str:
    lengths = sorted(file.duration_s for file in files if file.duration_s)
    if not lengths:
        return ""
    low, high = f"{lengths[0]:.4g}", f"{lengths[-1]:.4g}"
    return f"{low} s each" if low == high else f"{low} to {high} s"


def _asks_for_levels(made: Proposal) -> bool:
    """Whether the first label is ratings whose scale the values do not show."""
    name = "label" if "label" in made.labels else made.labels[0]
    numbers = [number(cell) for trial in made.trials if (cell := trial.labels.get(name, ""))]
    found = [each for each in numbers if each is not None]
    if not found or len(found) < len(numbers):
        return False
    if name in DIMENSIONS:
        return not (min(found) >= 1 and 7 < max(found) <= 9)
    return len(set(found)) > 10


def _next(made: Proposal, out: Path) -> list[str]:
    """What to type next, or to fill in first."""
    root = shlex.quote(str(out.parent if out.name == "manifest.csv" else out))
    bids = made.root / "dataset_description.json"
    reader = f"clmer train bids --root {shlex.quote(str(made.root))}"
    without = f"without {out.name}, {reader} reads it as a BIDS data set"
    also = _item("or", without) if bids.is_file() else []
    if made.questions:
        first = (
            f"fill in the cells with ? in {out.name}, or add what is asked for to the folder and "
            "make it again. Then:"
        )
        return [*_item("next", first), f"{'':<{_HEAD}}clmer inspect manifest --root {root}", *also]
    task = "" if "label" in made.labels else f" --task {shlex.quote(made.labels[0])}"
    rated = _asks_for_levels(made)
    task += " --levels median" if rated else ""
    known = " --reference marked" if REFERENCE in made.columns else ""
    lines = [
        f"  next      clmer inspect manifest --root {root}{task}",
        f"{'':<{_HEAD}}clmer train manifest --root {root}{task}{known}",
    ]
    if rated:
        note = "The ratings are split at their median: see --scale, --threshold, --target."
        lines += _wrapped(" " * _HEAD, note)
    if known:
        note = "Each person is read against their own rest, which is in no part of a split."
        lines += _wrapped(" " * _HEAD, note)
    return lines + also
