"""Run folders read back: every file checked, so that a damaged one is named and never drawn."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from clmer.data.recording import DataError
from clmer.metrics import SCORES, Predictions
from clmer.runs import CONFIG, DATA, RESULTS

NUMBER, MAYBE = (int, float), (int, float, NoneType)
_NAMES = {str: "text", int: "a whole number", NUMBER: "a number", MAYBE: "a number or null"}
_NAMES |= {dict: "an object", list: "a list"}

#: A key in a shape that stands for every other name.
ANY = "*"
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
_LINE = {"stage": str, "epoch": int, "loss": NUMBER, ANY: NUMBER}


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
    """

    path: Path
    name: str
    config: dict[str, Any]
    environment: dict[str, Any]
    results: dict[str, Any] | None
    log: list[dict[str, Any]]

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
            return "finished; encoders only (--no-fusion)"
        if not self.log:
            return "unfinished: no epoch was logged"
        last = self.log[-1]
        return f"unfinished: last logged {last['stage']}, epoch {last['epoch'] + 1}"


def find_runs(paths: Sequence[Path]) -> list[RunFiles]:
    """The runs in these folders, and in all folders below them, each once.

    Raises:
        DataError: a path without a run, or a file that cannot be used.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise _no_run(path, "no such folder")
        folders_below = sorted(each.parent for each in path.rglob(CONFIG.name))
        # Others' config.json (a pretrained model's) have no data.json beside them.
        found = [each for each in folders_below if each == path or (each / DATA).is_file()]
        if not found:
            raise _no_run(path, f"no {CONFIG} in it or below")
        for folder in found:
            folders.setdefault(folder.resolve(), folder)
    names = _names(list(folders))
    return [read_run(shown, names[folder]) for folder, shown in folders.items()]


def _no_run(path: Path, found: str) -> DataError:
    expected = "a run folder (--out of clmer.train), or a folder with runs below it"
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
        DataError: a file that is missing, damaged or of another shape; it names the field.
    """
    described = read_json(path / CONFIG)
    check(described, _CONFIG, path / CONFIG)
    results = None
    if (path / RESULTS).exists():
        results = read_json(path / RESULTS)
        check_results(results, path / RESULTS)
    return RunFiles(
        path=path,
        name=name or path.name,
        config=described["config"],
        environment=described["environment"],
        results=results,
        log=read_log(path / "metrics.jsonl"),
    )


def read_json(path: Path) -> Any:
    """A JSON file of a run.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        hint = "Run the same command with --resume, or leave the folder out."
        raise DataError(path, "JSON", error, "what a run wrote", hint) from error


def read_log(path: Path) -> list[dict[str, Any]]:
    """The epochs in metrics.jsonl, in order; none where there is no file.

    Raises:
        DataError: it cannot be read, or a line is no epoch; the line is named.
    """
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(path, "reading", error, "what a run wrote") from error
    # What stands behind the last newline was cut short by a kill; --resume drops it too.
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            lines.append(json.loads(line))
        except ValueError as error:
            raise DataError(path, f"line {number}", error, "an epoch as JSON") from error
        check(lines[-1], _LINE, path, f"line {number}")
    return lines


def check_results(results: Any, path: Path) -> None:
    """Check what results.json holds.

    Raises:
        DataError: a field is missing or holds something else; the first one is named.
    """
    check(results, {} if "models" not in results else _RESULTS, path)
    if "models" not in results:  # of --no-fusion
        check(results, {"probe": _PROBE}, path)
        return
    size = len(results["classes"])
    for i, model in enumerate(results["models"]):
        for level in ("windows", "recordings"):
            shape = [len(row) for row in model[level]["confusion"]]
            if shape != [size] * size:
                where = f"models[{i}].{level}.confusion"
                raise DataError(path, where, f"rows of {shape}", f"{size} rows of {size}")


def check(value: Any, shape: Any, path: Path, where: str = "") -> None:
    """Hold a JSON value against a shape.

    Args:
        value: what was read.
        shape: a type or tuple of types; a dict of what keys hold (`ANY`: all others; more keys are
            fine without it); a list of one shape, that of every element.
        path: the file, for the message.
        where: the value's place in it.

    Raises:
        DataError: at the first place that differs.
    """
    kind = type(shape) if isinstance(shape, (dict, list)) else shape
    if not isinstance(value, kind) or isinstance(value, bool):
        found = json.dumps(value, ensure_ascii=False)
        found = found if len(found) <= 60 else found[:57] + "..."
        raise DataError(path, where or "content", found, _NAMES[kind])
    if isinstance(shape, list):
        for i, item in enumerate(value):
            check(item, shape[0], path, f"{where}[{i}]")
    elif isinstance(shape, dict):
        named = [key for key in shape if key != ANY]
        for key in dict.fromkeys([*named, *value] if ANY in shape else named):
            inner = f"{where}.{key}" if where else str(key)
            if key not in value:
                raise DataError(path, inner, "nothing", "a field that every run writes")
            check(value[key], shape.get(key, shape.get(ANY)), path, inner)


def read_predictions(path: Path, classes: Sequence[str]) -> list[Predictions]:
    """The models' predictions out of predictions.csv, in its order.

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
                raise DataError(path, "columns", f"no {', '.join(missing)}", "those that runs have")
            rows: dict[str, list[Mapping[str, str]]] = {}
            for row in reader:
                rows.setdefault(row["model"], []).append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, "reading", error, "what a run wrote") from error
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
        raise DataError(
            path, "a cell", error, "numbers, and the classes of results.json"
        ) from error
