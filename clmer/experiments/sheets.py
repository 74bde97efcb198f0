"""From finished cells to what is shown: a table, its notes, and a figure where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from clmer.evaluation import table as run_table
from clmer.evaluation.confusion_figure import confusion_figure
from clmer.experiments import figures, paper
from clmer.experiments.cells import Line, Plan
from clmer.experiments.runner import DONE, FAILED, MISSING
from clmer.experiments.scores import (
    SHOWN,
    Found,
    best_validation,
    mean_curve,
    model_of,
    printed,
    record,
    text,
)
from clmer.pipeline.options.reference import NONE
from clmer.text import file_name, percent

Cells = Mapping[str, Found]


@dataclass(frozen=True)
class Table:
    """Cells of text under a caption, and a sentence that explains them."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: str = ""


@dataclass(frozen=True)
class Sheet:
    """What an experiment shows.

    Args:
        stem: of its files.
        title: the heading.
        tables: in order.
        records: lines of the CSV: numbers as fractions, names of columns as keys.
        notes: sentences below the tables.
        figure: a drawing; None for none.
        alt: the drawing in words.
    """

    stem: str
    title: str
    tables: tuple[Table, ...]
    records: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    figure: Figure | None = None
    alt: str = ""


def scores(plan: Plan, cells: Cells) -> Sheet:
    """Tables I to IX: one line per method and task."""
    rows = [record(plan, line, cells[line.cell.name]) for line in plan.lines]
    if plan.experiment.printed == "I":
        rows += two_classes(rows, plan.printed)
    tables = [_score_table(plan, rows), *_quoted(plan)]
    return _sheet(plan, tables, rows, notes(plan, cells))


def two_classes(rows: Sequence[Mapping[str, Any]], table: str) -> list[dict[str, Any]]:
    """The paper's "2 classes" on DEAP: the mean of valence and arousal, where both are done."""
    method = rows[0]["method"]
    parts = [r for r in rows if r["method"] == method and r["task"] in ("valence", "arousal")]
    if len(parts) < 2 or any(r["status"] != DONE for r in parts):
        return []
    means = {f"{s}_mean": float(np.mean([r[f"{s}_mean"] for r in parts])) for s in SHOWN}
    beside = printed(table, paper.CLMER, paper.TWO) if table else {}
    kept = "experiment dataset generated protocol reference method modalities".split()
    kept += ["status", "people", "windows"]
    shared = {name: parts[0][name] for name in kept if name in parts[0]}
    return [{**shared, "task": paper.TWO, **means, **beside}]


def lengths(plan: Plan, cells: Cells) -> Sheet:
    """Tables XI and XII: one line per token length; marked, the one chosen by validation."""
    rows = [record(plan, line, cells[line.cell.name]) for line in plan.lines]
    chosen = _chosen(plan, cells, rows)
    table = _score_table(plan, rows, {"validation (balanced)": [_mark(row) for row in rows]})
    said = [
        f"{task}: L = {name} is chosen, by the validation part alone."
        for task, name in chosen.items()
    ]
    return _sheet(plan, [table], rows, [*said, *notes(plan, cells)])


def curves(plan: Plan, cells: Cells) -> Sheet:
    """Fig. 9 and 10, and the table that belongs to them."""
    sheet = lengths(plan, cells)
    panels: dict[str, dict[str, np.ndarray]] = {}
    for line in plan.lines:
        found = cells[line.cell.name]
        if found.results is not None:
            panels.setdefault(line.task, {})[line.row.label[0]] = mean_curve(found.curves)
    if not panels:
        return sheet
    best = {row["task"]: row["method"] for row in sheet.records if row.get("chosen")}
    said = (
        "Curves: balanced accuracy on the validation part after each epoch, mean over splits, to "
        "the last epoch that every split reached. The paper draws the test part and reads L from "
        "it; here the test part chooses nothing.",
    )
    alt = f"Validation score over epochs by token length, for {', '.join(panels)}"
    figure = figures.curves(panels, best)
    return replace(sheet, notes=said + sheet.notes, figure=figure, alt=alt)


def _chosen(plan: Plan, cells: Cells, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The best length of each task by validation; every row gets its score."""
    best: dict[str, tuple[float, dict[str, Any], str]] = {}
    for line, row in zip(plan.lines, rows, strict=True):
        found = cells[line.cell.name]
        if found.results is None:
            continue
        score = best_validation(found.curves)
        row["validation_balanced_accuracy"], row["chosen"] = score, False
        if line.task not in best or score > best[line.task][0]:
            best[line.task] = (score, row, line.row.key)
    for _, row, _ in best.values():
        row["chosen"] = True
    return {task: key for task, (_, _, key) in best.items()}


def _mark(row: Mapping[str, Any]) -> str:
    score = row.get("validation_balanced_accuracy")
    return "" if score is None else f"{percent(score)}{' (chosen)' if row['chosen'] else ''}"


def confusion(plan: Plan, cells: Cells) -> Sheet:
    """Fig. 4 to 6: the confusion matrix of CLMER, and its scores."""
    sheet = scores(plan, cells)
    found = cells[plan.lines[0].cell.name]
    if found.results is None:
        return sheet
    model = found.predictions[found.results["main"][0]]
    figure = confusion_figure([model], found.results["classes"])
    alt = f"Confusion matrix of {model.model} over {', '.join(found.results['classes'])}"
    return replace(sheet, figure=figure, alt=alt)


def costs(plan: Plan, cells: Cells) -> Sheet:
    """Table X: time, memory and accuracy of each method, averaged over its tasks."""
    rows = _cost_records(plan, cells)
    header = ["method", "modalities", "runs", "time (s)", "peak memory (MiB)", "accuracy (%)"]
    beside = paper.COSTS.get(plan.dataset, {}) if plan.printed else {}
    if beside:
        header += [f"paper: {what}" for what in ("time (s)", "GPU memory (MiB)", "accuracy (%)")]
    shown = []
    for key, row in rows.items():
        line = [row["method"], row["modalities"], f"{row['done']} of {row['runs']}"]
        line += [_plain(row["seconds"]), _plain(row["memory_mib"])]
        line += ["-" if row["accuracy"] is None else percent(row["accuracy"])]
        if beside and key in beside:
            cost = beside[key]
            line += [str(cost.seconds), str(cost.memory_mib), f"{cost.accuracy:.2f}"]
        line += [""] * (len(header) - len(line))
        shown.append(tuple(line))
    table = Table("Cost and accuracy, means over tasks", tuple(header), tuple(shown))
    said = [
        "Time and peak memory are those of a run's whole process, with preparation (where no store "
        "was there), every split and the baselines; resident memory, not a GPU's. A run that was "
        "interrupted has none. They depend on what else the machine does, other runs included.",
        *notes(plan, cells),
    ]
    return _sheet(plan, [table], list(rows.values()), said)


def radar(plan: Plan, cells: Cells) -> Sheet:
    """Fig. 7 and 8: `costs` by the paper's normalisation, beside the paper's on its own data."""
    sheet = costs(plan, cells)
    measured = {
        row["method"]: (row["seconds"], row["memory_mib"], row["accuracy"])
        for row in sheet.records
        if None not in (row["seconds"], row["memory_mib"], row["accuracy"])
    }
    if len(measured) < 2:
        few = f"No chart: it compares methods, and {len(measured)} of them has all three figures."
        return replace(sheet, notes=(few, *sheet.notes))
    panels = {f"measured here, {plan.protocol}": figures.capabilities(measured)}
    if plan.printed and plan.dataset in paper.COSTS:
        names = {line.row.key: line.row.label[0] for line in plan.lines}
        cited = {
            names.get(key, key): (cost.seconds, cost.memory_mib, cost.accuracy)
            for key, cost in paper.COSTS[plan.dataset].items()
        }
        panels[f"the paper's Table X, {paper.PROTOCOL}"] = figures.capabilities(cited)
    said = (
        "Chart: time and memory as mean over methods / value, accuracy as z-score + 2 (IV-F), over "
        f"the {len(measured)} methods shown; larger is better.",
    )
    alt = f"Radar chart of {', '.join(figures.AXES)} for {', '.join(measured)}"
    figure = figures.radar(panels)
    return replace(sheet, notes=said + sheet.notes, figure=figure, alt=alt)


def _cost_records(plan: Plan, cells: Cells) -> dict[str, dict[str, Any]]:
    """By key of the row: means over tasks of what its cells took and reached."""
    lines: dict[str, list[Line]] = {}
    for line in plan.lines:
        lines.setdefault(line.row.key, []).append(line)
    rows = {}
    for key, group in lines.items():
        done = [cells[line.cell.name] for line in group if cells[line.cell.name].results]
        accuracy = [model_of(f, "")["windows"]["accuracy"]["split_mean"] for f in done]
        used = [f.usage for f in done if f.usage is not None]
        rows[key] = {
            "experiment": plan.experiment.name,
            "dataset": plan.dataset,
            "generated": plan.generated,
            "protocol": plan.protocol,
            "reference": plan.reference,
            "method": group[0].row.label[0],
            "modalities": group[0].row.label[1],
            "runs": len(group),
            "done": len(done),
            "seconds": _mean([u["seconds"] for u in used]),
            "memory_mib": _mean([u["peak_rss_mib"] for u in used]),
            "accuracy": _mean(accuracy),
        }
    return rows


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


# --- what every sheet has -----------------------------------------------------------------------
def _sheet(
    plan: Plan, tables: Sequence[Table], rows: Sequence[Mapping[str, Any]], said: Sequence[str]
) -> Sheet:
    number = plan.experiment.name
    paper_name = number.replace("table", "Table ").replace("fig", "Fig. ")
    source = (
        f"{plan.dataset}{' (generated)' if plan.generated else ''}, protocol {plan.protocol}, "
        f"reference {plan.reference}"
    )
    title = f"{paper_name}: {plan.experiment.title}: {source}"
    if plan.dataset not in plan.experiment.datasets:
        title = f"As {paper_name} ({plan.experiment.section}), on other data: {source}"
    stem = f"{number}-{plan.dataset}{'-synthetic' if plan.generated else ''}-{plan.protocol}"
    if plan.reference != NONE:  # scores of another kind: a sheet of their own
        stem += f"-reference-{file_name(plan.reference)}"
    return Sheet(stem, title, tuple(tables), tuple(rows), tuple(said))


def _score_table(
    plan: Plan, rows: Sequence[Mapping[str, Any]], more: Mapping[str, Sequence[str]] | None = None
) -> Table:
    more = more or {}
    header = ["method", "modalities", "task", *SHOWN.values(), "people / windows", *more]
    if plan.printed:
        header += [f"paper, {paper.PROTOCOL}: {what}" for what in ("accuracy", "F1")]
    lines = []
    for number, row in enumerate(rows):
        line = [row["method"], row["modalities"], row["task"]]
        line += [text(row, score) for score in SHOWN]
        line.append(f"{row['people']} / {row['windows']}" if "people" in row else "")
        line += [column[number] for column in more.values()]
        line += [row["paper_accuracy"], row["paper_f1"]] if plan.printed else []
        lines.append(tuple(line))
    return Table("Percent, per window", tuple(header), tuple(lines))


def _quoted(plan: Plan) -> list[Table]:
    """Other authors' results, as the paper quotes them."""
    others = [f for f in paper.TABLES.get(plan.printed, ()) if not f.key]
    if not others:
        return []
    meaning = "Each from its own paper and under its own protocol, in percent; none was run here."
    caption = f"Other methods, as the paper's Table {plan.printed} quotes them"
    rows = tuple((*figure.label, figure.acc, figure.f1) for figure in others)
    return [Table(caption, ("method", "modality", "classes", "accuracy", "F1"), rows, meaning)]


def notes(plan: Plan, cells: Cells) -> list[str]:
    """What the numbers mean, what they may not be compared with, and what is missing."""
    done = [found.results for found in cells.values() if found.results is not None]
    said = []
    if done:
        said.append(
            f"Mean ± sd over splits; [ ]: {interval_methods(cells)}, around the score of "
            "all test windows together. Balanced: the mean recall over classes; chance is 1 / "
            "classes."
        )
        said.append(f"Protocol {plan.protocol}: {done[0]['protocol_note']}")
    if plan.protocol == "shuffled":
        said.append(" ".join(run_table.SHUFFLED_WARNING))
    if plan.generated:
        said.append("Generated recordings: nothing here says anything about people.")
    if plan.printed and plan.protocol != paper.PROTOCOL:
        said.append(
            f"The paper's figures are of windows assigned at random ({paper.PROTOCOL}); those of "
            f"protocol {plan.protocol} beside them answer another question."
        )
    return said + _sizes(plan) + unfinished(plan, cells)


def interval_methods(cells: Cells) -> str:
    """How the intervals of finished cells were computed; an earlier version made them otherwise."""
    done = [found.results for found in cells.values() if found.results is not None]
    return " or ".join(dict.fromkeys(run_table.interval_method(results) for results in done))


def _sizes(plan: Plan) -> list[str]:
    presets = {cell.config.preset for cell in plan.cells.values() if cell.config is not None}
    if presets - {"paper"}:
        return ["Sizes of the cpu preset, not the paper's (the preset paper has those)."]
    return []


def unfinished(plan: Plan, cells: Cells) -> list[str]:
    """Which runs failed and why, and how many are still to be made."""
    missing = sum(found.outcome.status == MISSING for found in cells.values())
    said = [f"Not run yet: {missing} of {len(cells)} runs."] if missing else []
    first: dict[str, Line] = {}
    for line in plan.lines:
        first.setdefault(line.cell.name, line)
    for line in first.values():
        outcome = cells[line.cell.name].outcome
        if outcome.status == FAILED:
            where = [] if plan.protocol else [line.cell.protocol]
            what = ", ".join([*line.row.label, line.task, *where])
            said.append(f"{what}: failed: {outcome.message}")
    return list(dict.fromkeys(said))


View = Callable[[Plan, Cells], Sheet]
VIEWS: dict[str, View] = {
    "scores": scores,
    "lengths": lengths,
    "curves": curves,
    "confusion": confusion,
    "costs": costs,
    "radar": radar,
}
