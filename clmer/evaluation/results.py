"""What a run leaves behind: results.json, predictions.csv and confusion.png.

`results.json` holds no times and no dates: two runs with one seed write the same bytes. Every file
is written under a temporary name and renamed, so that a killed run never leaves half of one.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.splits import Split
from clmer.evaluation.confusion_figure import confusion_png
from clmer.evaluation.intervals import METHOD
from clmer.evaluation.metrics import Predictions, evaluate
from clmer.evaluation.significance import compare
from clmer.storage import write_file
from clmer.text import STORED, cell, stored

#: Models that know nothing of the signals or the labels: shown, but in no test between models.
CONTROLS = ("majority", "permuted labels")


def build_results(
    models: Sequence[Predictions],
    *,
    dataset: str,
    task: str,
    protocol: str,
    classes: Sequence[str],
    splits: Sequence[Split],
    main: Sequence[str],
    notes: Sequence[str] = (),
    reference: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that `results.json` holds and the table shows.

    Args:
        models: each model's predictions over all splits, in the order of the table.
        dataset: name of the data set.
        task: name of the task.
        protocol: how the windows were split; see `clmer.data.splits`.
        classes: class names in the order of the log-probability columns.
        splits: all splits of the run.
        main: names of the models under study; the others are baselines and controls.
        notes: sentences to print below the table ("transductive: ...").
        reference: what people are known by, its "kind" and what to know of it; None for none.

    Returns:
        Plain dicts, lists, strings and numbers; "models" holds
        `clmer.evaluation.metrics.evaluate`'s answers and "comparisons"
        `clmer.evaluation.significance.compare`'s, over all models but `CONTROLS`.

    Raises:
        ValueError: no models, two of one name, or a main model that is not among them.
    """
    names = [model.model for model in models]
    if not names or len(set(names)) != len(names) or not set(main) <= set(names):
        raise ValueError(f"build_results: models {names} with main {list(main)}")
    tested = [model for model in models if model.model not in CONTROLS]
    return {
        "dataset": dataset,
        "task": task,
        "protocol": protocol,
        "protocol_note": splits[0].note if splits else "",
        "reference": dict(reference or {"kind": "none"}),
        "classes": list(classes),
        "people": len(np.unique(models[0].subject)),
        "recordings": len(np.unique(models[0].recording)),
        "windows": len(
            {*zip(models[0].recording.tolist(), models[0].start_s.tolist(), strict=True)}
        ),
        "shared_groups": max((split.shared_groups for split in splits), default=0),
        "splits": [
            {
                "name": split.name,
                "train": len(split.train),
                "val": len(split.val),
                "test": len(split.test),
                "shared_groups": split.shared_groups,
            }
            for split in splits
        ],
        "interval": METHOD,
        "main": list(main),
        "models": [{"name": m.model, **evaluate(m, classes, protocol)} for m in models],
        "comparisons": compare(tested),
        "notes": list(notes),
    }


def write_results(folder: Path, results: Mapping[str, Any], models: Sequence[Predictions]) -> None:
    """Write results.json, predictions.csv and confusion.png into a run's folder.

    Args:
        folder: an existing folder.
        results: from `build_results`.
        models: the predictions that it was given.

    Raises:
        DataError: a file cannot be written; the disk may be full.
    """
    shown = [model for model in models if model.model in results["main"]]
    write_file(folder / "predictions.csv", predictions_csv(models, results["classes"]))
    write_file(folder / "confusion.png", confusion_png(shown or models, results["classes"]))
    write_file(folder / "results.json", results_json(results))


def results_json(results: Mapping[str, Any]) -> bytes:
    """The results as JSON bytes: keys sorted, floats rounded, null for what is not a number."""
    text = json.dumps(
        _plain(results), sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False
    )
    return (text + "\n").encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return stored(value) if math.isfinite(value) else None
    return value


def predictions_csv(models: Sequence[Predictions], classes: Sequence[str]) -> bytes:
    """One row per model and test window; names are cells that no spreadsheet computes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["subject", "recording", "start_s", "split", "model", "true", "predicted"]
    writer.writerow([*head, *(f"logp_{name}" for name in classes)])
    for m in models:
        rows = zip(
            m.subject, m.recording, m.start_s, m.split, m.y, m.predicted, m.logp, strict=True
        )
        for subject, recording, start, split, true, predicted, logp in rows:
            row = [cell(subject), cell(recording), stored(start), cell(split), cell(m.model)]
            row += [cell(classes[true]), cell(classes[predicted])]
            row += [f"{value:.{STORED}f}" for value in logp]
            writer.writerow(row)
    return text.getvalue().encode()
