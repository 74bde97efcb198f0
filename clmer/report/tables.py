"""Tables of the report page: scores, people, tests between models, confusion matrices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from clmer.errors import DataError
from clmer.evaluation.kinds import KINDS, Kind, kind_of
from clmer.evaluation.rating_figure import rating_figure
from clmer.evaluation.significance import compare_people
from clmer.evaluation.table import (
    comparison_caption,
    difference_text,
    interval,
    plural,
    reference_text,
    spread,
)
from clmer.report import figures
from clmer.report.html import Html, breakable, escape, table
from clmer.report.reading import RunFiles, read_ratings
from clmer.text import p_value, score_text

#: Columns behind the main score, by the kind of results.
_MORE = {
    "class": (("accuracy", "accuracy"), ("macro_f1", "macro F1"), ("weighted_f1", "weighted F1")),
    "rating": (
        ("rmse", "RMSE"),
        ("pearson", "r"),
        ("within_ccc", "CCC within people"),
        ("within_pearson", "r within people"),
    ),
}


def _head(kind: Kind) -> tuple[str, ...]:
    own = f"{kind.title} [95 % interval]", f"{kind.lowest:g} to 1, chance marked"
    return (*own, "mean ± sd over repeats", *(title for _, title in _MORE[kind.target]))


def scores(results: Mapping[str, Any], level: str, caption: str) -> Html:
    """One row per model; models under study are bold.

    Args:
        results: checked, see `clmer.report.reading`.
        level: "windows" or "recordings".
        caption: of the table.
    """
    kind = kind_of(results)
    chance = kind.chance(results)
    rows = [
        [_name(model["name"], results["main"]), *_cells(model[level], chance, kind)]
        for model in results["models"]
    ]
    return table(("model", *_head(kind)), rows, caption=caption, row_headers=True, css="numbers")


def _name(name: str, main: Sequence[str]) -> Html:
    shown = breakable(name)
    return Html(f"<strong>{shown}</strong>") if name in main else shown


def _cells(level: Mapping[str, Any], chance: float, kind: Kind) -> list[object]:
    score, least = level[kind.main], kind.lowest

    def place(value: float | None) -> float | None:
        return None if value is None else (value - least) / (1 - least)

    drawn = figures.score_bar(
        place(score["value"]), place(score["low"]), place(score["high"]), place(chance) or 0.0
    )
    more = (score_text(level[name]["value"]) for name, _ in _MORE[kind.target])
    return [interval(level, kind), drawn, spread(level, kind), *more]


def by_reference(runs: Sequence[RunFiles]) -> dict[str, list[RunFiles]]:
    """Runs by what they know of people: scores of two kinds stand in no column together."""
    found: dict[str, list[RunFiles]] = {}
    for run in runs:
        known = reference_text({"reference": {"kind": run.config.get("reference", "none")}})
        found.setdefault(known, []).append(run)
    return found


def joined_scores(
    runs: Sequence[RunFiles], level: str, caption: str, kind: Kind = KINDS["class"]
) -> Html:
    """One row per run and model, of all runs that have scores of a kind; a table per reference."""
    scored = by_reference([run for run in runs if run.scored and kind_of(run.scored) is kind])
    if len(scored) < 2:
        return _joined_scores(runs, level, caption, kind)
    tables = (
        _joined_scores(own, level, f"{caption}, reference {known}", kind)
        for known, own in scored.items()
    )
    return Html("\n".join(tables))


def _joined_scores(runs: Sequence[RunFiles], level: str, caption: str, kind: Kind) -> Html:
    rows = []
    for run in runs:
        results = run.scored
        if results is None or kind_of(results) is not kind:
            continue
        chance = kind.chance(results)
        protocol = results["protocol"]
        protocol += " (inflated)" if protocol == "shuffled" else ""
        for model in results["models"]:
            named = _name(model["name"], results["main"])
            rows.append([link(run), protocol, named, *_cells(model[level], chance, kind)])
    header = ("run", "protocol", "model", *_head(kind))
    return table(header, rows, caption=caption, row_headers=True, css="numbers")


def link(run: RunFiles) -> Html:
    """The run's name as a link to its section."""
    return Html(f'<a href="#{escape(anchor(run))}">{escape(run.name)}</a>')


def anchor(run: RunFiles) -> str:
    """The name of a run's section in links."""
    return f"run-{quote(run.name, safe='')}"


def people(results: Mapping[str, Any]) -> Html:
    """One row per person: the main score of each model, per window and per recording."""
    kind = kind_of(results)
    models = results["models"]
    scored = [{row["subject"]: row for row in model["people"]} for model in models]
    rows = []
    for person, first in scored[0].items():
        cells = []
        for by_person in scored:
            row = by_person.get(person)
            shown = (kind.main, f"recording_{kind.main}")
            cells.append(" / ".join(score_text(row[n]) for n in shown) if row else "-")
        rows.append([person, first["windows"], first["recordings"], *cells])
    names = [_name(model["name"], results["main"]) for model in models]
    return table(
        ("person", "windows", "recordings", *names),
        rows,
        caption=f"{kind.title[0].upper()}{kind.title[1:]} of each person, "
        "per window / per recording",
        row_headers=True,
        css="numbers people",
    )


def comparisons(pairs: Sequence[Mapping[str, Any]], kind: Kind = KINDS["class"]) -> Html:
    """One row per pair of models, from `clmer.evaluation.significance`."""
    holm = sum(pair["p"] is not None for pair in pairs) > 1
    rows = [
        [
            breakable(pair["a"]),
            breakable(pair["b"]),
            pair["people"],
            difference_text(pair) or "-",
            score_text(pair.get("least")),
            p_value(pair["p"]),
            *([p_value(pair["p_holm"])] if holm else []),
            _not_computable(pair["reason"]) if pair["p"] is None else "",
        ]
        for pair in pairs
    ]
    difference = "a - b, mean over people [95 % interval]"
    tests = ("p", "p, Holm", "") if holm else ("p", "")
    header = ("model a", "model b", "people", difference, "could show", *tests)
    caption = comparison_caption(pairs, kind.tested)
    caption += "; could show: the least difference that so many people would (80 % power)"
    return table(header, rows, caption=caption, row_headers=True, css="numbers")


def _not_computable(reason: str) -> Html:
    return Html(f'<span class="wrap">not computable: {escape(reason)}</span>')


def joined_comparisons(runs: Sequence[RunFiles]) -> list[Html]:
    """Tests between the models under study of runs that tested the same people the same way.

    That is where data set, task, classes, protocol, reference, the sizes of every split, and each
    person's number of windows are the same: then a person's two scores are a pair.
    """
    together: dict[str, dict[str, dict[str, float]]] = {}
    for run in runs:
        results = run.scored
        if results is None:
            continue
        kind = kind_of(results)
        named = [results[name] for name in ("dataset", "task", "classes", "protocol")]
        key = json.dumps([*named, kind.target, reference_text(results)])
        key += json.dumps([results["splits"], windows_of(results)])
        for model in results["models"]:
            if model["name"] in results["main"]:
                values = {row["subject"]: row[kind.by_person] for row in model["people"]}
                together.setdefault(key, {})[f"{run.name}: {model['name']}"] = values
    found = []
    for key, by_model in together.items():
        if len({name.split(": ", 1)[0] for name in by_model}) > 1:
            dataset, task, _, protocol, target, known = json.JSONDecoder().raw_decode(key)[0]
            text = f"{dataset}, {task}, protocol {protocol}, reference {known}"
            title = Html(f"<h3>{escape(text)}</h3>")
            found.append(Html(title + comparisons(compare_people(by_model), KINDS[target])))
    return found


def windows_of(results: Mapping[str, Any]) -> dict[str, int]:
    """Number of test windows of each person."""
    return {row["subject"]: row["windows"] for row in results["models"][0]["people"]}


def confusions(results: Mapping[str, Any]) -> Html:
    """Confusion matrices of the models under study, per window and per recording."""
    shown = [
        confusion_table(
            model[level]["confusion"],
            results["classes"],
            f"{model['name']}, {plural(model[level]['n'], level.removesuffix('s'))}",
        )
        for model in results["models"]
        if model["name"] in results["main"]
        for level in ("windows", "recordings")
    ]
    return figures.side_by_side(shown)


def ratings(run: RunFiles, main: Sequence[str]) -> Html:
    """Predicted against true ratings of the models under study, or why they cannot be drawn."""
    try:
        found = read_ratings(run.path / "predictions.csv")
    except DataError as error:
        return Html(f"<p>Not drawn: {escape(error)}</p>")
    shown = [each for each in found if each.model in main] or found
    text = "Points are test windows, the orange line the mean of each quarter of the ratings."
    drawn = figures.png(rating_figure(shown), f"{run.name}: predicted against true ratings")
    return figures.captioned(drawn, text)


def confusion_table(counts: Sequence[Sequence[int]], classes: Sequence[str], caption: str) -> Html:
    """A confusion matrix: shares of the true class as shade and number, and counts."""
    rows = []
    for name, row in zip(classes, counts, strict=True):
        shares = [n / max(sum(row), 1) for n in row]
        cells = [
            Html(
                f'<div style="--share:{0.6 * share:.3f}">{score_text(share, 2)}'
                f"<small>{n}</small></div>"
            )
            for share, n in zip(shares, row, strict=True)
        ]
        rows.append([name, *cells])
    return table(
        ("true \\ predicted", *classes), rows, caption=caption, row_headers=True, css="confusion"
    )
