"""Every option that a message names exists: flags in commands, arguments in Python."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

import clmer
from clmer.cli import COMMANDS, main
from clmer.pipeline.config import Config

SOURCE = Path(clmer.__file__).parent
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
_ARGUMENT = re.compile(r"`([a-z_]+)(?:=[^`]*)?`")
#: CSS variables, torchrun's option, the beginning of names that are put together, and what `clmer`
#: takes without a command.
_OTHERS = {
    "--version",
    "--faint",
    "--hue",
    "--ink",
    "--paper",
    "--share",
    "--warn",
    "--nproc-per-node",
    "--no",
}
#: Where a message of the library names the command itself: "clmer predict --rate".
_COMMAND = re.compile(
    r"clmer (\w+):? (?:--[a-z-]+ ?)*$|(?:same (?:training )?command|training) with $"
)
#: Arguments of Python functions that no command has as an option.
_PYTHON = {"random_state", "modality", "windows", "name", "path", "shares", "streams", "patience_s"}
_PYTHON |= {"license", "private", "repo_id"}


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command."""
    made = {}
    for name in COMMANDS:
        made[name] = argparse.ArgumentParser()
        import_module(f"clmer.cli.options.{name}").describe(made[name])
    return made


def flags() -> dict[str, set[str]]:
    """The options of each command."""
    return {
        name: {each for action in parser._actions for each in action.option_strings}
        for name, parser in parsers().items()
    }


def arguments() -> set[str]:
    """What a message may call an argument."""
    known = {action.dest for parser in parsers().values() for action in parser._actions}
    return known | {field.name for field in fields(Config)} | _PYTHON


def messages(path: Path) -> Iterator[str]:
    """The texts of a module, without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from [node.value] if id(node) not in docstrings else []


def wrong_flags(known: dict[str, set[str]], module: str, text: str) -> list[str]:
    """Flags that a message of a module may not name.

    A command's own module names that command's flags. The library names flags only where it says
    of which command.
    """
    wrong = []
    own = Path(module).stem if module.startswith("cli/") else ""
    for found in _FLAG.finditer(text):
        flag, command = found[0], _COMMAND.search(text[: found.start()])
        if flag in _OTHERS:
            continue
        name = (command[1] or "train") if command else own
        if own in ("__init__", "arguments") and not command:
            name = "train"
        if own == "experiments" and flag in known["train"]:
            continue
        if flag not in known.get(name, ()):
            wrong.append(flag)
    return wrong


#: Modules whose texts are flags that they define, or that a command to print is made of.
_DEFINING = (
    "pipeline/config.py",
    "data/store/options.py",
    "report/command.py",
    "data/manifest/propose/screen.py",
    "pipeline/share/card.py",
)


def test_every_option_named_exists() -> None:
    known, names = flags(), arguments()
    assert known.keys() == {
        *("manifest", "train", "predict", "live", "report", "inspect", "video", "play"),
        *("experiments", "doctor"),
    }
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        module = str(path.relative_to(SOURCE))
        for text in messages(path):
            bad = [] if module in _DEFINING else wrong_flags(known, module, text)
            if not module.startswith(("ops/", "signal/", "nn/")):
                bad += [name for name in _ARGUMENT.findall(text) if name not in names]
            wrong += [f"{module}: {each} in {text[:80]!r}" for each in bad]
    assert wrong == []


def test_a_missing_option_would_be_found() -> None:
    known = flags()
    assert wrong_flags(known, "data/store/windowing.py", "Lower --window.") == ["--window"]
    assert wrong_flags(known, "data/face/times.py", "State (clmer predict: --face-rate).") == []
    assert wrong_flags(known, "data/face/times.py", "State (clmer train: --rate).") == ["--rate"]
    assert wrong_flags(known, "cli/train.py", "See --resumed.") == ["--resumed"]
    assert wrong_flags(known, "cli/report.py", "See --resume.") == ["--resume"]
    assert wrong_flags(known, "cli/train.py", "the same command with --resume") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "deap", "--synthetic", "--window", "0"], "clmer: --window: found 0"),
        (["train", "deap", "--synthetic", "--stride", "-1"], "clmer: --stride: found -1"),
        (["train", "deap", "--synthetic", "--tokens", "time", "--no-contrastive"], "--tokens time"),
        (["train", "deap", "--synthetic", "--batch-size", "1"], "2 or more (or --no-contrastive)"),
        (["train", "deap", "--synthetic", "--dim", "9"], "a multiple of --heads 4"),
        (["train", "deap", "--synthetic", "--model", "bert"], "--model: found bert"),
        (["train", "deap", "--synthetic", "--graph"], "--graph: found --device cpu"),
        (["train", "deap", "--people", "3"], "--people: these shape generated data"),
        (["inspect", "deap", "--root", "none", "--window", "0"], "clmer: --window: found 0"),
    ],
)
def test_the_command_line_says_flags(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err
