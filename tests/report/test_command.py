"""The command that repeats a run asks for the same configuration."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

import pytest

from clmer.cli.options.train import describe
from clmer.errors import ConfigError
from clmer.pipeline.presets import build
from clmer.pipeline.run.folder import read_config
from clmer.report.command import command
from clmer.report.reading import find_runs, read_run
from clmer.train.job import settings


def asked(line: str) -> dict:
    """The configuration that a command asks for, without where the recordings are."""
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "clmer.train"]
    parser = argparse.ArgumentParser()
    describe(parser)
    given = vars(parser.parse_args(words[3:]))
    elsewhere = ("command", "cache", "out", "resume", "dry_run", "threads", "synthetic", "root")
    elsewhere += ("people", "control", "generator_seed")
    config = build(given.pop("dataset"), {k: v for k, v in given.items() if k not in elsewhere})
    return json.loads(json.dumps(settings(config)))


def test_the_command_asks_for_the_same_run(place: Path) -> None:
    for run in find_runs([place / "runs"]):
        wanted = {name: value for name, value in run.config.items() if name != "data"}
        assert f"--root {place / 'data'}" in command(run.config)
        assert asked(command(run.config)) == {**wanted, "root": ""}


def test_the_command_names_every_option_that_differs() -> None:
    options = {"models": ["clmer", "svm"], "permuted": False, "batch": 8, "window_s": 2.0}
    options |= {
        "stride_s": 0.5,
        "task": "arousal",
        "members": 2,
        "device": "cpu",
        "preset": "paper",
    }
    made = {"control": "xor:physio,au", "people": 3, "seed": 1}
    config = json.loads(json.dumps(settings(build("deap", {**options, "synthetic": made}))))
    line = command(config)
    assert "--synthetic --control xor:physio,au --people 3 --generator-seed 1" in line
    assert asked(line) == {**config, "synthetic": None}
    assert "--epochs-fusion" not in line
    with pytest.raises(ConfigError, match="found 'unheard-of'"):
        command({**config, "dataset": "unheard-of"})


def test_a_run_from_before_an_option_has_its_default(place: Path, tmp_path: Path) -> None:
    described = json.loads((place / "runs" / "trial" / "config.json").read_text())
    assert described["config"].pop("models") == ["clmer"]
    (tmp_path / "config.json").write_text(json.dumps(described))
    assert read_config(tmp_path).models == ("clmer",)
    assert "--model" not in command(read_run(tmp_path).config).split()
