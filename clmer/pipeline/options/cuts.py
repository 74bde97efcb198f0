"""Checks of the options that cut ratings into classes: `scale`, `threshold`, `levels`."""

from __future__ import annotations

import math

from clmer.data.choices import NO_LEVELS
from clmer.errors import ConfigError


def check_cuts(
    scale: tuple[float, float] | None, threshold: float | None, levels: str, target: str
) -> None:
    """Refuse ends that are no scale, and two ways to cut ratings into classes.

    Raises:
        ConfigError: there are some.
    """
    low, high = scale or (0.0, 1.0)
    if not -math.inf < low < high < math.inf:
        raise ConfigError(f"`scale`: found {low:g},{high:g}, expected LOW,HIGH with LOW < HIGH")
    if threshold is not None and not math.isfinite(threshold):
        raise ConfigError(f"`threshold`: found {threshold}, expected a number")
    if threshold is not None and target == "rating":
        raise ConfigError(
            f"`threshold`: found {threshold:g} with `target=rating`, which splits nothing "
            "into classes; leave one of them out"
        )
    if threshold is not None and scale and not low <= threshold < high:
        raise ConfigError(
            f"`threshold`: found {threshold:g}, expected one within `scale` "
            f"{low:g},{high:g}: ratings up to it are low, those above it high"
        )
    if levels != NO_LEVELS and (scale or threshold is not None):
        raise ConfigError(
            f"`levels={levels}` with `scale` or `threshold`: found two ways to cut ratings into "
            "classes; leave one of them out"
        )
    if levels != NO_LEVELS and target == "rating":
        raise ConfigError(
            f"`levels={levels}` with `target=rating`, which cuts nothing into classes; leave one "
            "of them out"
        )
