"""What probabilities are worth beyond their largest entry: Brier score, calibration error, AUC.

Classes weigh the same in the first two, as in balanced accuracy: models here are trained that way,
and their probabilities are those of classes that are equally frequent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

#: Bins of the calibration error, equally wide.
BINS = 10


def probability_scores(y: np.ndarray, logp: np.ndarray, people: np.ndarray) -> dict[str, Any]:
    """Scores of probabilities.

    - `brier`: mean over classes k of the mean over windows of class k of sum_j (p_j - [j = k])^2;
      0 at best, (K - 1) / K of a model that knows nothing.
    - `ece`: expected calibration error, the mean distance between the confidence max_j p_j and the
      accuracy within `BINS` bins of confidence, windows weighted so that classes count the same.
    - `auc`: area under the ROC curve over all windows, several classes one against the rest, their
      mean. `auc_within`: the mean of each person's own, over people with at least two classes;
      offsets between people do not matter to it.

    Args:
        y: [N] int class.
        logp: [N, K] log-probabilities, or any scores whose softmax is meant.
        people: [N] person.

    Returns:
        A float by name; None where it is not defined (one class).
    """
    p = softmax(logp, axis=1)
    present, counts = np.unique(y, return_counts=True)
    weight = 1.0 / (counts[np.searchsorted(present, y)] * len(present))
    error = np.square(p - np.eye(p.shape[1])[y]).sum(1)
    own = [auc(y[people == person], p[people == person]) for person in np.unique(people)]
    known = [each for each in own if each is not None]
    return {
        "brier": float(weight @ error),
        "ece": calibration_error(y, p, weight),
        "auc": auc(y, p),
        "auc_within": float(np.mean(known)) if known else None,
    }


def calibration_error(y: np.ndarray, p: np.ndarray, weight: np.ndarray) -> float:
    """Expected calibration error of probabilities p [N, K], rows weighted."""
    confidence, hit = p.max(1), p.argmax(1) == y
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gap = np.bincount(bins, weight * (confidence - hit), minlength=BINS)
    return float(np.abs(gap).sum() / weight.sum())


def auc(y: np.ndarray, p: np.ndarray) -> float | None:
    """Area under the ROC curve, the mean over classes that some rows have and some have not."""
    classes = [k for k in np.unique(y) if 0 < (y == k).sum() < len(y)]
    if not classes:
        return None
    if p.shape[1] == 2:
        classes = [1]
    return float(np.mean([roc_auc_score(y == k, p[:, k]) for k in classes]))
