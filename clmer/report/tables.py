"""Tables of the report page: scores, people, tests between models, confusion matrices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from clmer.evaluation.significance import compare_people
from clmer.evaluation.table import comparison_caption, interval, plural, reference_text, spread
from clmer.report import figures
from clmer.report.html import Html, escape, table
from clmer.report.reading import RunFiles
from clmer.text import p_value, score_text, signed

_SCORES = (
    "balanced accuracy [95 % interval]",
    "0 to 1, chance marked",
    "mean ± sd over repeats",
    "accuracy",
    "macro F1",
    "weighted F1",
)


def scores(results: Mapping[str, Any], level: str, caption: str) -> Html:
    """One row per model; models under study are bold.

    Args:
        results: checked, see `clmer.report.reading`.
        level: "windows" or "recordings".
        caption: of the table.
    """
    chance = 1 / len(results["classes"])
    rows = [
        [_name(model["name"], results["main"]), *_cells(model[level], chance)]
        for model in results["models"]
    ]
    return table(("model", *_SCORES), rows, caption=caption, row_headers=True, css="numbers")


def _name(name: str, main: Sequence[str]) -> Html:
    return Html(f"<strong>{escape(name)}</strong>" if name in main else escape(name))


def _cells(level: Mapping[str, Any], chance: float) -> list[object]:
    score = level["balanced_accuracy"]
    drawn = figures.score_bar(score["value"], score["low"], score["high"], chance)
    names = ("accuracy", "macro_f1", "weighted_f1")
    return [interval(level), drawn, spread(level), *(score_text(level[n]["value"]) for n in names)]


def by_reference(runs: Sequence[RunFiles]) -> dict[str, list[RunFiles]]:
    """Runs by what they know of people: scores of two kinds stand in no column together."""
    found: dict[str, list[RunFiles]] = {}
    for run in runs:
        known = reference_text({"reference": {"kind": run.config.get("reference", "none")}})
        found.setdefault(known, []).append(run)
    return found


def joined_scores(runs: Sequence[RunFiles], level: str, caption: str) -> Html:
    """One row per run and model, of all runs that have scores; a table per kind of reference."""
    scored = by_reference([run for run in runs if run.scored])
    if len(scored) < 2:
        return _joined_scores(runs, level, caption)
    tables = (_joined_scores(own, level, f"{caption}, reference {k}") for k, own in scored.items())
    return Html("\n".join(tables))


def _joined_scores(runs: Sequence[RunFiles], level: str, caption: str) -> Html:
    rows = []
    for run in runs:
        results = run.scored
        if results is None:
            continue
        chance = 1 / len(results["classes"])
        protocol = results["protocol"]
        protocol += " (inflated)" if protocol == "shuffled" else ""
        for model in results["models"]:
            named = _name(model["name"], results["main"])
            rows.append([link(run), protocol, named, *_cells(model[level], chance)])
    header = ("run", "protocol", "model", *_SCORES)
    return table(header, rows, caption=caption, row_headers=True, css="numbers")


def link(run: RunFiles) -> Html:
    """The run's name as a link to its section."""
    return Html(f'<a href="#{escape(anchor(run))}">{escape(run.name)}</a>')


def anchor(run: RunFiles) -> str:
    """The name of a run's section in links."""
    return f"run-{quote(run.name, safe='')}"


def people(results: Mapping[str, Any]) -> Html:
    """One row per person: balanced accuracy of each model, per window and per recording."""
    models = results["models"]
    scored = [{row["subject"]: row for row in model["people"]} for model in models]
    rows = []
    for person, first in scored[0].items():
        cells = []
        for by_person in scored:
            row = by_person.get(person)
            shown = ("balanced_accuracy", "recording_balanced_accuracy")
            cells.append(" / ".join(score_text(row[n]) for n in shown) if row else "-")
        rows.append([person, first["windows"], first["recordings"], *cells])
    names = [_name(model["name"], results["main"]) for model in models]
    return table(
        ("person", "windows", "recordings", *names),
        rows,
        caption="Balanced accuracy of each person, per window / per recording",
        row_headers=True,
        css="numbers",
    )


def comparisons(pairs: Sequence[Mapping[str, Any]]) -> Html:
    """One row per pair of models, from `clmer.evaluation.significance`."""
    rows = [
        [
            pair["a"],
            pair["b"],
            pair["people"],
            signed(pair["difference"]),
            p_value(pair["p"]),
            p_value(pair["p_holm"]),
            _not_computable(pair["reason"]) if pair["p"] is None else "",
        ]
        for pair in pairs
    ]
    header = ("model a", "model b", "people", "a - b, mean over people", "p", "p, Holm", "")
    return table(header, rows, caption=comparison_caption(pairs), row_headers=True, css="numbers")


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
        same = [results[name] for name in ("dataset", "task", "classes", "protocol")]
        key = json.dumps([*same, reference_text(results)])
        key += json.dumps([results["splits"], windows_of(results)])
        for model in results["models"]:
            if model["name"] in results["main"]:
                values = {row["subject"]: row["balanced_accuracy"] for row in model["people"]}
                together.setdefault(key, {})[f"{run.name}: {model['name']}"] = values
    found = []
    for key, by_model in together.items():
        if len({name.split(": ", 1)[0] for name in by_model}) > 1:
            dataset, task, _, protocol, known = json.JSONDecoder().raw_decode(key)[0]
            text = f"{dataset}, {task}, protocol {protocol}, reference {known}"
            title = Html(f"<h3>{escape(text)}</h3>")
            found.append(Html(title + comparisons(compare_people(by_model))))
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


def probes(results: Mapping[str, Any]) -> Html:
    """The linear probe of each modality's encoder, and of a random one."""
    rows = []
    for name, values in results["probe"].items():
        scored = [score_text(values[key]) for key in ("trained", "random")]
        rows.append([name, *scored, signed(values["difference"])])
    header = ("modality", "trained encoder", "random encoder", "difference")
    caption = "Linear probe of the contrastive features, balanced accuracy, mean over splits"
    return table(header, rows, caption=caption, row_headers=True, css="numbers")
