"""What a run leaves behind and prints: results.json, predictions.csv, confusion.png, a table.

`results.json` holds no times and no dates: two runs with one seed write the same bytes. Every file
is written under a temporary name and renamed, so that a killed run never leaves half of one.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from clmer.data.splits import Split
from clmer.evaluation.intervals import METHOD
from clmer.evaluation.metrics import Predictions, confusion, confusion_scores, evaluate
from clmer.evaluation.significance import compare, fewest_people
from clmer.storage import write_file
from clmer.text import STORED, cell, p_value, score_text, signed, stored

#: What runs without the field "interval" have.
BOOTSTRAP = "95 % percentile bootstrap interval over people (of an earlier version)"
#: Models that know nothing of the signals or the labels; they are shown and not tested against.
CONTROLS = ("majority", "permuted labels")
SHUFFLED_WARNING = (
    "WARNING: these scores are inflated. Windows of one recording are in training and in test,",
    "so a model scores by recognising the recording and the person; permuted labels score high",
    "for that same reason. Compare them with papers that split windows at random, and take them",
    "for nothing that would hold for a new recording or a new person.",
)


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
) -> dict[str, Any]:
    """Everything that `results.json` holds and the table shows.

    Args:
        models: a model's predictions over all splits, in the order of the table.
        dataset: name of the data set.
        task: name of the task.
        protocol: what kept groups whole.
        classes: class names in the order of the log-probability columns.
        splits: all splits of the run.
        main: names of the models under study; the others are baselines and controls.
        notes: sentences to print below the table ("transductive: ...").

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


def write_report(folder: Path, results: Mapping[str, Any], models: Sequence[Predictions]) -> None:
    """Write results.json, predictions.csv and confusion.png into a run's folder.

    Args:
        folder: an existing folder.
        results: from `build_results`.
        models: the same predictions.

    Raises:
        DataError: a file cannot be written, the disk being full for one.
    """
    shown = [model for model in models if model.model in results["main"]]
    write_file(folder / "predictions.csv", predictions_csv(models, results["classes"]))
    write_file(folder / "confusion.png", confusion_png(shown or models, results["classes"]))
    write_file(folder / "results.json", results_json(results))


def results_json(results: Mapping[str, Any]) -> bytes:
    """The results as JSON bytes: keys sorted, floats rounded, what is not a number null."""
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
    """One row a model and test window, true and predicted class by name (`clmer.text`)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["subject", "recording", "start_s", "split", "model", "true", "predicted"]
    writer.writerow([*head, *(f"logp_{name}" for name in classes)])
    for m in models:
        rows = zip(
            m.subject, m.recording, m.start_s, m.split, m.y, m.predicted, m.logp, strict=True
        )
        for subject, recording, start, split, true, said, logp in rows:
            row = [cell(subject), cell(recording), stored(start), cell(split), cell(m.model)]
            row += [cell(classes[true]), cell(classes[said])]
            row += [f"{value:.{STORED}f}" for value in logp]
            writer.writerow(row)
    return text.getvalue().encode()


def confusion_png(models: Sequence[Predictions], classes: Sequence[str]) -> bytes:
    """`confusion_figure` as a PNG."""
    content = io.BytesIO()
    figure = confusion_figure(models, classes)
    figure.savefig(content, format="png", dpi=150, metadata={"Software": "clmer"})
    return content.getvalue()


def confusion_figure(models: Sequence[Predictions], classes: Sequence[str]) -> Figure:
    """Confusion matrices of test windows, a panel a model: each row's shares, with counts.

    With several repeats their counts add up.
    """
    columns = 2 if len(models) == 4 else min(len(models), 3)
    rows = -(-len(models) // columns)
    side = max(3.2, 0.55 * len(classes) + 1.2)
    figure = Figure(figsize=(columns * side + 0.8, rows * side + 0.3), layout="compressed")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(models) :]:
        axis.set_axis_off()
    for i, model in enumerate(models):
        image = _panel(axes[i], model, classes, first=i % columns == 0)
    figure.colorbar(image, ax=list(axes), label="share of the true class", shrink=0.8)
    return figure


def _panel(axis: Axes, model: Predictions, classes: Sequence[str], *, first: bool) -> AxesImage:
    counts = confusion(model)
    total = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(total, 1)
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    size = 7 if len(classes) > 4 else 9
    for (i, j), value in np.ndenumerate(share):
        text = f"{score_text(value, 2)}\n{counts[i, j]}"
        colour = "white" if value > 0.55 else "black"
        axis.text(j, i, text, ha="center", va="center", color=colour, fontsize=size)
    crowded = len(classes) * max(map(len, classes)) > 24
    axis.set_xticks(range(len(classes)), classes, rotation=90 if crowded else 0)
    axis.set_yticks(range(len(classes)), classes if first else [""] * len(classes))
    axis.set_xlabel("predicted")
    axis.set_ylabel("true" if first else "")
    balanced = float(confusion_scores(counts)["balanced_accuracy"])
    axis.set_title(f"{model.model}\nbalanced accuracy {score_text(balanced)}", fontsize=10)
    return image


def print_table(results: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Print `table` to stdout or a file."""
    print(table(results), file=file or sys.stdout)


def table(results: Mapping[str, Any]) -> str:
    """The results as aligned plain text: a row a model, then what the numbers mean."""
    classes = " / ".join(results["classes"])
    lines = [
        f"{results['dataset']}, {results['task']} ({classes}), protocol {results['protocol']}",
        f"Tested: {plural(results['people'], 'person', 'people')}, "
        f"{plural(results['recordings'], 'recording')}, {plural(results['windows'], 'window')} "
        f"in {plural(len(results['splits']), 'split')}.",
    ]
    below = [*legend(results), *_comparison_lines(results["comparisons"])]
    return "\n".join([*lines, "", *_score_lines(results), "", *below])


def _score_lines(results: Mapping[str, Any]) -> list[str]:
    several = any(model["repeats"] > 1 for model in results["models"])
    extra = ["mean ± sd"] if several else []
    head = ["model", "balanced acc [95 % CI]", *extra, "acc", "macro F1"]
    head += ["balanced acc [95 % CI]", *extra, "acc"]
    rows = []
    for model in results["models"]:
        windows, recordings = model["windows"], model["recordings"]
        cells = [model["name"], interval(windows), *([spread(windows)] if several else [])]
        cells += [score_text(windows[name]["value"]) for name in ("accuracy", "macro_f1")]
        cells += [interval(recordings), *([spread(recordings)] if several else [])]
        rows.append([*cells, score_text(recordings["accuracy"]["value"])])
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    recordings_at = 4 + len(extra)  # first column of the right half
    left = sum(widths[:recordings_at]) + 2 * recordings_at
    levels = " " * (widths[0] + 2) + "per window"
    lines = [f"{levels:<{left + 2}}per recording"]

    def line(cells: Sequence[str]) -> str:
        padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)]
        halves = padded[:recordings_at], padded[recordings_at:]
        return "    ".join("  ".join(half) for half in halves).rstrip()

    lines.append(line(head))
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1) + 2)
    names = [model["name"] for model in results["models"]]
    for i, row in enumerate(rows):
        starts_group = i == 0 or (names[i] in results["main"]) != (names[i - 1] in results["main"])
        lines += [rule, line(row)] if starts_group else [line(row)]
    return lines


def legend(results: Mapping[str, Any]) -> list[str]:
    """What the scores of a run mean and how far they hold, a sentence or a line an element."""
    count = len(results["classes"])
    lines = [
        f"Chance is {score_text(1 / count)} balanced. [ ]: {interval_method(results)}, "
        f"{plural(results['people'], 'person', 'people')} with all their windows.",
        f"Groups shared between training, validation and test: {results['shared_groups']}.",
    ]
    if any(model["repeats"] > 1 for model in results["models"]):
        unit = "split" if results["protocol"] == "shuffled" else "rotation of the splits"
        lines.append(f"mean ± sd: balanced accuracy over repeats; a repeat is one {unit}.")
    if results["protocol_note"] and results["protocol"] != "shuffled":
        lines.append(results["protocol_note"])
    if results["protocol"] == "shuffled":
        lines += SHUFFLED_WARNING
    return [*lines, *results["notes"]]


def interval_method(results: Mapping[str, Any]) -> str:
    """How the intervals of a run were computed; its results.json may be of an earlier version."""
    return str(results.get("interval", BOOTSTRAP))


def _comparison_lines(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    if not comparisons:
        return []
    lines = ["", f"{test_line(comparisons)}:"]
    names = [f"{pair['a']} - {pair['b']}" for pair in comparisons]
    width = max(map(len, names))
    for name, pair in zip(names, comparisons, strict=True):
        difference = "" if pair["difference"] is None else signed(pair["difference"])
        said = f"p {p_value(pair['p'])}  Holm {p_value(pair['p_holm'])}"
        said = f"not computable: {pair['reason']}" if pair["p"] is None else said
        lines.append(f"  {name:<{width}}  {difference:>6}  {said}")
    return lines


def test_line(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Which test the p-values of `clmer.evaluation.significance.compare` come from, and if it can
    tell.

    Few people cannot give a small p, however much their scores differ.
    """
    tests = sum(pair["p"] is not None for pair in comparisons)
    most = max((pair["people"] for pair in comparisons), default=0)
    needed = fewest_people(tests)
    line = (
        "Wilcoxon signed-rank over people, balanced accuracy per window, "
        f"Holm's correction over {plural(tests, 'test')}"
    )
    if most >= needed:
        return line
    so_many = plural(most, "person", "people")
    return f"{line} ({so_many} cannot reach p < 0.05 after it; that takes {needed} or more)"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """A count and its noun: 1 person, 2 people."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def interval(level: Mapping[str, Any]) -> str:
    """Balanced accuracy of a level of `evaluate`, with its interval over people."""
    score = level["balanced_accuracy"]
    if score["low"] is None:
        return f"{score_text(score['value'])} [not computable]"
    return f"{score_text(score['value'])} [{score_text(score['low'])}, {score_text(score['high'])}]"


def spread(level: Mapping[str, Any]) -> str:
    """Balanced accuracy's mean ± sd over repeats, "-" where there is one repeat."""
    score = level["balanced_accuracy"]
    if score["sd"] is None:
        return "-"
    return f"{score_text(score['mean'])} ± {score_text(score['sd'])}"
