"""The options --scale and --threshold, which training and inspection share."""

from __future__ import annotations

import argparse
import re
from typing import Any


def take_negative_pairs(command: argparse.ArgumentParser) -> None:
    """Let "--scale -1,1" have a value, as "--threshold -1" has: argparse knows single numbers."""
    command._negative_number_matcher = re.compile(r"-\.?\d[\d.,eE+-]*$")


def add_scale(group: Any) -> None:
    """The options --scale and --threshold; their parser needs `take_negative_pairs`."""
    group.add_argument(
        "--scale",
        type=_interval,
        metavar="LOW,HIGH",
        help="least and largest rating of a manifest's scale, e.g. 1,7 or 0,100 or -1,1 (taken as "
        "1,9 where the values show it, else asked for)",
    )
    group.add_argument(
        "--threshold",
        type=float,
        metavar="X",
        help="ratings up to X are low, those above it high (default: the scale's middle)",
    )


def _interval(text: str) -> tuple[float, float]:
    parts = text.split(",")
    try:
        low, high = map(float, parts)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected two numbers, LOW,HIGH, such as 1,7"
        ) from error
    return low, high
