"""A writer of EDF and BDF with every header field open, for files that writers of today refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

LIMITS = (-3276.8, 3276.7)


def noise(channels: int, seconds: float, fs: float, seed: int = 0, sd: float = 20) -> np.ndarray:
    """White noise [channels, seconds fs]."""
    return np.random.default_rng(seed).normal(0, sd, (channels, round(seconds * fs)))


def _field(value: object, width: int) -> bytes:
    text = value if isinstance(value, bytes) else str(value).encode("latin-1")
    return text[:width].ljust(width)


def write_edf(
    path: Path,
    labels: Sequence[str],
    data: Sequence[np.ndarray],
    rates: Sequence[float] | float,
    *,
    units: Sequence[str | bytes] | str | bytes = "uV",
    limits: tuple[float, float] = LIMITS,
    record_s: float = 1.0,
    record_text: str = "",
    records: int | None = None,
    reserved: str = "",
    notes: Callable[[int], bytes] | None = None,
) -> None:
    """Write channels in physical units.

    Args:
        path: ".bdf" has samples of 24 bits.
        labels: of the channels.
        data: samples of each, of which whole records are written.
        rates: samples a second, of each or of all.
        units: of each or of all.
        limits: physical minimum and maximum.
        record_s: seconds of a record.
        record_text: the same as the header states it.
        records: as the header states them, where that is not the truth.
        reserved: such as "EDF+D".
        notes: the annotations of each record; None for no such signal.
    """
    count, bdf = len(labels), path.suffix == ".bdf"
    rates = list(rates) if isinstance(rates, (list, tuple)) else [rates] * count
    units = [units] * count if isinstance(units, (str, bytes)) else list(units)
    sizes = [round(rate * record_s) for rate in rates]
    whole = min(len(x) // size for x, size in zip(data, sizes, strict=True))
    least, most = (-(2**23), 2**23 - 1) if bdf else (-(2**15), 2**15 - 1)
    names, spelt, counts = [*labels], [*units], [*sizes]
    if notes:
        names, spelt, counts = [*names, "EDF Annotations"], [*spelt, ""], [*counts, 60]
    n = len(names)
    head = b"\xffBIOSEMI" if bdf else _field("0", 8)
    head += _field("X", 80) + _field("X", 80) + b"01.01.2000.00.00"
    head += _field(256 * (n + 1), 8) + _field(reserved, 44)
    head += _field(whole if records is None else records, 8)
    head += _field(record_text or f"{record_s:g}", 8) + _field(n, 4)
    columns = (
        ([*names], 16), ([""] * n, 80), ([*spelt], 8), ([limits[0]] * n, 8), ([limits[1]] * n, 8),
        ([least] * n, 8), ([most] * n, 8), ([""] * n, 80), (counts, 8), ([""] * n, 32),
    )  # fmt: skip
    out = bytearray(head + b"".join(_field(v, width) for column, width in columns for v in column))
    gain = (limits[1] - limits[0]) / (most - least)
    for record in range(whole):
        for x, size in zip(data, sizes, strict=True):
            part = np.asarray(x[record * size : (record + 1) * size])
            stored = np.rint((part - limits[0]) / gain + least).clip(least, most).astype("<i4")
            out += stored.view("u1").reshape(-1, 4)[:, : 3 if bdf else 2].tobytes()
        if notes:
            out += notes(record).ljust(60 * (3 if bdf else 2), b"\0")
    path.write_bytes(bytes(out))


def record_times(onsets: Sequence[float]) -> Callable[[int], bytes]:
    """Annotations that state when each record began."""
    return lambda record: f"+{onsets[record]:g}\x14\x14".encode() + b"\0"
