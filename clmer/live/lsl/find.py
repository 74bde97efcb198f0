"""Streams found by name, whichever starts first."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from clmer.errors import ConfigError, DataError
from clmer.live.lsl.source import Source
from clmer.live.outlets import import_lsl
from clmer.text import did_you_mean

#: Seconds of one look around the network: LSL asks known peers after half a second.
_LOOK_S = 1.0


def open_sources(
    names: Sequence[str],
    timeout_s: float,
    *,
    unit: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> list[Source]:
    """Wait for streams, whichever comes first, and open them.

    Args:
        names: of the streams, or their source ids.
        timeout_s: seconds to wait until all are there.
        unit: of samples, where a stream does not say.
        say: takes a line for a person while it waits.

    Returns:
        The streams, in the order of their names.

    Raises:
        ConfigError: a name twice.
        DataError: a stream is not there (which are), not the only one of its name, or brings no
            numbers at a rate; mne-lsl is not installed.
    """
    if len(set(names)) < len(names):
        raise ConfigError(f"`stream`: found {' '.join(names)}, expected each stream once")
    found = _wait(names, timeout_s, say)
    sources: list[Source] = []
    for name in names:
        for each in sources:
            each.forget()  # opening takes a second: streams begin together
        sources.append(Source(name, found[name], unit))
    return sources


def _wait(names: Sequence[str], timeout_s: float, say: Callable[[str], None]) -> dict[str, Any]:
    """The streams' descriptions by name."""
    resolve = import_lsl().resolve_streams
    until, said = time.monotonic() + timeout_s, False
    seen: dict[tuple[str, str, str], Any] = {}  # one look may miss one
    while True:
        now = resolve(timeout=_LOOK_S)
        seen |= {(info.name, info.source_id, info.hostname): info for info in now}
        there = [*seen.values()]
        found = {name: _named(name, there) for name in names}
        missing = [name for name, infos in found.items() if not infos]
        if not missing:
            return {name: _only(name, infos) for name, infos in found.items()}
        if time.monotonic() >= until:
            raise _not_there(missing[0], there, timeout_s)
        if not said:
            say(f"waiting for {' and '.join(missing)}, up to {timeout_s:g} s")
            said = True


def _named(name: str, infos: Sequence[Any]) -> list[Any]:
    return [each for each in infos if name in (each.name, each.source_id)]


def _only(name: str, infos: Sequence[Any]) -> Any:
    """The stream of a name, which is a signal and has no double."""
    if len(infos) > 1:
        ids = ", ".join(sorted(each.source_id or "none" for each in infos))
        hint = "Name it by its source id."
        raise DataError(name, "streams", f"{len(infos)}, with the source ids {ids}", "one", hint)
    [info] = infos
    if info.dtype == "string":
        hint = "It may be a stream of markers."
        raise DataError(name, "samples of the stream", "text", "numbers", hint)
    if not info.sfreq > 0:
        hint = "Streams of events and markers have none."
        raise DataError(name, "rate of the stream", "an irregular one", "one in Hz", hint)
    return info


def _not_there(name: str, there: Sequence[Any], timeout_s: float) -> DataError:
    """What to say of a stream that did not come."""
    listed = sorted(f"{each.name} ({_what(each)})" for each in there)
    seen = f"among {', '.join(listed)}" if listed else "and no other stream either"
    hint = did_you_mean(name, [each.name for each in there])
    hint = hint or "Is it started, and does the firewall let LSL through?"
    found = f"none of that name within {timeout_s:g} s, {seen}"
    return DataError(name, "stream", found, "one that is there", hint)


def _what(info: Any) -> str:
    rate = f" at {info.sfreq:g} Hz" if info.sfreq > 0 else ""
    return f"{info.stype or 'no type'}, {info.n_channels} channels{rate}"
