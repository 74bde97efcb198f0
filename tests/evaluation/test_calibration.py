"""Brier score, calibration error and AUC against values known by hand, and what they ignore."""

from __future__ import annotations

import numpy as np
import pytest

from clmer.evaluation.calibration import BINS, auc, probability_scores


def test_a_model_that_knows_nothing_and_one_that_knows_all() -> None:
    y, people = np.array([0, 0, 0, 1]), np.array(["a", "a", "b", "b"])
    blank = probability_scores(y, np.zeros((4, 2)), people)
    assert blank["brier"] == pytest.approx(0.5)
    assert blank["ece"] == pytest.approx(0.0)  # one of two classes, each half of the weight
    assert (blank["auc"], blank["auc_within"]) == (0.5, 0.5)
    sure = probability_scores(y, 50.0 * np.eye(2)[y], people)
    assert sure["brier"] == pytest.approx(0.0)
    assert sure["ece"] == pytest.approx(0.0)
    assert (sure["auc"], sure["auc_within"]) == (1.0, 1.0)


def test_classes_weigh_the_same() -> None:
    y = np.array([0] * 9 + [1])
    wrong_of_the_rare = np.log(np.tile([0.8, 0.2], (10, 1)))
    found = probability_scores(y, wrong_of_the_rare, np.zeros(10))
    assert found["brier"] == pytest.approx((2 * 0.2**2 + 2 * 0.8**2) / 2)
    assert found["ece"] == pytest.approx(0.3)  # says 0.8, is right with half of the classes


def test_within_a_person_offsets_do_not_matter() -> None:
    y, people = np.tile([0, 1], 20), np.repeat(["a", "b"], 20)
    score = y + np.where(people == "a", 5.0, -5.0)
    found = probability_scores(y, np.stack([-score, score], 1), people)
    assert found["auc_within"] == 1.0
    assert found["auc"] == pytest.approx(0.75)


def test_one_class_has_no_auc() -> None:
    found = probability_scores(np.zeros(3, dtype=int), np.zeros((3, 3)), np.arange(3))
    assert found["auc"] is None
    assert found["auc_within"] is None
    several = np.eye(3)[[0, 1, 2, 0]]
    assert auc(np.array([0, 1, 2, 0]), several) == 1.0


def test_calibration_error_of_draws_from_the_probabilities_is_small() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, 20000)
    y = (rng.random(20000) < p).astype(int)
    logp = np.log(np.stack([1 - p, p], 1))
    assert probability_scores(y, logp, np.zeros(20000))["ece"] < 0.02
    assert probability_scores(y, 4 * logp, np.zeros(20000))["ece"] > 0.08
    assert BINS == 10
