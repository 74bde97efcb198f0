"""A person's own zero: what is measured of them is read against what is known of them.

New people differ from those trained on by an offset and a gain of their own (skull, skin,
electrodes, face) more than by what the classes do to them. A stretch of a person's recording in a
known state, the reference, tells both. It is never trained or tested on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Values = TypeVar("Values", np.ndarray, Tensor)

#: A value whose standard deviation is at most this, or this share of its largest value, carries
#: nothing but rounding, a filter's or float32's: it becomes zeros.
FLAT, FLAT_SHARE = 1e-9, 8 * float(np.finfo(np.float32).eps)
#: Windows of a reference, at least: fewer tell no scale.
LEAST = 4


def by_person(
    x: Values, people: Any, reference: Any, *, over: Sequence[int] = (0,), least: int = LEAST
) -> Values:
    """Values of each person, z-scored by that person's reference alone.

    z = (x - mean_p) / sd_p, with mean_p and sd_p (of n - 1) over the reference rows of person p. A
    value that is flat in someone's reference becomes 0 for them: its scale is not known. What a
    person's recording was multiplied by and what was added to it plays no part, nor do others.

    Args:
        x: [N, ...] real numbers: features, tokens or windows.
        people: [N] whose each row is.
        reference: [N] bool, the rows that are their person's reference.
        over: dimensions of x that mean and standard deviation run over, the rows (0) among them:
            (0,) for features [N, F], (0, 2) for windows [N, C, T].
        least: reference rows that everyone needs.

    Returns:
        [N, ...] of x's kind, type and device.

    Raises:
        ValueError: shapes do not fit; a person has fewer than `least` reference rows (who).
    """
    out = torch.as_tensor(x).clone()
    if not out.is_floating_point():
        raise ValueError(f"x: found {out.dtype}, expected floating point numbers")
    people, known = np.asarray(people), np.asarray(reference)
    check_reference(people, known, len(out), least)
    for person in np.unique(people):
        own = people == person
        rows = torch.from_numpy(np.flatnonzero(own)).to(out.device)
        basis = torch.from_numpy(np.flatnonzero(own & known)).to(out.device)
        mean, std = statistics(out[basis], over)
        out[rows] = ((out[rows].double() - mean) / std).to(out.dtype)
    return out.numpy() if isinstance(x, np.ndarray) else out


def check_reference(
    people: np.ndarray, reference: np.ndarray, count: int, least: int = LEAST
) -> None:
    """Refuse rows whose people are not all known by a reference.

    Raises:
        ValueError: as `by_person`.
    """
    if people.shape != (count,) or reference.shape != (count,) or reference.dtype != bool:
        raise ValueError(
            f"people, reference: found {people.shape}, {reference.shape} {reference.dtype}, "
            f"expected ({count},) each, the reference as bool"
        )
    for person in np.unique(people):
        found = int((reference & (people == person)).sum())
        if found < least:
            raise ValueError(
                f"reference: found {found} windows of {person}, expected at least {least}"
            )


def statistics(x: Tensor, over: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (infinite where flat) over some dimensions, float64."""
    x, over = x.double(), tuple(over)
    mean = x.mean(over, keepdim=True)
    std = x.std(over, correction=1, keepdim=True)
    peak = x.abs().amax(over, keepdim=True)
    flat = std <= (FLAT_SHARE * peak).clamp(min=FLAT)
    return mean, std.masked_fill(flat, torch.inf)
