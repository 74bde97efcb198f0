"""Words and numbers as people see them: scores, table cells, and names that were nearly right."""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from difflib import get_close_matches

# --- lines for a terminal -------------------------------------------------------------------------
#: Columns of a terminal that nobody has changed.
COLUMNS = 80


def wrapped(text: str, first: str = "", rest: str | None = None) -> str:
    """A paragraph in lines of at most `COLUMNS`; words longer than that stay whole.

    Args:
        text: one paragraph.
        first: begins the first line.
        rest: begins the others; None for blanks below `first`.
    """
    return textwrap.fill(
        text,
        COLUMNS,
        initial_indent=first,
        subsequent_indent=" " * len(first) if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def broken(name: str, width: int) -> list[str]:
    """A name in lines of at most `width`, broken at blanks and behind "+"; parts stay whole."""
    lines = [""]
    for part in re.findall(r"[^\s+]+\+?\s*|\+\s*", name):
        if lines[-1].strip() and len((lines[-1] + part).rstrip()) > width:
            lines.append("  ")
        lines[-1] += part
    return [line.rstrip() for line in lines]


def command_text(words: Sequence[str]) -> str:
    """A command for a POSIX shell, indented; a long one goes on behind backslashes."""
    lines = ["  "]
    for number, word in enumerate(words):
        shown = word if number == 0 else f" {word}"
        if number and len(lines[-1] + shown) > COLUMNS - 2:
            lines[-1] += " \\"
            lines.append(f"      {word}")
        else:
            lines[-1] += shown
    return "\n".join(lines)


def laid_out(rows: Sequence[tuple[str, str]], indent: str = "  ") -> str:
    """Names and what is said of them, in two columns; a name again is left out."""
    width = min(max(len(name) for name, _ in rows), COLUMNS // 4)
    lines, before = [], ""
    for name, text in rows:
        shown = "" if name == before else name
        before, below = name, f"{indent}{'':<{width}}  "
        if len(shown) > width:
            lines.append(f"{indent}{shown}")
            shown = ""
        lines.append(wrapped(text, f"{indent}{shown:<{width}}  ", below))
    return "\n".join(lines)


# --- scores: one rounding for every table, page, figure and printed line -------------------------
# A score goes into results.json with `STORED` digits and onto paper with three. What is printed
# from memory and what is printed from the file must agree, so both are brought to `STORED` digits
# first; then a half goes up (away from zero), in decimal: 0.8125 is 0.813 and 81.3 %, never 0.812
# here (as binary floats round) and 81.3 % there. Rounding keeps the order: no low end above its
# value.

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


# --- cells of CSV files: spreadsheets take some text for formulas
# ----------------------------------
#: What spreadsheets compute, or what becomes such once it is escaped; a plain number is no formula.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def cell(text: object) -> str:
    """A name as a cell: an apostrophe before what a spreadsheet would compute.

    Args:
        text: a name. "-0.5" and "+3" are numbers, and stay as they are.

    Returns:
        What `from_cell` takes back.
    """
    found = str(text)
    if _FORMULA.match(found) and not _NUMBER.fullmatch(found):
        return f"'{found}"
    return found


def from_cell(found: str) -> str:
    """What `cell` was given."""
    return found[1:] if found.startswith("'") and _FORMULA.match(found[1:]) else found


# --- names as people type them --------------------------------------------------------------------
def folded(text: str) -> str:
    """A name without what people do not see or mean: case, spaces, the form of accents."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def unpadded(text: str) -> str:
    """A folded name whose numbers have no leading zeros: "P01" and "p1" give one."""
    return re.sub(r"(?<![\d.])0+(?=\d)", "", folded(text))


def closest(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant; "" where none is near."""
    by_key = {_letters(each): each for each in reversed(list(known))}
    key = _letters(name)
    found = [each for each in by_key if sorted(each) == sorted(key)]  # "ege" is eeg, not eog
    found = found[-1:] or get_close_matches(key, by_key, n=1, cutoff=0.6)
    return by_key[found[0]] if found else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence for an error's end; "" where no known name is near."""
    found = closest(name, known)
    return f"Did you mean {found}?" if found else ""


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", folded(name)) or folded(name)


def file_name(text: str) -> str:
    """A label column or the like as part of a file's name."""
    return re.sub(r"[^\w.+-]+", "_", text)
