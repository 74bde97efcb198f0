"""The linear floor of ratings: ridge regression on hand-made features.

    l(f) = w z + b,    z = (f - mean) / sd, cut as in `clmer.baselines.logistic`,

with the penalty that has the lowest squared error on windows of groups (people) that were held out.

Source: Hoerl and Kennard 1970.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from clmer.baselines.logistic import (
    FOLDS,
    Features,
    Fitted,
    LinearFloor,
    side_by_side,
    statistics_of,
)

#: Penalties per window, of standardised features, strongest first.
PENALTIES = (100.0, 10.0, 1.0, 0.1, 0.01, 0.001)


def fit(features: Features, y: np.ndarray, groups: np.ndarray, seed: int = 0) -> Fitted:
    """Fit the floor.

    Args:
        features: [N, F] by modality, all rows fitted; NaN where unknown.
        y: [N] ratings, standardised.
        groups: [N] what is held out together: people, or recordings of one person.
        seed: of the division of the groups.

    Returns:
        The linear model of one output, and held-out predictions [N, 1]; of a single group, from
        which nothing can be held out, the strongest penalty's and zeros.

    Raises:
        ValueError: no features, or rows that do not fit y.
    """
    if not features or any(len(f) != len(y) for f in features.values()):
        shapes = {name: f.shape for name, f in features.items()}
        raise ValueError(f"fit: expected features of {len(y)} windows, found {shapes}")
    held_out = np.zeros((len(PENALTIES), len(y)))
    count = min(FOLDS, len(np.unique(groups)))
    if count > 1:
        splitter = GroupKFold(count, shuffle=True, random_state=seed)
        for fitted, held in splitter.split(y, y, groups):
            own = {name: statistics_of(f[fitted]) for name, f in features.items()}
            z = side_by_side(features, tuple(features), own, fitted)
            others = side_by_side(features, tuple(features), own, held)
            for i, penalty in enumerate(PENALTIES):
                held_out[i, held] = _ridge(z, y[fitted], penalty).predict(others)
    best = int(np.argmin(((held_out - y) ** 2).mean(1)))
    statistics = {name: statistics_of(f) for name, f in features.items()}
    model = _ridge(side_by_side(features, tuple(features), statistics), y, PENALTIES[best])
    ends = np.cumsum([f.shape[1] for f in features.values()])[:-1]
    weights = dict(zip(features, np.split(model.coef_[None], ends, axis=1), strict=True))
    mean, scale = ({name: s[i] for name, s in statistics.items()} for i in (0, 1))
    floor = LinearFloor(mean, scale, weights, np.atleast_1d(model.intercept_))
    return Fitted(floor, held_out[best][:, None])


def _ridge(z: np.ndarray, y: np.ndarray, penalty: float) -> Ridge:
    """The penalty is per window: it means the same for any number of them."""
    return Ridge(alpha=penalty * len(y)).fit(z, y)
