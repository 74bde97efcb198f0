"""Training curves of a run, from metrics.jsonl."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from clmer.evaluation.kinds import KINDS
from clmer.report.figures import COLOURS, Curve, captioned, curves, legend, side_by_side
from clmer.report.html import Html, escape
from clmer.report.reading import RunFiles

#: Lines of metrics.jsonl of one stage, one per epoch.
Epochs = Sequence[Mapping[str, Any]]
#: Parts of the contrastive loss, in the fields "<modality>_sample" and (of the paper's objective)
#: "<modality>_temporal".
_PARTS = ("sample", "temporal")
_TRAIN, _VALIDATION, _SCORE = COLOURS[:3]


def training(run: RunFiles) -> Html:
    """Panels of every stage, with a thin line per split (and member)."""
    by_name: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for epoch in run.log:
        name = _stage_name(epoch["stage"], run.config.get("members", 1))
        by_name.setdefault(name, {}).setdefault(epoch["stage"], []).append(epoch)
    blocks = []
    for name, stages in by_name.items():
        count = f"{len(stages)} lines: splits" if len(stages) > 1 else "1 split"
        count += " and members" if run.config.get("members", 1) > 1 else ""
        blocks.append(f"<h4>{escape(name)} <small>({count})</small></h4>")
        title, lines = f"{run.name}, {name}", list(stages.values())
        if name == "contrastive":
            drawn = _contrastive(title, lines)
        else:
            drawn = _fusion(title, lines, KINDS[run.config.get("target", "class")].title)
        blocks.append(side_by_side(drawn))
    return Html("\n".join(blocks))


def _stage_name(stage: str, members: int) -> str:
    """A stage without its split, and without its member where there are several."""
    name = stage.split("/", 1)[-1]
    found = re.fullmatch(r"(.+)-(\d+)", name)
    return found[1] if found and 2 <= int(found[2]) <= members else name


def _contrastive(title: str, stages: Sequence[Epochs]) -> list[Html]:
    total = curves([_curve(epochs, "loss") for epochs in stages], f"{title}: training loss")
    panels = [captioned(total, "Training loss by epoch")]
    fields = [name for name in stages[0][0] if name.endswith(tuple(f"_{part}" for part in _PARTS))]
    modalities = list(dict.fromkeys(field.rsplit("_", 1)[0] for field in fields))
    if modalities:
        lines = [
            _curve(epochs, f"{modality}_{part}", colour, dashed=part == "temporal")
            for modality, colour in zip(modalities, cycle(COLOURS), strict=False)
            for part in _PARTS
            if f"{modality}_{part}" in fields
            for epochs in stages
        ]
        note = "Parts of the loss: solid between windows (Eq. 2), dashed over time (Eq. 3)"
        drawn = curves(lines, f"{title}: parts of the loss of each modality")
        panels.append(captioned(drawn, Html(f"{legend(modalities, COLOURS)}<br>{note}")))
    return panels


def _fusion(title: str, stages: Sequence[Epochs], scored_by: str) -> list[Html]:
    train = [_curve(epochs, "loss", _TRAIN) for epochs in stages]
    scored = ([e for e in epochs if {"val_loss", "val_score"} <= e.keys()] for epochs in stages)
    validated = [epochs for epochs in scored if epochs]
    loss = [_curve(e, "val_loss", _VALIDATION, dashed=True, marks_best=True) for e in validated]
    drawn = curves([*train, *loss], f"{title}: training and validation loss")
    names = legend(("training", "validation"), (_TRAIN, _VALIDATION), ("—", "- -"))
    note = "Loss by epoch; the dot is the epoch whose weights were kept"
    panels = [captioned(drawn, Html(f"{names}<br>{note}"))]
    if validated:
        score = [_curve(epochs, "val_score", _SCORE, marks_best=True) for epochs in validated]
        drawn = curves(score, f"{title}: {scored_by} in validation")
        name = legend(("validation",), (_SCORE,))
        note = f"{scored_by[0].upper()}{scored_by[1:]} per window, by epoch"
        panels.append(captioned(drawn, Html(f"{name}<br>{note}")))
    return panels


def _curve(
    epochs: Epochs,
    field: str,
    colour: str = COLOURS[0],
    *,
    dashed: bool = False,
    marks_best: bool = False,
) -> Curve:
    known = [epoch for epoch in epochs if field in epoch]
    x, y = ([epoch[name] for epoch in known] for name in ("epoch", field))
    return Curve(x, y, colour, dashed, best_epoch(epochs) if marks_best else None)


def best_epoch(epochs: Epochs) -> int:
    """The epoch whose weights a stage keeps: best validation score, of equal ones lowest loss."""
    best = max(epochs, key=lambda epoch: (epoch["val_score"], -epoch["val_loss"]))
    return int(best["epoch"])
