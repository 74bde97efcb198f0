"""What is predicted: losses and validation scores against closed forms, and what files keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from clmer.pipeline.targets import (
    ClassTarget,
    RatingTarget,
    check_has_classes,
    fit_target,
    read_target,
)

CPU = torch.device("cpu")


def test_a_rating_is_learnt_on_its_standardised_scale() -> None:
    y = np.array([2.0, 4.0, 6.0, 8.0, 100.0, np.nan])
    target = fit_target("rating", (), y, np.arange(4))
    assert target == RatingTarget(5.0, pytest.approx(np.std(y[:4])))
    outputs = np.array([[0.0], [1.0], [-1.0], [0.5]])
    said = target.decode(outputs)
    np.testing.assert_allclose(said, 5 + np.std(y[:4]) * outputs[:, 0])
    loss = target.loss(y, np.arange(4), CPU)
    found = loss(torch.from_numpy(outputs).float(), torch.arange(4))
    assert float(found) == pytest.approx(np.mean((said - y[:4]) ** 2) / np.var(y[:4]), rel=1e-6)
    score, validated = target.validate(outputs, y, np.arange(4), np.arange(4))
    assert validated == pytest.approx(float(found), rel=1e-6)
    covariance = np.cov(y[:4], said, bias=True)[0, 1]
    apart = np.var(y[:4]) + np.var(said) + (np.mean(y[:4]) - np.mean(said)) ** 2
    assert score == pytest.approx(2 * covariance / apart)
    np.testing.assert_allclose(target.mean([said, said + 2]), said + 1)


def test_ratings_that_do_not_vary_are_their_mean() -> None:
    target = fit_target("rating", (), np.full(5, 3.0), np.arange(5))
    assert target == RatingTarget(3.0, 1.0)
    np.testing.assert_array_equal(target.decode(np.zeros((2, 1))), [3.0, 3.0])


def test_classes_are_weighed_inversely_to_their_frequency() -> None:
    y = np.array([0, 0, 0, 1, -1])
    target = fit_target("class", ("calm", "angry"), y, np.arange(4))
    logits = np.random.default_rng(0).normal(size=(4, 2))
    logp = log_softmax(logits, axis=1)
    wanted = -(logp[:3, 0].mean() + logp[3, 1]) / 2
    loss = target.loss(y, np.arange(4), CPU)
    found = float(loss(torch.from_numpy(logits).float(), torch.arange(4)))
    assert found == pytest.approx(wanted, rel=1e-6)
    score, validated = target.validate(logits, y, np.arange(4), np.arange(4))
    assert validated == pytest.approx(wanted, rel=1e-6)
    said = logits.argmax(1)
    assert score == pytest.approx(((said[:3] == 0).mean() + (said[3] == 1)) / 2)
    both = target.mean([logp, logp[:, ::-1]])
    np.testing.assert_allclose(np.exp(both).sum(1), 1)


@pytest.mark.parametrize("target", [ClassTarget(("a", "b")), RatingTarget(2.0, 0.5)])
def test_files_keep_it(target: ClassTarget | RatingTarget) -> None:
    kind = "class" if target.classes else "rating"
    assert read_target(kind, target.notes()) == target
    with pytest.raises(ValueError, match="target"):
        read_target("rating" if kind == "class" else "class", target.notes())


def test_a_rating_has_no_probability() -> None:
    check_has_classes(ClassTarget(("a", "b")))
    with pytest.raises(TypeError, match="a rating has no probability; predict gives it"):
        check_has_classes(RatingTarget(0.0, 1.0))
