"""Options of `clmer train` as a dict: made a run, and written as words.

A dict names each option as `clmer.pipeline.config.Config` does, with those of the source
(`root`, or `synthetic`, `control`, `people`, `generator_seed`) and of the process (`PROCESS`).
What it lacks is the data set's or the preset's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clmer.options import flags
from clmer.pipeline.config import Config
from clmer.pipeline.presets import configure

Options = Mapping[str, Any]

#: Options that say where and how a process runs, not what it trains.
PROCESS = ("cache", "out", "resume", "threads")
#: The source and the device where an option does not say them.
_UNSET: dict[str, Any] = {"synthetic": False, "device": "auto"}
_UNSET |= dict.fromkeys(("root", "control", "people", "generator_seed", "task"))


def config_of(dataset: str, options: Options) -> Config:
    """The run that options ask for.

    Raises:
        ConfigError: an option that cannot be met.
        DataError: a manifest that cannot be read.
    """
    asked = {name: value for name, value in options.items() if name not in PROCESS}
    return configure(dataset, **_UNSET | asked)


def words_of(dataset: str, options: Options) -> list[str]:
    """The words that `clmer train` reads as these options."""
    words, known = [dataset], flags([Config])
    for name, value in options.items():
        flag = known.get(name, "--" + name.replace("_", "-"))
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            parts = value if isinstance(value, (tuple, list)) else (value,)
            words += [flag, ",".join(map(str, parts))]
    return words
