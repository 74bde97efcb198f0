"""JSON that other hands may have changed: of bounded depth and numbers, held against a shape."""

from __future__ import annotations

import json
import math
from types import NoneType
from typing import Any

#: Objects and lists within each other; our files have six.
_MOST_DEEP = 64
#: Digits of a whole number; the longest are times in nanoseconds.
_MOST_DIGITS = 20

NUMBER, MAYBE = (int, float), (int, float, NoneType)
#: A key in a shape that stands for every other name.
ANY = "*"
_NAMES = {
    str: "text",
    int: "a whole number",
    bool: "true or false",
    NUMBER: "a number",
    MAYBE: "a number or null",
    dict: "an object",
    list: "a list",
}


_UNKNOWN = "a field that this version does not know; a later version of CLMER wrote it"


class Misfit(ValueError):
    """A value that is not of its shape.

    Args:
        where: its place, "config.models[0]".
        found: what is there.
        expected: what should be there; None for a key that is missing or not known.
    """

    def __init__(self, where: str, found: str, expected: str | None) -> None:
        super().__init__(f"{where}: found {found}, expected {expected}")
        self.where, self.found, self.expected = where, found, expected


def parse(content: bytes | str, *, finite: bool = False) -> Any:
    """JSON of bounded depth and numbers.

    Args:
        content: what stands in a file.
        finite: refuse NaN and infinity, which a training's log and notes can hold.

    Raises:
        ValueError: it is none.
    """
    number = _finite if finite else float
    text = content if isinstance(content, str) else content.decode("utf-8")
    try:
        value = json.loads(text, parse_int=_whole, parse_float=number, parse_constant=number)
    except RecursionError as error:
        raise ValueError(f"objects more than {_MOST_DEEP} deep") from error
    if _depth(value) > _MOST_DEEP:
        raise ValueError(f"objects more than {_MOST_DEEP} deep")
    return value


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text}, no finite number")
    return number


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= _MOST_DEEP:
        depth += 1
        inner = [v for v in level if isinstance(v, (dict, list))]
        level = [x for v in inner for x in (v.values() if isinstance(v, dict) else v)]
    return depth


def check(value: Any, shape: Any, where: str = "", *, closed: bool = False) -> None:
    """Hold a value against a shape.

    Args:
        value: what was read.
        shape: a type or tuple of types (`object`: anything); a dict of what keys hold (`ANY`: all
            others); a list of one shape, that of every element, or of as many shapes as there are
            elements.
        where: the value's place.
        closed: refuse keys that a shape does not name.

    Raises:
        Misfit: at the first place that differs.
    """
    kind = type(shape) if isinstance(shape, (dict, list)) else shape
    if kind is object:  # anything
        return
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        found = json.dumps(value, ensure_ascii=False)
        found = found if len(found) <= 60 else found[:57] + "..."
        raise Misfit(where or "content", found, _NAMES[kind])
    if isinstance(shape, list):
        if len(shape) > 1 and len(value) != len(shape):
            raise Misfit(where, f"{len(value)} values", f"{len(shape)}")
        for i, item in enumerate(value):
            check(item, shape[i if len(shape) > 1 else 0], f"{where}[{i}]", closed=closed)
    elif isinstance(shape, dict):
        named = [key for key in shape if key != ANY]
        for key in dict.fromkeys([*named, *value] if ANY in shape else named):
            inner = f"{where}.{key}" if where else str(key)
            if key not in value:
                raise Misfit(inner, "nothing", None)
            check(value[key], shape.get(key, shape.get(ANY)), inner, closed=closed)
        unknown = [] if ANY in shape or not closed else [key for key in value if key not in shape]
        if unknown:
            inner = f"{where}.{unknown[0]}" if where else str(unknown[0])
            raise Misfit(inner, _UNKNOWN, None)
