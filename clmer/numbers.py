"""How scores are written: one rounding for every table, page, figure and printed line.

A score goes into results.json with `STORED` digits and onto paper with three. What is printed from
memory and what is printed from the file must agree, so both are brought to `STORED` digits first;
then a half goes up (away from zero), in decimal: 0.8125 is 0.813 and 81.3 %, never 0.812 here (as
binary floats round) and 81.3 % there. Rounding keeps the order: no low end above its value.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Context, Decimal

#: Digits after the point in results.json and predictions.csv.
STORED = 6
#: Digits after the point of a score that is shown.
SHOWN = 3
_CONTEXT = Context(prec=400, rounding=ROUND_HALF_UP)  # the largest float has 309 digits


def stored(value: float) -> float:
    """As results.json holds it; never -0.0."""
    return round(float(value), STORED) + 0.0


def rounded(value: float, digits: int = SHOWN) -> Decimal:
    """A finite number with some digits after the point, halves away from zero; never -0."""
    exact = Decimal(repr(stored(value)))
    return _CONTEXT.add(exact.quantize(Decimal(1).scaleb(-digits), context=_CONTEXT), Decimal(0))


def score_text(value: float | None, digits: int = SHOWN) -> str:
    """A score as "0.813", or "-" where nothing could be computed."""
    return "-" if value is None or not math.isfinite(value) else f"{rounded(value, digits):f}"


def signed(value: float | None) -> str:
    """A difference of scores as "+0.013", or "-"."""
    return "-" if value is None or not math.isfinite(value) else f"{rounded(value):+f}"


def percent(value: float) -> str:
    """A score in percent, "81.3": the digits of `score_text`."""
    return f"{100 * rounded(value):.1f}"


def signed_percent(value: float) -> str:
    """A difference of scores in points, "+1.3": the digits of `signed`."""
    return f"{100 * rounded(value):+.1f}"


def p_value(value: float | None) -> str:
    """Four digits, "<0.0001" where they are all zero, or "-" where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{rounded(value, 4):f}" if value >= 0.0001 else "<0.0001"
