"""Trees: what they learn of new people, that calibration mends their threshold, what is unknown."""

from __future__ import annotations

import numpy as np
import pytest

from clmer.baselines import trees


def study(seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Two features tell the class (1 in 4); people differ by an offset of a third one."""
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(12), 40)
    y = (rng.random(480) < 0.25).astype(np.int64)
    x = rng.normal(size=(480, 6))
    x[:, 0] += 1.5 * y
    x[:, 1] -= 1.5 * y
    x[:, 2] += 5 * rng.normal(size=12)[people]
    x[::9, 3] = np.nan
    x[:, 4] = np.nan
    return {"eeg": x[:, :3], "ecg": x[:, 3:]}, y, people


@pytest.mark.parametrize("name", trees.TREES)
def test_new_people_are_told_and_both_classes_recalled(name: str) -> None:
    features, y, people = study()
    rows, test = np.flatnonzero(people < 8), np.flatnonzero(people >= 8)
    logp = trees.fit_predict(name, features, y, rows, people[rows], test, 3)
    np.testing.assert_allclose(np.exp(logp).sum(1), 1)
    said, true = logp.argmax(1), y[test]
    recalls = [float((said[true == k] == k).mean()) for k in (0, 1)]
    assert min(recalls) > 0.7
    again = trees.fit_predict(name, features, y, rows, people[rows], test, 3)
    np.testing.assert_array_equal(logp, again)


@pytest.mark.parametrize("name", trees.TREES)
def test_no_row_beside_those_given_is_looked_at(name: str) -> None:
    features, y, people = study()
    rows, test = np.flatnonzero(people < 8), np.flatnonzero(people == 8)
    wanted = trees.fit_predict(name, features, y, rows, people[rows], test, 2)
    y[people >= 8] = 1 - y[people >= 8]
    found = trees.fit_predict(name, features, y, rows, people[rows], test, 2)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", trees.TREES)
def test_ratings(name: str) -> None:
    features, _, people = study()
    ratings = 3.0 + 2 * features["eeg"][:, 0]
    rows, test = np.flatnonzero(people < 8), np.flatnonzero(people >= 8)
    found = trees.fit_predict_ratings(name, features, ratings, rows, test)
    assert np.corrcoef(found, ratings[test])[0, 1] > 0.9
