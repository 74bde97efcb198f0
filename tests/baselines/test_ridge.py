"""Ridge regression as the floor of ratings: what it finds, holds out, and refuses."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

from clmer.baselines import ridge


def study(people: int = 10, windows: int = 20, seed: int = 0):
    """A rating that two of 12 features tell, one of each block; people have offsets."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(people), windows)
    features = {name: rng.normal(size=(len(groups), 6)) for name in ("eeg", "ecg")}
    y = features["eeg"][:, 0] + 0.5 * features["ecg"][:, 1] + 0.5 * rng.normal(size=len(groups))
    y += 0.3 * rng.normal(size=people)[groups]
    return features, (y - y.mean()) / y.std(), groups


def test_it_finds_what_is_linear() -> None:
    features, y, groups = study()
    floor, held_out = ridge.fit(features, y, groups)
    assert np.corrcoef(held_out[:, 0], y)[0, 1] > 0.7
    fresh, truth, _ = study(seed=1)
    said = floor.log_odds(fresh)[:, 0]
    assert np.corrcoef(said, truth)[0, 1] > 0.7
    largest = {name: int(np.abs(w[0]).argmax()) for name, w in floor.weights.items()}
    assert largest == {"eeg": 0, "ecg": 1}


def test_a_held_out_row_was_seen_by_no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "PENALTIES", (0.1,))
    features, y, groups = study()
    own = groups == 3
    moved = np.where(own, y + 100.0, y)
    folds = list(GroupKFold(5).split(y, y, groups))
    first, second = (
        ridge._solve(features["eeg"], each, folds, np.ones(len(y))).held_out for each in (y, moved)
    )
    np.testing.assert_array_equal(first[own], second[own])
    assert np.abs(first[~own] - second[~own]).max() > 1


def test_noise_gives_the_mean() -> None:
    features, _, groups = study()
    y = np.random.default_rng(5).normal(size=len(groups))
    floor, held_out = ridge.fit(features, y, groups)
    assert held_out.std() < 0.2
    assert floor.log_odds(features).std() < 0.3


def test_unknown_features_are_as_the_mean() -> None:
    features, y, groups = study()
    features["ecg"][::3] = np.nan
    floor, _ = ridge.fit(features, y, groups)
    whole = {**features, "ecg": np.full_like(features["ecg"], np.nan)}
    alone = whole["eeg"][:, 0]
    assert np.corrcoef(floor.log_odds(whole)[:, 0], alone)[0, 1] > 0.9


def test_one_group_is_the_strongest_penalty() -> None:
    features, y, _ = study()
    floor, held_out = ridge.fit(features, y, np.zeros(len(y)))
    assert not held_out.any()
    assert np.isfinite(floor.log_odds(features)).all()


def test_features_that_do_not_fit_are_refused() -> None:
    features, y, groups = study()
    with pytest.raises(ValueError, match="expected features of 199 windows"):
        ridge.fit(features, y[:-1], groups[:-1])
    with pytest.raises(ValueError, match="expected features"):
        ridge.fit({}, y, groups)
