"""Confidence intervals of scores over people: Student's t on the logit scale.

Windows of one person are not independent, so a person is one observation. A score of the pooled
confusion matrix is, to first order, a weighted sum over people,

    score - truth = sum_i e_i,    e_i = sum_kl n_ikl d score / d n_kl,

with n_i [K, K] the counts of person i. The variance V is that of the e_i between people, with the
correction for few people of Bell and McCaffrey (2002), people being equally spread. The interval is

    logit(score) +- t sqrt(V) / (score (1 - score))

taken back from the logit scale: within [0, 1], longer on the side of 1/2, and around the score.

t's degrees of freedom are the mean of Satterthwaite's for the numbers of windows as they are, which
alone cover too much where those differ widely, and for equal numbers of windows (people - 1 where
everybody has every class), which alone cover too little. Where a class is found in few people only,
both are low.

Where people do not differ at all, V says nothing: each person then counts as one observation.
A score that no person could change, such as the balanced accuracy of a model that always says the
same class, has no width.

Near 1 few people say little of those who were not met: none of n people is of a kind that is a
share q of all with probability (1 - q)^n, which is 0.025 for

    q = 1 - 0.025^(1 / n).

Such people may be right in half of their windows, so that no interval begins above 1 - q / 2: not
that of a perfect score, nor of one just below. Near 0 none ends below q / 2.

Coverage is simulated in tests/evaluation/test_intervals.py and benchmarks/interval_coverage.py.
"""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import expit, logit

#: What tables, pages and results.json call it.
METHOD = "95 % interval over people (Student's t on the logit scale)"

_ROUNDING = 1e-12  # relative size of rounding errors, with room to spare


def person_intervals(
    counts: np.ndarray, *, level: float = 0.95
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Intervals of every score over people.

    Args:
        counts: [..., P, K, K] confusion matrix of each person, true class by row; every person has
            a window.
        level: coverage of the interval.

    Returns:
        (low [...], high [...]) by name in `clmer.evaluation.metrics.SCORES`; NaN where nothing can
        be computed: one person, or no class in two people.
    """
    counts = np.asarray(counts, dtype=np.float64)
    total = counts.sum(axis=-3)  # [..., K, K]
    value, slope = _scores_and_slopes(total)
    found = {}
    for name in value:
        shares = _shares(counts, total, by_class=name in ("balanced_accuracy", "macro_f1"))
        change = (counts * slope[name][..., None, :, :]).sum(axis=(-2, -1))  # e_i [..., P]
        found[name] = _interval(value[name], change, shares, _can_change(total, slope[name]), level)
    return found


def _scores_and_slopes(
    counts: np.ndarray,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Scores [...] of confusion matrices [..., K, K], and their derivatives by every cell."""
    size = counts.shape[-1]
    same = np.eye(size)
    true, predicted = counts.sum(-1), counts.sum(-2)  # [..., K]
    whole = np.maximum(true.sum(-1), 1.0)[..., None]
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    recall = hit / np.maximum(true, 1.0)
    present = true > 0
    per_class = present / np.maximum(present.sum(-1, keepdims=True) * true, 1.0)
    both = np.maximum(true + predicted, 1.0)
    f1 = 2.0 * hit / both
    share = true / whole
    seen = (true + predicted > 0) / np.maximum((true + predicted > 0).sum(-1, keepdims=True), 1)

    def f1_slope(weight: np.ndarray) -> np.ndarray:
        # d sum_k weight_k f1_k / d n_kl: by the hit, by k's true windows, by l's predicted ones.
        part = weight * f1 / both
        return 2 * same * (weight / both)[..., :, None] - part[..., :, None] - part[..., None, :]

    accuracy = hit.sum(-1) / whole[..., 0]
    weighted = (f1 * share).sum(-1)
    value = {
        "accuracy": accuracy,
        "balanced_accuracy": (recall * present).sum(-1) / np.maximum(present.sum(-1), 1),
        "macro_f1": (f1 * seen).sum(-1),
        "weighted_f1": weighted,
    }
    slope = {
        "accuracy": (same - accuracy[..., None, None]) / whole[..., None],
        "balanced_accuracy": (same - recall[..., :, None]) * per_class[..., :, None],
        "macro_f1": f1_slope(seen),
        "weighted_f1": f1_slope(share) + ((f1 - weighted[..., None]) / whole)[..., :, None],
    }
    return value, slope


def _shares(counts: np.ndarray, total: np.ndarray, *, by_class: bool) -> np.ndarray:
    """Each person's share of each class [..., P, K] or of all windows [..., P, 1]; together 1."""
    own = counts.sum(-1)  # [..., P, K]
    if not by_class:
        own = own.sum(-1, keepdims=True)
    whole = own.sum(-2, keepdims=True)
    classes = np.maximum((whole > 0).sum(-1, keepdims=True), 1)
    return np.asarray(own / np.maximum(whole, 1.0) / classes)


def _can_change(total: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Whether the score would change if predictions of the same shares fell differently [...]."""
    true = np.maximum(total.sum(-1), 1.0)
    mean = (total * slope).sum(-1) / true
    spread = (total * slope**2).sum(-1) / true - mean**2
    return np.asarray((spread > _ROUNDING * np.maximum(mean**2, 1e-30)).any(-1))


def degrees_of_freedom(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Satterthwaite's degrees of freedom [...] and the variance's correction for few people [...].

    People differ by u_i, independent and of equal spread; e = R u with R made of the shares.
    NaN where e is always zero.
    """
    weight = shares.sum(-1)  # [..., P]
    group = shares.sum(-2, keepdims=True)  # [..., 1, G]
    scaled = shares / np.where(group > 0, group, 1.0)
    remainder = -(shares @ np.swapaxes(scaled, -1, -2))  # R [..., P, P]
    people = np.arange(weight.shape[-1])
    remainder[..., people, people] += weight
    spread = remainder @ np.swapaxes(remainder, -1, -2)
    first = np.trace(spread, axis1=-2, axis2=-1)
    second = (spread**2).sum(axis=(-2, -1))
    squares = (weight**2).sum(-1)
    usable = first > _ROUNDING * squares
    degrees = np.where(usable, first**2 / np.where(usable, second, 1.0), np.nan)
    return degrees, np.where(usable, squares / np.where(usable, first, 1.0), np.nan)


def _interval(
    value: np.ndarray, change: np.ndarray, shares: np.ndarray, can_change: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    degrees, correction = degrees_of_freedom(shares)
    equal = np.where(shares > 0, 1.0, 0.0)
    group = np.maximum(equal.sum(-2, keepdims=True), 1.0)
    equal = equal / group / np.maximum((shares.sum(-2, keepdims=True) > 0).sum(-1), 1)[..., None]
    degrees = (degrees + degrees_of_freedom(equal)[0]) / 2
    t = stats.t.ppf((1 + level) / 2, degrees)

    people = 1.0 / (shares.sum(-1) ** 2).sum(-1)  # as many equal ones
    variance = correction * (change**2).sum(-1)
    differ = variance > _ROUNDING**2
    binomial = value * (1 - value)
    inside = binomial > _ROUNDING
    odds = logit(np.where(inside, value, 0.5))
    spread = np.sqrt(np.where(differ, variance, binomial / people))
    reach = t * spread / np.where(inside, binomial, 1.0)
    low, high = expit(odds - reach), expit(odds + reach)

    # All right or all wrong: who was not met could still be right in half of the windows.
    unseen = 1 - ((1 - level) / 2) ** (1 / people)
    low = np.where(inside, low, np.where(value > 0.5, 1.0, 0.0))
    high = np.where(inside, high, np.where(value > 0.5, 1.0, 0.0))
    low, high = np.minimum(low, 1 - unseen / 2), np.maximum(high, unseen / 2)
    fixed = inside & ~differ & ~can_change
    ends = (np.where(fixed, value, end) for end in (low, high))
    low, high = (np.where(np.isnan(t), np.nan, end) for end in ends)
    return low, high
