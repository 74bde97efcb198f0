"""The command that repeats a run, from its configuration."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from clmer.data.registry import DATASETS
from clmer.errors import ConfigError
from clmer.options import to_argv
from clmer.pipeline.config import Config
from clmer.pipeline.presets import build

#: What the command names even where it is the default: defaults depend on machine and data set.
_ALWAYS = ("task", "protocol", "preset", "device")
#: What follows from other options, or has no flag.
_DERIVED = ("one_start", "fps")


def command(config: Mapping[str, Any]) -> str:
    """The command line that asks for this configuration.

    Args:
        config: "config" of config.json.

    Returns:
        A command for a POSIX shell, without the options whose value the data set's defaults and
        the preset give anyway.

    Raises:
        ConfigError: this version of CLMER has no such data set or refuses an option.
    """
    dataset, synthetic = config["dataset"], config.get("synthetic")
    if dataset not in DATASETS:
        raise ConfigError(f"dataset: found {dataset!r}, expected one of {', '.join(DATASETS)}")
    known = {name: config[name] for name in _ALWAYS}
    usual = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(build(dataset, {**known, "synthetic": synthetic})).items()
    }
    usual["stride_s"] = config.get("window_s")
    words = ["python", "-m", "clmer.train", dataset, *_source(config.get("root", ""), synthetic)]
    for name in (field.name for field in fields(Config)):
        if name in ("dataset", "root", "synthetic", *_DERIVED) or name not in config:
            continue
        if name in _ALWAYS or config[name] != usual[name]:
            words += (
                ["--device", config[name]]
                if name == "device"
                else to_argv(Config, {name: config[name]})
            )
    return shlex.join(words)


def _source(root: str, synthetic: Mapping[str, Any] | None) -> list[str]:
    if synthetic is None:
        return ["--root", root]
    names = {"control": "--control", "people": "--people", "seed": "--generator-seed"}
    given = [[names[key], str(value)] for key, value in synthetic.items()]
    return ["--synthetic", *(word for pair in given for word in pair)]
