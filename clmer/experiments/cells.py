"""A cell: one training run that tables are made of, in a folder of its own.

Its name follows from the resolved configuration, so that tables that need the same run share it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clmer.data.recording import SYNTHETIC_MARKER
from clmer.data.registry import DATASETS
from clmer.data.store.writer import stores_folder
from clmer.errors import ConfigError, DataError
from clmer.experiments.specs import LENGTHS, OTHER_LENGTHS, ROWS, Experiment, Row
from clmer.experiments.train_options import PROCESS, Options, config_of
from clmer.pipeline.config import Config
from clmer.pipeline.options.reference import NONE
from clmer.pipeline.run.folder import CONFIG, RESULTS
from clmer.pipeline.run_files import check, read_described
from clmer.text import file_name


@dataclass(frozen=True)
class Setup:
    """What is asked of every cell.

    Args:
        source: `{"root": folder}`, `{"synthetic": True}`, or nothing for $CLMER_DATA.
        protocol: "" for the data set's default.
        repeats: splits a cell trains; 0 for the protocol's own number.
        tasks: instead of the paper's; empty for those.
        modalities: instead of the data set's; empty for those.
        lengths: token lengths instead of the paper's; empty for those.
        options: the user's own, see `clmer.experiments.train_options`.
    """

    source: Options = field(default_factory=dict)
    protocol: str = ""
    repeats: int = 0
    tasks: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()
    options: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One training run.

    Args:
        name: of its folder.
        dataset, task, protocol: of the run.
        options: that make it, its folder left out; see `clmer.experiments.train_options`.
        cache: folder of the prepared stores.
        config: the run that they ask for; None where they cannot be met.
        why: what is wrong then.
    """

    name: str
    dataset: str
    task: str
    protocol: str
    options: Options
    cache: Path
    config: Config | None
    why: str = ""


@dataclass(frozen=True)
class Line:
    """A row on a task, and the run it is read from."""

    row: Row
    task: str
    cell: Cell


@dataclass(frozen=True)
class Plan:
    """An experiment on a data set.

    Args:
        experiment: what is shown.
        dataset: on what.
        protocol: under which protocol; "" where the lines differ in it.
        reference: what people are known by, in all lines alike.
        generated: the recordings are not of people.
        usual: modalities, windows and labels are the data set's defaults, which the paper has, and
            nothing is known of people.
        lines: in the table's order.
    """

    experiment: Experiment
    dataset: str
    protocol: str
    reference: str
    generated: bool
    usual: bool
    lines: tuple[Line, ...]

    @property
    def printed(self) -> str:
        """The paper's table that may stand beside: its recordings, used as it uses them, only."""
        own = self.dataset in self.experiment.datasets and not self.generated
        return self.experiment.printed if own and self.usual else ""

    @property
    def cells(self) -> dict[str, Cell]:
        """By name; lines can share one."""
        return {line.cell.name: line.cell for line in self.lines}


def plan(experiment: Experiment, dataset: str, setup: Setup, protocols: tuple[str, ...]) -> Plan:
    """The lines and cells of an experiment on a data set.

    Args:
        experiment: what is shown.
        dataset: a name in `clmer.data.registry.DATASETS`.
        setup: what the command line asks for.
        protocols: one for a table; several where they stand side by side.

    Raises:
        ConfigError: an option that no cell can meet.
        DataError: a manifest that cannot be read.
    """
    first = _config(dataset, _options(experiment, setup, protocols[0], "", {}))
    modalities = setup.modalities or first.modalities or DATASETS[dataset].found(Path(first.root))
    lengths = setup.lengths or LENGTHS.get(dataset, OTHER_LENGTHS)
    rows = ROWS[experiment.rows](tuple(modalities), lengths)
    tasks = setup.tasks or (
        (first.task,) if dataset == "manifest" else experiment.tasks_on(DATASETS[dataset])
    )
    lines = tuple(
        Line(row, task, cell(experiment, dataset, setup, protocol, task, row.options))
        for protocol in protocols
        for task in tasks
        for row in rows
    )
    generated = first.synthetic is not None or (Path(first.root) / SYNTHETIC_MARKER).exists()
    protocol = first.protocol if len(protocols) == 1 else ""
    usual = _usual(first, tuple(modalities))
    return Plan(experiment, dataset, protocol, first.reference, generated, usual, lines)


def _usual(config: Config, modalities: tuple[str, ...]) -> bool:
    """Whether runs are on the modalities, windows and labels that are the data set's defaults.

    The paper has no reference.
    """
    own = DATASETS[config.dataset]
    return (
        modalities == own.modalities
        and config.window_s == config.stride_s == own.window_s
        and config.labels in ("", *own.labels[:1])
        and config.reference == NONE
    )


def cell(
    experiment: Experiment, dataset: str, setup: Setup, protocol: str, task: str, row: Options
) -> Cell:
    """The run of a row's options on a task."""
    options = _options(experiment, setup, protocol, task, row)
    config, why = None, ""
    try:
        config = _config(dataset, options)
    except (ConfigError, DataError) as error:
        why = str(error)
    kept = config.protocol_name if config else protocol or DATASETS[dataset].protocol
    name = _name(dataset, task, kept, options, config)
    cache = stores_folder(options.get("cache"))
    return Cell(name, dataset, task, kept, options, cache, config, why)


def _options(
    experiment: Experiment, setup: Setup, protocol: str, task: str, row: Options
) -> dict[str, Any]:
    """What the experiment, the user and the row ask for; the later one counts."""
    options = {**setup.source, **experiment.common, "repeats": setup.repeats}
    options |= {"protocol": protocol} if protocol else {}
    options |= {"task": task} if task else {}
    return options | dict(setup.options) | dict(row)


def _config(dataset: str, options: Options) -> Config:
    """The resolved configuration.

    Raises:
        ConfigError: options that cannot be met.
        DataError: a manifest that cannot be read.
    """
    config = config_of(dataset, options)
    if config.target != "class":
        raise ConfigError(
            f"`target={config.target}`: tables are made of classifiers; leave this option out"
        )
    if not config.fusion:
        raise ConfigError("`fusion=False`: tables are made of classifiers; leave this option out")
    return config


def _name(dataset: str, task: str, protocol: str, options: Options, config: Config | None) -> str:
    """What a person needs to find a folder, and a digest of all that decides the run."""
    content: Any = {name: each for name, each in options.items() if name not in PROCESS}
    parts = [dataset, file_name(task or "label"), protocol]
    if config is not None:
        from clmer.train.job import settings

        content = settings(config)
        parts[0] += "-synthetic" if config.synthetic else ""
        parts += ["+".join(config.modalities), "contrastive" if config.contrastive else "raw"]
        parts += [name for name in config.models if name != "clmer"]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return "-".join([*parts, digest[:8]])


def finished(cell: Cell, folder: Path) -> bool:
    """Whether a folder holds this cell's results: same configuration, same recordings.

    Raises:
        DataError: a file of the run or the recordings cannot be used.
    """
    from clmer.train.job import prepared, settings

    if cell.config is None or not (folder / RESULTS).is_file():
        return False
    described = read_described(folder / CONFIG)
    check(described, {"config": {"data": str}}, folder / CONFIG)
    found = described["config"]
    wanted = json.loads(json.dumps(settings(cell.config)))
    if {k: v for k, v in found.items() if k != "data"} != wanted:
        return False
    return bool(found["data"] == prepared(cell.config, cell.cache)[1].fingerprint)
