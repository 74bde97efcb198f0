"""The linear floor: held-out choice and calibration, stacking, what is not known, refusals."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.special import softmax
from threadpoolctl import threadpool_info, threadpool_limits

from clmer.baselines import logistic


def problem(
    people: int = 12, windows: int = 20, seed: int = 0
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """A rare second class; the first column of "a" tells it, "b" is noise; people have offsets."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(people), windows)
    y = (rng.random(len(groups)) < 0.25).astype(int)
    a = rng.normal(size=(len(y), 3)) + 0.5 * rng.normal(size=(people, 3))[groups]
    a[:, 0] += 2.0 * y
    return {"a": a, "b": rng.normal(size=(len(y), 5))}, y, groups


def test_it_learns_and_does_not_give_the_rare_class_up() -> None:
    features, y, groups = problem()
    floor, held_out = logistic.fit(features, y, groups, 2)
    others, truth, _ = problem(seed=1)
    for logits, known in ((floor.log_odds(others), truth), (held_out, y)):
        said = logits.argmax(1)
        assert min((said[known == k] == k).mean() for k in (0, 1)) > 0.7


def test_held_out_log_odds_do_not_know_their_own_group() -> None:
    features, y, groups = problem()
    flipped = np.where(groups == 3, 1 - y, y)
    before, after = (logistic.fit(features, labels, groups, 2) for labels in (y, flipped))
    rows = groups == 3
    # Labels of person 3 reach their own log-odds by the two or three numbers of the mixture alone.
    assert np.corrcoef(before.held_out[rows, 1], after.held_out[rows, 1])[0, 1] > 0.98
    assert before.held_out.shape == (len(y), 2)


def test_held_out_confidence_is_repaired() -> None:
    # Many columns of noise: the fit is sure of itself, held-out rows are not; shares undo it.
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(10), 12)
    y = rng.integers(0, 2, len(groups))
    x = rng.normal(size=(len(y), 300))
    x[:, 0] += y
    fitted = logistic.fit({"a": x}, y, groups, 2)
    loss = logistic.balanced_cross_entropy(fitted.held_out, y)
    assert loss <= np.log(2) + 1e-6  # never worse than knowing nothing


def test_several_classes_add_up_and_absent_ones_are_unlikely() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(8), 15)
    y = np.tile(np.arange(3), 40)
    x = {"a": rng.normal(size=(len(y), 4)) + 2 * np.eye(3, 4)[y]}
    floor = logistic.fit(x, y, groups, 4).floor
    p = softmax(floor.log_odds(x), axis=1)
    assert (p.argmax(1) == y).mean() > 0.8
    assert p[:, 3].max() < 0.1


def test_what_is_not_known_adds_nothing() -> None:
    features, y, groups = problem()
    floor = logistic.fit(features, y, groups, 2).floor
    missing = {**features, "a": np.full_like(features["a"], np.nan)}
    alone = {**features, "a": np.tile(floor.mean["a"], (len(y), 1))}
    np.testing.assert_allclose(floor.log_odds(missing), floor.log_odds(alone))
    part = floor.log_odds(missing) - floor.bias
    z = (features["b"] - floor.mean["b"]) / floor.scale["b"]
    np.testing.assert_allclose(part, z @ floor.weights["b"].T, atol=1e-9)


def test_rows_of_a_missing_modality_do_not_change_its_statistics() -> None:
    features, y, groups = problem()
    holes = {name: part.copy() for name, part in features.items()}
    holes["a"][::7] = np.nan
    floor = logistic.fit(holes, y, groups, 2).floor
    kept = np.delete(features["a"], np.arange(0, len(y), 7), axis=0)
    np.testing.assert_allclose(floor.mean["a"], kept.mean(0))
    np.testing.assert_allclose(floor.scale["a"], kept.std(0))


def test_a_useless_modality_gets_no_share() -> None:
    features, y, groups = problem(people=16, windows=40)
    floor = logistic.fit(features, y, groups, 2).floor
    size = {name: np.abs(part).mean() for name, part in floor.weights.items()}
    assert size["b"] < 0.2 * size["a"]


def test_one_class_or_one_group_gives_a_floor_that_can_be_used() -> None:
    features, y, groups = problem()
    silent = logistic.fit(features, np.zeros_like(y), groups, 2)
    assert (silent.held_out.argmax(1) == 0).all()
    single = logistic.fit(features, y, np.zeros_like(groups), 2)
    said = single.floor.log_odds(features).argmax(1)
    assert min((said[y == k] == k).mean() for k in (0, 1)) > 0.6
    assert not single.held_out.any()  # nothing could be held out


def test_a_constant_column_is_harmless() -> None:
    features, y, groups = problem()
    wide = {**features, "c": np.tile([1e6, 0.0, np.nan], (len(y), 1))}
    floor = logistic.fit(wide, y, groups, 2).floor
    assert np.isfinite(floor.log_odds(wide)).all()


def test_what_does_not_fit_is_refused() -> None:
    features, y, groups = problem()
    with pytest.raises(ValueError, match=r"features of 240 windows, found \{'a': \(5, 3\)\}"):
        logistic.fit({"a": features["a"][:5]}, y, groups, 2)
    with pytest.raises(ValueError, match=r"found \{\}"):
        logistic.fit({}, y, groups, 2)


def test_a_block_is_solved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features, y, groups = problem(seed=11)
    asked: list[int] = []
    solve = logistic._solve
    monkeypatch.setattr(logistic, "_SOLVED", OrderedDict())
    monkeypatch.setattr(
        logistic, "_solve", lambda x, *of: asked.append(x.shape[1]) or solve(x, *of)
    )
    both, again = (logistic.fit(features, y, groups, 2) for _ in range(2))
    assert asked == [3, 5]
    np.testing.assert_array_equal(both.held_out, again.held_out)
    alone = logistic.fit({"a": features["a"]}, y, groups, 2)
    assert asked == [3, 5]
    for changed in ((features["a"], 1 - y, groups), (features["a"], y, groups[::-1])):
        logistic.fit({"a": changed[0]}, *changed[1:], 2)
    logistic.fit({"a": features["a"] + 1e-12}, y, groups, 2)
    assert asked == [3, 5, 3, 3, 3]
    monkeypatch.setattr(logistic, "_SOLVED", OrderedDict())
    fresh = logistic.fit({"a": features["a"]}, y, groups, 2)
    np.testing.assert_array_equal(alone.floor.weights["a"], fresh.floor.weights["a"])
    np.testing.assert_array_equal(alone.held_out, fresh.held_out)


def test_a_fit_is_its_owner_s() -> None:
    features, y, groups = problem(seed=12)
    first = logistic.fit(features, y, groups, 2).floor
    mean = first.mean["a"].copy()
    for each in (first.mean, first.scale, first.weights):
        each["a"] += 100
    again = logistic.fit(features, y, groups, 2).floor
    np.testing.assert_array_equal(again.mean["a"], mean)
    assert abs(again.scale["a"]).max() < 50
    assert abs(again.weights["a"]).max() < 50


def test_few_blocks_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    _, y, groups = problem(people=4)
    monkeypatch.setattr(logistic, "_SOLVED", OrderedDict())
    monkeypatch.setattr(logistic, "_MOST_SOLVED", 2)
    for seed in range(3):
        logistic.fit(problem(people=4, seed=seed)[0], y, groups, 2)
    assert len(logistic._SOLVED) == 2


def test_fits_run_on_one_thread_and_threads_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info()}

    features, y, groups = problem(seed=13)
    seen: list[set[int]] = []
    monkeypatch.setattr(logistic, "_SOLVED", OrderedDict())
    solve = logistic._solve
    monkeypatch.setattr(logistic, "_solve", lambda *of: seen.append(threads()) or solve(*of))
    with threadpool_limits(2):
        before = threads()
        with ThreadPoolExecutor(2) as pool:  # one may leave before the other
            fits = [pool.submit(logistic.fit, features, y, groups, 2) for _ in range(4)]
            assert all(fit.result() for fit in fits)
        logistic.fit({"a": features["a"] + 1.0}, y, groups, 2)
        assert threads() == before
    assert seen[-1] == {1}
