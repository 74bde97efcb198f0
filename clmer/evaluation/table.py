"""The results of a run as text: a table of scores, and what its numbers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from clmer.evaluation.kinds import KINDS, ClassKind, Column, Kind, kind_of
from clmer.evaluation.results import CONTROLS
from clmer.evaluation.significance import fewest_people
from clmer.text import COLUMNS, broken, p_value, score_text, signed, wrapped

#: Names in fewer columns than this are hard to read.
_SHORT = 16
#: What stands between two columns.
_BETWEEN = "  "
#: A control is called below chance from this difference on.
_BELOW = 0.01
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
    """The results as text of 80 columns: a row per model, then what the numbers mean.

    Names of models that are too long for it go over several lines.
    """
    classes = " / ".join(results["classes"]) or "ratings"
    lines = [
        f"{results['dataset']}, {results['task']} ({classes}), protocol {results['protocol']}, "
        f"reference {reference_text(results)}",
        f"Tested: {plural(results['people'], 'person', 'people')}, "
        f"{plural(results['recordings'], 'recording')}, {plural(results['windows'], 'window')} "
        f"in {plural(len(results['splits']), 'split')}.",
    ]
    kind = kind_of(results)
    for level, title, columns in (
        ("windows", "per window", kind.windows),
        ("recordings", "per recording", kind.recordings),
    ):
        lines += ["", *_score_lines(results, level, title, columns)]
    below = [wrapped(line) for line in explanations(results)]
    below += _comparison_lines(results)
    return "\n".join([*map(wrapped, lines[:2]), *lines[2:], "", *below])


def _score_lines(
    results: Mapping[str, Any], level: str, title: str, columns: Sequence[Column]
) -> list[str]:
    """The scores of a level ("windows" or "recordings"), models under study first."""
    several = any(model["repeats"] > 1 for model in results["models"])
    kind = kind_of(results)
    head = [title, f"{kind.short} [95 % CI]", *(["mean ± sd"] if several else [])]
    head += [name for _, name in columns]
    rows = []
    for model in results["models"]:
        found = model[level]
        cells = [model["name"], interval(found, kind)]
        cells += [spread(found, kind)] if several else []
        rows.append([*cells, *(score_text(found[name]["value"]) for name, _ in columns)])
    columns_of_all = _columns(head, rows)
    lines = _row_lines(head, columns_of_all)
    rule = "-" * max(map(len, lines))
    names = [model["name"] for model in results["models"]]
    for i, row in enumerate(rows):
        starts_group = i == 0 or (names[i] in results["main"]) != (names[i - 1] in results["main"])
        lines += [rule] if starts_group else []
        lines += _row_lines(row, columns_of_all)
    return lines


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """The width of each column; names, and headings beside short ones, are narrowed to fit."""
    cells = [max(len(row[i]) for row in rows) for i in range(len(head))]
    widths = [max(cell, len(title)) for cell, title in zip(cells, head, strict=True)]
    if _total([_SHORT, *widths[1:]]) > COLUMNS:
        for i, title in enumerate(head):
            if "within" in title:
                widths[i] = max(cells[i], *map(len, broken(title, len("CCC within"))))
    widths[0] -= max(0, _total(widths) - COLUMNS)
    return widths


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_BETWEEN) * (len(widths) - 1)


def _row_lines(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """A row in one line or more."""
    parts = [
        [cell] if len(cell) <= width else broken(cell, width)
        for cell, width in zip(cells, widths, strict=True)
    ]
    return [
        _BETWEEN.join(f"{part:<{width}}" for part, width in zip(line, widths, strict=True)).rstrip()
        for line in zip_longest(*parts, fillvalue="")
    ]


def explanations(results: Mapping[str, Any]) -> list[str]:
    """What the scores of a run mean and how far they hold, as sentences or lines."""
    kind = kind_of(results)
    lines = [
        f"{kind.explain(results)} [ ]: {interval_method(results)}, "
        f"{plural(results['people'], 'person', 'people')} with all their windows.",
        f"Groups shared between training, validation and test: {results['shared_groups']}.",
    ]
    if any(model["repeats"] > 1 for model in results["models"]):
        unit = "split" if results["protocol"] == "shuffled" else "rotation of the splits"
        lines.append(f"mean ± sd: {kind.title} over repeats; a repeat is one {unit}.")
    lines += _below_chance(results)
    if results["protocol_note"] and results["protocol"] != "shuffled":
        lines.append(results["protocol_note"])
    if results["protocol"] == "shuffled":
        lines += SHUFFLED_WARNING
    return [*lines, *results["notes"]]


def _below_chance(results: Mapping[str, Any]) -> list[str]:
    """Why controls, which know nothing of the signals, can score below chance."""
    kind = kind_of(results)
    values = {m["name"]: m["windows"][kind.main]["value"] for m in results["models"]}
    least = kind.chance(results) - _BELOW
    low = [name for name in CONTROLS if (found := values.get(name)) is not None and found < least]
    if not low:
        return []
    return [
        f"{' and '.join(low)} below chance: what a test part has more of, its training part has "
        "less of, so that going by frequency alone is wrong there more often than right. With few "
        "people that shows; it says nothing of the signals."
    ]


def reference_text(results: Mapping[str, Any]) -> str:
    """What people were known by; scores of different kinds answer different questions."""
    kind = str(results.get("reference", {}).get("kind", "none"))
    return f"{kind} (transductive)" if kind == "all" else kind


def interval_method(results: Mapping[str, Any]) -> str:
    """How the intervals of a run were computed; its results.json may be of an earlier version."""
    return str(results.get("interval", BOOTSTRAP))


def _comparison_lines(results: Mapping[str, Any]) -> list[str]:
    comparisons = results["comparisons"]
    if not comparisons:
        return []
    kind = kind_of(results)
    tests = sum(pair["p"] is not None for pair in comparisons)
    lines = ["", wrapped(f"{comparison_caption(comparisons, kind.tested)}:", rest="")]
    for pair in comparisons:
        shown = f"p {p_value(pair['p'])}"
        shown += f", Holm {p_value(pair['p_holm'])}" if tests > 1 else ""
        shown = f"not computable: {pair['reason']}" if pair["p"] is None else shown
        named = f"  {pair['a']} - {pair['b']}"
        if len(named) > COLUMNS:
            one, other = broken(f"{pair['a']} -", COLUMNS - 4), broken(pair["b"], COLUMNS - 4)
            named = "\n".join([*(f"  {part}" for part in one), *(f"    {part}" for part in other)])
        lines.append(named)
        difference = difference_text(pair)
        lines.append(wrapped(f"{difference + '; ' if difference else ''}{shown}", " " * 6))
    return lines


def difference_text(pair: Mapping[str, Any]) -> str:
    """A pair's mean difference over people, with its interval where there is one."""
    if pair["difference"] is None:
        return ""
    if pair.get("low") is None or pair.get("high") is None:
        return signed(pair["difference"])
    return f"{signed(pair['difference'])} [{signed(pair['low'])}, {signed(pair['high'])}]"


def comparison_caption(
    comparisons: Sequence[Mapping[str, Any]], tested: str = ClassKind.tested
) -> str:
    """Which test the p-values of `Kind.compare` come from, by the score `tested`.

    It says so where the people are too few for a small p, however much their scores differ.
    """
    tests = sum(pair["p"] is not None for pair in comparisons)
    most = max((pair["people"] for pair in comparisons), default=0)
    needed = fewest_people(tests)
    line = f"{'Wilcoxon signed-rank' if tests else 'Differences'} over people, {tested}"
    if tests > 1:
        line += f", Holm's correction over {tests} tests"
    if most >= needed:
        return line
    people, after = plural(most, "person", "people"), " after it" if tests > 1 else ""
    return f"{line} ({people} cannot reach p < 0.05{after}; that takes {needed} or more)"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """A count and its noun: 1 person, 2 people."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def interval(level: Mapping[str, Any], kind: Kind = KINDS[ClassKind.target]) -> str:
    """The main score of a level of `Kind.evaluate`, with its interval over people."""
    score = level[kind.main]
    if score["low"] is None:
        return f"{score_text(score['value'])} [not computable]"
    return f"{score_text(score['value'])} [{score_text(score['low'])}, {score_text(score['high'])}]"


def spread(level: Mapping[str, Any], kind: Kind = KINDS[ClassKind.target]) -> str:
    """The main score's mean ± sd over repeats, "-" where there is one repeat."""
    score = level[kind.main]
    if score["sd"] is None:
        return "-"
    return f"{score_text(score['mean'])} ± {score_text(score['sd'])}"
