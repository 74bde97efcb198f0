"""What of a run's results goes with a saved model: scores over people, nothing of any of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clmer.json_files import ANY, MAYBE
from clmer.pipeline.run_files import check, damaged

#: Their name in config.json.
SCORES = "scores"
#: Fields of results.json that are kept as they are.
_PLAIN = {
    "dataset": str,
    "task": str,
    "target": str,
    "protocol": str,
    "classes": [str],
    "people": int,
    "recordings": int,
    "windows": int,
    "interval": str,
    "main": [str],
    "classifier": str,
    "not_kept": [str],
}
_SCORE = {"value": MAYBE, "low": MAYBE, "high": MAYBE}
_PAIR = {
    "a": str,
    "b": str,
    "difference": MAYBE,
    "low": MAYBE,
    "high": MAYBE,
    "least": MAYBE,
    "people": int,
}
_LEVELS = ("windows", "recordings")
_TOLD = {"told": int, "recordings": int}
_SHAPE = {
    **_PLAIN,
    "reference": {"kind": str},
    "models": [{"name": str, **{level: {ANY: object} for level in _LEVELS}}],
}


def scores_of(results: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
    """What is kept of results.json; None of a run that nothing was tested with.

    None too where one person was tested, whose own scores they are. Left out are people, recordings
    and splits but for their number, names of files and stimuli, and notes.

    Args:
        results: what it holds.
        path: the file, for the message.

    Raises:
        DataError: a field is missing, or of another type.
    """
    if "models" not in results:
        return None
    check(results, {**_SHAPE, "splits": [dict], "data": dict, "comparisons": [dict]}, path)
    if results["people"] < 2:
        return None
    names = _names(results, path, "")
    return {
        **{key: results[key] for key in _PLAIN},
        "splits": len(results["splits"]),
        "reference": {"kind": results["reference"]["kind"]},
        "filter": dict(results["data"].get("filter", {})),
        "stimuli": results.get("stimuli"),
        "models": [
            {
                "name": model["name"],
                **{
                    level: {
                        name: {key: model[level][name][key] for key in _SCORE} for name in names
                    }
                    for level in _LEVELS
                },
            }
            for model in results["models"]
        ],
        "comparisons": [{key: row.get(key) for key in _PAIR} for row in results["comparisons"]],
    }


def check_scores(found: Any, path: Path) -> None:
    """Hold what config.json has of them against its shape.

    Raises:
        DataError: at the first field that differs.
    """
    levels = {level: {ANY: _SCORE} for level in _LEVELS}
    shape = {"splits": int, "filter": {ANY: str}, "comparisons": [_PAIR]}
    check(found, {**_SHAPE, **shape, "models": [{"name": str, **levels}]}, path, SCORES)
    if found.get("stimuli") is not None:
        check(found["stimuli"], _TOLD, path, f"{SCORES}.stimuli")


def check_main(found: Mapping[str, Any], path: Path) -> None:
    """Hold checked scores against their target: what tables and the model card read.

    Raises:
        DataError: no such target, or a model without its main score.
    """
    _names(found, path, f"{SCORES}.")


def _names(found: Mapping[str, Any], path: Path, where: str) -> tuple[str, ...]:
    """Names of the target's scores."""
    from clmer.evaluation.kinds import KINDS  # brings matplotlib, which loading needs not

    if found["target"] not in KINDS:
        raise damaged(path, f"{where}target", found["target"], " or ".join(KINDS))
    kind, known = KINDS[found["target"]], [model["name"] for model in found["models"]]
    for name in found["main"]:
        if name not in known:
            raise damaged(path, f"{where}main", name, f"some of {', '.join(known)}")
    for number, model in enumerate(found["models"]):
        for level in _LEVELS:
            if kind.main not in model[level]:
                raise damaged(path, f"{where}models[{number}].{level}.{kind.main}", "nothing")
    return kind.scores
