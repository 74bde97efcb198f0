"""The verdict: what a score is worth, in words, and the numbers behind them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from support.results_cases import predictions, results

from clmer.data.splits import Split
from clmer.evaluation.ratings import RatingPredictions
from clmer.evaluation.results import build_results
from clmer.evaluation.significance import compare_people, least_difference, paired_interval
from clmer.evaluation.table import table
from clmer.evaluation.verdict import best_model, pair_of, simple_baseline, verdict

LR = "features + LR: eeg"


def made(model: float, baseline: float, *, people: int = 8, protocol: str = "subject") -> dict:
    """Results of a model under study, another, two linear baselines and a control."""
    shares = {"eeg": model, "ecg": 0.5, "majority": 0.5, LR: baseline, "band power + LR: eeg": 0.5}
    parts = [
        predictions(name, right, people=people, seed=seed)
        for seed, (name, right) in enumerate(shares.items(), start=1)
    ]
    return results(parts, protocol)


def said(found: dict) -> str:
    return " ".join(verdict(found))


def test_the_interval_of_a_difference_is_the_paired_t_test_s() -> None:
    difference = np.array([0.1, 0.2, -0.05, 0.15, 0.0, 0.12])
    wanted = stats.ttest_1samp(difference, 0.0).confidence_interval(0.95)
    assert paired_interval(difference) == pytest.approx((wanted.low, wanted.high))
    assert paired_interval(difference[:1]) is None


@pytest.mark.parametrize("people", [5, 12, 40])
def test_the_least_difference_is_found_in_80_of_100_studies(people: int) -> None:
    """By the power of the t test, whose statistic has a noncentral t distribution."""
    delta = least_difference(2.0, people)
    assert delta is not None
    critical, shift = stats.t.ppf(0.975, people - 1), delta * np.sqrt(people) / 2.0
    power = 1 - stats.nct.cdf(critical, people - 1, shift)
    assert power == pytest.approx(0.8, abs=0.03)
    assert least_difference(2.0, 1) is None
    assert least_difference(0.0, people) is None


def test_a_pair_has_both_and_results_keep_them() -> None:
    one = {f"p{i}": 0.5 + 0.1 * i for i in range(4)}
    other = {name: value - 0.05 * (i % 2) for i, (name, value) in enumerate(one.items())}
    (row,) = compare_people({"a": one, "b": other})
    difference = np.array([one[p] - other[p] for p in one])
    assert row["difference"] == pytest.approx(difference.mean())
    low, high = paired_interval(difference)
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    assert row["least"] == pytest.approx(least_difference(difference.std(ddof=1), 4))
    (same,) = compare_people({"a": one, "b": dict(one)})
    assert (same["difference"], same["least"]) == (0.0, None)


def test_it_says_on_whom_with_what_interval_and_what_chance_gets() -> None:
    found = made(0.9, 0.6)
    score = found["models"][0]["windows"]["balanced_accuracy"]
    text = said(found)
    assert text.startswith("On people it never saw in training, eeg gets a balanced accuracy of ")
    assert (
        f"{score['value']:.3f} per window (95 % interval over 8 people: {score['low']:.3f}" in text
    )
    assert "Chance is 0.500, below the interval: the signals tell calm, or so and tense" in text
    assert "eeg does better here: use it." in text
    assert f"The best simple baseline, {LR}, gets" in text
    assert max(map(len, table(found).splitlines())) <= 80


def test_a_model_that_loses_is_not_recommended() -> None:
    text = said(made(0.5, 0.95))
    assert "is worse by" in text
    assert f"{LR} does better here: use it" in text


def test_what_so_few_people_could_not_show_is_said() -> None:
    found = made(0.80, 0.78)
    pair = pair_of(found, "eeg", LR)
    assert pair is not None
    assert not pair.is_seen
    text = said(found)
    assert f"no difference that 8 people could show, which is {pair.least:.3f} or more" in text
    assert "Either can be used" in text


def test_a_useless_score_recommends_neither() -> None:
    text = said(made(0.5, 0.5))
    assert "nothing shows that the signals tell" in text
    assert "Do not rely on it before it is clearly above chance" in text


def test_one_person_has_no_interval_and_nothing_follows_for_others() -> None:
    text = said(made(0.9, 0.6, people=1))
    assert "from 1 person no interval can be computed" in text
    assert "nothing follows for anybody else" in text
    assert "nan" not in text.lower()


def test_a_protocol_that_keeps_nothing_apart_is_called_inflated() -> None:
    text = said(made(0.9, 0.6, protocol="shuffled"))
    assert "windows of the very recordings it was trained on" in text
    assert "This score is inflated" in text
    assert "new recordings of the people it was trained on" in said(
        made(0.9, 0.6, protocol="trial")
    )


def test_of_ratings_the_errors_are_said() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(rng.uniform(1, 9, 16), 5)
    who = [np.repeat([f"s{i}" for i in range(8)], 10), np.repeat([f"t{i}" for i in range(16)], 5)]
    rows = np.zeros(80, dtype="U1"), *who, np.tile(np.arange(5.0), 16), y
    parts = [
        RatingPredictions(name, *rows, value=value)
        for name, value in (
            ("eeg", y + rng.normal(size=80)),
            ("training mean", np.full(80, 5.0)),
            ("features + ridge: eeg", y + 0.2 * rng.normal(size=80)),
        )
    ]
    split = Split("s", *3 * (np.arange(2),), 0, "")
    found = build_results(
        parts,
        dataset="demo",
        task="mood",
        protocol="subject",
        classes=(),
        splits=[split],
        main=["eeg"],
        target="rating",
    )
    mean, own = (m["windows"]["rmse"]["value"] for m in (found["models"][1], found["models"][0]))
    text = said(found)
    assert f"RMSE, is {mean:.3f}; the model's is {own:.3f})" in text
    assert "the model's error (RMSE) is worse by" in text
    assert "features + ridge: eeg does better here: use it" in text
    pair = pair_of(found, "eeg", "features + ridge: eeg")
    assert pair is not None
    assert pair.low <= pair.difference <= pair.high < 0


def test_a_reference_and_generated_recordings_bound_the_score() -> None:
    found = made(0.9, 0.6)
    known = found | {"reference": {"kind": "rest:60"}, "dataset": "deap (synthetic)"}
    text = said(known)
    assert "a reference (rest:60) is known: a new one needs it too" in text
    assert "The recordings are generated" in text


def test_a_run_of_encoders_has_no_scores() -> None:
    assert verdict({"notes": []}) == [
        "No scores: the run trained encoders only, which nothing was tested with."
    ]


def test_an_older_run_is_read_without_the_new_numbers() -> None:
    found = made(0.9, 0.6)
    for row in found["comparisons"]:
        for name in ("low", "high", "least"):
            del row[name]
    assert "cannot be told from chance" in said(found)


def test_permuted_labels_that_score_as_high_cast_doubt() -> None:
    parts = [predictions("eeg", 0.9, seed=1), predictions("ecg", 0.5, seed=2)]
    text = said(results([*parts, predictions("permuted labels", 0.85, seed=3)]))
    assert "Beware: trained on permuted labels it still gets" in text


def test_the_best_of_what_can_be_used_is_named() -> None:
    found = made(0.5, 0.95)
    assert best_model(found, ("eeg", LR)) == LR
    assert best_model(found, ("eeg",)) == "eeg"
    baseline = simple_baseline(found)
    assert baseline is not None
    assert baseline["name"] == LR
