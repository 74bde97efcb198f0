"""A writer of GDF 1.25 and 2.20, which no package writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

#: Codes of units in GDF 2 (ISO 11073).
CODES = {"": 0, "none": 512, "V": 4256, "mV": 4274, "uV": 4275, "nV": 4276, "kOhm": 4291}


def write_gdf(
    path: Path,
    labels: Sequence[str],
    data: Sequence[np.ndarray],
    rates: Sequence[int],
    *,
    units: Sequence[str],
    version: float = 2.2,
    limit: float = 3276.8,
    joints: Sequence[int] = (),
) -> None:
    """Write channels in physical units, in records of 1 s, 16 bits.

    Args:
        path: the file.
        labels: of the channels.
        data: samples of each.
        rates: samples a second of each.
        units: of each, out of `CODES` in GDF 2.
        version: 1.25 or 2.2.
        limit: physical maximum; the minimum is its negative.
        joints: samples at which a new segment starts.
    """
    n, records = len(labels), len(data[0]) // rates[0]
    old = version < 1.9
    head = bytearray(256)
    head[:8] = f"GDF {version:.2f}".encode()
    if old:
        head[8:168] = b" " * 160
        head[168:184] = b"2000010100000000"
        head[184:192] = np.int64(256 * (n + 1)).tobytes()
    else:
        head[8:74] = b"X X".ljust(66)
        head[88:152] = b" " * 64
        head[184:186] = np.uint16(n + 1).tobytes()
    head[236:244] = np.int64(records).tobytes()
    head[244:252] = np.array([1, 1], "<u4").tobytes()
    head[252:256] = np.uint32(n).tobytes()
    parts = [b"".join(label.encode().ljust(16) for label in labels), b" " * 80 * n]
    if old:
        parts += [b"".join(unit.encode().ljust(8) for unit in units)]
    else:
        parts += [b" " * 6 * n, np.array([CODES[unit] for unit in units], "<u2").tobytes()]
    digital = "<i8" if old else "<f8"
    parts += [np.full(n, -limit).tobytes(), np.full(n, limit).tobytes()]
    parts += [np.full(n, -32768).astype(digital).tobytes()]
    parts += [np.full(n, 32768).astype(digital).tobytes()]
    parts += [b" " * 80 * n] if old else [b" " * 68 * n, np.zeros(3 * n, "<f4").tobytes()]
    parts += [np.array(rates, "<i4").tobytes(), np.full(n, 3, "<i4").tobytes()]
    parts += [b" " * 32 * n] if old else [np.zeros(3 * n, "<f4").tobytes(), b"\0" * 20 * n]
    body = bytearray()
    for record in range(records):
        for x, rate in zip(data, rates, strict=True):
            part = x[record * rate : (record + 1) * rate]
            body += np.rint(part / limit * 32768).clip(-32768, 32767).astype("<i2").tobytes()
    events, count = b"\1", len(joints)
    if old:  # mode, rate in 24 bits, count in 32 bits
        events += int(rates[0]).to_bytes(3, "little") + count.to_bytes(4, "little")
    else:  # mode, count in 24 bits, rate as a float
        events += count.to_bytes(3, "little") + np.float32(rates[0]).tobytes()
    events += np.array([at + 1 for at in joints], "<u4").tobytes()
    events += np.full(count, 32766, "<u2").tobytes()
    path.write_bytes(bytes(head) + b"".join(parts) + bytes(body) + events)
