"""Tangent space of EEG's covariances, for a linear model: what the field takes for few people.

For each EEG band b the windows are filtered to it and have the covariance C_b (shrunken, OAS). With
M_b the Riemannian mean of the training rows' covariances, the features are the upper half of

    log(M_b^(-1/2) C_b M_b^(-1/2)),

off the diagonal times sqrt(2); each band is a block of `clmer.baselines.logistic`, or of its ridge.

Source: Barachant et al. 2013 (https://doi.org/10.1016/j.neucom.2012.12.039), in pyriemann's form.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

import numpy as np
from scipy import signal

from clmer.data.store.store import Modality
from clmer.features.bands import BANDS

_ORDER = 4


def eeg_of(modalities: Mapping[str, Modality]) -> tuple[str, list[int]]:
    """The modality with most EEG channels, and their rows.

    Raises:
        ValueError: none has two; or pyriemann is not installed (how to get it).
    """
    if importlib.util.find_spec("pyriemann") is None:
        raise ValueError('found no pyriemann, expected it; pip install "clmer[riemann]"')
    rows = {
        name: [
            i for i, kind in enumerate(each.kinds or [name] * len(each.channels)) if kind == "eeg"
        ]
        for name, each in modalities.items()
    }
    name = max(rows, key=lambda each: len(rows[each]))
    if len(rows[name]) < 2:
        raise ValueError(f"found {', '.join(modalities)}, expected two EEG channels in one of them")
    return name, rows[name]


def tangent_blocks(x: np.ndarray, fs: float, train: np.ndarray) -> dict[str, np.ndarray]:
    """Tangent vectors of windows, by band.

    Args:
        x: [N, C, T] windows of EEG channels.
        fs: samples per second.
        train: the rows whose mean is the tangent point.

    Returns:
        [N, C (C + 1) / 2] float64 by "tangent <band>"; bands that the rate cuts are left out.
    """
    from pyriemann.estimation import Covariances
    from pyriemann.tangentspace import TangentSpace

    blocks = {}
    for name, (low, high) in BANDS.items():
        if high >= fs / 2:
            continue
        sos = signal.butter(_ORDER, (low, high), "bandpass", fs=fs, output="sos")
        padding = min(x.shape[-1] - 1, round(fs))
        filtered = signal.sosfiltfilt(sos, np.asarray(x, np.float64), padlen=padding)
        covariances = Covariances("oas").fit_transform(filtered)
        covariances += 1e-9 * np.trace(covariances, axis1=1, axis2=2).mean() * np.eye(x.shape[1])
        space = TangentSpace(metric="riemann").fit(covariances[train])
        blocks[f"tangent {name}"] = np.asarray(space.transform(covariances))
    return blocks
