"""Batches by person, neighbours, and stage 1 on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clmer.pipeline.stages.batches import ByPerson, Shuffled, by_person, neighbours

CPU = torch.device("cpu")


def drawn(batches: ByPerson | Shuffled, seed: int = 0) -> list[torch.Tensor]:
    return list(batches(torch.Generator().manual_seed(seed)))


def test_a_group_holds_one_person_and_an_epoch_no_window_twice() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat([f"p{i}" for i in range(6)], [40, 25, 33, 16, 70, 9])
    rows = rng.permutation(len(people))[:-8]
    batches = by_person(rows, people, 32, CPU)
    assert batches is not None
    assert (batches.group, batches.size) == (8, 32)
    seen = np.concatenate([batch.numpy() for batch in drawn(batches)])
    assert len(np.unique(seen)) == len(seen)
    assert set(seen) <= set(rows)
    for group in seen.reshape(-1, 8):
        assert len(set(people[group])) == 1
    counts = np.unique(people[rows], return_counts=True)[1]
    assert len(seen) == (counts // 8 * 8).sum()
    assert all(len(batch) == 32 for batch in drawn(batches)[:-1])


def test_an_epoch_follows_from_its_generator() -> None:
    batches = by_person(np.arange(64), np.arange(64) % 3, 16, CPU)
    assert batches is not None
    for one, other in zip(drawn(batches), drawn(batches), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(drawn(batches)[0], drawn(batches, 1)[0])


def test_people_with_few_windows_share_groups() -> None:
    people = np.repeat(["a", "b", "c", "d"], [20, 20, 3, 2])
    batches = by_person(np.arange(45), people, 16, CPU)
    assert batches is not None
    groups = np.concatenate([batch.numpy() for batch in drawn(batches)]).reshape(-1, 4)
    kinds = {"".join(sorted(set(people[group]))) for group in groups}
    assert kinds <= {"a", "b", "cd", "c", "d"}
    assert any(set(kind) & {"c", "d"} for kind in kinds)


@pytest.mark.parametrize(
    ("people", "size"),
    [(None, 64), (["one"] * 100, 64), (list(range(100)), 64), ([0, 1] * 50, 4)],
)
def test_where_nobody_is_known_negatives_come_from_all(people: list[int] | None, size: int) -> None:
    known = None if people is None else np.array(people)
    assert by_person(np.arange(100), known, size, CPU) is None


def test_shuffled_rows_are_all_rows() -> None:
    rows = torch.arange(10, 23)
    batches = drawn(Shuffled(rows, 5))
    assert [len(batch) for batch in batches] == [5, 5, 3]
    assert torch.equal(torch.cat(batches).sort().values, rows)


def test_neighbours_stay_in_their_recording_and_in_the_rows() -> None:
    rng = np.random.default_rng(1)
    recordings = np.repeat(["r1", "r2", "r3", "r4"], [6, 1, 9, 4])
    rows = np.sort(rng.permutation(20)[:15])
    found = neighbours(recordings, rows)
    for row in rows:
        own = [
            near
            for near in (row - 1, row + 1)
            if near in rows and 0 <= near < 20 and recordings[near] == recordings[row]
        ]
        assert set(found[row]) == (set(own) or {row})
    assert found[6].tolist() == [6, 6]  # alone in its recording
