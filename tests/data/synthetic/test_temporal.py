"""The order and phase controls: nothing but time tells the classes apart."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clmer.data.synthetic.temporal import KINDS, draw_temporal


@pytest.mark.parametrize("kind", KINDS)
def test_means_and_powers_do_not_tell_the_classes(kind: str) -> None:
    x, y = draw_temporal(kind, 4000)
    power = np.log(np.abs(np.fft.rfft(x.astype(float))) ** 2 + 1e-3).reshape(len(x), -1)
    flat = np.hstack([x.mean(2), x.std(2), power])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    score = model.fit(flat[:3000], y[:3000]).score(flat[3000:], y[3000:])
    assert abs(score - 0.5) < 0.06  # four standard errors of 1000 windows
    assert abs(y.mean() - 0.5) < 0.03


def test_the_order_of_events_is_the_label() -> None:
    x, y = draw_temporal("order", 2000)
    time = np.arange(128)
    centres = []
    for cycles in (0.06, 0.18):
        wave = np.exp(-0.5 * ((time - 64) / 6) ** 2 - 2j * np.pi * cycles * time)
        found = [[np.abs(np.convolve(row, wave, "same")) for row in rows] for rows in x]
        centres.append(np.argmax(np.sum(found, axis=1), axis=1))
    assert ((centres[1] < centres[0]) == y).mean() > 0.9


def test_the_phase_is_the_label() -> None:
    x, y = draw_temporal("phase", 2000)
    spectrum = np.fft.rfft(x)[:, :, 4:14]
    cross = (spectrum[:, 1] * spectrum[:, 0].conj()).sum(1)
    assert ((np.angle(cross) > 0) == y).mean() > 0.9


def test_a_seed_decides_and_others_are_refused() -> None:
    one, same, other = (draw_temporal("phase", 50, seed) for seed in (0, 0, 1))
    assert np.array_equal(one.x, same.x)
    assert not np.array_equal(one.x, other.x)
    assert (one.x.shape, one.x.dtype) == ((50, 2, 128), np.float32)
    assert abs(draw_temporal("order", 2000).x.var() - 1.0) < 0.6
    with pytest.raises(ValueError, match="found kind 'shape' and count 5"):
        draw_temporal("shape", 5)
