"""Runs joined into one page: what was run, its scores, how it trained, what it learnt."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clmer.data.store.summary import report_lines
from clmer.errors import ConfigError, DataError
from clmer.evaluation.kinds import kind_of
from clmer.evaluation.table import SHUFFLED_WARNING, explanations, interval, plural, reference_text
from clmer.evaluation.verdict import verdict
from clmer.options import flags, in_flags
from clmer.pipeline.config import Config
from clmer.report import figures, tables
from clmer.report.command import command
from clmer.report.html import Html, Section, escape, page, table
from clmer.report.reading import RunFiles, find_runs
from clmer.report.training import training

if TYPE_CHECKING:
    from clmer.report.attribution.runs import Found

PRIVATE = (
    "This page was made from recordings of people. It holds no raw signals and no faces, but each "
    "person's scores and points computed from single windows, which a data set's agreement (DEAP, "
    "AMIGOS, ...) can forbid to pass on. Keep it private: do not commit, upload or publish it."
)
GENERATED = "Every run on this page used generated recordings: it shows no people."
INFLATED = " ".join(SHUFFLED_WARNING)
STYLE = (
    figures.STYLE
    + """
body { max-width: 76rem; }
h2 { margin-top: 3rem; border-bottom: 2px solid var(--faint); }
.numbers { font-variant-numeric: tabular-nums; }
.numbers td { white-space: nowrap; }
.people td, .numbers td:first-child, .numbers .wrap { white-space: normal; }
.numbers tbody th { min-width: 8rem; }
.people tbody th { min-width: 3rem; }
.numbers a { display: inline-block; min-width: 8rem; white-space: normal; overflow-wrap: anywhere; }
@media screen and (max-width: 48rem) {
  .numbers td { white-space: normal; }
  .confusion th, .confusion div { padding: .2rem .3rem; font-size: .8rem; }
}
.numbers .wrap { display: inline-block; min-width: 9rem; white-space: normal; }
.confusion th, .confusion div { padding: .3rem .7rem; }
.confusion td { padding: 0; }
.confusion div { background: rgb(var(--hue) / var(--share)); text-align: center; }
.confusion div, .map { print-color-adjust: exact; }
.confusion small { display: block; }
.verdict { border-left: .3rem solid var(--faint); padding: .5rem 1rem .5rem 2rem; }
small { opacity: .8; }
code { overflow-wrap: anywhere; }
code.flag { white-space: nowrap; }
pre { overflow-x: auto; font-size: .85rem; }
a { color: inherit; }
"""
)


def report(
    paths: Sequence[Path],
    *,
    cache: Path,
    shows_learned: bool = True,
    attribution: Found | None = None,
) -> str:
    """The page of all runs in and below some folders.

    Args:
        paths: run folders, or folders with runs below them.
        cache: folder of the prepared stores, for attention maps and features.
        shows_learned: draw attention maps and features; they need the weights and the store.
        attribution: what the runs' models use, see `clmer.report.attribution.runs.attribute`; None
            leaves it out.

    Returns:
        HTML.

    Raises:
        DataError: a path holds no run, or every run has a damaged file. Of several runs the
            damaged ones are named on the page, and on standard error.
    """
    unreadable: list[DataError] = []
    runs = find_runs(paths, unreadable)
    if unreadable and not runs:
        raise unreadable[0]
    for error in unreadable:
        print(f"clmer: left out of the page: {error}", file=sys.stderr)
    sections = [
        *_left_out(unreadable),
        *_joined(runs),
        *(_run(run, cache, shows_learned, attribution) for run in runs),
    ]
    warning = GENERATED if all(run.config.get("synthetic") for run in runs) else PRIVATE
    title = f"CLMER: {plural(len(runs), 'run')}" if len(runs) > 1 else f"CLMER: {runs[0].name}"
    subtitle = f"Made from {', '.join(map(str, paths))}"
    return page(title, subtitle, warning, sections, STYLE)


def _left_out(errors: Sequence[DataError]) -> list[Section]:
    """The runs that could not be read, and why."""
    if not errors:
        return []
    items = "".join(f"<li>{escape(error)}</li>" for error in errors)
    text = "These runs cannot be read; nothing on this page comes from them."
    return [Section("Left out", text, f"<ul>{items}</ul>")]


def _joined(runs: Sequence[RunFiles]) -> list[Section]:
    """All runs in one table, and tests between them; nothing for a single run."""
    if len(runs) < 2:
        return []
    known = tables.by_reference(runs)
    overview = "\n".join(_overview(own, kind) for kind, own in known.items())
    shuffled = any(run.protocol == "shuffled" for run in runs)
    text = Html(f"Protocol shuffled: <strong>{escape(INFLATED)}</strong>") if shuffled else ""
    sections = [Section("Runs", text, overview)]
    kinds = dict.fromkeys(kind_of(run.scored) for run in runs if run.scored)
    if kinds:
        levels = (("windows", "Per window"), ("recordings", "Per recording"))
        joined = [
            tables.joined_scores(runs, level, caption, kind)
            for kind in kinds
            for level, caption in levels
        ]
        text = (
            "Models under study are bold. Intervals are over people. A score holds only for what "
            "its protocol separates: new people, or new recordings of known people."
        )
        sections.append(Section("Scores of all runs", text, "\n".join(joined)))
    tests = tables.joined_comparisons(runs)
    text = "Models of runs that tested the same people on the same task in the same way."
    if not tests:
        text = "None: no two runs tested the same people on the same task in the same way."
    return [*sections, Section("Tests between runs", text, "\n".join(tests))]


def _overview(runs: Sequence[RunFiles], reference: str) -> Html:
    """One row per run, of those that know people by the same kind of reference."""
    rows = []
    for run in runs:
        config, best = run.config, "-"
        if run.scored:
            first = run.scored["models"][0]
            kind = kind_of(run.scored)
            best = f"{first['name']}: {kind.title} {interval(first['windows'], kind)}"
        source = f"{config['dataset']}{' (synthetic)' if config.get('synthetic') else ''}"
        what = [source, config["task"], run.protocol, reference]
        rows.append([tables.link(run), *what, run.state, best])
    header = ("run", "data set", "task", "protocol", "reference", "state", "first model")
    return table(header, rows, row_headers=True, css="numbers")


def _run(run: RunFiles, cache: Path, shows_learned: bool, attribution: Found | None) -> Section:
    """Everything about one run."""
    blocks = [*_verdict(run), ("What was run", _facts(run)), *_score_blocks(run)]
    if run.log:
        blocks.append(("Training", training(run)))
    if shows_learned:
        from clmer.report.learned import learned  # models, TensorBoard and t-SNE

        blocks += learned(run, cache)
    if attribution is not None:
        from clmer.report.attribution.section import TITLE, section  # models, MNE

        blocks.append((TITLE, section(attribution[run.path], run.protocol)))
    body = "\n".join(f"<h3>{escape(title)}</h3>\n{block}" for title, block in blocks)
    inflated = Html(f"<strong>{escape(INFLATED)}</strong>")
    text = inflated if run.protocol == "shuffled" else ""
    return Section(run.name, text, body, tables.anchor(run))


def _verdict(run: RunFiles) -> list[tuple[str, Html]]:
    """A finished run's results in words."""
    if run.results is None:
        return []
    items = "".join(f"<li>{_in_words(line)}</li>" for line in verdict(run.results))
    return [("Verdict", Html(f'<ul class="verdict">{items}</ul>'))]


def _in_words(line: str) -> Html:
    """A sentence of the library in the command line's words; flags are not broken."""
    text = escape(in_flags(line, flags([Config])))
    return Html(re.sub(r"(?<![\w-])(--[a-z][a-z-]*)", r'<code class="flag">\1</code>', text))


def _facts(run: RunFiles) -> Html:
    config, results = run.config, run.scored
    rows: list[tuple[object, object]] = [("state", run.state), ("command", _command(run))]
    rows += [("data set", config["dataset"]), ("task", config["task"])]
    if results:
        rows += [
            ("classes", " / ".join(results["classes"]) or "none: ratings"),
            ("protocol", f"{run.protocol}. {results['protocol_note']}"),
            ("reference", reference_text(results)),
            ("tested", _tested(results)),
            ("groups shared by training, validation and test", results["shared_groups"]),
        ]
    else:
        rows += [("protocol", run.protocol)]
    data = report_lines((run.results or {}).get("data", {}))
    rows += [("data", _in_words(line)) for line in data]
    versions = ", ".join(f"{name} {value}" for name, value in run.environment.items())
    rows += [
        ("modalities", ", ".join(run.modalities)),
        ("data fingerprint (SHA-256)", Html(f"<code>{escape(config['data'])}</code>")),
        ("made with", versions),
    ]
    options = escape(json.dumps(config, indent=1, ensure_ascii=False))
    whole = f"<details><summary>config.json</summary><pre>{options}</pre></details>"
    return Html(table((), rows, row_headers=True) + whole)


def _command(run: RunFiles) -> Html | str:
    try:
        return Html(f"<code>{escape(command(run.config))}</code>")
    except ConfigError as error:
        return f"This version of CLMER cannot repeat it: {error}"


def _tested(results: dict[str, Any]) -> str:
    return (
        f"{plural(results['people'], 'person', 'people')}, "
        f"{plural(results['recordings'], 'recording')}, {plural(results['windows'], 'window')}, "
        f"in {plural(len(results['splits']), 'split')}"
    )


def _score_blocks(run: RunFiles) -> list[tuple[str, Html]]:
    results = run.scored
    if results is None:
        if run.results is not None:
            text = "No scores: the run trained encoders only (no fusion stage)."
            return [("Scores", Html(f"<p>{escape(text)}</p>"))]
        text = "No scores yet: the run is unfinished. The same command with --resume continues it."
        return [("Scores", Html(f"<p>{escape(text)}</p>"))]
    kind = kind_of(results)
    notes = [line for line in explanations(results) if line not in SHUFFLED_WARNING]
    items = "".join(f"<li>{_in_words(line)}</li>" for line in notes)
    blocks = [
        tables.scores(results, "windows", "Per window"),
        tables.scores(
            results,
            "recordings",
            f"Per recording: {kind.joined} of its windows",
        ),
        f"<ul>{items}</ul>",
    ]
    found = [("Scores", Html("\n".join(blocks)))]
    if results["comparisons"]:
        tests = tables.comparisons(results["comparisons"], kind)
        found.append(("Tests between models", tests))
    found.append(("People", tables.people(results)))
    if not results["classes"]:
        return [*found, ("Predicted against true", tables.ratings(run, results["main"]))]
    return [*found, ("Confusion", tables.confusions(results))]
