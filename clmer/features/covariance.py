"""How the channels of a modality vary together: correlations, and the log of the covariance."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

#: Columns [N, k] by the names of their k features.
Columns = dict[tuple[str, ...], np.ndarray]
#: Channels whose pairs are compared, at most: their number grows with the square.
MOST_PAIRED = 40
#: Share of the mean variance that is added to the covariance's diagonal: an average reference, or
#: components that a cleaning removed, leave a matrix without full rank.
SHRINKAGE = 1e-3
_TINY = 1e-30  # far below the variance of an EEG in volts


def correlations(x: np.ndarray) -> Columns:
    """Correlation of each pair of channels of [N, C, T]; 0 of a flat one.

    None of one channel, nor of more than `MOST_PAIRED`.
    """
    count = x.shape[1]
    if not 2 <= count <= MOST_PAIRED:
        return {}
    covariance = _covariance(x)
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    found = covariance / np.maximum(sd[:, :, None] * sd[:, None, :], _TINY)
    names, rows, columns = _pairs("correlation", count, 1)
    return {names: found[:, rows, columns]}


def log_covariance(x: np.ndarray) -> Columns:
    """Upper half of log(S + e I) of each window, S the covariance of its channels.

    e is `SHRINKAGE` times the mean variance. Off the diagonal times sqrt(2), so that Euclidean
    distances are the log-Euclidean ones. None of one channel, nor of more than `MOST_PAIRED`.

    Args:
        x: [N, C, T].

    Source: Arsigny et al. 2007; Barachant et al. 2013 (tangent space at the identity).
    """
    count = x.shape[1]
    if not 2 <= count <= MOST_PAIRED:
        return {}
    covariance = _covariance(x)
    level = np.trace(covariance, axis1=1, axis2=2) / count
    shrunk = covariance + np.maximum(SHRINKAGE * level, _TINY)[:, None, None] * np.eye(count)
    values, vectors = np.linalg.eigh(shrunk)
    logs = np.log(np.maximum(values, _TINY))
    found = (vectors * logs[:, None]) @ vectors.transpose(0, 2, 1)
    names, rows, columns = _pairs("log-covariance", count, 0)
    return {names: found[:, rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2))}


@lru_cache
def _pairs(what: str, count: int, first: int) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names, rows and columns of a matrix's upper half, from a diagonal on."""
    rows, columns = np.triu_indices(count, first)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return tuple(f"{what} {i + 1}-{j + 1}" for i, j in pairs), rows, columns


def _covariance(x: np.ndarray) -> np.ndarray:
    """[N, C, C] of [N, C, T]."""
    centred = x - x.mean(-1, keepdims=True)
    return np.asarray(centred @ centred.transpose(0, 2, 1) / x.shape[-1])
