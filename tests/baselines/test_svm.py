"""The SVM on band powers: what a straight line cannot tell, its probabilities, thinned rows."""

from __future__ import annotations

import numpy as np
import pytest

from clmer.baselines import logistic, svm
from clmer.data.splits import Split


def parts(train: int, val: int, test: int) -> Split:
    rows = np.split(np.arange(train + val + test), [train, train + val])
    return Split("subject 1/1", *rows, shared_groups=0, note="")


def ring(count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Class 1 lies around class 0: no line parts them."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    angle, radius = rng.uniform(0, 2 * np.pi, count), 1 + 2 * y + rng.normal(0, 0.3, count)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return {"eeg": x}, y


def test_it_tells_a_ring_from_its_centre_and_a_line_does_not() -> None:
    x, y = ring(500, 0)
    split = parts(300, 100, 100)
    logp = svm.fit_predict(x, y, split, classes=2)
    assert (logp.argmax(1) == y[split.test]).mean() > 0.95
    np.testing.assert_allclose(np.exp(logp).sum(1), 1.0)
    rows = np.arange(400)
    floor = logistic.fit({"eeg": x["eeg"][rows]}, y[rows], rows, 2).floor
    straight = floor.log_odds({"eeg": x["eeg"][split.test]})
    assert (straight.argmax(1) == y[split.test]).mean() < 0.75


@pytest.mark.parametrize("classes", [2, 4])
def test_the_most_probable_class_is_the_predicted_one(classes: int) -> None:
    rng = np.random.default_rng(1)
    y = np.arange(200) % classes
    x = rng.normal(size=(200, 3)) + 2 * np.eye(classes, 3)[y]
    model = svm.MarginSVC(class_weight="balanced", break_ties=classes > 2).fit(x, y)
    probability = model.predict_proba(x)
    assert probability.shape == (200, classes)
    np.testing.assert_array_equal(probability.argmax(1), model.predict(x))


def test_a_rare_class_is_weighted_up() -> None:
    rng = np.random.default_rng(2)
    y = (np.arange(400) % 10 == 0).astype(int)
    x = {"au": rng.normal(size=(400, 1)) + 1.5 * y[:, None]}
    split = parts(250, 50, 100)
    said = svm.fit_predict(x, y, split, classes=2).argmax(1)
    assert said[y[split.test] == 1].mean() > 0.6


def test_thinning_keeps_order_spacing_and_every_class() -> None:
    train = np.arange(3, 103)
    y = np.zeros(120, dtype=int)
    y[50] = 1
    few = svm.thinned(train, y, most=30)
    assert 50 in few
    assert (np.diff(few) > 0).all()
    assert 24 <= len(few) <= 31
    assert np.isin(few, train).all()
    np.testing.assert_array_equal(svm.thinned(train, y, most=100), train)


def test_the_penalty_is_chosen_on_the_validation_part(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = ring(300, 3)
    y = np.where(np.random.default_rng(4).random(300) < 0.2, 1 - y, y)  # a hard margin overfits
    rows = np.arange(300)
    split = Split("subject 1/1", rows[:150], rows[150:], rows[150:], shared_groups=0, note="")

    def validation_loss() -> float:
        logp = svm.fit_predict(x, y, split, classes=2)
        return logistic.balanced_cross_entropy(logp, y[split.val])

    chosen, single = validation_loss(), []
    for penalty in svm.PENALTIES:
        with monkeypatch.context() as patch:
            patch.setattr(svm, "PENALTIES", (penalty,))
            single.append(validation_loss())
    assert chosen == min(single)
    assert min(single) < single[-1] - 0.01
