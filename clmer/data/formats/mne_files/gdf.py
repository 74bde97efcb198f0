"""GDF's header: each channel's unit and rate, of which MNE knows two units and one rate.

MNE reads the samples; it takes what is not in uV or (GDF 2) mV for volts or no unit at all, and
resamples slower channels. Format: https://arxiv.org/abs/cs/0608052
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clmer.errors import DataError

_HEAD = 256
#: GDF 2: a unit's code without its last five bits, which are the decimal prefix's.
_BASES = {4256: "V", 4288: "Ohm", 6048: "degC"}
_PREFIXES = {0: "", 3: "k", 18: "m", 19: "u", 20: "n"}


@dataclass(frozen=True)
class GdfHeader:
    """What is needed of it.

    Args:
        units: of each channel, as spelt (GDF 1) or decoded; "" where there is none.
        factors: what MNE multiplied each channel by.
        rates: samples per second of each.
    """

    units: tuple[str, ...]
    factors: tuple[float, ...]
    rates: tuple[float, ...]


def read_gdf_header(path: Path) -> GdfHeader:
    """The units and rates of a GDF file's channels.

    Raises:
        DataError: the header is damaged.
    """
    with path.open("rb") as file:
        content = file.read(_HEAD * 4096)
    try:
        version = float(content[4:8])
        count = struct.unpack_from("<I" if version < 1.9 else "<H", content, 252)[0]
        seconds, per = struct.unpack_from("<II", content, 244)
        samples = np.frombuffer(content, "<i4", count, _HEAD + 216 * count)
        spelt, factors = _old(content, count) if version < 1.9 else _new(content, count)
        rates = [int(n) * (per or 1) / (seconds or 1) for n in samples]
    except (ValueError, struct.error) as error:
        raise DataError(
            path, "header", f"{len(content)} bytes ({error})", "a whole GDF file", "Copy it again."
        ) from error
    return GdfHeader(tuple(spelt), tuple(factors), tuple(rates))


def _old(content: bytes, count: int) -> tuple[list[str], list[float]]:
    """Units of GDF 1, which are text."""
    at = _HEAD + 96 * count
    fields = [content[at + 8 * i : at + 8 * i + 8] for i in range(count)]
    spelt = [field.split(b"\0")[0].decode("latin-1").strip() for field in fields]
    return spelt, [1e-6 if unit[:2] == "uV" else 1.0 for unit in spelt]


def _new(content: bytes, count: int) -> tuple[list[str], list[float]]:
    """Units of GDF 2, which are codes of ISO 11073."""
    codes = np.frombuffer(content, "<u2", count, _HEAD + 102 * count).tolist()
    spelt = []
    for code in codes:
        base, prefix = _BASES.get(code & ~31), _PREFIXES.get(code & 31)
        known = base is not None and prefix is not None
        spelt.append(f"{prefix}{base}" if known else "" if code in (0, 512) else f"code {code}")
    return spelt, [{4275: 1e-6, 4274: 1e-3}.get(code, 1.0) for code in codes]
