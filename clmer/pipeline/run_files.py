"""A run's files as they are read back: bounded in size, of known fields; or refused by name.

What a run's folder is made of is in `clmer.pipeline.run.folder`. Everything that reads one, from
--resume to the report, reads it through here, so that damage is a `DataError` that leads out and
never a traceback.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from clmer import json_files
from clmer.data.store.origin import are_sources
from clmer.errors import ConfigError, DataError
from clmer.json_files import ANY, NUMBER
from clmer.pipeline.config import PAIRS, Config
from clmer.storage import write_file

#: Bytes of a JSON file or log that are read at most: a hundred times what long runs write.
MOST_BYTES = 2**28
_SYNTHETIC = {"control": str, "people": int, "seed": int}
#: Fields of a configuration that are not of a plain type.
_SPECIAL: dict[str, Any] = {"modalities": [str], "models": [str]}
_SPECIAL |= {name: [NUMBER] for name in PAIRS}
_SPECIAL |= {"synthetic": _SYNTHETIC, "threshold": NUMBER, "window_s": NUMBER, "stride_s": NUMBER}
_SPECIAL |= {"view_both": bool, "view_pieces": int}
_NULL = (*PAIRS, "synthetic", "threshold", "view_both", "view_pieces")
_PLAIN = {"str": str, "int": int, "bool": bool, "float": NUMBER}
_OPTIONS = {f.name: _SPECIAL.get(f.name) or _PLAIN[str(f.type)] for f in fields(Config)}
_LINE = {"stage": str, "epoch": int, ANY: NUMBER}
_ORIGIN = {"format": int, "parameters": dict, "sources": list}


def read_json(path: Path) -> Any:
    """A JSON file of a run.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    return parse(_bytes(path), path, "JSON", finite=True)


def parse(content: bytes | str, path: Path, where: str, *, finite: bool = False) -> Any:
    """JSON of bounded depth and numbers.

    Args:
        content: what stands in the file.
        path: the file, for the message.
        where: the place in it.
        finite: refuse NaN and infinity, which a training's log and notes can hold.

    Raises:
        DataError: it is none.
    """
    try:
        return json_files.parse(content, finite=finite)
    except ValueError as error:
        raise damaged(path, where, error) from error


def read_described(path: Path) -> dict[str, Any]:
    """config.json: the "config" that a run was asked for, and its "environment".

    Options that this version does not know stay in it; known ones are of their type.

    Raises:
        DataError: it is missing or damaged; the field is named.
    """
    found = read_json(path)
    if isinstance(found, dict) and "model_type" in found:
        raise DataError(
            path,
            "model_type",
            f"{found['model_type']}, a model that save_pretrained saved",
            "a run's folder",
            "clmer.load and clmer predict take it; a report, or training on, needs the run.",
        )
    check(found, {"config": dict}, path)
    check_options(found["config"], path, "config")
    return dict(found)


def check_options(found: Mapping[str, Any], path: Path, where: str) -> None:
    """Hold options against their types; those that this version does not know stay.

    Args:
        found: as JSON has them.
        path: the file, for the message.
        where: the place in it.

    Raises:
        DataError: one is of another type.
    """
    for name, value in found.items():
        if name in _OPTIONS and not (value is None and name in _NULL):
            check(value, _OPTIONS[name], path, f"{where}.{name}")
    for name in PAIRS:
        if len(found.get(name) or (0, 0)) != 2:
            raise damaged(path, f"{where}.{name}", found[name])


def as_config(found: Mapping[str, Any], path: Path, where: str, more: Collection[str]) -> Config:
    """The configuration of checked options.

    Args:
        found: as JSON has them.
        path: the file, for the message.
        where: the place in it.
        more: names among them that are no options.

    Raises:
        DataError: one is unknown, missing or out of range.
    """
    known = {field.name: field for field in fields(Config)}
    unknown = sorted(found.keys() - known.keys() - set(more))
    if unknown:
        hint = "Train it again, or read it with the version that trained it (environment.clmer)."
        names = ", ".join(unknown)
        raise DataError(path, names, "an unknown option", "this version's options", hint)
    missing = [name for name, field in known.items() if field.default is MISSING]
    missing = [name for name in missing if name not in found]
    if missing:
        raise damaged(path, ", ".join(missing), "nothing")
    chosen = {name: value for name, value in found.items() if name in known}
    for name in chosen.keys() & {"modalities", "models", *PAIRS}:  # JSON has no tuples
        chosen[name] = chosen[name] if chosen[name] is None else tuple(chosen[name])
    try:
        return Config(**chosen)
    except ConfigError as error:  # the message names the option
        raise damaged(path, where, error, "options that this version takes") from error


def settings(config: Config) -> dict[str, Any]:
    """A configuration as JSON holds it; `as_config` undoes it."""
    pairs = {name: getattr(config, name) for name in PAIRS}
    return {
        **asdict(config),
        "modalities": list(config.modalities),
        "models": list(config.models),
        **{name: pair and list(pair) for name, pair in pairs.items()},
    }


def read_origin(path: Path) -> dict[str, Any]:
    """data.json: what the data's fingerprint is of.

    Raises:
        DataError: it is missing or damaged; the field is named.
    """
    found = read_json(path)
    check(found, _ORIGIN, path)
    if not are_sources(found["sources"]):
        raise damaged(path, "sources", str(found["sources"])[:60])
    check(found["parameters"].get("modalities", []), [str], path, "parameters.modalities")
    return dict(found)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The epochs in metrics.jsonl, in order; none where there is no file.

    Raises:
        DataError: it cannot be read, or a line is no epoch; the line is named.
    """
    if not readable(path, path.exists):
        return []
    lines: list[dict[str, Any]] = []
    # What stands behind the last newline was cut short by a kill; --resume drops it too.
    for number, line in enumerate(_bytes(path).split(b"\n")[:-1], start=1):
        lines.append(parse(line, path, f"line {number}"))
        check(lines[-1], _LINE, path, f"line {number}")
        if not 0 <= lines[-1]["epoch"] < 2**31:
            raise damaged(path, f"line {number}.epoch", lines[-1]["epoch"])
    return lines


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and notes of a file that a run, or `SplitModel.save`, wrote.

    Raises:
        DataError: the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            notes = (file.metadata() or {}).get("notes", "")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, MemoryError) as error:
        raise damaged(path, "safetensors", error) from error
    found = parse(notes, path, "notes")
    check(found, dict, path, "notes")
    return tensors, found


def write_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """One safetensors file, its notes as JSON in the header; whole or not there."""
    contiguous = {key: value.detach().contiguous() for key, value in tensors.items()}
    write_file(path, save(contiguous, {"notes": json.dumps(notes)}), durable=False)


def _bytes(path: Path) -> bytes:
    """What a plain file holds, if it is not too much."""
    if readable(path, path.exists) and not path.is_file():
        raise damaged(path, "reading", "no plain file")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise damaged(path, "reading", error) from error
    if len(content) > MOST_BYTES:
        raise damaged(path, "size", f"more than {MOST_BYTES >> 20} MiB")
    return content


def readable(path: Path, ask: Callable[[], bool]) -> bool:
    """What a path says of itself (`path.exists`).

    Raises:
        DataError: its folder may not be read.
    """
    try:
        return ask()
    except OSError as error:
        raise damaged(path, "reading", error) from error


def check(value: Any, shape: Any, path: Path, where: str = "") -> None:
    """Hold a JSON value against a shape.

    Args:
        value: what was read.
        shape: see `clmer.json_files.check`; keys that it does not name are fine.
        path: the file, for the message.
        where: the value's place in it.

    Raises:
        DataError: at the first place that differs.
    """
    try:
        json_files.check(value, shape, where)
    except json_files.Misfit as error:
        expected = error.expected or "a field that every run writes"
        raise damaged(path, error.where, error.found, expected) from error


def damaged(
    path: Path, field: str, found: object, expected: object = "what a run wrote"
) -> DataError:
    """What to say of a file of a run that cannot be used, and the way out."""
    if isinstance(found, PermissionError):
        return DataError(
            path, field, found.strerror, "a file that may be read", f"Allow reading {path.parent}."
        )
    text = found.strerror if isinstance(found, OSError) and found.strerror else found
    text = text if str(text) else type(text).__name__
    return DataError(path, field, text, expected, _way_out(path))


def _way_out(path: Path) -> str:
    if path.name == "config.json":
        return f"Delete the folder {path.parent} and train again: a run cannot go on without it."
    if path.name == "data.json":
        return f"Delete the folder {path.parent} and train again."
    if path.name == "metrics.jsonl":
        return "Delete it: the training curves are lost, the models are not."
    if path.suffix == ".safetensors":
        return "Delete it: the same training command with --resume repeats what it held."
    return "Delete it: the same training command with --resume writes it anew."
