"""What a store is made of: the parameters and the files behind its fingerprint."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

#: Layout and meaning of a store; raise it when either changes, so that old stores are left behind.
FORMAT = 6
_HEAD = 4096  # bytes of a file that its own digest sees


def listed(root: Path, sources: Sequence[Path]) -> list[list[Any]]:
    """Name below `root`, bytes, time of change in ns and digest of the head of each, sorted.

    The digest tells files that were exchanged under a kept size and time; a folder's is of the
    names, sizes and times in it.
    """
    files = [(source, source.stat()) for source in sources]
    return sorted([_name(path, root), s.st_size, s.st_mtime_ns, _digest(path)] for path, s in files)


def _name(path: Path, root: Path) -> str:
    """A path below the root as it is written; elsewhere what it is whatever the root is called."""
    if path.is_relative_to(root):
        return os.path.relpath(path, root)
    return os.path.relpath(os.path.realpath(path), os.path.realpath(root))


def _digest(path: Path) -> str:
    if path.is_dir():  # its own time of change says nothing of what a file in it holds
        stats = sorted((e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in os.scandir(path))
        return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]
    with path.open("rb") as file:
        return hashlib.sha256(file.read(_HEAD)).hexdigest()[:16]


def fingerprint(parameters: Mapping[str, Any], sources: Sequence[Sequence[Any]]) -> str:
    """SHA-256, hex, of what decides a store: parameters, format, and sources as `listed`."""
    text = json.dumps([FORMAT, parameters, sources], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Why two stores have different fingerprints, a phrase each; both are a `Store.origin`."""
    found = [
        f"{name} was {before['parameters'].get(name)!r}, is {now['parameters'].get(name)!r}"
        for name in sorted({*before["parameters"], *now["parameters"]})
        if before["parameters"].get(name) != now["parameters"].get(name)
    ]
    old, new = ({name: rest for name, *rest in origin["sources"]} for origin in (before, now))
    found += [f"{name} is gone" for name in sorted({*old} - {*new})]
    found += [f"{name} is new" for name in sorted({*new} - {*old})]
    for name in sorted({*old} & {*new}):
        (size, time, head), (new_size, new_time, new_head) = old[name], new[name]
        if size != new_size:
            found.append(f"{name} had {size} bytes, has {new_size}")
        elif head != new_head:
            found.append(f"{name} has the same size and begins differently")
        elif time != new_time:
            times = f"{_clock(time)}, now {_clock(new_time)}"
            found.append(f"{name} has the same size and another time of change ({times})")
    if before["format"] != now["format"]:
        found.append(f"stores had format {before['format']}, have {now['format']}")
    return found


def are_sources(value: Any) -> bool:
    """Whether a list out of a file is one of sources: name, size, time and head of each."""
    return isinstance(value, list) and all(
        isinstance(source, list)
        and [type(each) for each in source] == [str, int, int, str]
        and 0 <= source[2] < 2**63
        for source in value
    )


def _clock(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9).isoformat(" ", "milliseconds")
