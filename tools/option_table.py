"""Writes docs/options.md: every option of `clmer train`, from the code that reads them.

    python tools/option_table.py

Run it after a change of an option, a preset or a data set; a test compares the file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from math import isfinite
from pathlib import Path
from typing import Any

from clmer.cli.options import train
from clmer.data.registry import DATASETS
from clmer.options import Spec, specs, to_argv
from clmer.pipeline.config import DATA, MODEL, RUN, TASK, Config
from clmer.pipeline.presets import CPU_BY_DATASET, PAPER_BY_DATASET, PRESETS, build

FILE = Path(__file__).resolve().parents[1] / "docs" / "options.md"
INTRO = """\
# Options of `clmer train`

    clmer train DATASET [options]        # the same: python -m clmer.train DATASET [options]

`python tools/option_table.py` writes this page from the dataclasses that define the options:
`PrepareOptions` in `clmer/data/store/options.py`, `ModelConfig` and `Config` in
`clmer/pipeline/config.py`. In Python an option has the name in the second column, a field of
`clmer.pipeline.config.Config`. What you set yourself overrides the preset.

"""
_TYPES = {"int": "whole number", "float": "number", "str": "text"}


def page() -> str:
    """The whole file."""
    parser = argparse.ArgumentParser(prog="clmer train")
    train.describe(parser)
    found = {action.dest: action for action in parser._actions if action.option_strings}
    groups = {group.title: group._group_actions for group in parser._action_groups}
    known, types = specs(Config), {each.name: str(each.type) for each in fields(Config)}
    defaults = {each.name: each.default for each in fields(Config)}
    parts = [INTRO]
    for title in (DATA, TASK, MODEL, RUN):
        parts.append(f"## {title[0].upper()}{title[1:]}\n\n")
        rows = []
        for action in groups[title]:
            spec = known.get(action.dest)
            name = f"`{action.dest}`" if action.dest in defaults else ""
            cells = [_flags(found[action.dest]), name, _values(action, spec, types)]
            cells += _defaults(action, title, defaults)
            rows.append([*cells, _plain(action.help or "")])
        heads = ["paper", "cpu"] if title == MODEL else ["default"]
        parts += [*_table(["option", "Python", "values", *heads, "meaning"], rows), "\n"]
    parts += [_data_sets()]
    return "".join(parts)


def _flags(action: argparse.Action) -> str:
    return ", ".join(f"`{flag}`" for flag in action.option_strings)


def _values(action: argparse.Action, spec: Spec | None, types: Mapping[str, str]) -> str:
    words = spec.words if spec else tuple(action.choices or ())
    if words:
        kind = "some of " if types.get(action.dest, "").startswith("tuple") else ""
        return kind + ", ".join(f"`{word}`" for word in words)
    if action.nargs == 0:
        return "on, off" if isinstance(action, argparse.BooleanOptionalAction) else "given or not"
    plain = types.get(action.dest, "").removesuffix(" | None")
    plain = plain or getattr(action.type, "__name__", "str")
    if plain not in _TYPES or plain == "str":
        return f"`{action.metavar}`" if action.metavar else "text"
    return ", ".join([_TYPES[plain], *_range(spec)])


def _range(spec: Spec | None) -> Iterable[str]:
    if spec is None:
        return
    words = (("from", spec.least), ("above", spec.above), ("to", spec.most), ("below", spec.below))
    ends = [f"{word} {end:.15g}" for word, end in words if end is not None and isfinite(end)]
    if ends:
        yield " ".join(ends)


def _plain(help: str) -> str:
    return help.replace("%%", "%").replace("<", "\\<")


def _defaults(action: argparse.Action, title: str, defaults: Mapping[str, Any]) -> list[str]:
    name = action.dest
    default = _shown(defaults.get(name, MISSING) if action.default is None else action.default)
    if name == "preset":
        return ["", ""]
    if title != MODEL:
        return [default if action.nargs != 0 or name in defaults else ""]
    return [default, _shown(PRESETS["cpu"].get(name, defaults[name]))]


def _shown(value: Any) -> str:
    if value is MISSING or value is None or value in ("", ()):
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _data_sets() -> str:
    rows = []
    for name, dataset in DATASETS.items():
        paper = {**PAPER_BY_DATASET.get(name, {}), **_ablation(name, "paper")}
        cpu = {**CPU_BY_DATASET.get(name, {}), **_ablation(name, "cpu")}
        rows.append(
            [
                f"`{name}`",
                ", ".join(dataset.modalities) or "all that are found",
                f"{dataset.window_s:g} s",
                f"`{dataset.protocol}`",
                ", ".join(dataset.tasks) or "the label columns of the table",
                _options(paper),
                _options(cpu),
            ]
        )
    heads = ["data set", "modalities", "window", "protocol", "tasks, the default first"]
    heads += ["`paper` changes", "`cpu` changes"]
    return "".join(["## Defaults by data set\n\n", *_table(heads, rows)])


def _ablation(dataset: str, preset: str) -> dict[str, Any]:
    chosen = build(dataset, {"preset": preset, "task": "label"})
    return {"ablation": chosen.ablation} if chosen.ablation != "none" else {}


def _options(values: Mapping[str, Any]) -> str:
    words = " ".join(to_argv(Config, values))
    return f"`{words}`" if words else ""


def _table(heads: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = ["|" + "|".join(f" {cell} " if cell else " " for cell in row) for row in (heads, *rows)]
    return [f"{line}|\n" for line in (lines[0], "|---" * len(heads), *lines[1:])]


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
    print(FILE)
