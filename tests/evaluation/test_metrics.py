"""metrics: hand-computed scores, intervals over people, signed-rank tests, permuted labels."""

from __future__ import annotations

import time

import numpy as np
import pytest

from clmer.data.splits import Split
from clmer.data.store.store import Windows
from clmer.evaluation import metrics, significance
from clmer.evaluation.metrics import Predictions
from clmer.evaluation.rows import parts_of, repeats


def predictions(
    y: list[int],
    said: list[int],
    *,
    subject: list[str] | None = None,
    recording: list[str] | None = None,
    split: list[str] | None = None,
    model: str = "m",
    width: int = 2,
) -> Predictions:
    """Confident predictions; by default every window is its own recording of one person."""
    n = len(y)
    logp = np.full((n, width), np.log(0.1))
    logp[np.arange(n), said] = np.log(0.9)
    return Predictions(
        model=model,
        split=np.array(split or ["0"] * n),
        subject=np.array(subject or ["p"] * n),
        recording=np.array(recording or [f"r{i}" for i in range(n)]),
        start_s=np.zeros(n),
        y=np.array(y),
        logp=logp,
    )


# True class 0 three times, 1 once; one 0 taken for a 1.
# Recall 2/3 and 1; F1 of 0: 2 * 1 * (2/3) / (5/3) = 0.8; F1 of 1: 2 * 0.5 * 1 / 1.5 = 2/3.
Y, SAID = [0, 0, 0, 1], [0, 0, 1, 1]
EXPECTED = {
    "accuracy": 0.75,
    "balanced_accuracy": 5 / 6,  # swapped arguments: 0.75
    "macro_f1": 11 / 15,
    "weighted_f1": (3 * 0.8 + 1 * 2 / 3) / 4,  # 0.7667; swapped arguments: 0.7333
}


def test_scores_match_hand_computed_values() -> None:
    p = predictions(Y, SAID)
    assert metrics.scores(p.y, p.logp, ["a", "b"]) == pytest.approx(EXPECTED, abs=1e-12)


def test_confusion_scores_equal_scores_in_all_corner_cases() -> None:
    rng = np.random.default_rng(0)
    for width in (2, 3, 9):
        for n in (1, 2, 5, 40):  # small n leaves classes out of y, of the predictions, of both
            y, said = rng.integers(width, size=(2, n)).tolist()
            p = predictions(y, said, width=width)
            expected = metrics.scores(p.y, p.logp, [str(k) for k in range(width)])
            found = metrics.confusion_scores(metrics.confusion(p))
            assert {k: float(v) for k, v in found.items()} == pytest.approx(expected, abs=1e-12)


def test_confusion_has_true_classes_by_row() -> None:
    assert metrics.confusion(predictions(Y, SAID)).tolist() == [[2, 1], [0, 1]]


def test_recordings_average_log_probabilities_not_votes() -> None:
    # Two weak votes for 0 against one confident vote for 1: the mean log-probability says 1.
    p = predictions([1, 1, 1], [0, 0, 1], recording=["r"] * 3)
    p.logp[:] = np.log([[0.55, 0.45], [0.55, 0.45], [0.01, 0.99]])
    whole = metrics.per_recording(p)
    assert len(whole) == 1
    assert whole.predicted.tolist() == [1]
    np.testing.assert_allclose(whole.logp[0, 0], np.log([0.55, 0.55, 0.01]).mean())


def test_recording_with_two_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="'r'"):
        metrics.per_recording(predictions([0, 1], [0, 1], recording=["r", "r"]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_log_probabilities_are_refused(value: float) -> None:
    logp = np.log([[0.5, 0.5], [0.5, 0.5]])
    logp[1, 0] = value
    column = np.array(["a", "b"])
    with pytest.raises(ValueError, match="1 of 2 rows"):
        Predictions("m", column, column, column, np.zeros(2), np.array([0, 1]), logp)


def test_the_interval_is_over_people_not_windows() -> None:
    # Two people all right, two all wrong, 100 windows each: four people say next to nothing. Over
    # windows it would be 0.45-0.55.
    subject = [s for s in "abcd" for _ in range(100)]
    y = [i % 2 for i in range(400)]
    said = [label if s in "ab" else 1 - label for label, s in zip(y, subject, strict=True)]
    found = metrics.intervals(predictions(y, said, subject=subject))
    for name in ("accuracy", "balanced_accuracy"):
        assert found[name] is not None
        low, high = found[name]
        assert low < 0.1
        assert high > 0.9


def test_one_person_has_no_interval() -> None:
    assert metrics.intervals(predictions(Y, SAID)) == dict.fromkeys(metrics.SCORES)


def test_intervals_of_a_full_data_set_are_quick() -> None:
    rng = np.random.default_rng(2)
    y, said = rng.integers(9, size=(2, 70_000)).tolist()
    p = predictions(y, said, subject=[f"p{i % 32}" for i in range(70_000)], width=9)
    start = time.process_time()
    metrics.intervals(p)
    assert time.process_time() - start < 1.0


def test_evaluate_pools_a_rotation_and_spreads_over_repeats() -> None:
    # Two rotations of two splits. Rotation 1: 3 of 4 right; rotation 2: 1 of 4.
    y = [0, 0, 1, 1] * 2
    said = [0, 0, 1, 0, 0, 1, 0, 0]
    recording = ["r1", "r2", "r3", "r4"] * 2
    split = ["1", "2", "1", "2", "3", "4", "3", "4"]
    p = predictions(y, said, recording=recording, split=split, subject=list("abab") * 2)
    result = metrics.evaluate(p, ["x", "y"], "subject")
    accuracy = result["windows"]["accuracy"]
    assert (result["repeats"], result["splits"]) == (2, 4)
    assert accuracy["value"] == 0.5
    assert accuracy["mean"] == 0.5
    assert accuracy["sd"] == pytest.approx(np.std([0.75, 0.25], ddof=1))
    assert accuracy["split_sd"] == pytest.approx(np.std([1, 0.5, 0.5, 0], ddof=1))
    # One rotation has no spread; under `shuffled` the same rows are four repeats.
    half = parts_of(p, repeats(p, "subject"))[0]
    once = metrics.evaluate(half, ["x", "y"], "subject")
    assert once["windows"]["accuracy"]["sd"] is None
    assert metrics.evaluate(p, ["x", "y"], "shuffled")["repeats"] == 4


def test_a_split_is_never_torn_between_repeats() -> None:
    # Blocks drawn anew leave other windows in the gaps: split 3 tests r1 again, and r9 for the
    # first time; both belong to the second repeat.
    recording = ["r1", "r2", "r3", "r9", "r1"]
    p = predictions([0] * 5, [0] * 5, recording=recording, split=["1", "2", "2", "3", "3"])
    assert repeats(p, "block").tolist() == [0, 0, 0, 1, 1]
    assert repeats(p, "shuffled").tolist() == [0, 1, 1, 2, 2]


def test_evaluate_does_not_mix_repeats_in_a_recording() -> None:
    p = predictions([0, 0], [0, 1], recording=["r", "r"], split=["1", "2"])
    result = metrics.evaluate(p, ["x", "y"], "subject")
    assert result["recordings"]["n"] == 2
    assert result["recordings"]["accuracy"]["value"] == 0.5


def test_person_rows() -> None:
    p = predictions(Y * 2, [*SAID, 1, 1, 1, 1], subject=list("bbbbaaaa"))
    a, b = metrics.evaluate(p, ["x", "y"], "subject")["people"]
    assert (a["subject"], a["windows"], a["accuracy"]) == ("a", 4, 0.25)
    assert a["balanced_accuracy"] == 0.5
    assert b["balanced_accuracy"] == pytest.approx(5 / 6)


def test_holm_by_hand() -> None:
    # 0.01 * 3, then max(0.03, 0.03 * 2), then max(0.06, 0.04 * 1).
    assert significance.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert significance.holm([0.9, 0.8]) == [1.0, 1.0]
    assert significance.holm([]) == []


def test_signed_rank_by_hand_and_its_refusals() -> None:
    # Six differences of one sign: 2 of the 2^6 sign patterns are as extreme.
    assert significance.signed_rank(np.arange(1, 7) / 10)[0] == pytest.approx(2 / 64)
    # Ranks 1..7, the smallest one negative: W = 1, 2 * 2 of 2^7 patterns.
    one = np.array([-1, 2, 3, 4, 5, 6, 7]) / 9
    assert significance.signed_rank(one)[0] == pytest.approx(4 / 128)
    p, reason = significance.signed_rank(np.zeros(9))
    assert p is None
    assert "no difference in any of 9" in reason
    p, reason = significance.signed_rank(np.array([0, 0, 1, 2, 3, 4, 5]))
    assert p is None
    assert "5 of 7 people differ" in reason
    # Equal up to rounding error is equal.
    assert significance.signed_rank(np.full(8, 0.1 + 0.2) - 0.3)[0] is None


def test_the_fewest_people_that_can_tell() -> None:
    # 2 / 2^6 = 0.031, three tests 0.094; 2 / 2^7 = 0.016, three tests 0.047, four 0.063.
    assert [significance.fewest_people(tests) for tests in (0, 1, 3, 4)] == [6, 6, 7, 8]
    assert significance.signed_rank(np.arange(1, 6) / 10)[0] is None


def test_compare_pairs_people_and_corrects() -> None:
    people = [f"p{i}" for i in range(7) for _ in range(4)]
    y = [0, 0, 1, 1] * 7
    good = predictions(y, y, subject=people, model="good")
    bad = predictions(y, [0, 1, 1, 0] * 7, subject=people, model="bad")
    same = predictions(y, y, subject=people, model="same")
    rows = {(r["a"], r["b"]): r for r in significance.compare([good, bad, same])}
    first = rows["good", "bad"]
    assert first["people"] == 7
    assert first["difference"] == pytest.approx(0.5)
    assert first["p"] == pytest.approx(2 / 128)
    assert first["p_holm"] == pytest.approx(4 / 128)  # two of the three tests are computable
    assert rows["good", "same"]["p_holm"] is None
    assert rows["good", "same"]["reason"]


def test_permute_labels_moves_whole_recordings_within_a_person() -> None:
    recording = np.array([f"{s}/{t}" for s in "abcdefgh" for t in range(4) for _ in range(3)])
    subject = np.array([r[0] for r in recording])
    y = np.array([int(r[-1]) for r in recording])
    moved = metrics.permute_labels(y, recording, subject, seed=5)
    for name in np.unique(recording):
        assert len(set(moved[recording == name])) == 1
    for person in np.unique(subject):
        assert sorted(moved[subject == person]) == sorted(y[subject == person])
    assert (moved != y).any()
    order = np.random.default_rng(0).permutation(len(y))
    again = metrics.permute_labels(y[order], recording[order], subject[order], seed=5)
    assert (again == moved[order]).all()


def test_permute_labels_leaves_recordings_without_a_label_alone() -> None:
    recording = np.array([f"{person}/{trial}" for person in "abcdefgh" for trial in range(6)])
    subject = np.array([name[0] for name in recording])
    y = np.tile([0, 1, 0, -1, 1, -1], 8)
    moved = metrics.permute_labels(y, recording, subject, seed=0)
    assert ((moved == -1) == (y == -1)).all()
    assert (moved != y).any()


def test_permute_labels_of_two_recordings_swaps_about_half_the_people() -> None:
    recording = np.array([f"{s:03d}/{t}" for s in range(200) for t in (1, 2)])
    subject = np.array([r[:3] for r in recording])
    y = np.array([0, 1] * 200)
    kept = (metrics.permute_labels(y, recording, subject, seed=0) == y).mean()
    assert 0.4 < kept < 0.6
    with pytest.raises(ValueError, match="'000/1'"):
        metrics.permute_labels(np.array([0, 1]), recording[[0, 0]], subject[[0, 0]], seed=0)


def test_majority_comes_from_the_training_part() -> None:
    logp = metrics.majority(np.array([2, 2, 0]), 4, ["x", "y", "z"])
    assert logp.shape == (4, 3)
    assert (logp.argmax(axis=1) == 2).all()
    np.testing.assert_allclose(np.exp(logp).sum(axis=1), 1)
    assert np.isfinite(logp).all()


def test_of_split_takes_the_test_rows_only() -> None:
    names, start = np.array(list("abc")), np.arange(3.0)
    recording = np.array(["ra", "rb", "rc"])
    table = Windows(names, names, recording, names, start, labels={}, window_s=1.0)
    rows = np.array([2, 0])
    split = Split("fold 0", rows[:0], rows[:0], rows, shared_groups=0, note="")
    p = Predictions.of_split("m", split, table, np.array([0, 1, 1]), np.log(np.full((2, 2), 0.5)))
    assert p.subject.tolist() == ["c", "a"]
    assert p.y.tolist() == [1, 0]
    assert p.split.tolist() == ["fold 0"] * 2
    with pytest.raises(ValueError, match="rows everywhere"):
        Predictions.of_split("m", split, table, np.array([0, 1, 1]), np.zeros((3, 2)))
