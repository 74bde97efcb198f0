"""`ordered_map`: the results of `map`, never far ahead, nothing left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from clmer.data.ordered_map import ordered_map


def numbers(count: int, drawn: list[int]) -> Iterator[int]:
    for i in range(count):
        drawn.append(i)
        yield i


def slow_first(i: int) -> int:
    time.sleep(0.02 if i % 3 == 0 else 0.0)
    return i * i


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_results_come_in_order(workers: int) -> None:
    got = ordered_map(slow_first, range(20), workers=workers, size=lambda i: 1, budget=100)
    assert list(got) == [i * i for i in range(20)]


@pytest.mark.parametrize(("budget", "ahead"), [(100, 5), (2, 3), (0, 1)])
def test_it_does_not_run_far_ahead(budget: int, ahead: int) -> None:
    drawn: list[int] = []
    results = ordered_map(
        slow_first, numbers(20, drawn), workers=2, size=lambda i: 1, budget=budget
    )
    for done, _ in enumerate(results):
        assert len(drawn) - done <= ahead + 1
    assert len(drawn) == 20


def test_an_error_comes_in_its_turn_and_stops_the_rest() -> None:
    done: list[int] = []

    def work(i: int) -> int:
        if i == 3:
            raise ValueError("three")
        time.sleep(0.01)
        done.append(i)
        return i

    got: list[int] = []
    results = ordered_map(work, range(1000), workers=2, size=lambda i: 1, budget=99)
    with pytest.raises(ValueError, match="three"):
        got.extend(results)
    assert got == [0, 1, 2]
    after = len(done)
    time.sleep(0.05)
    assert len(done) == after < 10


def test_threads_end_with_the_loop_that_leaves_early() -> None:
    before = threading.active_count()
    with closing(
        ordered_map(slow_first, range(50), workers=3, size=lambda i: 1, budget=9)
    ) as results:
        assert next(results) == 0
        assert threading.active_count() > before
    assert threading.active_count() == before
