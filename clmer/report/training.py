"""Training curves of a run, from metrics.jsonl."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from clmer.report.figures import Line, curves, figure, key, panels
from clmer.report.pages import Html, escape
from clmer.report.reading import RunFiles

Lines = Sequence[Mapping[str, Any]]
#: Fields of a line of the contrastive stage: "<modality>_sample", "<modality>_temporal".
_PARTS = ("sample", "temporal")


def training(run: RunFiles) -> Html:
    """Panels of every stage, a thin line a split (and member)."""
    by_name: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for line in run.log:
        name = _name(line["stage"], run.config.get("members", 1))
        by_name.setdefault(name, {}).setdefault(line["stage"], []).append(line)
    parts = []
    for name, stages in by_name.items():
        draw = _contrastive if name == "contrastive" else _fusion
        many = f"{len(stages)} lines: splits" if len(stages) > 1 else "1 split"
        many += " and members" if run.config.get("members", 1) > 1 else ""
        parts.append(f"<h4>{escape(name)} <small>({many})</small></h4>")
        parts.append(panels(draw(name, list(stages.values()))))
    return Html("\n".join(parts))


def _name(stage: str, members: int) -> str:
    """A stage without its split, and without its member where there are several."""
    name = stage.split("/", 1)[-1]
    found = re.fullmatch(r"(.+)-(\d+)", name)
    return found[1] if found and 2 <= int(found[2]) <= members else name


def _contrastive(name: str, stages: Sequence[Lines]) -> list[Html]:
    total = curves([_line(lines, "loss") for lines in stages], f"{name}: training loss by epoch")
    out = [figure(total, "Loss of the training part (Eq. 4), by epoch")]
    fields = [key for key in stages[0][0] if key.endswith(tuple(f"_{part}" for part in _PARTS))]
    modalities = list(dict.fromkeys(field.rsplit("_", 1)[0] for field in fields))
    if modalities:
        drawn = [
            _line(lines, f"{modality}_{part}", number, dashed=part == "temporal")
            for number, modality in enumerate(modalities)
            for part in _PARTS
            for lines in stages
        ]
        keys = "".join(key(modality, number) for number, modality in enumerate(modalities))
        note = "Its parts: solid between windows (Eq. 2), dashed over time (Eq. 3)"
        both = curves(drawn, f"{name}: parts of the loss by modality and epoch")
        out.append(figure(both, Html(f"{keys}<br>{note}")))
    return out


def _fusion(name: str, stages: Sequence[Lines]) -> list[Html]:
    train = [_line(lines, "loss") for lines in stages]
    scored = (
        [line for line in lines if {"val_loss", "val_score"} <= line.keys()] for lines in stages
    )
    validated = [lines for lines in scored if lines]
    loss = [_line(lines, "val_loss", 1, dashed=True, dot=kept(lines)) for lines in validated]
    score = [_line(lines, "val_score", 2, dot=kept(lines)) for lines in validated]
    keys = key("training part", 0) + key("validation part", 1, dashed=True)
    drawn = curves([*train, *loss], f"{name}: training and validation loss by epoch")
    out = [figure(drawn, Html(f"{keys}<br>Loss by epoch; the dot is the epoch that was kept"))]
    if score:
        drawn = curves(score, f"{name}: balanced accuracy of the validation part by epoch")
        keys = key("validation part", 2)
        out.append(figure(drawn, Html(f"{keys}<br>Balanced accuracy per window, by epoch")))
    return out


def _line(
    lines: Lines, name: str, colour: int = 0, *, dashed: bool = False, dot: int | None = None
) -> Line:
    kept_lines = [line for line in lines if name in line]
    x, y = ([line[field] for line in kept_lines] for field in ("epoch", name))
    return Line(x, y, colour, dashed, dot)


def kept(lines: Lines) -> int:
    """The epoch whose weights a stage keeps: best validation score, of equal ones lowest loss."""
    best = max(lines, key=lambda line: (line["val_score"], -line["val_loss"]))
    return int(best["epoch"])
