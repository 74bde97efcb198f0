"""Several trials in one file: by its markers, or by a table of labels per second."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clmer.data.formats.biosignal import open_biosignal
from clmer.data.manifest.propose.beside import Beside
from clmer.data.manifest.propose.names import Named, name_all
from clmer.data.manifest.propose.scan import Found
from clmer.data.manifest.propose.trials import Proposal, Trial, some
from clmer.data.manifest.propose.words import TRIALS, words
from clmer.data.manifest.table import OPEN
from clmer.text import folded

#: What recorders write by themselves.
_OF_RECORDERS = re.compile(
    r"bad.*|edge.*|.*boundary|new ?segment.*|recording (start|end)\w*.*|\+.*|\s*|sync.*|"
    r"(start|stop|end)( of)?( the)? recording|impedance.*|buffer.*|lostsamples.*",
    re.IGNORECASE,
)
#: "calm start", "start_calm", "CalmOnset", "calmStart"; "tension" and "fear" begin nothing.
_BEGINS = re.compile(
    r"(?i:(.+?)[ _:/.-]+(?:start|begin|onset|on)(?:s|ed)?)|"
    r"(.*[a-z\d])(?:Start|Begin|Onset|On)(?:s|ed)?|"
    r"(?i:(?:start|begin)(?:s|ed)?[ _:/.-]+(.+))|(?:start|begin)([A-Z].*)"
)
_ENDS = re.compile(
    r"(?i:(.+?)[ _:/.-]+(?:end|stop|offset|off|finish)(?:s|ed)?)|"
    r"(.*[a-z\d])(?:End|Stop|Offset|Off|Finish)(?:s|ed)?|"
    r"(?i:(?:end|stop)(?:s|ed)?[ _:/.-]+(.+))|(?:end|stop)([A-Z].*)"
)
#: Seconds: a part that is shorter is an event, not a trial; pieces of a rating that never rests.
_SHORTEST, _PIECE = 1.0, 10.0
#: More different numbers than this are a rating, not classes.
_MOST_CLASSES = 10
#: Labels that begin later than this part of their recording are not of its seconds.
_OVER = 1.1

Marker = tuple[float, float, str]


@dataclass(frozen=True)
class Span:
    """A part of a file, in seconds, and its label."""

    start_s: float
    stop_s: float
    label: str


def runs(times: Sequence[float], labels: Sequence[str]) -> list[Span]:
    """Stretches of one label in a table of labels over time, each up to the next row's time.

    The last one ends a step after its last row. Rows without a label belong to no stretch.
    """
    found: list[Span] = []
    for time, stop, label in zip(times, _stops(times), labels, strict=True):
        if found and found[-1].label == label and found[-1].stop_s == time:
            found[-1] = replace(found[-1], stop_s=stop)
        else:
            found.append(Span(time, stop, label))
    return [span for span in found if span.label]


def pieces(times: Sequence[float], ratings: Sequence[float]) -> list[Span]:
    """A rating over time as pieces of `_PIECE` seconds, each with its rows' mean."""
    stop = _stops(times)[-1]
    found = []
    start = times[0]
    while start + _SHORTEST < stop:
        end = min(start + _PIECE, stop)
        rows = [r for t, r in zip(times, ratings, strict=True) if start <= t < end]
        if rows:
            found.append(Span(start, end, f"{sum(rows) / len(rows):.4g}"))
        start += _PIECE
    return found


def _stops(times: Sequence[float]) -> list[float]:
    steps = sorted(b - a for a, b in zip(times, times[1:], strict=False))
    step = steps[len(steps) // 2] if steps else 1.0
    return [*times[1:], times[-1] + step]


def marked(
    markers: Sequence[Marker], duration_s: float, classes: Mapping[str, str]
) -> tuple[list[Span], list[str]]:
    """The parts that a file's markers tell, and the texts of the markers that begin none.

    A marker with a length is a part; "calm start" and "calm end" are the ends of one; any other
    lasts until the next marker, the last one until the file's end. Where a file has both sorts,
    those with ends are the parts if they fill half of it; else no part can be told.

    Args:
        markers: onset and duration in seconds, and text.
        duration_s: of the file.
        classes: label by text, of the markers that are trials; empty for all but those that
            recorders write by themselves.
    """
    known = [m for m in sorted(markers) if not _OF_RECORDERS.fullmatch(m[2])]
    stop = duration_s or float("inf")
    long = [Span(at, at + length, text) for at, length, text in known if length >= _SHORTEST]
    pairs, used = _pairs(known)
    parts = long + pairs
    points = []
    for at, (start_s, length, text) in enumerate(known):
        if length < _SHORTEST and at not in used:
            end = known[at + 1][0] if at + 1 < len(known) else stop
            points.append(Span(start_s, end, text))
    left: list[str] = []
    if classes:
        parts = [replace(s, label=classes[s.label]) for s in parts + points if s.label in classes]
    elif not parts:
        parts = points
    elif points:
        left = [span.label for span in points]
        filled = sum(span.stop_s - span.start_s for span in parts)
        parts = parts if 2 * filled > duration_s else []
    spans = [replace(s, stop_s=min(s.stop_s, stop)) for s in parts if s.start_s < stop]
    spans.sort(key=lambda span: span.start_s)
    return [span for span in spans if span.stop_s - span.start_s >= _SHORTEST], left


def _pairs(markers: Sequence[Marker]) -> tuple[list[Span], set[int]]:
    """The parts between markers of a start and an end, and the places of both."""
    begun: dict[str, int] = {}
    spans, used = [], set()
    for place, (at, _, text) in enumerate(markers):
        if begins := _BEGINS.fullmatch(text):
            begun[next(filter(None, begins.groups()))] = place
        elif (ends := _ENDS.fullmatch(text)) and (
            name := next(filter(None, ends.groups()))
        ) in begun:
            spans.append(Span(markers[begun[name]][0], at, name))
            used |= {begun.pop(name), place}
    return spans, used


def cut_by_tables(made: Proposal, tables: Sequence[Beside]) -> None:
    """Cut recordings into the stretches that tables of labels over time tell."""
    people = {trial.person_id for trial in made.trials}
    files = [(file.format, file.path) for file in made.used]
    over_time = [("labels over time", table.path.relative_to(made.root)) for table in tables]
    named = name_all([*files, *over_time], people).named[len(files) :]
    found: dict[int, list[Beside]] = {}
    for table, name in zip(tables, named, strict=True):
        trial = _beside(made, table) or _of_name(made, name)
        if trial is None:
            made.checks.append(
                f"{table.path.name} holds labels over time, but its name fits no recording."
            )
        else:
            found.setdefault(id(trial), []).append(table)
    parts: dict[int, dict[str, list[Span]]] = {}
    for trial in made.trials:
        for table in (own := found.get(id(trial), []))[:1]:
            ((column, spans),) = _table_spans(table).items()
            length = trial.duration_s or float("inf")
            asked = ""
            if len(own) > 1:
                listed = some([each.path.name for each in own], 4)
                asked = f"{listed} hold labels over time of the same recording: which of them?"
            elif not spans or max(span.start_s for span in spans) > _OVER * length:
                asked = (
                    f"in {table.path.name} the times are no seconds of its recording, which lasts "
                    f"{trial.duration_s:.4g} s. Name the unit in the column, such as time_ms."
                )
            if asked:
                made.questions.append(f"{column}: {asked}")
                trial.labels[column] = OPEN
            else:
                parts[id(trial)] = {column: [each for each in spans if each.start_s < length]}
    if parts:
        more = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
        first = next(found[key][0].path.name for key in parts)
        made.told["parts"] = f"stretches of one label, by {first}{more}"
    _replace(made, parts)


def cut_by_markers(made: Proposal, classes: Mapping[str, str]) -> None:
    """Cut recordings that nothing else labels into the parts that their markers tell."""
    if any(not trial.labels for trial in made.trials):
        _replace(made, _marker_spans(made, classes))


def _replace(made: Proposal, parts: Mapping[int, Mapping[str, Sequence[Span]]]) -> None:
    made.trials = [
        part
        for trial in made.trials
        for part in (_cut(trial, parts[id(trial)]) if parts.get(id(trial)) else [trial])
    ]


def _beside(made: Proposal, table: Beside) -> Trial | None:
    """The recording in a table's folder with whose name the table's begins, and no number more."""
    stem, best, found = folded(table.path.stem), "", None
    for trial in made.trials:
        for file in trial.files:
            own = folded(file.path.name.partition(".")[0])
            more = stem.removeprefix(own)
            if (
                made.root / file.path.parent == table.path.parent
                and stem.startswith(own)
                and len(own) > len(best)
                and not more[:1].isalnum()
                and not any(w.value and w.key in ("", *TRIALS) for w in words(more.lstrip("-")))
            ):
                best, found = own, trial
    return found


def _of_name(made: Proposal, name: Named) -> Trial | None:
    """The only recording of the person and trial that a table is called after."""
    own = set(name.trial_id)
    fits = [
        trial
        for trial in made.trials
        if trial.person_id == name.person_id
        and (ids := set(trial.named.trial_id)) <= own
        and not any(part.isdecimal() for part in own - ids)
    ]
    exact = [trial for trial in fits if set(trial.named.trial_id) == own] or fits
    return exact[0] if len(exact) == 1 else None


def _table_spans(table: Beside) -> dict[str, list[Span]]:
    """The stretches of a table's first label column, by its name."""
    assert table.time is not None
    times = [table.seconds(row, table.time) for row in range(len(table.cells))]
    column = table.others[0]
    cells = table.column(column)
    if table.start is not None:
        parts = [(*table.span(row), cell) for row, cell in enumerate(cells) if cell]
        spans = [Span(a, b, c) for a, b, c in parts if a is not None and b is not None and b > a]
        return {table.name(column): spans}
    numbers = [table.table.number(cell) for cell in cells if cell]
    name = table.name(column)
    timed = [(t, cell) for t, cell in zip(times, cells, strict=True) if t is not None]
    if len(timed) < len(cells):
        return {name: []}
    at = [t for t, _ in timed]
    if len(set(numbers)) > _MOST_CLASSES and None not in numbers:
        known = [(t, table.table.number(cell)) for t, cell in timed if cell]
        return {name: pieces([t for t, _ in known], [r for _, r in known if r is not None])}
    return {name: runs(at, cells)}


def marker_parts(
    made: Proposal, classes: Mapping[str, str]
) -> tuple[dict[int, list[Span]], list[str]]:
    """The parts of every recording without labels that its markers tell, by the trial's `id`.

    None where they cannot be told; and the texts of markers that begin no part.
    """
    parts: dict[int, list[Span]] = {}
    texts: list[str] = []
    for trial in made.trials:
        for file in trial.files:
            if file.sort == "signals" and not trial.labels:
                spans, left = marked(_markers(made, file), file.duration_s, classes)
                texts += left
                if spans or left:
                    parts[id(trial)] = spans
                    break
    return parts, texts


def _marker_spans(made: Proposal, classes: Mapping[str, str]) -> dict[int, dict[str, list[Span]]]:
    """The same as classes, where the markers' texts can be some."""
    parts, left = marker_parts(made, classes)
    labels = Counter([span.label for spans in parts.values() for span in spans])
    unsure = not all(parts.values())
    labels += Counter(left if unsure else [])
    if not parts:
        return {}
    codes = [label for label in labels if not re.search(r"[^\W\d_]{2}", label)]
    if not classes and (unsure or codes or len(labels) > 2 * _MOST_CLASSES):
        listed = some([f"{text} ({count})" for text, count in labels.most_common()], 8)
        made.questions.append(
            f"label: the files hold the markers {listed}. Which of them begin a trial, and of "
            "which class? Say it with `markers=1=calm,2=angry`."
        )
        return {}
    made.told["parts"] = "by markers in the files"
    if left:
        made.checks.append(f"markers that begin no trial: {some(list(dict.fromkeys(left)))}.")
    made.checks.append(
        "trials are parts of files, by markers: all files of a recording are taken to start "
        "together."
    )
    return {key: {"label": spans} for key, spans in parts.items()}


def _markers(made: Proposal, file: Found) -> Sequence[Marker]:
    """What a file says happened, its trigger lines read where it has no annotations."""
    if file.markers or all(channel.kind != "trigger" for channel in file.channels):
        return file.markers
    found = open_biosignal(made.root / file.path, file.rate or None).markers
    return [(each.onset_s, each.duration_s, each.text) for each in found]


def parts_of(trial: Trial, spans: Sequence[Span]) -> list[Trial]:
    """The trials that a recording holds, each called after its marker, without labels."""
    texts = [span.label for span in spans]
    return [
        replace(
            trial,
            part=text if texts.count(text) == 1 else f"{text}_{texts[: at + 1].count(text)}",
            start_s=span.start_s,
            stop_s=span.stop_s,
            labels=dict(trial.labels),
        )
        for at, (span, text) in enumerate(zip(spans, texts, strict=True))
    ]


def _cut(trial: Trial, parts: Mapping[str, Sequence[Span]]) -> list[Trial]:
    """The trials that a recording holds, each with its class."""
    ((column, spans),) = parts.items()
    numbers = any(span.label[:1].isdecimal() for span in spans)
    cut = parts_of(trial, spans)
    for at, (part, span) in enumerate(zip(cut, spans, strict=True), start=1):
        part.labels[column] = span.label
        part.part = f"part{at}" if numbers else part.part
    return cut
