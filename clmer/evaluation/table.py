"""The results of a run as text: a table of scores, and what its numbers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clmer.evaluation.significance import fewest_people
from clmer.text import p_value, score_text, signed

#: The method of runs whose results.json has no field "interval".
BOOTSTRAP = "95 % percentile bootstrap interval over people (of an earlier version)"
#: Lines that stand beside every score of the protocol `shuffled`.
SHUFFLED_WARNING = (
    "WARNING: these scores are inflated. Windows of one recording are in training and in test,",
    "so a model scores by recognising the recording and the person; permuted labels score high",
    "for the same reason. Compare these scores only with papers that split windows at random, and",
    "do not expect them on a new recording or a new person.",
)


def table(results: Mapping[str, Any]) -> str:
    """The results as aligned plain text: one row per model, then what the numbers mean."""
    classes = " / ".join(results["classes"])
    lines = [
        f"{results['dataset']}, {results['task']} ({classes}), protocol {results['protocol']}, "
        f"reference {reference_text(results)}",
        f"Tested: {plural(results['people'], 'person', 'people')}, "
        f"{plural(results['recordings'], 'recording')}, {plural(results['windows'], 'window')} "
        f"in {plural(len(results['splits']), 'split')}.",
    ]
    below = [*explanations(results), *_comparison_lines(results["comparisons"])]
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


def explanations(results: Mapping[str, Any]) -> list[str]:
    """What the scores of a run mean and how far they hold, as sentences or lines."""
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


def reference_text(results: Mapping[str, Any]) -> str:
    """What people were known by; scores of different kinds answer different questions."""
    kind = str(results.get("reference", {}).get("kind", "none"))
    return f"{kind} (transductive)" if kind == "all" else kind


def interval_method(results: Mapping[str, Any]) -> str:
    """How the intervals of a run were computed; its results.json may be of an earlier version."""
    return str(results.get("interval", BOOTSTRAP))


def _comparison_lines(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    if not comparisons:
        return []
    lines = ["", f"{comparison_caption(comparisons)}:"]
    names = [f"{pair['a']} - {pair['b']}" for pair in comparisons]
    width = max(map(len, names))
    for name, pair in zip(names, comparisons, strict=True):
        difference = "" if pair["difference"] is None else signed(pair["difference"])
        shown = f"p {p_value(pair['p'])}  Holm {p_value(pair['p_holm'])}"
        shown = f"not computable: {pair['reason']}" if pair["p"] is None else shown
        lines.append(f"  {name:<{width}}  {difference:>6}  {shown}")
    return lines


def comparison_caption(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Which test the p-values of `clmer.evaluation.significance.compare` come from.

    It says so where the people are too few for a small p, however much their scores differ.
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
    people = plural(most, "person", "people")
    return f"{line} ({people} cannot reach p < 0.05 after it; that takes {needed} or more)"


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
