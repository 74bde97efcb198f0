"""The linear floor of ratings: ridge regression on hand-made features.

As `clmer.baselines.logistic`, with ridge regressions in the place of logistic ones: of all blocks
of features side by side, or of each block alone, whose penalty has the lowest squared error on
windows of groups (people) that were held out. What is returned is

    l = sum_s a_s l_s + b,  a_s >= 0,

with a and b fitted by least squares to the held-out predictions of all rows; of "side by side" and
"each alone" the one with the lower held-out error is kept.

Source: Hoerl and Kennard 1970; Breiman 1996 (stacked regressions).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from clmer.baselines.logistic import (
    FOLDS,
    Features,
    Fitted,
    LinearFloor,
    standardised,
    statistics_of,
)

#: Penalties per window, of standardised features, strongest first.
PENALTIES = (100.0, 10.0, 1.0, 0.1, 0.01, 0.001)
Folds = Sequence[tuple[np.ndarray, np.ndarray]]


class _Solved(NamedTuple):
    penalty: float
    held_out: np.ndarray  # [N]


class _Mixed(NamedTuple):
    shares: np.ndarray  # [S]
    bias: float
    held_out: np.ndarray  # [N]


def fit(
    features: Features,
    y: np.ndarray,
    groups: np.ndarray,
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> Fitted:
    """Fit the floor.

    Args:
        features: [N, F] by block, all rows fitted; NaN where unknown.
        y: [N] ratings, standardised.
        groups: [N] what is held out together: people, or recordings of one person.
        seed: of the division of the groups.
        weights: [N] above 0, what each row counts in the errors; None for 1.

    Returns:
        The linear model of one output, and held-out predictions [N, 1]; of a single group, from
        which nothing can be held out, the strongest penalty's and zeros.

    Raises:
        ValueError: no features, or rows that do not fit y.
    """
    if not features or any(len(f) != len(y) for f in features.values()):
        shapes = {name: f.shape for name, f in features.items()}
        raise ValueError(f"fit: expected features of {len(y)} windows, found {shapes}")
    count = min(FOLDS, len(np.unique(groups)))
    folds: Folds = []
    if count > 1:
        splitter = GroupKFold(count, shuffle=True, random_state=seed)
        folds = list(splitter.split(y, y, groups))
    weights = np.ones(len(y)) if weights is None else weights
    solved = {block: _solve(part, y, folds, weights) for block, part in features.items()}
    mixed = _mix([each.held_out for each in solved.values()], y, weights)
    mean, scale, rows, bias = {}, {}, {}, mixed.bias
    for share, (block, part) in zip(mixed.shares, features.items(), strict=True):
        mean[block], scale[block] = statistics_of(part)
        z = standardised(part, mean[block], scale[block])
        model = _ridge(z, y, solved[block].penalty, weights)
        rows[block] = share * model.coef_[None]
        bias += share * float(model.intercept_)
    floor = LinearFloor(mean, scale, rows, np.array([bias]))
    return Fitted(floor, mixed.held_out[:, None])


def _solve(features: np.ndarray, y: np.ndarray, folds: Folds, weights: np.ndarray) -> _Solved:
    """The penalty for one block, and its predictions of rows that were held out."""
    held_out = np.zeros((len(PENALTIES), len(y)))
    for fitted, held in folds:
        statistics = statistics_of(features[fitted])
        z, others = (standardised(features[rows], *statistics) for rows in (fitted, held))
        for i, penalty in enumerate(PENALTIES):
            model = _ridge(z, y[fitted], penalty, weights[fitted])
            held_out[i, held] = model.predict(others)
    best = int(np.argmin((weights * np.square(held_out - y)).sum(1)))
    return _Solved(PENALTIES[best], held_out[best])


def _ridge(z: np.ndarray, y: np.ndarray, penalty: float, weights: np.ndarray) -> Ridge:
    """The penalty is per window: it means the same for any number of them."""
    even = bool((weights == 1.0).all())
    return Ridge(alpha=penalty * weights.sum()).fit(z, y, None if even else weights)


def _mix(sources: Sequence[np.ndarray], y: np.ndarray, weights: np.ndarray) -> _Mixed:
    """Shares and bias with the least squared error of held-out predictions [N] of sources."""
    stacked = np.stack(sources, axis=1)  # [N, S]
    middle, centre = np.average(stacked, 0, weights), np.average(y, weights=weights)
    if not stacked.any():  # nothing was held out
        shares = np.full(len(sources), 1.0 / len(sources))
        return _Mixed(shares, 0.0, stacked @ shares)
    root = np.sqrt(weights)
    shares, _ = nnls(root[:, None] * (stacked - middle), root * (y - centre))
    bias = float(centre - shares @ middle)
    return _Mixed(shares, bias, stacked @ shares + bias)
