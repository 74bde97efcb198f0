"""Which elements dropout keeps: the hash of ops/attention/reference.py, `dropout_mask`, in Triton.

Twin of csrc/common/dropout_hash.h: 64 bits per row, two 32-bit rounds per element, so that every
form of an op, on every device, drops the same elements for a seed.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def dropout_key(seed, number):
    """64 bits per row, splitmix64 of the seed and the row's number over all leading dimensions."""
    x = tl.load(seed).to(tl.uint64, bitcast=True)
    x += (number + 1).to(tl.uint64, bitcast=True) * 0x9E3779B97F4A7C15
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return x ^ (x >> 31)


@triton.jit
def dropout_keeps(key, col, threshold):
    """[rows, columns]: whether the hash of a row's key and a column is at least the threshold."""
    low = key.to(tl.uint32)[:, None]
    high = (key >> 32).to(tl.uint32)[:, None]
    h = low ^ (col.to(tl.uint32) * 0x9E3779B1)[None, :]
    h = (h ^ (h >> 16)) * 0x7FEB352D
    h = (h ^ (h >> 15) ^ high) * 0x846CA68B
    return (h ^ (h >> 16)).to(tl.int64) >= threshold
