"""Every option that a message names exists in the command that says it."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import clmer
from clmer.cli import options
from clmer.data.video import __main__ as video
from clmer.experiments import command as experiments
from clmer.report import __main__ as report
from clmer.report import inspection as inspect

SOURCE = Path(clmer.__file__).parent
_NAMED = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
#: CSS variables, torchrun's option, and the beginning of names that are put together.
_OTHERS = {"--faint", "--hue", "--ink", "--paper", "--share", "--warn", "--nproc-per-node", "--no"}
#: Commands whose users can meet a module's messages; every other module's is one command or more.
_SAID_BY = {
    "data/cutting.py": ("train", "inspect"),
    "data/prepare.py": ("train", "inspect"),
    "data/cache.py": ("train", "inspect"),
    "data/store.py": ("train", "inspect", "report"),
    "data/synthetic/folder.py": ("train", "inspect"),
    "data/tasks.py": ("train", "inspect"),
    "data/face": ("train", "inspect"),
    "data/account.py": ("train", "inspect"),
    "data/biosignal.py": ("train", "inspect"),
    "data/formats": ("train", "inspect"),
    "predict.py": ("predict",),
    "data/video": ("video",),
    "report/__main__.py": ("report",),
    "report/learned.py": ("report",),
}
#: Where a message names the command itself: "clmer predict --rate".
_COMMAND = re.compile(
    r"clmer (\w+):? (?:--[a-z-]+ ?)*$|same training command with $|training with $"
)


def parsers(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The options of each command."""
    made: list[argparse.ArgumentParser] = []

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        made.append(parser)
        raise SystemExit

    for name in ("parse_args", "parse_known_args"):
        monkeypatch.setattr(argparse.ArgumentParser, name, stop)
    for main in (report.main, inspect.main, video.main, experiments.main):
        with pytest.raises(SystemExit):
            main([])
    monkeypatch.undo()
    commands = dict(zip(("report", "inspect", "video", "experiments"), made, strict=True))
    (choice,) = (a for a in options.parser()._actions if isinstance(a.choices, dict))
    return {
        name: {each for action in parser._actions for each in action.option_strings}
        for name, parser in (commands | choice.choices).items()
    }


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


def unknown(known: dict[str, set[str]], module: str, text: str) -> list[str]:
    """What a message names that a command which says it does not have."""
    everywhere = set().union(*known.values())
    said_by = next((c for prefix, c in _SAID_BY.items() if module.startswith(prefix)), ())
    wrong = []
    for found in _NAMED.finditer(text):
        option, before = found[0], text[: found.start()]
        command = _COMMAND.search(before)
        if option in _OTHERS:
            continue
        if command and command[1]:
            wrong += [] if option in known.get(command[1], ()) else [option]
        elif command:
            wrong += [] if option in known["train"] else [option]
        elif option not in everywhere or not all(option in known[name] for name in said_by):
            wrong.append(option)
    return wrong


def test_every_option_named_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    known = parsers(monkeypatch)
    assert {"train", "predict", "report", "inspect", "video", "experiments"} == known.keys()
    wrong = [
        f"{path.relative_to(SOURCE)}: {option} in {text[:80]!r}"
        for path in sorted(SOURCE.rglob("*.py"))
        for text in messages(path)
        for option in unknown(known, str(path.relative_to(SOURCE)), text)
    ]
    assert wrong == []


def test_a_missing_option_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    known = parsers(monkeypatch)
    assert unknown(known, "data/cutting.py", "Choose another --fps.") == ["--fps"]
    assert unknown(known, "data/face/times.py", "State --face-rate.") == ["--face-rate"]
    assert unknown(known, "data/face/times.py", "State (clmer predict: --face-rate).") == []
    assert unknown(known, "trained.py", "See --resumed.") == ["--resumed"]
