"""Recordings that hypothesis draws: what a study's files say, before any is written.

Everything is valid, and much is odd: several rates in a file, units in all spellings, trigger lines
beside signals, pauses, marked stretches, trials that begin anywhere, other spellings of a channel
in another person's file. `fuzz_recordings_written.py` writes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from support.fuzz_recordings_study import (
    ALIASES,
    ELECTRODES,
    FORMATS,
    MICROVOLT,
    NAMELESS,
    NAMES,
    ODD_RATES,
    OLD,
    RATES,
    RECORDS,
    SERVICE,
    UNITS,
    VOLTAGES,
    Face,
    File,
    Line,
    Row,
    Study,
)

Draw = Any  # hypothesis' own type is of the strategy that is drawn


@st.composite
def studies(draw: Draw) -> Study:
    """A study of two people with one or two trials each."""
    plan = draw(_plans())
    people = ("p1", "p2")
    trials = ("a", "b") if draw(st.booleans()) else ("a",)
    files: dict[str, File] = {}
    faces: dict[str, Face] = {}
    rows: list[Row] = []
    bad_allowed = not any(row.channels for row in plan.rows)
    for person in people:
        for group, members in plan.groups.items():
            files[f"{person}_{group}"] = draw(_files(plan, group, members, bad_allowed))
        if plan.face:
            faces[person] = draw(_faces())
        for trial in trials:
            rows += draw(_rows_of_trial(plan, person, trial, files, faces))
    names = [(person, trial) for person in people for trial in trials]
    words = draw(st.permutations(("calm", "\u00dcberraschung", "a, b", '"so"')))
    ratings = draw(st.lists(st.integers(100, 900), min_size=len(names), max_size=len(names)))
    labels = {n: (words[i], f"{ratings[i] / 100:g}") for i, n in enumerate(names)}
    least = min(line.rate for file in files.values() for line in file.lines)
    return Study(
        files=files,
        faces=faces,
        rows=tuple(rows),
        labels=labels,
        window_s=draw(st.sampled_from((0.5, 1.0, 1.0, 2.0))),
        stride_s=draw(st.sampled_from((0.25, 0.5, 1.0, 0.3))),
        filter=draw(st.sampled_from(("type", "type", "paper"))) if least > 8 else "type",
        gaze=plan.face and draw(st.booleans()),
    )


@dataclass(frozen=True)
class _PlannedRow:
    """A modality's row: the group of its files, and its further columns."""

    modality: str
    group: str
    channels: tuple[str, ...] = ()
    kind: str = ""
    unit: str = ""


@dataclass(frozen=True)
class _Plan:
    """What all people of a study share.

    Args:
        mode: how EEG is known: "named", "told" by the file, or "guessed" since nothing else is.
        groups: (who, kind) of the signals of each group of files.
        formats: of each group, to choose from for each person.
        spelt: units of each kind that mean the same, to choose from.
        rows: of every trial.
        face: whether there is one.
        stated: the type of group b's only signal, whose name does not tell it.
        unit: of the EEG, where the manifest states it and the file does not or wrongly.
    """

    mode: str
    groups: dict[str, tuple[tuple[str, str], ...]]
    formats: dict[str, tuple[str, ...]]
    spelt: dict[str, tuple[str, ...]]
    rows: tuple[_PlannedRow, ...]
    face: bool
    stated: str = ""
    unit: str = ""


@st.composite
def _plans(draw: Draw) -> _Plan:
    mode = draw(st.sampled_from(("named", "named", "named", "told", "guessed")))
    known = ELECTRODES if mode == "named" else NAMELESS
    eeg = draw(st.lists(st.sampled_from(known), min_size=1, max_size=4, unique=True))
    kinds = draw(st.lists(st.sampled_from(tuple(NAMES)), max_size=3, unique=True))
    others = {kind: draw(st.sampled_from(NAMES[kind])) for kind in kinds}
    apart = [kind for kind in kinds if draw(st.booleans())]
    groups = {"a": tuple((who, "eeg") for who in eeg)}
    groups["a"] += tuple((others[kind], kind) for kind in kinds if kind not in apart)
    if apart:
        groups["b"] = tuple((others[kind], kind) for kind in apart)
    stated = apart[0] if len(apart) == 1 and draw(st.booleans()) else ""
    if stated:
        groups["b"] = ((draw(st.sampled_from(NAMELESS)), stated),)
    unit = draw(st.sampled_from(("uV", "mV", "V"))) if draw(st.integers(0, 4)) == 4 else ""
    formats = {}
    for group, members in groups.items():
        choice = draw(st.sampled_from(FORMATS))
        alike = all(kind in VOLTAGES for _, kind in members) and mode != "told"
        formats[group] = FORMATS if alike else (choice,)
        if group == "a" and unit:
            formats[group] = ("edf", "bdf") if alike else (draw(st.sampled_from(("edf", "bdf"))),)
    spelt = {}
    for kind in ("eeg", *kinds):
        first = draw(st.sampled_from(tuple(UNITS[kind])))
        ours = UNITS[kind][first][0]
        spelt[kind] = tuple(unit for unit, (same, _) in UNITS[kind].items() if same == ours)
    rows = [draw(_planned_row("eeg", "a", eeg, mode, unit=unit))]
    for group, members in groups.items():
        for who, kind in members:
            if kind != "eeg" and (group == "b" or draw(st.booleans())):
                said = stated if group == "b" else ""
                rows.append(draw(_planned_row(kind, group, [who], "named", kind=said)))
    one_rate = len(formats["a"]) == 1 and formats["a"][0] not in ("edf", "bdf")
    if one_rate and draw(st.booleans()):
        rows.append(_PlannedRow("physio", "a"))
    return _Plan(mode, groups, formats, spelt, tuple(rows), draw(st.booleans()), stated, unit)


@st.composite
def _planned_row(
    draw: Draw,
    of: str,
    group: str,
    whos: list[str],
    mode: str,
    *,
    kind: str = "",
    unit: str = "",
) -> _PlannedRow:
    name = draw(st.sampled_from((of, of, ALIASES.get(of, of), *(("belt",) if kind else ()))))
    channels: tuple[str, ...] = ()
    if draw(st.sampled_from((False, False, True))):
        some = draw(st.lists(st.sampled_from(whos), min_size=1, max_size=len(whos), unique=True))
        channels = tuple(draw(_spellings(who, of, mode)) for who in some)
    return _PlannedRow(name, group, channels, kind, unit)


@st.composite
def _spellings(draw: Draw, who: str, kind: str, mode: str) -> str:
    """One of the names that a channel goes by."""
    if kind != "eeg" or mode != "named":
        return str(draw(st.sampled_from((who, who.upper(), who.lower()))))
    base = draw(st.sampled_from((who, OLD.get(who, who))))
    base = draw(st.sampled_from((base, base, base.upper(), base.lower())))
    forms = ["{}", "{}", "EEG {}"]
    if "-" not in who:
        forms += ["{}.", "EEG {}-REF", "{}-LE", "{}-A2"]
    return str(draw(st.sampled_from(forms))).format(base)


@st.composite
def _files(
    draw: Draw, plan: _Plan, group: str, members: Sequence[tuple[str, str]], bad_allowed: bool
) -> File:
    format_ = draw(st.sampled_from(plan.formats[group]))
    record = draw(st.sampled_from(tuple(RECORDS))) if format_ in ("edf", "bdf") else ""
    step = RECORDS.get(record, Fraction(0))
    single = format_ not in ("edf", "bdf")
    table = format_ != "fif" and plan.mode == "told" and group == "a"
    table = table and (format_ != "set" or draw(st.booleans()))
    all_rates = RATES + (ODD_RATES if single else ())
    common = draw(st.sampled_from(all_rates))
    lines = []
    for who, kind in draw(st.permutations(list(members))):
        lines.append(draw(_lines(plan, group, format_, table, who, kind)))
    eeg = [i for i, line in enumerate(lines) if line.kind == "eeg"]
    if bad_allowed and len(eeg) > 1 and (table or format_ == "fif") and draw(st.booleans()):
        # of the first channel, so that one of the others is left whoever marks what
        whos = sorted(lines[i].who for i in eeg)
        i = next(i for i in eeg if lines[i].who == whos[0])
        lines[i] = Line(**{**vars(lines[i]), "bad": True})
    mode = plan.mode if group == "a" else "guessed"
    lines = draw(_with_others(lines, format_, table, mode))
    rates: dict[str, Fraction] = {}
    for line in lines:
        if single:
            rates[line.kind] = common
        elif line.kind not in rates:
            rate = draw(st.sampled_from(RATES if line.kind in VOLTAGES else (*RATES, Fraction(4))))
            rates[line.kind] = max(1, round(rate * step)) / step
    lines = [Line(**{**vars(line), "rate": rates[line.kind]}) for line in lines]
    seconds = Fraction(draw(st.integers(5, 12)))
    seconds = math.ceil(seconds / step) * step if step else seconds
    pauses, bad = draw(_times(format_, seconds, step, common))
    return File(
        format=format_,
        lines=tuple(lines),
        seconds=seconds,
        pauses=pauses,
        bad=bad,
        record=record,
        table=table,
        option=draw(st.integers(0, 255)),
        seed=draw(st.integers(0, 999)),
    )


@st.composite
def _lines(
    draw: Draw, plan: _Plan, group: str, format_: str, table: bool, who: str, kind: str
) -> Line:
    mode = plan.mode if group == "a" else "named"
    label = draw(_spellings(who, kind, mode if kind == "eeg" else "named"))
    spelt = plan.spelt[kind]
    if format_ == "vhdr":  # without a unit it is uV
        spelt = tuple(unit for unit in spelt if unit) or spelt
    unit = draw(st.sampled_from(spelt))
    ours, factor = UNITS[kind][unit]
    if kind == "eeg" and plan.unit:
        unit, factor = draw(st.sampled_from(("", "uV"))), MICROVOLT[plan.unit]
    told = kind if table or (format_ in ("fif", "set") and mode == "told") else ""
    if group == "b" and plan.stated:
        told = "?"
    if format_ in ("set", "fif"):
        # EEGLAB has uV or nothing, FIF the units of its types
        by_type = {"gsr": "uS", "temp": "degC"} if format_ == "fif" else {}
        ours = "uV" if kind in VOLTAGES else by_type.get(kind, "")
        unit, factor = "", 1.0
        if table and kind not in VOLTAGES:  # what channels.tsv says
            unit, ours = "", ""
    if format_ == "vhdr" and unit == "":
        ours = "uV"  # the format's default
    return Line(who, kind, label, unit, ours, factor, Fraction(1), told)


@st.composite
def _with_others(draw: Draw, lines: list[Line], format_: str, table: bool, mode: str) -> list[Line]:
    """The signals among trigger lines and the like, and channels that nothing is known of."""
    names = draw(st.lists(st.sampled_from(SERVICE), max_size=3, unique_by=str.lower))
    units = ("uV", "V") if format_ == "vhdr" else ("", "uV", "Boolean")
    told = "none" if table or mode == "told" else ""
    for name in names:
        unit = draw(st.sampled_from(units))
        at = draw(st.integers(0, len(lines)))
        lines = [
            *lines[:at],
            Line(name, "none", name, unit, "", 1.0, Fraction(1), told),
            *lines[at:],
        ]
    free = [name for name in NAMELESS if name not in [line.who for line in lines]]
    if mode != "guessed" and draw(st.booleans()):
        name = draw(st.sampled_from(free))
        at = draw(st.integers(0, len(lines)))
        other = Line(name, "none", name, "uV", "", 1.0, Fraction(1), told)
        lines = [*lines[:at], other, *lines[at:]]
    return lines


@st.composite
def _times(draw: Draw, format_: str, seconds: Fraction, step: Fraction, rate: Fraction) -> Any:
    """Pauses, and stretches marked as bad."""
    at = sorted(set(draw(st.lists(st.integers(10, 90), max_size=2))))
    pauses = []
    for percent in at:
        position = seconds * percent / 100
        if step:
            gap = draw(st.sampled_from((step, 2 * step, Fraction(37, 100), Fraction(5, 2))))
            position = max(1, round(position / step)) * step
        else:
            gap, position = Fraction(0), Fraction(round(position * rate)) / rate
            if format_ == "set":  # whose boundaries may say what was cut out
                gap = draw(st.sampled_from((gap, Fraction(37, 100), Fraction(5, 2))))
        pauses.append((position, gap))
    # A file of few records may round one to its end, where nothing comes after the pause.
    pauses = [(at, gap) for at, gap in dict(pauses).items() if at < seconds]
    whole = seconds + sum(gap for _, gap in pauses)
    bad = []
    if draw(st.booleans()):
        start = draw(st.integers(1, int(whole * 100) - 200))
        length = draw(st.sampled_from((7, 50, 133, 180)))
        text = draw(st.sampled_from(("BAD_movement", "bad", "BAD blink")))
        bad.append((Fraction(start, 100), Fraction(start + length, 100), text))
    return tuple(pauses), tuple(bad)


@st.composite
def _faces(draw: Draw) -> Face:
    fps, seconds = draw(st.sampled_from((25, 30, 50))), draw(st.integers(5, 12))
    lost = ()
    if draw(st.booleans()):
        first = draw(st.integers(1, fps * seconds - fps - 2))
        lost = ((first, round(fps * draw(st.sampled_from((0.1, 0.4, 0.9))))),)
    return Face(fps, seconds, draw(st.booleans()), lost, draw(st.integers(0, 999)))


@st.composite
def _rows_of_trial(
    draw: Draw,
    plan: _Plan,
    person: str,
    trial: str,
    files: dict[str, File],
    faces: dict[str, Face],
) -> list[Row]:
    """The rows of a trial: whole files, or parts of equal length."""
    of_file = {name: file.duration for name, file in files.items() if name.startswith(person)}
    durations: dict[str, Fraction] = dict(of_file)
    if person in faces:
        durations[person] = Fraction(faces[person].seconds)
    shortest = min(durations.values())
    length = Fraction(draw(st.integers(2500, int(shortest * 1000) - 600)), 1000)
    parts, spans = draw(st.sampled_from((True, True, False))), {}
    for name, duration in durations.items():
        spare = duration - length - Fraction(1, 20)
        on_grid = draw(st.booleans())
        unit = 128 if on_grid else 1000
        start = Fraction(draw(st.integers(0, int(spare * unit))), unit)
        spans[name] = (
            (f"{float(start):.10g}", f"{float(start + length):.10g}") if parts else ("", "")
        )
    rows = []
    for row in plan.rows:
        name = f"{person}_{row.group}"
        rows.append(
            Row(person, trial, row.modality, name, *spans[name], row.channels, row.kind, row.unit)
        )
    if person in faces:
        rows.append(Row(person, trial, "face", person, *spans[person]))
    return list(draw(st.permutations(rows)))
