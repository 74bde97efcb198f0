"""Scores of ratings against SciPy and closed forms; their intervals against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clmer.evaluation.metrics import permute_labels
from clmer.evaluation.ratings import (
    RATING_SCORES,
    RatingPredictions,
    concordance,
    evaluate_ratings,
    person_scores,
    rating_intervals,
    rating_scores,
    recording_ratings,
)


def made(people: int = 6, trials: int = 5, windows: int = 4, seed: int = 0, **more):
    """Ratings that differ between people and trials, and predictions that half follow."""
    rng = np.random.default_rng(seed)
    p, t, w = (a.ravel() for a in np.mgrid[:people, :trials, :windows])
    who, what = rng.normal(size=people), rng.normal(size=(people, trials))
    y = 5 + who[p] + what[p, t]
    value = 5 + 0.6 * who[p] + 0.5 * what[p, t] + 0.5 * rng.normal(size=len(p))
    subject = np.array([f"s{i}" for i in p])
    recording = np.array([f"s{i}/t{j}" for i, j in zip(p, t, strict=True)])
    split = np.array([f"subject {i % 2 + 1}/2" for i in p])
    columns = {"y": y, "value": value} | more
    return RatingPredictions("eeg", split, subject, recording, w * 1.0, **columns)


def ccc(y: np.ndarray, v: np.ndarray) -> float:
    return 2 * np.cov(y, v, bias=True)[0, 1] / (y.var() + v.var() + (y.mean() - v.mean()) ** 2)


def test_pooled_scores_are_scipys_and_lins() -> None:
    rows = made()
    found = rating_scores(rows)
    assert found["pearson"] == pytest.approx(stats.pearsonr(rows.y, rows.value)[0], rel=1e-12)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((rows.y - rows.value) ** 2)), rel=1e-12)
    assert found["ccc"] == pytest.approx(ccc(rows.y, rows.value), rel=1e-12)
    assert concordance(rows.y, rows.value) == pytest.approx(found["ccc"], rel=1e-12)


def test_within_people_is_the_mean_of_each_ones_own() -> None:
    rows = made()
    people, own = person_scores(rows)
    for i, person in enumerate(people):
        y, v = rows.y[rows.subject == person], rows.value[rows.subject == person]
        assert own["ccc"][i] == pytest.approx(ccc(y, v), rel=1e-10)
        assert own["pearson"][i] == pytest.approx(stats.pearsonr(y, v)[0], rel=1e-10)
    assert rating_scores(rows)["within_ccc"] == pytest.approx(own["ccc"].mean(), rel=1e-12)


def test_a_far_away_scale_keeps_its_digits() -> None:
    rows = made()
    far = made(y=rows.y + 1e7, value=rows.value + 1e7)
    for name, value in rating_scores(rows).items():
        assert rating_scores(far)[name] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("said", [5.0, 0.1, 1 / 3])
def test_a_constant_has_no_concordance(said: float) -> None:
    rows = made(value=np.full(120, said))
    found = rating_scores(rows)
    assert found["ccc"] == found["within_ccc"] == 0
    assert np.isnan(found["pearson"])
    assert rating_intervals(rows)["pearson"] is None
    assert concordance(rows.y, rows.value) == 0


def test_the_mean_of_everybody_knows_people_and_nothing_within() -> None:
    rows = made()
    _, person = np.unique(rows.subject, return_inverse=True)
    means = np.bincount(person, rows.y) / np.bincount(person)
    found = rating_scores(made(value=means[person]))
    assert found["ccc"] > 0.3
    assert found["within_ccc"] == 0


def test_perfect_predictions() -> None:
    rows = made()
    same = made(value=rows.y)
    found = rating_scores(same)
    assert found["ccc"] == pytest.approx(1)
    assert found["rmse"] == pytest.approx(0, abs=1e-7)
    low, high = rating_intervals(same)["ccc"]
    assert low == pytest.approx(1)
    assert high == pytest.approx(1)


def test_a_person_of_one_rating_has_no_score_of_their_own() -> None:
    rows = made()
    y = np.where(rows.subject == "s0", 4.0, rows.y)
    rows = made(y=y)
    _, own = person_scores(rows)
    assert np.isnan(own["ccc"][0])
    assert not np.isnan(own["ccc"][1:]).any()
    assert rating_scores(rows)["within_ccc"] == pytest.approx(own["ccc"][1:].mean())
    only = made(people=1)
    assert rating_intervals(only) == dict.fromkeys(RATING_SCORES)


def test_a_recording_is_the_mean_of_its_windows() -> None:
    rows = made()
    whole = recording_ratings(rows)
    assert len(whole) == 30
    own = rows.recording == whole.recording[7]
    assert whole.value[7] == pytest.approx(rows.value[own].mean(), rel=1e-12)
    assert whole.y[7] == rows.y[own][0]
    with pytest.raises(ValueError, match="carry different ratings"):
        recording_ratings(made(y=np.arange(120.0)))


def test_everything_of_a_model() -> None:
    found = evaluate_ratings(made(), "subject")
    assert (found["repeats"], found["splits"]) == (1, 2)
    assert found["windows"]["n"] == 120
    assert found["recordings"]["n"] == 30
    for level in ("windows", "recordings"):
        for name in RATING_SCORES:
            score = found[level][name]
            assert score["low"] < score["value"] < score["high"]
            assert score["mean"] == score["value"]
            assert score["sd"] is None
    assert [row["subject"] for row in found["people"]] == [f"s{i}" for i in range(6)]


@pytest.mark.parametrize("name", RATING_SCORES)
@pytest.mark.parametrize("people", [6, 20])
def test_intervals_contain_the_truth_as_often_as_they_say(name: str, people: int) -> None:
    truth = rating_scores(made(people=4000, seed=123))[name]
    intervals = [rating_intervals(made(people=people, seed=seed))[name] for seed in range(300)]
    inside = np.mean([low <= truth <= high for low, high in intervals])
    assert 0.89 <= inside <= 0.99


def test_ratings_are_permuted_within_a_person() -> None:
    rows = made()
    y = np.where(rows.recording == "s2/t1", np.nan, rows.y)
    moved = permute_labels(y, rows.recording, rows.subject, 3)
    assert np.array_equal(np.isnan(moved), np.isnan(y))
    for person in np.unique(rows.subject):
        own = (rows.subject == person) & ~np.isnan(y)
        assert np.array_equal(np.sort(moved[own]), np.sort(y[own]))
    assert not np.array_equal(moved[~np.isnan(y)], y[~np.isnan(y)])
    assert len(np.unique(moved[rows.recording == "s0/t0"])) == 1


@pytest.mark.parametrize(
    ("column", "message"),
    [("value", "NaN or infinite"), ("y", "NaN or infinite")],
)
def test_ratings_that_are_none_are_refused(column: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**{column: np.full(120, np.nan)})
    with pytest.raises(ValueError, match="need as many rows"):
        made(value=np.zeros(3))
