"""The section of a run's page about what its model uses, and the same as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from clmer.evaluation.significance import paired_interval
from clmer.evaluation.table import plural
from clmer.evaluation.verdict import WHOM
from clmer.report.attribution import drawings
from clmer.report.attribution.measure import ROUNDS, Drop
from clmer.report.attribution.parts import (
    ACTION_UNIT,
    BAND,
    ELECTRODE,
    MODALITY,
    REGION,
    SIGNAL,
)
from clmer.report.attribution.runs import MOST_WINDOWS, Attribution, Found
from clmer.report.figures import captioned, score_bar, side_by_side
from clmer.report.html import Html, escape, table
from clmer.text import STORED, cell, score_text, signed

TITLE = "What the model uses"
_KINDS = {
    MODALITY: "By modality",
    ELECTRODE: "By electrode",
    BAND: "By frequency band, all electrodes together",
    SIGNAL: "By signal that is not EEG",
    ACTION_UNIT: "By action unit, its intensity and presence together",
    REGION: "By landmark region",
}
_NAMED = "Named are those in bold below."
_NONE_NAMED = "No electrode alone is above 0 after Bonferroni's correction."
#: Rows of a table that are open; more are folded.
_OPEN_ROWS = 8
_HEADER = ("run", "model", "kind", "modality", "part", "people", "windows", "seen")
_VALUES = ("log_loss_rise", "balanced_accuracy_drop", "rmse_rise")


def section(found: Attribution | str, protocol: str) -> Html:
    """Figures and tables of what was found, or why there are none.

    Args:
        found: of the run.
        protocol: whom the run was tested on.
    """
    if isinstance(found, str):
        return Html(f"<p>{escape(found)}</p>")
    blocks = [f"<p>{escape(_what(found, protocol))}</p>", _limits(found)]
    for kind, title in _KINDS.items():
        drops = found.of_kind(kind)
        if drops:
            blocks.append(f"<h4>{escape(title)}</h4>{_drawn(drops, kind)}{_tables(drops, found)}")
    return Html("\n".join(blocks))


def _what(found: Attribution, protocol: str) -> str:
    whom = WHOM.get(protocol, "the test part")
    whole = "mean RMSE" if found.is_rating else "mean balanced accuracy"
    cost = "RMSE" if found.is_rating else "log loss (how little probability the true class gets)"
    class_ = "drawn at random" if found.is_rating else "of a class drawn at random"
    score = float(np.abs(found.scores).mean())
    return (
        f"In each test window one part was exchanged with that of another window of the same "
        f"person, {class_}: there it says nothing any more, and all else stays. Below is "
        f"how much the {cost} of {found.model} rises then, over "
        f"{plural(len(found.people), 'person', 'people')} and {found.windows} windows (at most "
        f"{MOST_WINDOWS} of a person in a split, {ROUNDS} draws), each split's model on its own "
        f"test part: {whom}. With nothing exchanged their {whole} is {score_text(score)}."
    )


def _limits(found: Attribution) -> Html:
    left = ""
    if found.left_out:
        names = escape(_few(found.left_out))
        left = f"<li>Left out, since their windows have one class: {names}.</li>"
    return Html(
        "<ul><li>This is what the model uses, not what the brain or the face does: a part without "
        "a cost can carry the classes too, where another part carries the same.</li>"
        "<li>Correlated electrodes, bands and units share importance: of several that say the same "
        "each costs little alone. A band, and a modality, exchanges them together.</li>"
        "<li>An exchanged part no longer fits the rest of its window. A model that reads relations "
        "between channels can lose more by that than the part says.</li>"
        f"<li>Intervals are 95 % over {plural(len(found.people), 'person', 'people')}. Of many "
        "parts some are above 0 by chance; bold ones are so after Bonferroni's correction for all "
        f"parts of their table.</li>{left}</ul>"
    )


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _drawn(drops: list[Drop], kind: str) -> Html:
    """A head for each modality with electrodes, or a face."""
    cost = "rise of RMSE" if np.isnan(drops[0].loss).any() else "rise of log loss"
    figures = []
    if kind == ELECTRODE:
        for name in dict.fromkeys(drop.part.modality for drop in drops):
            own = [drop for drop in drops if drop.part.modality == name]
            named = [drop.part.name for drop in own if drop.is_seen(len(drops))]
            drawn = drawings.head(own, cost, f"{cost} by electrode of {name} over the head", named)
            if drawn is not None:
                about = (
                    f"{name}: {cost}, interpolated between electrodes; what is below 0 is drawn as "
                    f"0. {_NAMED if named else _NONE_NAMED}"
                )
                figures.append(captioned(drawn, about))
    if kind == REGION:
        drawn = drawings.face(drops, f"{cost} by landmark region on a face")
        most = max(drop.mean for drop in drops)
        about = f"grey and thin: no {cost}; red and thick: {signed(max(most, 0.0))}"
        figures.append(captioned(drawn, about))
    return side_by_side(figures)


def _tables(drops: list[Drop], found: Attribution) -> Html:
    """The first rows, and the rest folded."""
    several = len({d.part.modality for d in drops}) > 1 and drops[0].part.kind != MODALITY
    ends = [paired_interval(drop.cost) or (drop.mean, drop.mean) for drop in drops]
    low, high = min(0.0, *(end[0] for end in ends)), max(0.0, *(end[1] for end in ends))
    width = (high - low) or 1.0

    def place(value: float) -> float:
        return (value - low) / width

    rows = []
    for drop, (start, end) in zip(drops, ends, strict=True):
        name = f"{drop.part.name} ({drop.part.modality})" if several else drop.part.name
        shown: str = escape(name)
        if drop.is_seen(len(drops)):
            shown = Html(f"<strong>{shown}</strong>")
        bar = score_bar(place(drop.mean), place(start), place(end), place(0.0))
        cells: list[object] = [Html(shown), _interval(drop.cost), bar]
        rows.append(cells if found.is_rating else [*cells, _interval(drop.score)])
    cost = "RMSE" if found.is_rating else "log loss"
    header = [drops[0].part.kind, f"rise of {cost} [95 % interval]", "0 marked"]
    header += [] if found.is_rating else ["drop of balanced accuracy [95 % interval]"]
    first = table(header, rows[:_OPEN_ROWS], row_headers=True, css="numbers")
    rest = table(header, rows[_OPEN_ROWS:], row_headers=True, css="numbers")
    if not rest:
        return first
    count = len(rows) - _OPEN_ROWS
    return Html(f"{first}<details><summary>{count} more</summary>{rest}</details>")


def _interval(values: np.ndarray) -> str:
    ends = paired_interval(values)
    shown = "" if ends is None else f" [{signed(ends[0])}, {signed(ends[1])}]"
    return f"{signed(float(values.mean()))}{shown}"


def as_csv(found: Found) -> bytes:
    """All that was measured, one row per run and part; runs that show nothing have none."""
    out = io.StringIO()
    writer = csv.writer(out)
    ends = [f"{value}{end}" for value in _VALUES for end in ("", "_low", "_high")]
    writer.writerow([*_HEADER, *ends])
    for own in found.values():
        if isinstance(own, str):
            continue
        for kind in _KINDS:
            drops = own.of_kind(kind)
            for drop in drops:
                part = (kind, cell(drop.part.modality), cell(drop.part.name))
                seen = "yes" if drop.is_seen(len(drops)) else "no"
                counts = (len(own.people), own.windows, seen)
                names = (cell(own.run), cell(own.model))
                writer.writerow([*names, *part, *counts, *_numbers(drop, own.is_rating)])
    return out.getvalue().encode()


def _numbers(drop: Drop, is_rating: bool) -> list[str]:
    """Mean and interval of each of `_VALUES`; empty where there is none."""
    columns: tuple[np.ndarray | None, ...] = (drop.loss, drop.score, None)
    if is_rating:
        columns = (None, None, drop.score)
    found: list[str] = []
    for values in columns:
        if values is None:
            found += ["", "", ""]
            continue
        ends = paired_interval(values) or ()
        numbers = [f"{value:.{STORED}f}" for value in (float(values.mean()), *ends)]
        found += numbers + [""] * (3 - len(numbers))
    return found
