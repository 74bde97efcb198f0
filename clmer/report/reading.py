"""Run folders read for a report; every file is checked first, and a damaged one is named."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.splits import OWN
from clmer.data.store.summary import report_misfit
from clmer.errors import DataError
from clmer.evaluation.kinds import KINDS
from clmer.evaluation.metrics import SCORES, Predictions
from clmer.evaluation.ratings import RATING_SCORES, RatingPredictions
from clmer.json_files import MAYBE, NUMBER
from clmer.pipeline.run.folder import CONFIG, DATA, RESULTS
from clmer.pipeline.run_files import (
    check,
    damaged,
    read_described,
    read_json,
    read_log,
    read_origin,
    readable,
)
from clmer.text import from_cell

_SCORE: dict[str, Any] = {"value": NUMBER, **dict.fromkeys(("low", "high", "mean", "sd"), MAYBE)}
_PERSON = {"subject": str, "windows": int, "recordings": int}
_OWN = ("ccc", "rmse", "pearson")  # of a person, whose CCC and r there may not be
#: What a level and a person hold, by the kind of results.
_LEVELS: dict[str, Any] = {
    "class": {"n": int, "confusion": [[int]], **dict.fromkeys(SCORES, _SCORE)},
    "rating": {"n": int, **dict.fromkeys(RATING_SCORES, _SCORE | {"value": MAYBE})},
}
_PEOPLE: dict[str, Any] = {
    "class": _PERSON
    | dict.fromkeys((*SCORES, "recording_accuracy", "recording_balanced_accuracy"), NUMBER),
    "rating": _PERSON | dict.fromkeys((*_OWN, *(f"recording_{n}" for n in _OWN)), MAYBE),
}
_PAIR: dict[str, Any] = {"a": str, "b": str, "people": int, "reason": str}
_PAIR |= dict.fromkeys(("difference", "p", "p_holm"), MAYBE)
#: Fields of a pair that results of an earlier version lack.
_LATER = ("low", "high", "least")
_SPLIT = {"name": str, **dict.fromkeys(("train", "val", "test", "shared_groups"), int)}
_RESULTS = {
    **dict.fromkeys(("dataset", "task", "protocol", "protocol_note"), str),
    **dict.fromkeys(("people", "recordings", "windows", "shared_groups"), int),
    "classes": [str],
    "splits": [_SPLIT],
    "main": [str],
    "models": [dict],
    "comparisons": [_PAIR],
    "notes": [str],
}
_CONFIG = {
    "config": {
        "dataset": str,
        "task": str,
        "protocol": str,
        "modalities": [str],
        "data": str,
        "preset": str,
        "device": str,
    },
    "environment": dict,
}


def _model(target: str) -> dict[str, Any]:
    """What a model of results.json holds."""
    level = _LEVELS[target]
    known = {"windows": level, "recordings": level, "people": [_PEOPLE[target]]}
    return {"name": str, **known, "repeats": int, "splits": int}


@dataclass(frozen=True, eq=False)
class RunFiles:
    """What the files of one run folder hold.

    Args:
        path: the folder.
        name: what the page calls it.
        config: options and the data's fingerprint ("data").
        environment: versions.
        results: results.json; None while the run is unfinished.
        log: lines of metrics.jsonl.
        modalities: in the order the model stacks them; where the run was not asked for some
            (a manifest's), those that were found.
    """

    path: Path
    name: str
    config: dict[str, Any]
    environment: dict[str, Any]
    results: dict[str, Any] | None
    log: list[dict[str, Any]]
    modalities: tuple[str, ...]

    @property
    def scored(self) -> dict[str, Any] | None:
        """The results, where there are models with scores in them."""
        return self.results if self.results and "models" in self.results else None

    @property
    def protocol(self) -> str:
        """Who was trained on and who tested: the protocol, or `OWN` by the user's own table."""
        return OWN if self.config.get("splits") else str(self.config["protocol"])

    @property
    def state(self) -> str:
        """Finished, or how far the run came."""
        if self.scored:
            return "finished"
        if self.results is not None:
            return "finished; encoders only (no fusion stage)"
        if not self.log:
            return "unfinished: no epoch was logged"
        last = self.log[-1]
        return f"unfinished: last logged {last['stage']}, epoch {last['epoch'] + 1}"


def find_runs(paths: Sequence[Path], unreadable: list[DataError] | None = None) -> list[RunFiles]:
    """The runs in these folders, and in all folders below them, each once.

    Args:
        paths: run folders, or folders with runs below them.
        unreadable: the errors of runs that cannot be read are appended to it; without it the first
            one raises.

    Raises:
        DataError: there is no run in a path, or a file cannot be used.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        if not readable(path, path.is_dir):
            raise _no_run(path, "no such folder")
        folders_below = sorted(each.parent for each in path.rglob(CONFIG.name))
        # The config.json of something else (a pretrained model) has no data.json next to it.
        found = [
            each
            for each in folders_below
            if each == path or readable(each / DATA, (each / DATA).is_file)
        ]
        if not found:
            raise _no_run(path, f"no {CONFIG} in it or below")
        for folder in found:
            folders.setdefault(folder.resolve(), folder)
    names = _names(list(folders))
    runs = []
    for folder, shown in folders.items():
        try:
            runs.append(read_run(shown, names[folder]))
        except DataError as error:
            if unreadable is None:
                raise
            unreadable.append(error)
    return runs


def _no_run(path: Path, found: str) -> DataError:
    expected = "a run's folder, or a folder with runs below it"
    return DataError(path, "run", found, expected)


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """The shortest endings that tell the paths apart."""
    for count in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = {folder: "/".join(folder.parts[-count:]) for folder in folders}
        if len(set(names.values())) == len(folders):
            break
    return names


def read_run(path: Path, name: str = "") -> RunFiles:
    """Read and check one run folder.

    Raises:
        DataError: a file is missing, damaged or of another shape; the field is named.
    """
    described = read_described(path / CONFIG)
    check(described, _CONFIG, path / CONFIG)
    config = described["config"]
    results = None
    if readable(path / RESULTS, (path / RESULTS).exists):
        results = read_json(path / RESULTS)
        check_results(results, path / RESULTS)
    modalities = config["modalities"]
    if readable(path / DATA, (path / DATA).exists):
        modalities = modalities or read_origin(path / DATA)["parameters"].get("modalities", [])
    log = read_log(path / "metrics.jsonl")
    for number, line in enumerate(log, start=1):
        check(line, {"loss": NUMBER}, path / "metrics.jsonl", f"line {number}")
    return RunFiles(
        path=path,
        name=name or path.name,
        config=config,
        environment=described["environment"],
        results=results,
        log=log,
        modalities=tuple(modalities),
    )


def check_results(results: Any, path: Path) -> None:
    """Check what results.json holds.

    Raises:
        DataError: a field is missing or holds something else; the first one is named.
    """
    check(results, dict, path)
    check(results.get("data", {}), dict, path, "data")
    wrong = report_misfit(results.get("data", {}))
    if wrong:
        raise damaged(path, f"data.{wrong}", str(results["data"].get(wrong))[:60])
    check(results.get("reference", {"kind": "none"}), {"kind": str}, path, "reference")
    check(results, {} if "models" not in results else _RESULTS, path)
    if "models" not in results:  # without a fusion stage
        return
    check({"target": "class", "not_kept": [], **results}, {"target": str, "not_kept": [str]}, path)
    target = results.get("target", "class")
    if target not in KINDS:
        raise damaged(path, "target", target, " or ".join(KINDS))
    check(results, {"models": [_model(target)]}, path)
    for i, pair in enumerate(results["comparisons"]):
        known = {**dict.fromkeys(_LATER), **pair}
        check(known, dict.fromkeys(_LATER, MAYBE), path, f"comparisons[{i}]")
    names = [model["name"] for model in results["models"]]
    fewest = 2 if target == "class" else 0
    for field, least in (("classes", fewest), ("splits", 1), ("models", 1), ("main", 1)):
        if len(results[field]) < least:
            raise damaged(path, field, len(results[field]), f"{least} or more")
    for field, found in (("classes", results["classes"]), ("models", names)):
        if len(set(found)) != len(found):
            raise damaged(path, field, found, "each once")
    if not set(results["main"]) <= set(names):
        raise damaged(path, "main", results["main"], f"some of {', '.join(names)}")
    if target == "class":
        _check_confusions(results, path)


def _check_confusions(results: Any, path: Path) -> None:
    size = len(results["classes"])
    for i, model in enumerate(results["models"]):
        for level in ("windows", "recordings"):
            shape = [len(row) for row in model[level]["confusion"]]
            if shape != [size] * size:
                where = f"models[{i}].{level}.confusion"
                raise DataError(path, where, f"rows of {shape}", f"{size} rows of {size}")


def read_predictions(path: Path, classes: Sequence[str]) -> list[Predictions]:
    """The models' predictions in predictions.csv, in its order.

    Raises:
        DataError: a column is missing, or a cell holds something else.
    """
    scores = [f"logp_{name}" for name in classes]
    code = {name: i for i, name in enumerate(classes)}
    found = _by_model(path, scores)
    try:
        return [
            Predictions(
                model=model,
                **_columns(own),
                y=np.array([code[row["true"]] for row in own]),
                logp=np.array([[float(row[c]) for c in scores] for row in own]),
            )
            for model, own in found.items()
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, "a cell", error, "numbers, and the classes of results.json") from error


def read_ratings(path: Path) -> list[RatingPredictions]:
    """As `read_predictions`, of a run that predicts ratings."""
    found = _by_model(path, ["predicted"])
    try:
        return [
            RatingPredictions(
                model=model,
                **_columns(own),
                y=np.array([float(row["true"]) for row in own]),
                value=np.array([float(row["predicted"]) for row in own]),
            )
            for model, own in found.items()
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, "a cell", error, "numbers") from error


def _by_model(path: Path, more: Sequence[str]) -> dict[str, list[Mapping[str, str]]]:
    """Rows of predictions.csv by model; names as they are, and the columns `more` there."""
    columns = ["subject", "recording", "start_s", "split", "model", "true"]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [c for c in (*columns, *more) if c not in (reader.fieldnames or ())]
            if missing:
                raise damaged(path, "columns", f"no {', '.join(missing)}", "those that runs have")
            rows: dict[str, list[Mapping[str, str]]] = {}
            for row in reader:
                known = {key: from_cell(row[key] or "") for key in columns}
                rows.setdefault(known["model"], []).append({**row, **known})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise damaged(path, "reading", error) from error
    return rows


def _columns(rows: Sequence[Mapping[str, str]]) -> dict[str, np.ndarray]:
    """Whose windows they are, and when; raises as `float` does."""
    names = ("split", "subject", "recording")
    start_s = np.array([float(row["start_s"]) for row in rows])
    return {name: np.array([row[name] for row in rows]) for name in names} | {"start_s": start_s}
