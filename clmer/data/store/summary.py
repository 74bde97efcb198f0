"""What was read, in words: one line per modality and group of similar recordings.

eeg: 19 channels (eeg) Fp1 ... Pz; uV, median amplitude 9.8; 500 Hz; 48 recordings of 62 to
188 s; left out: ECG (ecg), A2-A1 (ref)
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clmer.json_files import ANY, Misfit, check

if TYPE_CHECKING:
    from torch import Tensor

    from clmer.data.ratings import AnyTask
    from clmer.data.store.store import Modality, Store

#: Recordings of one modality whose amplitudes differ by this much were not made in one unit.
OTHER_SCALE = 300.0
#: What of a store's report is read again, see `clmer.json_files.check`.
_REPORT = {
    "signals": [str],
    "notes": [str],
    "windows_dropped": {ANY: int},
    "recordings_skipped": {ANY: str},
    "shared_samples": [{"one": str, "other": str}],
    "samples_interpolated": int,
    "recordings": int,
}


@dataclass(frozen=True)
class SignalSummary:
    """One signal of one recording.

    Args:
        modality: its name.
        channels: names.
        kinds: types.
        unit: of the samples.
        fs: its own rate in Hz.
        seconds: length, pauses included.
        pieces: stretches without a pause.
        levels: median amplitude by type, in `unit`.
        left_out: channels of the file that are not used, with their types.
        notes: what to say of it.
    """

    modality: str
    channels: tuple[str, ...]
    kinds: tuple[str, ...]
    unit: str
    fs: float
    seconds: float
    pieces: int
    levels: dict[str, float]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class FaceSummary:
    """The face of one recording: tracker, unit of the landmarks, frames per second, and frames."""

    tracker: str
    unit: str
    fs: float
    frames: int
    lost: int


def face_lines(names: Sequence[str], faces: Sequence[FaceSummary]) -> list[str]:
    """A line for each group of similar faces: `names` are the modalities made of them."""
    groups: dict[tuple[object, ...], list[FaceSummary]] = {}
    for face in faces:
        groups.setdefault((face.tracker, face.unit, face.fs), []).append(face)
    lines = []
    for group in groups.values():
        first, frames = group[0], sum(face.frames for face in group)
        lost = sum(face.lost for face in group)
        lines.append(
            f"{', '.join(names)}: {first.tracker}, landmarks in {first.unit}; {first.fs:g} frames "
            f"a second; {_of_length([face.frames / face.fs for face in group])}; "
            f"{100 * lost / max(frames, 1):.3g} % of the frames without a face"
        )
    return lines


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """What a store's report says of the data, for whoever is about to use them.

    Args:
        report: `Store.report`.
    """
    said = list(report.get("signals", ()))
    said += [f"left out: {phrase}" for phrase in left_out(report)]
    for reason, count in report.get("windows_dropped", {}).items():
        said.append(f"left out: {count} windows, {reason}")
    if report.get("samples_interpolated"):
        said.append(f"interpolated: {report['samples_interpolated']} samples in short gaps")
    return said + [f"note: {note}" for note in report.get("notes", ())]


def overview(
    store: Store,
    task: AnyTask | None,
    rows: np.ndarray | None,
    targets: Tensor | None,
    protocols: Mapping[str, str],
) -> str:
    """A data set at a glance, in lines of at most 80 columns.

    Args:
        store: its windows.
        task: what is predicted, or None.
        rows: which windows are used; None for all.
        targets: class or rating of each of these; None without a task.
        protocols: what scores under each mean, the default first.
    """
    windows = store.windows
    used = np.arange(len(windows)) if rows is None else rows
    people = len(np.unique(windows.subject[used]))
    recordings = len(np.unique(windows.recording[used]))
    part = "" if len(used) == len(windows) else f" (of {len(windows)})"
    first = (
        f"{store.parameters['dataset']}: {people} people, {recordings} recordings, "
        f"{len(used)} windows of {windows.window_s:g} s{part}"
    )
    lines = [("task", _task_text(task, targets))] if task is not None else []
    for name, modality in store.modalities.items():
        lines.append((name, _modality_text(modality, store.array(name).shape[2])))
    dropped = [f"{count} windows: {why}" for why, count in store.report["windows_dropped"].items()]
    dropped += left_out(store.report)
    lines += [("left out", "; ".join(dropped))] if dropped else []
    if task is not None:
        default, *others = protocols
        text = f'.split("{default}"): {protocols[default]} Or: {", ".join(others)}.'
        lines.append(("split", text))
    margin = max(len(name) for name, _ in lines) + 4
    return "\n".join(
        [first]
        + [
            textwrap.fill(
                text, 80, initial_indent=f"  {name}".ljust(margin), subsequent_indent=" " * margin
            )
            for name, text in lines
        ]
    )


def _task_text(task: AnyTask, targets: Tensor | None) -> str:
    """Its name, and how many windows of each class, or from where to where the ratings go."""
    assert targets is not None
    if task.classes:
        counts = targets.bincount(minlength=len(task.classes)).tolist()
        held = ", ".join(f"{name} {n}" for name, n in zip(task.classes, counts, strict=True))
    elif len(targets):
        held = f"{float(targets.min()):g} to {float(targets.max()):g}"
    else:
        held = "no window"
    described = task.describe()
    return f"{task.name}: {held}" + (f" ({described})" if described else "")


def _modality_text(modality: Modality, samples: int) -> str:
    """Shape of a window, channels, rate and unit."""
    shape = f"[{len(modality.channels)}, {samples}]"
    if not modality.kinds:
        return f"{shape} at {modality.fs:g} Hz" + (f", {modality.unit}" if modality.unit else "")
    kinds = ", ".join(dict.fromkeys(modality.kinds))
    unit = f", {modality.unit}" if modality.unit else ""
    return f"{shape} at {modality.fs:g} Hz{unit}, {kinds}: {' '.join(modality.channels)}"


def report_misfit(report: Mapping[str, Any]) -> str:
    """The first field of a store's report that does not hold what `report_lines` and others read.

    Args:
        report: out of a file that may be damaged.

    Returns:
        Its name; "" where all do.
    """
    for name, shape in _REPORT.items():
        try:
            if name in report:
                check(report[name], shape)
        except Misfit:
            return name
    skipped = report.get("recordings_skipped")
    return "recordings" if skipped and "recordings" not in report else ""


def left_out(report: Mapping[str, Any]) -> list[str]:
    """Recordings of a store's report without a window, a phrase per reason."""
    reasons = Counter(report.get("recordings_skipped", {}).values()).most_common()
    return [f"{count} of {report['recordings']} recordings, {why}" for why, count in reasons]


def signal_lines(summaries: Sequence[tuple[str, SignalSummary]]) -> list[str]:
    """A line per modality and group of similar recordings.

    Args:
        summaries: (recording, summary), in the order read.
    """
    groups: dict[tuple[object, ...], list[SignalSummary]] = {}
    for _, a in summaries:
        key = (a.modality, a.channels, a.kinds, a.unit, a.fs, a.left_out)
        groups.setdefault(key, []).append(a)
    return [_line(group) for group in groups.values()]


def _line(group: Sequence[SignalSummary]) -> str:
    first = group[0]
    by_kind = {k: first.kinds.count(k) for k in dict.fromkeys(first.kinds)}
    count = len(first.channels)
    kinds = (
        next(iter(by_kind))
        if len(by_kind) == 1
        else ", ".join(f"{n} {k}" for k, n in by_kind.items())
    )
    named = (
        f" {' '.join(first.channels)}"
        if count <= 4
        else f" {first.channels[0]} ... " + (first.channels[-1])
    )
    levels = ", ".join(
        f"{np.median([a.levels[k] for a in group]):.3g}" + (f" {k}" if len(by_kind) > 1 else "")
        for k in by_kind
    )
    pauses = sum(a.pieces - 1 for a in group)
    parts = [
        f"{first.modality}: {count} channel{'s' * (count > 1)} ({kinds}){named}",
        f"{first.unit or 'no unit'}, median amplitude {levels}",
        f"{first.fs:g} Hz",
        _of_length([a.seconds for a in group]),
    ]
    parts += [f"{pauses} pause{'s' * (pauses > 1)}"] if pauses else []
    parts += [f"left out: {some_of(first.left_out)}"] if first.left_out else []
    return "; ".join(parts)


def _of_length(seconds: Sequence[float]) -> str:
    """How many recordings, and how long: "24 recordings of 62 to 188 s"."""
    low, high = min(seconds), max(seconds)
    span = f"{low:.4g} s" if high - low <= 0.05 else f"{low:.4g} to {high:.4g} s"
    return f"{len(seconds)} recording{'s' * (len(seconds) > 1)} of {span}"


def scale_notes(summaries: Iterable[tuple[str, SignalSummary]]) -> list[str]:
    """Recordings whose amplitude is another than that of most, by a factor that units make."""
    levels: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for recording, summary in summaries:
        for kind, level in summary.levels.items():
            if level > 0:
                levels.setdefault((summary.modality, kind), []).append((recording, level))
    notes = []
    for (modality, kind), found in levels.items():
        usual = float(np.median([level for _, level in found]))
        for word, far in (
            ("large", [(r, v) for r, v in found if v > usual * OTHER_SCALE]),
            ("small", [(r, v) for r, v in found if v < usual / OTHER_SCALE]),
        ):
            if far:
                ratio = np.median([v for _, v in far]) / usual
                factor = max(ratio, 1 / ratio)
                names = some_of([recording for recording, _ in far])
                notes.append(
                    f"{modality}: the {kind} of {names} is {factor:.2g} times too {word} beside "
                    "the other recordings': were they stored in another unit? The manifest's "
                    "column unit states it"
                )
    return notes


def levels_of(summaries: Iterable[tuple[str, SignalSummary]], modality: str) -> dict[str, float]:
    """The median over recordings of a modality's amplitude, by type."""
    found: dict[str, list[float]] = {}
    for _, summary in summaries:
        for kind, level in summary.levels.items() if summary.modality == modality else ():
            found.setdefault(kind, []).append(level)
    return {kind: float(np.median(levels)) for kind, levels in found.items()}


def some_of(names: Sequence[str], most: int = 8) -> str:
    """Some names, for a message: "a, b and 3 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
