"""intervals: coverage over people by simulation, and what is said where little can be known."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from clmer.evaluation.intervals import _scores_and_slopes, person_intervals
from clmer.evaluation.metrics import SCORES, confusion_scores

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
beside = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks/ is not beside the tests")


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    """benchmarks/interval_coverage.py, which needs benchmarks/conftest.py under that name."""
    spec = importlib.util.spec_from_file_location(
        "interval_coverage", BENCHMARKS / "interval_coverage.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    stub = ModuleType("conftest")
    stub.machine = lambda: ""  # type: ignore[attr-defined]
    own = sys.modules.get("conftest")
    sys.modules["conftest"] = stub
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["conftest"]
        if own is not None:
            sys.modules["conftest"] = own
    return module


def matrices(*people: list[list[int]]) -> np.ndarray:
    return np.array(people, dtype=np.float64)


def held(found: dict[str, tuple[np.ndarray, np.ndarray]], name: str) -> tuple[float, float]:
    low, high = found[name]
    return float(low), float(high)


@pytest.mark.slow
@beside
@pytest.mark.parametrize("people", [3, 4, 6, 10, 20, 36])
@pytest.mark.parametrize("mean", [0.5, 0.7, 0.85, 0.95])
def test_95_of_100_intervals_hold_the_truth(
    simulation: ModuleType, people: int, mean: float
) -> None:
    # Unequal numbers of windows. 4000 data sets: the simulation's own standard error is 0.35.
    rng = np.random.default_rng([people, int(100 * mean)])
    counts = simulation.simulate(people, mean, rng, tests=4000)
    for name in SCORES:
        assert 92 < simulation.coverage(counts, mean, name) < (97.5 if mean < 0.6 else 99.5)


@beside
@pytest.mark.parametrize("people", [3, 6, 10, 20])
@pytest.mark.parametrize("mean", [0.95, 0.98, 0.99])
def test_coverage_holds_near_1(simulation: ModuleType, people: int, mean: float) -> None:
    # People differ much: of few, all can be right, or all but one in a few windows.
    for spread in (2.0, 20.0):
        rng = np.random.default_rng([people, int(100 * mean)])
        counts = simulation.simulate(people, mean, rng, tests=2000, spread=spread)
        assert simulation.coverage(counts, mean) > 95


@pytest.mark.parametrize("people", [3, 6, 10, 36])
def test_coverage_where_a_rare_person_is_at_chance(people: int) -> None:
    for share in (0.02, 0.1, 0.2):
        rng = np.random.default_rng([people, int(100 * share)])
        right = np.where(rng.random((3000, people)) < share, 0.5, 0.999)
        true = rng.integers(20, 121, (3000, people, 2))
        hit = rng.binomial(true, right[..., None])
        counts = hit[..., None] * np.eye(2) + (true - hit)[..., None] * (1 - np.eye(2))
        low, high = person_intervals(counts)["balanced_accuracy"]
        truth = 0.999 - 0.499 * share
        assert 100 * ((low <= truth) & (truth <= high)).mean() > 95


@beside
@pytest.mark.parametrize("spread", [5.0, 80.0])
def test_coverage_where_people_differ_more_or_less(simulation: ModuleType, spread: float) -> None:
    for people in (3, 6, 20):
        for mean in (0.5, 0.8):
            rng = np.random.default_rng([people, int(10 * mean)])
            counts = simulation.simulate(people, mean, rng, tests=3000, spread=spread)
            assert 92.5 < simulation.coverage(counts, mean) < (98 if mean < 0.6 else 99.5)


def test_coverage_where_a_person_has_one_class() -> None:
    # Labels between people, such as patients and others: three people of one class, seven of the
    # other. Each class's recall is beta-distributed; the truth is their mean.
    rng = np.random.default_rng(0)
    counts = np.zeros((4000, 10, 2, 2))
    for person in range(10):
        k = int(person >= 3)
        n = rng.integers(40, 241, 4000)
        hit = rng.binomial(n, rng.beta(14, 6, 4000))
        counts[:, person, k, k], counts[:, person, k, 1 - k] = hit, n - hit
    low, high = person_intervals(counts)["balanced_accuracy"]
    assert 92 < 100 * ((low <= 0.7) & (high >= 0.7)).mean() < 98.5


def test_coverage_of_macro_f1_over_three_classes() -> None:
    # The truth is macro F1 of the whole population's confusion matrix.
    rng = np.random.default_rng(1)
    alpha = np.array([[9.0, 2, 1], [3, 6, 3], [1, 4, 7]])
    chances = alpha / alpha.sum(1, keepdims=True)
    truth = float(confusion_scores(chances)["macro_f1"])
    counts = np.zeros((3000, 8, 3, 3))
    for k in range(3):
        own = rng.dirichlet(alpha[k], (3000, 8))
        counts[:, :, k] = rng.multinomial(np.full((3000, 8), 60), own)
    low, high = person_intervals(counts)["macro_f1"]
    assert 93 < 100 * ((low <= truth) & (truth <= high)).mean() < 97


def test_equal_people_give_students_t_on_the_logit_scale() -> None:
    # Accuracies 0.6, 0.7, 0.8, 0.9 with 100 windows each: mean 0.75, sd 0.1291, 3 degrees.
    counts = matrices(*([[n // 2, 50 - n // 2], [50 - n // 2, n // 2]] for n in (60, 70, 80, 90)))
    low, high = held(person_intervals(counts), "accuracy")
    logit = np.log(0.75 / 0.25)
    reach = stats.t.ppf(0.975, 3) * np.std([0.6, 0.7, 0.8, 0.9], ddof=1) / 2 / (0.75 * 0.25)
    assert low == pytest.approx(1 / (1 + np.exp(reach - logit)))
    assert high == pytest.approx(1 / (1 + np.exp(-reach - logit)))
    assert held(person_intervals(counts), "balanced_accuracy") == pytest.approx((low, high))


def test_slopes_are_derivatives_of_the_scores() -> None:
    rng = np.random.default_rng(2)
    for size in (2, 4):
        counts = rng.integers(1, 30, (size, size)).astype(np.float64)
        counts[-1] = 0 if size == 4 else counts[-1]  # a class without windows, sometimes predicted
        value, slope = _scores_and_slopes(counts)
        expected = confusion_scores(counts)
        for name in SCORES:
            assert float(value[name]) == pytest.approx(float(expected[name]))
            for k in range(size - (size == 4)):
                for said in range(size):
                    up, down = counts.copy(), counts.copy()
                    up[k, said] += 1e-4
                    down[k, said] -= 1e-4
                    by = confusion_scores(up)[name] - confusion_scores(down)[name]
                    assert slope[name][k, said] == pytest.approx(by / 2e-4, rel=1e-5, abs=1e-8)


def test_intervals_hold_the_score_and_stay_between_0_and_1() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        people, size = rng.integers(2, 6), rng.integers(2, 4)
        counts = rng.poisson(rng.choice([0.3, 3, 30]), (people, size, size)).astype(np.float64)
        if rng.random() < 0.5:
            counts += np.eye(size) * rng.integers(0, 200)
        counts = counts[counts.sum((1, 2)) > 0]
        if not len(counts):
            continue
        value = confusion_scores(counts.sum(0))
        for name, (low, high) in person_intervals(counts).items():
            if not np.isnan(low):
                assert 0 <= low <= value[name] <= high <= 1, name
            assert np.isnan(low) == np.isnan(high)


def test_a_person_counts_once_however_many_windows() -> None:
    few = matrices([[6, 2], [3, 5]], [[7, 1], [2, 6]], [[5, 3], [3, 5]])
    for name in SCORES:
        once, often = (held(person_intervals(counts), name) for counts in (few, 100 * few))
        assert once == pytest.approx(often)


def test_one_person_or_one_of_each_class_says_nothing() -> None:
    one = person_intervals(matrices([[5, 1], [2, 4]]))
    assert all(np.isnan(held(one, name)).all() for name in SCORES)
    perfect = person_intervals(matrices([[5, 0], [0, 4]]))
    assert all(np.isnan(held(perfect, name)).all() for name in SCORES)
    each = person_intervals(matrices([[5, 1], [0, 0]], [[0, 0], [2, 4]]))
    assert np.isnan(held(each, "balanced_accuracy")).all()
    assert np.isnan(held(each, "macro_f1")).all()
    assert not np.isnan(held(each, "accuracy")).any()


def test_a_class_of_one_person_leaves_one_degree_of_freedom() -> None:
    shared = matrices([[30, 10], [0, 0]], [[25, 15], [0, 0]], [[0, 0], [10, 30]])
    low, high = held(person_intervals(shared), "balanced_accuracy")
    assert high - low > 0.5
    low, high = held(person_intervals(shared), "accuracy")
    assert high - low < 0.6


def test_all_right_is_not_certain() -> None:
    widths = []
    for people in (2, 3, 10, 36):
        low, high = held(person_intervals(matrices(*[[[20, 0], [0, 20]]] * people)), "accuracy")
        assert high == 1
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 0.4
    assert widths[-1] < 0.05
    low, high = held(person_intervals(matrices(*[[[0, 20], [20, 0]]] * 10)), "macro_f1")
    assert (low, high) == pytest.approx((0, widths[2]))


@pytest.mark.parametrize("people", [3, 8, 20])
def test_a_perfect_score_is_no_less_certain_than_one_just_below(people: int) -> None:
    # 0.025 is the chance that none of them is of a kind that is a share q of all.
    perfect = matrices(*[[[50, 0], [0, 50]]] * people)
    low, high = held(person_intervals(perfect), "balanced_accuracy")
    share = 2 * (1 - low)
    assert high == 1
    assert (1 - share) ** people == pytest.approx(0.025)
    for wrong in (1, 2, 5):
        below = perfect.copy()
        below[0] += [[-wrong, wrong], [0, 0]]
        found = held(person_intervals(below), "balanced_accuracy")
        assert found[0] <= low
        assert found[1] <= 1


def test_people_who_happen_to_be_equal_are_not_certain() -> None:
    # Three of four recordings right, for each of four people.
    low, high = held(person_intervals(matrices(*[[[2, 0], [1, 1]]] * 4)), "accuracy")
    assert low < 0.4
    assert high > 0.9


def test_what_no_person_can_change_has_no_width() -> None:
    # Always the first class: balanced accuracy is 1/2 whoever is asked.
    same = matrices([[20, 0], [30, 0]], [[10, 0], [40, 0]], [[15, 0], [5, 0]])
    assert held(person_intervals(same), "balanced_accuracy") == (0.5, 0.5)
    low, high = held(person_intervals(same), "accuracy")
    assert low < 0.375 < high


def test_many_data_sets_at_once_are_each_alone() -> None:
    rng = np.random.default_rng(4)
    counts = rng.integers(0, 20, (7, 5, 3, 3)).astype(np.float64)
    together = person_intervals(counts)
    for i, own in enumerate(counts):
        for name in SCORES:
            alone = held(person_intervals(own), name)
            assert alone == pytest.approx(tuple(end[i] for end in together[name]))
