"""The linear floor: logistic regression on hand-made features, which a network has to beat.

z = (f - mean) / sd by the fitted rows, cut at +-`REACH`; a value that is not known has z = 0, so
that a missing modality adds nothing. Each block s of features is a logistic regression l_s(z_s)
with balanced classes, whose C has the lowest class-balanced cross-entropy on windows of groups
(people) that were held out. What is returned is

    l = sum_s a_s l_s + b,  a_s >= 0,

with a and b fitted to the held-out log-odds of all rows: a weak block gets a small share where side
by side with a strong one it would blur it, and a and b repair confidence and threshold. A sum of
linear models is linear, so one matrix per block is saved.

Rows can have weights (`importance`), which then stand in all losses in the place of balanced
classes; what features are standardised by counts every row once.

Source: Wolpert 1992 (stacking); Platt 1999 (calibration on held-out scores).
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from clmer.baselines.one_thread import one_thread

#: Inverse regularisation strengths, strongest regularisation first.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: Parts that the groups are assigned to, at most.
FOLDS = 5
#: Standard deviations at which a feature is cut: artefacts reach further.
REACH = 8.0

Features = Mapping[str, np.ndarray]  # block -> [N, F], NaN where unknown
Folds = Sequence[tuple[np.ndarray, np.ndarray]]  # rows that are fitted, rows that are held out


@dataclass(frozen=True, eq=False)
class LinearFloor:
    """A fitted linear model.

    Args:
        mean, scale: [F] of the features, by block.
        weights: [K, F] of the standardised features, by block.
        bias: [K].
    """

    mean: Mapping[str, np.ndarray]
    scale: Mapping[str, np.ndarray]
    weights: Mapping[str, np.ndarray]
    bias: np.ndarray

    def log_odds(self, features: Features) -> np.ndarray:
        """[N, K] logits of windows by their features."""
        parts = [
            standardised(features[name], self.mean[name], self.scale[name]) @ weights.T
            for name, weights in self.weights.items()
        ]
        return np.asarray(sum(parts) + self.bias)


class Fitted(NamedTuple):
    """A floor, and the held-out log-odds [rows, K] of the rows that it was fitted on."""

    floor: LinearFloor
    held_out: np.ndarray


@one_thread()
def fit(
    features: Features,
    y: np.ndarray,
    groups: np.ndarray,
    classes: int,
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> Fitted:
    """Fit the floor.

    Args:
        features: [N, F] by block, all rows fitted.
        y: [N] int class.
        groups: [N] what is held out together: people, or recordings of one person.
        classes: K.
        seed: of the division of the groups.
        weights: [N] above 0, what each row counts in the losses; None for balanced classes.

    Raises:
        ValueError: no features, or rows that do not fit y.
    """
    if not features or any(len(f) != len(y) for f in features.values()):
        shapes = {name: f.shape for name, f in features.items()}
        raise ValueError(f"fit: expected features of {len(y)} windows, found {shapes}")
    folds = parts_of_groups(y, groups, seed)
    solved = {block: _once(part, y, folds, classes, weights) for block, part in features.items()}
    mixed = mix([each.held_out for each in solved.values()], y, classes, weights)
    mean, scale, matrices, bias = {}, {}, {}, mixed.bias.copy()
    for share, (block, each) in zip(mixed.shares, solved.items(), strict=True):
        mean[block], scale[block] = each.mean.copy(), each.scale.copy()  # not those of `_SOLVED`
        matrices[block] = share * each.model.weights
        bias += share * each.model.bias
    return Fitted(LinearFloor(mean, scale, matrices, bias), mixed.log_odds)


def cross_entropy(logits: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> float:
    """Weighted mean of the negative log-probability; without weights that of balanced classes."""
    if weights is None:
        return balanced_cross_entropy(logits, y)
    logp = log_softmax(logits, axis=1)[np.arange(len(y)), y]
    return -float(np.average(logp, weights=weights)) if len(y) else 0.0


def balanced_cross_entropy(logits: np.ndarray, y: np.ndarray) -> float:
    """Mean over the classes in y of the mean negative log-probability; 0 without rows."""
    logp = log_softmax(logits, axis=1)
    return -float(np.mean([logp[y == k, k].mean() for k in np.unique(y)])) if len(y) else 0.0


# --- features -------------------------------------------------------------------------------------
def statistics_of(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [F] of what is known; (0, 1) of a column without any value."""
    known = np.isfinite(features)
    count = np.maximum(known.sum(0), 1)
    filled = np.where(known, features, 0.0)
    mean = filled.sum(0) / count
    sd = np.sqrt((np.square(filled - mean) * known).sum(0) / count)
    return mean, np.where(sd > 1e-9 * np.maximum(np.abs(mean), 1e-6), sd, 1.0)


def standardised(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Features [N, F] as z-scores within +-`REACH`; 0 where one is not known."""
    z = (features - mean) / scale
    return np.clip(np.where(np.isfinite(z), z, 0.0), -REACH, REACH)


# --- one block ------------------------------------------------------------------------------------
class _Linear(NamedTuple):
    weights: np.ndarray  # [K, F]
    bias: np.ndarray  # [K]


class _Solved(NamedTuple):
    strength: float
    held_out: np.ndarray  # [N, K]
    mean: np.ndarray  # [F]
    scale: np.ndarray  # [F]
    model: _Linear  # of all rows, by that strength


#: The last blocks that were solved, by what decides them.
_SOLVED: OrderedDict[bytes, _Solved] = OrderedDict()
_MOST_SOLVED = 64


def parts_of_groups(
    y: np.ndarray, groups: np.ndarray, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(fitted, held out) rows; a group is on one side. Nothing is held out of a single group."""
    count = min(FOLDS, len(np.unique(groups)))
    if count < 2 or len(np.unique(y)) < 2:
        return []
    least = np.bincount(y)[np.unique(y)].min()
    if least < count:  # fewer windows of a class than parts
        return list(GroupKFold(count).split(y, y, groups))
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return list(splitter.split(y, y, groups))


def _once(
    features: np.ndarray, y: np.ndarray, folds: Folds, classes: int, weights: np.ndarray | None
) -> _Solved:
    """`_solve`, or what it said of the same numbers before.

    A run asks for the same blocks again: as its floor, which reads encoders beside them, and as the
    baseline that has them alone.
    """
    parts = [features, y, *(rows for fold in folds for rows in fold)]
    parts += [] if weights is None else [weights]
    digest = blake2b(repr([classes, *((part.shape, part.dtype.str) for part in parts)]).encode())
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    key = digest.digest()
    found = _SOLVED.get(key)
    if found is None:
        found = _SOLVED[key] = _solve(features, y, folds, classes, weights)
        while len(_SOLVED) > _MOST_SOLVED:
            _SOLVED.popitem(last=False)
    return found


def _solve(
    features: np.ndarray, y: np.ndarray, folds: Folds, classes: int, weights: np.ndarray | None
) -> _Solved:
    """The strength for one block, its log-odds of rows that were held out, and its whole fit.

    Regularisation is weakened until held-out rows are predicted worse: what follows is slow to fit
    and fits the training part's people.
    """
    parts = []
    for fitted, held in folds:
        statistics = statistics_of(features[fitted])
        z, others = (standardised(features[rows], *statistics) for rows in (fitted, held))
        own = None if weights is None else weights[fitted]
        parts.append((_Path(z, y[fitted], classes, own), others, held))
    best, best_held_out, least = STRENGTHS[0], np.zeros((len(y), classes)), np.inf
    for strength in STRENGTHS if folds else ():
        held_out = np.zeros((len(y), classes))
        for path, others, held in parts:
            model = path.fit(strength)
            held_out[held] = others @ model.weights.T + model.bias
        loss = cross_entropy(held_out, y, weights)
        if loss > least:
            break
        best, best_held_out, least = strength, held_out, loss
    mean, scale = statistics_of(features)
    model = _Path(standardised(features, mean, scale), y, classes, weights).fit(best)
    return _Solved(best, best_held_out, mean, scale, model)


class _Path:
    """Weighted or class-balanced logistic regressions of ever weaker regularisation on some rows.

    Each starts where the last one ended. A class without rows has the logit of one row among all
    that there are.
    """

    def __init__(
        self, z: np.ndarray, y: np.ndarray, classes: int, weights: np.ndarray | None = None
    ) -> None:
        self.z, self.y, self.classes, self.weights = z, y, classes, weights
        self.model = LogisticRegression(
            class_weight="balanced" if weights is None else None,
            max_iter=500,
            tol=1e-3,
            warm_start=True,
        )

    def fit(self, strength: float) -> _Linear:
        present, width = np.unique(self.y), self.z.shape[1]
        weights = np.zeros((self.classes, width))
        bias = np.full(self.classes, -np.log(len(self.y) + 1.0))
        if len(present) < 2:
            bias[present] = 0.0
            return _Linear(weights, bias)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.set_params(C=strength).fit(self.z, self.y, self.weights)
        own, at = self.model.coef_, self.model.intercept_
        if len(present) == 2:  # f of the second class, as one logit each
            own, at = np.vstack([-own, own]) / 2, np.hstack([-at, at]) / 2
        weights[present], bias[present] = own, at
        return _Linear(weights, bias)


# --- several blocks -------------------------------------------------------------------------------
class Mixed(NamedTuple):
    """A mixture of blocks: shares, bias, its loss and its log-odds of the rows held out."""

    shares: np.ndarray  # [S]
    bias: np.ndarray  # [K]
    loss: float
    log_odds: np.ndarray  # [N, K]


def mix(
    sources: Sequence[np.ndarray],
    y: np.ndarray,
    classes: int,
    weights: np.ndarray | None = None,
) -> Mixed:
    """Shares and bias that minimise the `cross_entropy` of held-out log-odds."""
    stacked = np.stack(sources)  # [S, N, K]
    count = len(stacked)
    if len(np.unique(y)) < 2 or not stacked.any():  # nothing was held out
        shares, bias = np.full(count, 1.0 / count), np.zeros(classes)
        log_odds = np.tensordot(shares, stacked, 1)
        return Mixed(shares, bias, cross_entropy(log_odds, y, weights), log_odds)
    sizes = np.bincount(y, minlength=classes)
    weight = 1.0 / (sizes[y] * (sizes > 0).sum()) if weights is None else weights / weights.sum()
    target = np.eye(classes)[y]

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        logits = np.tensordot(theta[:count], stacked, 1) + theta[count:]
        logp = log_softmax(logits, axis=1)
        excess = (np.exp(logp) - target) * weight[:, None]  # d loss / d logits
        gradient = np.hstack([np.tensordot(stacked, excess, 2), excess.sum(0)])
        return -float((weight * logp[np.arange(len(y)), y]).sum()), gradient

    start = np.hstack([np.full(count, 1.0 / count), np.zeros(classes)])
    bounds = [(0.0, None)] * count + [(-5.0, 5.0)] * classes
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    shares, bias = found.x[:count], found.x[count:]
    return Mixed(shares, bias, float(found.fun), np.tensordot(shares, stacked, 1) + bias)
