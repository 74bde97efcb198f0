"""The option `reference`: its words, and what LABEL[:SECONDS] asks for."""

from __future__ import annotations

import math
from typing import NamedTuple

from clmer.errors import ConfigError

#: Without one; all of a person's windows; those that a manifest's column `reference` marks.
NONE, ALL, MARKED = "none", "all", "marked"


class Stretch(NamedTuple):
    """What `reference=LABEL[:SECONDS]` asks for; infinite seconds are all there are."""

    label: str
    seconds: float


def parse(text: str) -> Stretch | None:
    """The stretch that an option `reference` names; None for its three words.

    Raises:
        ConfigError: no label, or no number of seconds above 0.
    """
    if text in (NONE, ALL, MARKED):
        return None
    label, colon, seconds = text.rpartition(":")
    if not colon:
        label, seconds = text, "inf"
    try:
        length = float(seconds)
    except ValueError:
        label, length = text, math.inf
    if not label or not length > 0:
        raise ConfigError(
            f"`reference`: found {text!r}, expected {NONE}, {ALL}, {MARKED}, or LABEL[:SECONDS] "
            "with SECONDS above 0, such as rest:60"
        )
    return Stretch(label, length)
