"""Run folders read for a report; every file is checked first, and a damaged one is named."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.store.summary import report_misfit
from clmer.errors import DataError
from clmer.evaluation.metrics import SCORES, Predictions
from clmer.json_files import ANY, MAYBE, NUMBER
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
_LEVEL = {"n": int, "confusion": [[int]], **dict.fromkeys(SCORES, _SCORE)}
_PERSON = {
    "subject": str,
    "windows": int,
    "recordings": int,
    **dict.fromkeys((*SCORES, "recording_accuracy", "recording_balanced_accuracy"), NUMBER),
}
_MODEL = {
    "name": str,
    "windows": _LEVEL,
    "recordings": _LEVEL,
    "people": [_PERSON],
    "repeats": int,
    "splits": int,
}
_PAIR: dict[str, Any] = {"a": str, "b": str, "people": int, "reason": str}
_PAIR |= dict.fromkeys(("difference", "p", "p_holm"), MAYBE)
_SPLIT = {"name": str, **dict.fromkeys(("train", "val", "test", "shared_groups"), int)}
_PROBE = {ANY: dict.fromkeys(("trained", "random", "difference"), NUMBER)}
_RESULTS = {
    **dict.fromkeys(("dataset", "task", "protocol", "protocol_note"), str),
    **dict.fromkeys(("people", "recordings", "windows", "shared_groups"), int),
    "classes": [str],
    "splits": [_SPLIT],
    "main": [str],
    "models": [_MODEL],
    "comparisons": [_PAIR],
    "notes": [str],
    "probe": _PROBE,
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
        check(results, {"probe": _PROBE}, path)
        return
    names = [model["name"] for model in results["models"]]
    for field, least in (("classes", 2), ("splits", 1), ("models", 1), ("main", 1)):
        if len(results[field]) < least:
            raise damaged(path, field, len(results[field]), f"{least} or more")
    for field, found in (("classes", results["classes"]), ("models", names)):
        if len(set(found)) != len(found):
            raise damaged(path, field, found, "each once")
    if not set(results["main"]) <= set(names):
        raise damaged(path, "main", results["main"], f"some of {', '.join(names)}")
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
    columns = ["subject", "recording", "start_s", "split", "model", "true"]
    scores = [f"logp_{name}" for name in classes]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [c for c in (*columns, *scores) if c not in (reader.fieldnames or ())]
            if missing:
                raise damaged(path, "columns", f"no {', '.join(missing)}", "those that runs have")
            rows: dict[str, list[Mapping[str, str]]] = {}
            for row in reader:
                known = {key: from_cell(row[key] or "") for key in columns}
                rows.setdefault(known["model"], []).append({**row, **known})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise damaged(path, "reading", error) from error
    code = {name: i for i, name in enumerate(classes)}
    try:
        return [
            Predictions(
                model=model,
                **{c: np.array([row[c] for row in own]) for c in ("split", "subject", "recording")},
                start_s=np.array([float(row["start_s"]) for row in own]),
                y=np.array([code[row["true"]] for row in own]),
                logp=np.array([[float(row[c]) for c in scores] for row in own]),
            )
            for model, own in rows.items()
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, "a cell", error, "numbers, and the classes of results.json") from error
