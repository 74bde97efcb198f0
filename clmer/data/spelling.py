"""Names as people type them: which one was probably meant, and which two are one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches


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
