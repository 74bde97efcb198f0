"""What finished cells say: scores of a line, curves on the validation part, predictions, costs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from clmer.errors import DataError
from clmer.evaluation.metrics import Predictions
from clmer.experiments import paper
from clmer.experiments.cells import Cell, Line, Plan, finished
from clmer.experiments.runner import DONE, FAILED, MISSING, Outcome
from clmer.json_files import MAYBE, NUMBER
from clmer.pipeline.run.folder import RESULTS
from clmer.pipeline.run_files import check, read_json, read_log
from clmer.report.reading import check_results, read_predictions
from clmer.text import percent

#: Scores of a table, by their name in results.json: the paper's two, and the one to read.
SHOWN = {"accuracy": "accuracy", "weighted_f1": "F1 (weighted)", "balanced_accuracy": "balanced"}
#: Where results.json has them, beside what a report needs.
_TABLED = {
    "models": [{"windows": {score: {"split_mean": NUMBER, "split_sd": MAYBE} for score in SHOWN}}]
}


@dataclass(frozen=True)
class Found:
    """A cell after its run.

    Args:
        outcome: how it stands.
        folder: its run folder.
        results: what results.json holds; None unless it is done.
        curves: of validation, where the view draws or chooses by them, see `validation_curves`.
        predictions: by model, where the view is made of them, see `predictions`.
        usage: what the run took, where the view shows it and it was measured.
    """

    outcome: Outcome
    folder: Path
    results: dict[str, Any] | None = None
    curves: Sequence[Sequence[float]] = ()
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    usage: Mapping[str, float] | None = None


def collect(plan: Plan, folder: Path, outcomes: Mapping[str, Outcome]) -> dict[str, Found]:
    """Every cell of a plan by name, with all that its view is made of.

    Those of other shards are looked for. A cell with a file that cannot be used is FAILED.
    """
    found = {}
    for name, cell in plan.cells.items():
        try:
            found[name] = _found(plan, cell, folder / name, outcomes.get(name))
        except DataError as error:
            found[name] = Found(Outcome(FAILED, str(error)), folder / name)
    return found


def _found(plan: Plan, cell: Cell, folder: Path, outcome: Outcome | None) -> Found:
    if outcome is None:
        outcome = Outcome(DONE if finished(cell, folder) else MISSING)
    if outcome.status != DONE:
        return Found(outcome, folder)
    results = read_json(folder / RESULTS)
    check(results, _TABLED, folder / RESULTS)
    check_results(results, folder / RESULTS)
    found = Found(outcome, folder, results)
    for line in plan.lines:
        if line.cell.name == cell.name:
            model_of(found, line.row.model)
    view, main = plan.experiment.view, model_of(found, "")["name"]
    if view in ("lengths", "curves"):
        return replace(found, curves=validation_curves(folder, main))
    if view in ("confusion", "leakage"):
        return replace(found, predictions=predictions(folder, results))
    return replace(found, usage=usage(folder)) if view in ("costs", "radar") else found


def model_of(found: Found, beginning: str) -> dict[str, Any]:
    """A model of results.json: the first under study, or the first whose name begins so.

    Raises:
        DataError: there is none.
    """
    if found.results is None:
        raise ValueError(f"model_of: {found.folder} is {found.outcome.status}")
    names = [model["name"] for model in found.results["models"]]
    main = found.results["main"]
    wanted = [name for name in names if name.startswith(beginning)] if beginning else main[:1]
    if not wanted or wanted[0] not in names:
        expected = f"one named {beginning or main!r}"
        raise DataError(found.folder / RESULTS, "models", names, expected)
    model: dict[str, Any] = found.results["models"][names.index(wanted[0])]
    return model


def record(
    plan: Plan, line: Line, found: Found, model: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A line of the CSV: what was run, its scores per window as fractions, the paper's figures.

    Args:
        plan: the experiment.
        line: of it.
        found: the line's cell.
        model: one of its results; None for the row's own.
    """
    row: dict[str, Any] = {
        "experiment": plan.experiment.name,
        "dataset": plan.dataset,
        "generated": plan.generated,
        "task": line.task,
        "protocol": line.cell.protocol,
        "reference": plan.reference,
        "method": line.row.label[0],
        "modalities": line.row.label[1],
        "status": found.outcome.status,
    }
    if found.results is not None:
        model = model or model_of(found, line.row.model)
        row |= {"model": model["name"], **_counts(found.results, model)}
        row |= _numbers(model["windows"])
    if plan.printed:
        row |= printed(plan.printed, line.row.key, line.task)
    return {**row, "cell": line.cell.name}


def printed(table: str, key: str, task: str) -> dict[str, str]:
    """The paper's figures for a line, with their protocol."""
    acc, f1 = paper.figure(table, key, task)
    protocol = paper.PROTOCOL if acc else ""
    return {"paper_accuracy": acc, "paper_f1": f1, "paper_protocol": protocol}


def _counts(results: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    counts = {name: results[name] for name in ("people", "recordings", "windows", "shared_groups")}
    return {**counts, "splits": model["splits"], "classes": len(results["classes"])}


def _numbers(level: Mapping[str, Any]) -> dict[str, float | None]:
    """Mean and sd over splits; pooled value and its interval over people."""
    names = {
        "split_mean": "mean",
        "split_sd": "sd",
        "value": "pooled",
        "low": "low",
        "high": "high",
    }
    return {
        f"{score}_{ours}": level[score][theirs] for score in SHOWN for theirs, ours in names.items()
    }


def text(row: Mapping[str, Any], score: str) -> str:
    """In percent, as "81.4 ± 1.2 [78.0, 84.1]"; the status where there is no score."""
    mean = row.get(f"{score}_mean")
    if mean is None:
        return str(row["status"])
    sd, low, high = (row.get(f"{score}_{part}") for part in ("sd", "low", "high"))
    spread = "" if sd is None else f" ± {percent(sd)}"
    interval = "" if low is None or high is None else f" [{percent(low)}, {percent(high)}]"
    return f"{percent(mean)}{spread}{interval}"


def validation_curves(folder: Path, model: str) -> list[list[float]]:
    """Balanced accuracy on the validation part after each epoch, one curve per split and member.

    Raises:
        DataError: the log is damaged, or has no epoch of the model with such a score.
    """
    stage = re.compile(rf"split\d+/{re.escape(model)}(-\d+)?")
    curves: dict[str, list[float]] = {}
    log = folder / "metrics.jsonl"
    for epoch in read_log(log):
        if stage.fullmatch(epoch["stage"]):
            if "val_score" not in epoch:
                raise DataError(log, epoch["stage"], sorted(epoch), "a val_score in every epoch")
            curves.setdefault(epoch["stage"], []).append(epoch["val_score"])
    if not curves:
        raise DataError(log, "stages", f"no epoch of {model}", "those of a finished run")
    return list(curves.values())


def mean_curve(curves: Sequence[Sequence[float]]) -> np.ndarray:
    """The mean over splits, to the last epoch that all of them reached."""
    reached = min(map(len, curves))
    return np.mean([curve[:reached] for curve in curves], axis=0)


def best_validation(curves: Sequence[Sequence[float]]) -> float:
    """The mean over splits of the kept epoch's score: what a hyperparameter is chosen by."""
    return float(np.mean([max(curve) for curve in curves]))


def usage(folder: Path) -> dict[str, float] | None:
    """Seconds and peak memory of a cell; None where it was interrupted and continued.

    Raises:
        DataError: the file holds something else.
    """
    path = folder.with_name(f"{folder.name}.usage.json")
    if not path.is_file():
        return None
    measured: dict[str, float] = read_json(path)
    check(measured, {"seconds": NUMBER, "peak_rss_mib": NUMBER}, path)
    return measured


def predictions(folder: Path, results: Mapping[str, Any]) -> dict[str, Predictions]:
    """Every model's test windows, out of predictions.csv.

    Raises:
        DataError: the file lacks a column or a model, or holds a class that the run does not have.
    """
    path = folder / "predictions.csv"
    read = {part.model: part for part in read_predictions(path, results["classes"])}
    missing = [model["name"] for model in results["models"] if model["name"] not in read]
    if missing:
        raise DataError(path, "model", f"no rows of {', '.join(missing)}", "those of results.json")
    return read
