"""A run's folder: made whole, continued after any kill, never mixed with another configuration.

config.json          everything needed to repeat the run, with versions and data fingerprint
data.json            what that fingerprint is of: parameters of preparation, and the files
metrics.jsonl        one line per epoch
checkpoint/          of each split, the stage in progress (safetensors, its JSON in the header)
models/              what finished stages left, a folder per split
results.json predictions.csv confusion.png events/
NOTICE               what the folder may hold
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from clmer.data.store.origin import differences
from clmer.errors import ConfigError, DataError
from clmer.pipeline.config import Config
from clmer.pipeline.run_files import (
    as_config,
    check,
    read_described,
    read_log,
    read_origin,
    read_tensors,
    readable,
    write_tensors,
)
from clmer.storage import lock, unwritable, write_file

CONFIG, RESULTS = Path("config.json"), Path("results.json")
DATA, METRICS = Path("data.json"), Path("metrics.jsonl")
MODELS, CHECKPOINTS = Path("models"), Path("checkpoint")
LOCK = ".lock"
NOTICE = """\
This folder was made by CLMER from recordings of people. Its predictions.csv and data.json name
people and recordings, and its models were trained on them: a data set's agreement (DEAP, AMIGOS,
...) can forbid to pass them on. Keep it private: do not commit, upload or publish it.
"""
GENERATED_NOTICE = """\
This folder was made by CLMER from generated recordings: it holds nothing of people.
"""
#: In config.json, SHA-256 of the table of the user's own splits, where there is one.
SPLITS_DIGEST = "splits_sha256"
#: The same of the encoders that stage 1 starts from.
INIT_DIGEST = "init_sha256"
_FOLDERS = ("root", "mobilevit", "splits", "init")  # options that are paths
_SHOWN = 5  # differences of the data in one message


#: What is told of a stage in progress: its name, the epochs done, and how many there are at most.
Watch = Callable[[str, int, int], None]


class Run:
    """An open run folder; `watch`, where it is set, is told of the progress.

    Args:
        folder: the run's folder.
        config: what it was asked to do; with `resume`, equal to what it was first asked.
        environment: versions and the like; recorded, not compared.
        data: the store's `origin`, by which a refusal says what became different.
        resume: continue an existing folder.
        leads: whether this process made the folder; of several that train
            different splits in one folder, the first.
        keeps: False for a process that shares every step of another one: it reads, and leaves the
            folder alone.

    Raises:
        ConfigError: the folder exists and `resume` is off, it holds another configuration, or
            another process writes into it.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        environment: Mapping[str, Any],
        data: Mapping[str, Any],
        resume: bool = False,
        leads: bool = True,
        keeps: bool = True,
    ) -> None:
        self.folder, self.keeps = folder, keeps
        self.watch: Watch | None = None
        wanted = json.loads(json.dumps(config))
        check_folder(folder, resume)
        if (folder / CONFIG).exists():
            _same_config(folder, wanted, data)
        else:
            self._make({"config": wanted, "environment": environment}, data)
        self._held = ExitStack()
        try:
            if leads:
                self._held.enter_context(lock(folder / LOCK, wait=False))
        except BlockingIOError as error:
            raise ConfigError(
                f"{folder}: another process trains this run; wait for it, or choose another `out`."
            ) from error

    def _make(self, content: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """A new folder, or none at all."""
        new = not self.folder.exists()
        try:
            generated = content["config"].get("synthetic") is not None
            self.write(Path(".gitignore"), b"*\n")
            self.write(Path("NOTICE"), (GENERATED_NOTICE if generated else NOTICE).encode())
            self.write(DATA, json.dumps(data).encode())
            self.write(CONFIG, json.dumps(content, indent=1).encode())
        except DataError:
            for name in (".gitignore", "NOTICE", DATA):
                (self.folder / name).unlink(missing_ok=True)
            if new and self.folder.exists():
                self.folder.rmdir()
            raise

    def write(self, name: Path, content: bytes, *, durable: bool = True) -> None:
        """Put a file in the folder, see `write_file`."""
        if not self.keeps:
            return
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error
        write_file(path, content, durable=durable)

    def show(self, stage: str, done: int, of: int) -> None:
        """Tell `watch` that a stage goes on."""
        if self.watch is not None:
            self.watch(stage, done, of)

    def log(self, line: Mapping[str, Any]) -> None:
        """Append an epoch to metrics.jsonl and flush it; TensorBoard gets its numbers.

        Args:
            line: "stage", "epoch", and numbers by name.

        Raises:
            DataError: the disk is full.
        """
        if not self.keeps:
            return
        path = self.folder / METRICS
        try:
            with lock(self.folder), path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            path = self.folder / "events"
            for name, value in line.items():
                if name not in ("stage", "epoch"):
                    self.events.add_scalar(f"{line['stage']}/{name}", value, line["epoch"])
        except OSError as error:
            raise unwritable(path, error) from error

    def forget(self, stage: str, epoch: int) -> None:
        """Drop what was logged of a stage from an epoch on: it was after the last checkpoint."""
        path = self.folder / METRICS
        if not self.keeps or not readable(path, path.exists):
            return
        with lock(self.folder):  # no line of another rank comes between reading and writing
            kept, cut_short = self._log_lines()
            others = [line for line, of in kept if of["stage"] != stage or of["epoch"] < epoch]
            if len(others) < len(kept) or cut_short:
                write_file(path, b"".join(others))

    def tidy(self, splits: Sequence[str]) -> None:
        """Every rank has ended: sort metrics.jsonl, which they mixed; drop an empty checkpoint/.

        Args:
            splits: their names, as stages begin.
        """
        with contextlib.suppress(OSError):  # none was made
            (self.folder / CHECKPOINTS).rmdir()
        path = self.folder / METRICS
        if not self.keeps or not readable(path, path.exists):
            return
        order = {name: number for number, name in enumerate(splits)}
        lines, _ = self._log_lines()
        ordered = sorted(lines, key=lambda x: order.get(x[1]["stage"].split("/")[0], len(order)))
        if ordered != lines:
            write_file(path, b"".join(line for line, _ in ordered))

    def _log_lines(self) -> tuple[list[tuple[bytes, dict[str, Any]]], bool]:
        """Lines of the log and what they say; and whether a kill cut another one short."""
        path = self.folder / METRICS
        lines = path.read_bytes().splitlines(keepends=True)
        said = read_log(path)
        return list(zip(lines, said, strict=False)), len(lines) > len(said)

    @cached_property
    def events(self) -> Any:
        """TensorBoard's writer, made with the first line."""
        from torch.utils.tensorboard import SummaryWriter  # readers of a folder need none

        threading.excepthook = _quiet_full_disk
        return SummaryWriter(str(self.folder / "events"))

    def close(self) -> None:
        """Let others use the folder; write what TensorBoard's thread still holds, and end it.

        Raises:
            DataError: the disk is full.
        """
        self._held.close()
        events = vars(self).pop("events", None)
        if events is None:
            return
        try:
            events.close()
        except OSError as error:
            raise unwritable(self.folder / "events", error) from error

    # --- what stages leave ----------------------------------------------------------------------
    def path_of(self, stage: str) -> Path:
        """The file of a finished stage, "split1/contrastive" for one."""
        return self.folder / MODELS / f"{stage}.safetensors"

    def save_tensors(
        self, stage: str, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]
    ) -> None:
        """One safetensors file, its notes as JSON in the header; it outlives a kill."""
        self._save(self.path_of(stage), tensors, notes)

    def load_tensors(self, stage: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `save_tensors` wrote, on the CPU; None where there is no such file."""
        path = self.path_of(stage)
        return read_tensors(path) if path.exists() else None

    def checkpoint_of(self, stage: str) -> Path:
        """The checkpoint of a stage's split."""
        return self.folder / CHECKPOINTS / f"{stage.split('/')[0]}.safetensors"

    def save_checkpoint(
        self, stage: str, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]
    ) -> None:
        """Keep a stage in progress, in place of what was kept of its split before."""
        self._save(self.checkpoint_of(stage), tensors, notes)

    def load_checkpoint(self, stage: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The checkpoint of the stage's split; None without one."""
        path = self.checkpoint_of(stage)
        return read_tensors(path) if path.exists() else None

    def end_checkpoint(self, stage: str) -> None:
        """Delete the checkpoint of a finished stage; its folder stays, others may write into it."""
        path = self.checkpoint_of(stage)
        if not self.keeps:
            return
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error

    def _save(self, path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        if not self.keeps:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error
        write_tensors(path, tensors, notes)


def read_config(folder: Path) -> Config:
    """The configuration that a run's folder holds.

    Raises:
        DataError: there is no run, one of a version that knows other options, or config.json is
            damaged.
    """
    path = folder / CONFIG
    if not readable(path, path.is_file):
        hint = "`clmer train` makes one and prints where."
        raise DataError(folder, str(CONFIG), "nothing", "a run's folder", hint)
    found = read_described(path)["config"]
    return as_config(found, path, "config", ("data", SPLITS_DIGEST, INIT_DIGEST))


def unfinished_stage(folder: Path) -> str:
    """The stage that an unfinished run stopped in, or after.

    Raises:
        DataError: the checkpoint or the log is damaged.
    """
    for checkpoint in sorted((folder / CHECKPOINTS).glob("*.safetensors")):
        notes = read_tensors(checkpoint)[1]
        check(notes, {"stage": str}, checkpoint, "notes")
        return str(notes["stage"])
    lines = read_log(folder / METRICS)
    return str(lines[-1]["stage"]) if lines else "its first stage"


def check_folder(folder: Path, resume: bool) -> None:
    """Whether a run can go into a folder; nothing is written.

    Raises:
        ConfigError: the folder holds a run and `resume` is off, or holds something else.
    """
    if readable(folder / CONFIG, (folder / CONFIG).is_file):
        if not resume:
            raise ConfigError(
                f"{folder}: this run folder exists. Choose another `out`, such as "
                f"{_free(folder)}; `resume` continues it with the options that it was begun with."
            )
        return
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: found a file, expected a folder; choose another `out`.")
    # A run killed while it made its folder leaves these behind.
    ours = [".gitignore", "NOTICE", LOCK, str(DATA)]
    ours += [f".{name}." for name in (".gitignore", "NOTICE", DATA, CONFIG)]
    if folder.exists() and not all(path.name.startswith(tuple(ours)) for path in folder.iterdir()):
        raise ConfigError(
            f"{folder}: found a folder with other files in it, expected a new or empty one; "
            "choose another `out`."
        )


def _quiet_full_disk(args: threading.ExceptHookArgs) -> None:
    # TensorBoard writes in a thread of its own, whose error its next call raises again.
    if not issubclass(args.exc_type, OSError):
        threading.__excepthook__(args)


def _same_config(folder: Path, wanted: dict[str, Any], data: Mapping[str, Any]) -> None:
    path = folder / CONFIG
    found = read_described(path)["config"]
    differing = [
        f"{key}: this folder has {found.get(key)!r}, now {wanted.get(key)!r}"
        for key in sorted({*found, *wanted} - {"data"})
        if found.get(key) != wanted.get(key)
        and not (key in _FOLDERS and _same_folder(found.get(key), wanted.get(key)))
    ]
    if found.get("data") != wanted.get("data"):
        changes = differences(read_origin(folder / DATA), data)
        more = [f"and {len(changes) - _SHOWN} more"] if len(changes) > _SHOWN else []
        differing.append(f"the data: {', '.join([*changes[:_SHOWN], *more])}")
    if differing:
        raise ConfigError(
            f"{path}: `resume` needs the configuration and the data that the run began with. "
            + "; ".join(differing)
        )


def _same_folder(a: Any, b: Any) -> bool:
    """Whether two paths are spellings of one: relative or not, through links, with a final /."""
    return bool(a and b) and os.path.realpath(a) == os.path.realpath(b)


def _free(folder: Path) -> Path:
    """A folder of nearly this name that is not there."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(other for other in numbered if not other.exists())
