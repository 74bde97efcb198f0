"""Options of the command line, made of the fields of dataclasses (`clmer.options`)."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from clmer.errors import EXIT_INPUT
from clmer.options import specs
from clmer.text import did_you_mean, wrapped


class Parser(argparse.ArgumentParser):
    """A parser whose errors fit a terminal, and say what a wrong word may have meant."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong; raises SystemExit."""
        self.print_usage(sys.stderr)
        said = wrapped(f"{self.prog}: error: {message}", rest="  ")
        self.exit(EXIT_INPUT, f"{said}\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(each) for each in action.choices]
        hint = did_you_mean(str(value), known)
        if action.dest == "dataset" and (not hint or Path(value).is_dir()):
            folder = shlex.quote(value) if Path(value).is_dir() else "DIR"
            hint = f"For recordings of your own: {self.prog} manifest --root {folder}"
        text = f"found {value}, expected one of {', '.join(known)}. {hint}"
        raise argparse.ArgumentError(action, text.strip())


def add_fields(
    parser: argparse.ArgumentParser,
    cls: type,
    *,
    only: Collection[str] = (),
    groups: dict[str, Any] | None = None,
) -> None:
    """Add the options of a dataclass; what is not given is None.

    Args:
        parser: of a command.
        cls: its fields made by `clmer.options.option`.
        only: the names to add; empty for all that have a flag.
        groups: headings that exist; more are made as the options name them.
    """
    groups = {} if groups is None else groups
    take_negative_pairs(parser)
    known = specs(cls)
    for field in fields(cls):
        spec = known.get(field.name)
        if spec is None or not spec.flag or (only and field.name not in only):
            continue
        if spec.group not in groups:
            groups[spec.group] = parser.add_argument_group(spec.group) if spec.group else parser
        kind = _kind(str(field.type))
        if spec.words and kind.get("type") in (None, str) and "action" not in kind:
            kind["choices"] = spec.words
        elif spec.metavar and "action" not in kind:
            kind["metavar"] = spec.metavar
        help = spec.help.replace("%", "%%")
        groups[spec.group].add_argument(spec.flag, dest=field.name, default=None, help=help, **kind)


def _kind(annotation: str) -> dict[str, Any]:
    """How argparse reads a field of this type."""
    plain = annotation.removesuffix(" | None")
    if plain == "bool":
        return {"action": argparse.BooleanOptionalAction}
    readers: dict[str, Any] = {"int": int, "float": float, "str": str}
    readers |= {"tuple[str, ...]": names, "tuple[float, float]": interval}
    return {"type": readers[plain]}


def names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def pairs(text: str) -> dict[str, str]:
    """Names and what each stands for, "A=B,C=D"."""
    found = [name.partition("=") for name in names(text)]
    if not all(name and sign and value for name, sign, value in found):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected TEXT=LABEL,TEXT=LABEL")
    return {name.strip(): value.strip() for name, _, value in found}


def interval(text: str) -> tuple[float, float]:
    """Two numbers, "LOW,HIGH"."""
    try:
        low, high = map(float, text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected two numbers, LOW,HIGH, such as 1,7"
        ) from error
    return low, high


def take_negative_pairs(command: argparse.ArgumentParser) -> None:
    """Let "--scale -1,1" have a value, as "--threshold -1" has: argparse knows single numbers."""
    command._negative_number_matcher = re.compile(r"-\.?\d[\d.,eE+-]*$")


def flags_of(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The flag of every argument of a command that has one."""
    return {
        action.dest: action.option_strings[-1 if action.option_strings[0][1] != "-" else 0]
        for action in parser._actions
        if action.option_strings
    }
