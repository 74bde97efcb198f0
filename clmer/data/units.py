"""Units as files spell them: what quantity it is, and how many of our units one of theirs is.

Ours are uV for voltages, uS for conductances, degC for temperatures, g for accelerations; every
other unit stays as it is.

    parse("mV")  -> Unit("voltage", 1e3)      parse("\N{MICRO SIGN}V") -> Unit("voltage", 1.0)
    parse("uS")  -> Unit("conductance", 1.0)  parse("%")               -> Unit("ratio", 1.0)
    parse("abc") -> None
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from clmer.errors import DataError

#: The unit of each quantity that samples are brought to.
OURS = {
    "voltage": "uV",
    "conductance": "uS",
    "resistance": "kOhm",
    "temperature": "degC",
    "acceleration": "g",
    "rotation": "rad/s",
    "field": "uT",
    "rate": "1/min",
    "ratio": "%",
    "pressure": "mmHg",
    "none": "",
}

_G = 9.80665  # m/s^2
_PREFIXES = {"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6}
_WORDS = {"nano": "n", "micro": "u", "milli": "m", "kilo": "k", "mega": "M"}
#: Full spellings -> quantity and factor to `OURS`, all in lower case without spaces.
_PLAIN: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("g", "g-force", "gravity", "gn"), ("acceleration", 1.0)),
    **dict.fromkeys(("mg", "milli-g", "millig"), ("acceleration", 1e-3)),
    **dict.fromkeys(("m/s2", "m/s^2", "m/s/s", "ms-2", "m*s-2", "m.s-2", "m/(s^2"),
                    ("acceleration", 1 / _G)),
    **dict.fromkeys(("rad/s", "rads-1", "rad*s-1"), ("rotation", 1.0)),
    **dict.fromkeys(("deg/s", "dps", "degree/s", "degrees/s", "\u00b0/s"), ("rotation", 0.0)),
    **dict.fromkeys(("ut", "microtesla"), ("field", 1.0)),
    **dict.fromkeys(("mgauss",), ("field", 0.1)),
    **dict.fromkeys(("gauss",), ("field", 100.0)),
    **dict.fromkeys(("degc", "celsius", "\u00b0c", "deg.c", "degreec", "degreecelsius", "c", "cel"),
                    ("temperature", 1.0)),
    **dict.fromkeys(("bpm", "1/min", "beats/min", "/min", "min-1", "brpm"), ("rate", 1.0)),
    **dict.fromkeys(("%", "percent"), ("ratio", 1.0)),
    **dict.fromkeys(("mmhg",), ("pressure", 1.0)),
    **dict.fromkeys(("none", "a.u", "au", "arb", "1", "aru", "counts", "adc", "boolean"),
                    ("none", 1.0)),
}  # fmt: skip
_PLAIN |= {word: ("rotation", math.pi / 180) for word, (_, by) in _PLAIN.items() if by == 0.0}
_BASES = {
    "V": "voltage", "v": "voltage", "volt": "voltage", "volts": "voltage",
    "S": "conductance", "siemens": "conductance", "mho": "conductance",
    "Ohm": "resistance", "ohm": "resistance", "ohms": "resistance",
}  # fmt: skip
_SCALE = {"voltage": 1e6, "conductance": 1e6, "resistance": 1e-3}
_MICRO = "\u00b5\u03bc\u039c"  # micro sign, and Greek mu in both cases
#: What becomes of a micro sign that was read or written in another encoding.
_LOST_MICRO = re.compile("(\u00c2\u00b5|\u00ce\u00bc|\x83\u00ca|\ufffd+|[?.\u00e6])(?=[VS]$)")
_PREFIXED = re.compile(r"(nano|micro|milli|kilo|mega|[numkM])?[ -]?(\D+)", re.IGNORECASE)


@dataclass(frozen=True)
class Unit:
    """What a unit measures, and its size.

    Args:
        quantity: a key of `OURS`.
        factor: how many of our unit one of it is.
    """

    quantity: str
    factor: float

    @property
    def ours(self) -> str:
        """The unit that samples have after they were multiplied by `factor`."""
        return OURS[self.quantity]


def is_bare(unit: Unit) -> bool:
    """Whether it says that numbers have no unit."""
    return unit.quantity == "none"


def parse(text: str) -> Unit | None:
    """A unit by any of its usual spellings; None where it is not known (an empty one too).

    Spaces, dots and brackets around it do not count, nor does case, but for M (mega) against m
    (milli) and S (siemens) against s (seconds).
    """
    clean = _LOST_MICRO.sub("u", text.strip().strip("[](){}\x00 "))
    clean = clean.strip(". ")
    clean = re.sub(f"[{_MICRO}]", "u", clean).replace("\u2126", "Ohm").replace("\u03a9", "Ohm")
    if not clean:
        return None
    plain = _PLAIN.get(clean.lower().replace(" ", ""))
    if clean == "C" or (plain and clean not in ("S", "s")):
        return Unit(*(plain or _PLAIN["c"]))
    if clean.lower() in ("k", "kelvin", "f", "degf"):
        return None  # an offset too: no factor brings it to degC
    match = _PREFIXED.fullmatch(clean)
    for prefix, rest in ((match[1] or "", match[2]) if match else ("", clean), ("", clean)):
        quantity = _BASES.get(rest) or _BASES.get(rest.lower()) if rest != "s" else None
        if quantity:
            short = _WORDS.get(prefix.lower(), prefix)
            short = short if short in _PREFIXES else short.lower()
            if rest == "s" or (quantity == "voltage" and short == "M"):
                short = "m"  # nobody records megavolts: "MV" is a header in capitals
            return Unit(quantity, _PREFIXES[short] * _SCALE[quantity])
    return None


def wrong_unit(path: Path, field: str, spelt: str, kind: str) -> DataError:
    """A unit that is not known, or that samples of a type cannot have."""
    expected = {"gsr": "uS, S, kOhm", "temp": "degC"}.get(kind, "uV, mV, V")
    return DataError(
        path,
        field,
        repr(spelt) if spelt else "none",
        f"{expected} or another unit of {kind} that is known",
        "State the true one in the manifest's column unit (clmer predict: --unit); none for "
        "numbers without one.",
    )
