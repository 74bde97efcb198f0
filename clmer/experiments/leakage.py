"""What each protocol makes of each model: one data set, one model, several ways to split windows.

Under `shuffled` windows of one recording are on both sides; under `trial` recordings of one person
are, under `block` stretches of one recording are, under `subject` no person is. The signals, the
labels and the model are the same, so that scores differ by what the split lets a model recognise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from clmer.data.registry import DATASETS
from clmer.errors import DataError
from clmer.evaluation.metrics import Predictions
from clmer.evaluation.results import CONTROLS
from clmer.evaluation.significance import compare, holm
from clmer.experiments.cells import Cell, Plan
from clmer.experiments.figures import Dot, dots
from clmer.experiments.runner import REFUSED, Outcome
from clmer.experiments.scores import Found, record, text
from clmer.experiments.sheets import Cells, Sheet, Table, interval_methods, unfinished
from clmer.text import p_value, percent, score_text, signed_percent

PROTOCOLS = ("shuffled", "trial", "block", "subject")
_REFERENCE = "band power + LR"


def refusals(cells: Iterable[Cell]) -> dict[str, Outcome]:
    """Cells whose protocol the data set or its recordings cannot carry, by name, and why.

    The recordings are prepared for it, which the cells then find done.
    """
    from clmer.train.job import load

    refused: dict[str, Outcome] = {}
    known: dict[str, str] = {}  # protocol -> why
    for cell in cells:
        if cell.config is None:
            if cell.protocol in DATASETS[cell.dataset].refused:
                refused[cell.name] = Outcome(REFUSED, cell.why)
            continue
        if cell.protocol not in known:
            try:
                load(cell.config, cell.cache)
                known[cell.protocol] = ""
            except DataError as error:
                # What else is wrong with the recordings, the run itself says and fails by.
                of_protocol = {"protocol", cell.protocol} <= set(re.findall(r"\w+", error.field))
                why = f"found {error.found}, expected {error.expected}"
                known[cell.protocol] = why if of_protocol else ""
        if known[cell.protocol]:
            refused[cell.name] = Outcome(REFUSED, known[cell.protocol])
    return refused


def sheet(plan: Plan, cells: Cells) -> Sheet:
    """The table and the figure, and tests between protocols and against logistic regression."""
    rows = _records(plan, cells)
    protocols = tuple(p for p in PROTOCOLS if any(row["protocol"] == p for row in rows))
    tables = [_scores(rows, protocols)]
    said = _predictions(plan, cells)
    tables += _tables_of_tests(said, protocols)
    notes = _notes(plan, cells, rows, protocols)
    where = f"{plan.dataset}{' (generated)' if plan.generated else ''}"
    stem = f"leakage-{plan.dataset}{'-synthetic' if plan.generated else ''}"
    title = f"What each protocol makes of each model: {where}, {plan.lines[0].task}"
    if not protocols:
        return Sheet(stem, title, tuple(tables), tuple(rows), tuple(notes))
    groups: dict[str, dict[str, Dot]] = {}
    for row in rows:
        score = (row[f"balanced_accuracy_{part}"] for part in ("pooled", "low", "high"))
        groups.setdefault(row["model"], {})[row["protocol"]] = Dot(*score)
    chance = 1 / rows[0]["classes"]
    alt = (
        f"Balanced accuracy of each model under {', '.join(protocols)}, chance {score_text(chance)}"
    )
    figure = dots(groups, protocols, chance)
    return Sheet(stem, title, tuple(tables), tuple(rows), tuple(notes), figure, alt)


def _models(found: Found, whole: bool) -> list[dict[str, Any]]:
    """The models a cell is there for: all of the first, of the others the one under study."""
    if found.results is None:
        return []
    main = found.results["main"]
    return [m for m in found.results["models"] if whole or m["name"] == main[0]]


def _records(plan: Plan, cells: Cells) -> list[dict[str, Any]]:
    """One record per model and protocol: models under study, then baselines and controls."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for line in plan.lines:
        found = cells[line.cell.name]
        for model in _models(found, line.row == plan.lines[0].row):
            rows[model["name"], line.cell.protocol] = record(plan, line, found, model)
    studied = [name for found in cells.values() if found.results for name in found.results["main"]]
    order = list(dict.fromkeys([*studied, *(name for name, _ in rows)]))
    return sorted(rows.values(), key=lambda row: order.index(row["model"]))


def _scores(rows: Sequence[Mapping[str, Any]], protocols: Sequence[str]) -> Table:
    by_model: dict[str, dict[str, str]] = {}
    for row in rows:
        by_model.setdefault(row["model"], {})[row["protocol"]] = text(row, "balanced_accuracy")
    lines = tuple(
        (model, *(scores.get(protocol, "") for protocol in protocols))
        for model, scores in by_model.items()
    )
    return Table("Balanced accuracy per window, percent", ("model", *protocols), lines)


def _predictions(plan: Plan, cells: Cells) -> dict[tuple[str, str], Predictions]:
    """By model and protocol, controls left out."""
    said: dict[tuple[str, str], Predictions] = {}
    for line in plan.lines:
        found = cells[line.cell.name]
        names = [model["name"] for model in _models(found, line.row == plan.lines[0].row)]
        if names:
            said |= {
                (name, line.cell.protocol): found.predictions[name]
                for name in names
                if name not in CONTROLS
            }
    return said


def _tables_of_tests(
    said: Mapping[tuple[str, str], Predictions], protocols: Sequence[str]
) -> list[Table]:
    models = list(dict.fromkeys(model for model, _ in said))
    between = [
        (replace(said[model, first], model=first), replace(said[model, other], model=other), model)
        for model in models
        for i, first in enumerate(protocols)
        for other in protocols[i + 1 :]
        if (model, first) in said and (model, other) in said
    ]
    reference = next((model for model in models if model.startswith(_REFERENCE)), "")
    against = [
        (said[model, protocol], said[reference, protocol], protocol)
        for protocol in protocols
        for model in models
        if model != reference and {(model, protocol), (reference, protocol)} <= said.keys()
    ]
    return [
        _tests("One model under two protocols", "model", between),
        _tests(f"Models against {reference}", "protocol", against),
    ]


def _tests(what: str, head: str, pairs: Sequence[tuple[Predictions, Predictions, str]]) -> Table:
    """Wilcoxon over people of each pair, Holm's correction over all of them."""
    rows = [compare([a, b])[0] for a, b, _ in pairs]
    computed = [row["p"] for row in rows if row["p"] is not None]
    adjusted = iter(holm(computed))
    lines = []
    for row, (_, _, name) in zip(rows, pairs, strict=True):
        line = [name, f"{row['a']} - {row['b']}", str(row["people"])]
        line.append("" if row["difference"] is None else signed_percent(row["difference"]))
        if row["p"] is None:
            line += [f"not computable: {row['reason']}", ""]
        else:
            line += [p_value(row["p"]), p_value(next(adjusted))]
        lines.append(tuple(line))
    meaning = (
        "Mean difference over people of balanced accuracy per window; Wilcoxon signed-rank, Holm's "
        f"correction over {len(computed)} tests."
    )
    header = (head, "difference", "people", "points", "p", "Holm")
    return Table(what, header, tuple(lines), meaning)


def _notes(
    plan: Plan, cells: Cells, rows: Sequence[Mapping[str, Any]], protocols: Sequence[str]
) -> list[str]:
    notes = []
    for protocol in protocols:
        of = next(
            found.results
            for line in plan.lines
            if line.cell.protocol == protocol
            and (found := cells[line.cell.name]).results is not None
        )
        notes.append(
            f"{protocol}: {of['protocol_note']} Groups in two parts: {of['shared_groups']}."
        )
    if protocols:
        notes.append(
            "A dot is the score of all test windows together, its line the "
            f"{interval_methods(cells)}; in the table, mean ± sd over splits."
        )
        notes += _shown(rows, protocols)
    if plan.generated:
        notes.append("Generated recordings: nothing here says anything about people.")
    for line in plan.lines:
        outcome = cells[line.cell.name].outcome
        if outcome.status == REFUSED:
            notes.append(f"{line.cell.protocol}: refused: {outcome.message}")
    return list(dict.fromkeys([*notes, *unfinished(plan, cells)]))


def _shown(rows: Sequence[Mapping[str, Any]], protocols: Sequence[str]) -> list[str]:
    """What the picture shows of the model under study, in numbers."""
    value = {(r["model"], r["protocol"]): r["balanced_accuracy_pooled"] for r in rows}
    model, said = rows[0]["model"], []
    others = [p for p in protocols if p != "shuffled" and (model, p) in value]
    if (model, "shuffled") in value and others:
        scores = ", ".join(f"{percent(value[model, p])} under {p}" for p in ("shuffled", *others))
        said.append(f"{model} scores {scores}: the same model on the same recordings.")
    worth = value.get(("permuted labels", "shuffled"))
    if worth is not None:
        said.append(
            f"On labels permuted within each person it scores {percent(worth)} under shuffled: "
            "what recognising a recording is worth, whatever its label."
        )
    return said
