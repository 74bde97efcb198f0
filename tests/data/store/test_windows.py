from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Subset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)

import clmer.data
from clmer.data.store.dataset import WindowDataset
from clmer.data.synthetic import write_deap
from clmer.errors import DataError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_deap(tmp_path_factory.mktemp("deap") / "data", people=2, trials=4, seconds=3)


@pytest.fixture(scope="module")
def dataset(root: Path, tmp_path_factory: pytest.TempPathFactory) -> WindowDataset:
    cache = tmp_path_factory.mktemp("stores")
    return clmer.data.load("deap", root, task="va4", cache=cache)


def test_windows_one_by_one_in_slices_and_in_any_order(dataset: WindowDataset) -> None:
    count = len(dataset)
    assert count == len(dataset.store.windows) == 24
    want = {name: dataset.store.array(name) for name in ("physio", "landmarks", "au")}
    one = dataset[5]
    assert set(one) == {*want, "y"}
    assert one["y"].shape == ()
    for name, array in want.items():
        np.testing.assert_array_equal(one[name], array[5])
        np.testing.assert_array_equal(dataset[-1][name], array[-1])
        np.testing.assert_array_equal(dataset[3:9][name], array[3:9])
        np.testing.assert_array_equal(dataset[[7, 2, 7]][name], array[[7, 2, 7]])
        assert dataset[3:9][name].dtype == torch.float32
    y = dataset.task.encode(dataset.store.windows.labels, "")  # type: ignore[union-attr]
    np.testing.assert_array_equal(dataset[0:count]["y"], y)
    with pytest.raises(IndexError, match="window 24 of 24"):
        dataset[count]


def test_a_contiguous_slice_is_a_view(dataset: WindowDataset) -> None:
    part, whole = dataset[4:8]["physio"], dataset[0:24]["physio"]
    assert part.data_ptr() == whole.data_ptr() + 4 * whole.stride(0) * 4


def test_writing_to_a_batch_does_not_reach_the_store(root: Path, tmp_path: Path) -> None:
    first = clmer.data.load("deap", root, modalities=("au",), cache=tmp_path)
    before = first.store.array("au").copy()
    first[0:4]["au"].zero_()
    again = clmer.data.load("deap", root, modalities=("au",), cache=tmp_path)
    np.testing.assert_array_equal(again[0 : len(again)]["au"], before)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_loaders_give_whole_batches(dataset: WindowDataset, shuffle: bool, workers: int) -> None:
    generator = torch.Generator().manual_seed(0)
    loader = dataset.loader(10, shuffle=shuffle, generator=generator, num_workers=workers)
    batches = list(loader)
    assert [len(batch["y"]) for batch in batches] == [10, 10, 4]
    got = torch.cat([batch["physio"] for batch in batches]).flatten(1).sum(1)
    want = dataset[0:24]["physio"].flatten(1).sum(1)
    assert torch.equal(got, want) is not shuffle
    assert torch.equal(got.sort().values, want.sort().values)
    dropping = dataset.loader(10, shuffle=shuffle, drop_last=True)
    assert [len(batch["y"]) for batch in dropping] == [10, 10]


@pytest.mark.parametrize("shuffle", [False, True])
def test_what_is_done_to_a_batch_does_not_come_back(dataset: WindowDataset, shuffle: bool) -> None:
    before = dataset[0:24]["physio"].clone()
    for batch in dataset.loader(10, shuffle=shuffle):
        batch["physio"].zero_()
    assert torch.equal(dataset[0:24]["physio"], before)


def same(batch: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    assert list(batch) == list(want)
    for name, part in batch.items():
        assert part.dtype == want[name].dtype
        assert torch.equal(part, want[name])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_plain_dataloader_gives_batches(dataset: WindowDataset, workers: int) -> None:
    batches = list(DataLoader(dataset, batch_size=10, num_workers=workers))
    assert [len(batch["y"]) for batch in batches] == [10, 10, 4]
    for at, batch in zip((0, 10, 20), batches, strict=True):
        same(batch, dataset[at : at + 10])
    for batch, ours in zip(batches, dataset.loader(10, num_workers=workers), strict=True):
        same(batch, ours)


def test_a_plain_dataloader_shuffles_and_takes_samplers(dataset: WindowDataset) -> None:
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0)).tolist()
    (batch,) = DataLoader(dataset, batch_size=24, sampler=order)
    same(batch, dataset[order])
    shuffled = list(DataLoader(dataset, batch_size=7, shuffle=True, generator=generator))
    assert sum(len(batch["y"]) for batch in shuffled) == 24
    weights = torch.rand(24)
    (batch,) = DataLoader(dataset, batch_size=9, sampler=WeightedRandomSampler(weights, 9))
    assert batch["physio"].shape == (9, 40, 128)
    (one,) = DataLoader(Subset(dataset, [3]), batch_size=None)
    same(one, dataset[3])


def test_parts_and_sums_of_the_data_set(dataset: WindowDataset) -> None:
    first, second = random_split(dataset, [0.5, 0.5], torch.Generator().manual_seed(1))
    (batch,) = DataLoader(first, batch_size=12)
    same(batch, dataset[list(first.indices)])
    assert not {*first.indices} & {*second.indices}
    (batch,) = DataLoader(Subset(second, [5, 0]), batch_size=2)  # a part of a part
    same(batch, dataset[[second.indices[5], second.indices[0]]])
    both = ConcatDataset([first, WindowDataset(dataset.store, dataset.task, np.array([2, 1]))])
    last = list(DataLoader(both, batch_size=7, num_workers=1))[-1]
    same(last, dataset[[*first.indices[7:], 2, 1]])
    (batch,) = DataLoader(WindowDataset(dataset.store, None, np.array([7, 1, 2])), batch_size=3)
    assert "y" not in batch
    assert torch.equal(batch["au"], dataset[[7, 1, 2]]["au"])


def test_collate_functions_get_a_list_of_windows(dataset: WindowDataset) -> None:
    (found,) = DataLoader(dataset, batch_size=24, collate_fn=lambda windows: windows)
    assert isinstance(found, list)
    same(found[5], dataset[5])
    same(default_collate([dataset[i] for i in (4, 2)]), dataset[[4, 2]])
    assert dataset.__getitems__([]) == []


def test_numbers_of_any_kind(dataset: WindowDataset) -> None:
    for three in (torch.tensor(3), np.int64(3), np.array(3)):
        same(dataset[three], dataset[3])
    same(dataset[[-1, 0]], dataset[[23, 0]])
    part = WindowDataset(dataset.store, dataset.task, np.array([5, 9]))
    same(part[torch.tensor([-1])], dataset[[9]])
    for wrong in ([24], [0, -25]):
        with pytest.raises(IndexError, match="of 24"):
            dataset[wrong]
    with pytest.raises(IndexError, match="window 2 of 2"):
        part[[2]]


def test_rows_of_a_split(dataset: WindowDataset) -> None:
    rows = np.array([20, 3, 4, 11])
    part = WindowDataset(dataset.store, dataset.task, rows)
    assert len(part) == 4
    for got in (part[0:4], part[[0, 1, 2, 3]], next(iter(part.loader(4)))):
        torch.testing.assert_close(got["au"], dataset[rows]["au"])
        assert torch.equal(got["y"], dataset[rows]["y"])
    torch.testing.assert_close(part[1]["au"], dataset[3]["au"])
    mask = np.isin(np.arange(24), rows)
    torch.testing.assert_close(dataset[mask]["au"], dataset[np.sort(rows)]["au"])
    masked = WindowDataset(dataset.store, dataset.task, mask)
    torch.testing.assert_close(masked[0:4]["au"], dataset[mask]["au"])
    torch.testing.assert_close(dataset[::-1]["au"], dataset[list(range(23, -1, -1))]["au"])
    for wrong in ([1.9], np.ones(5, bool)):
        with pytest.raises(ValueError, match="expected"):
            dataset[wrong]  # type: ignore[index]
    with pytest.raises(ValueError, match="found 0 to 24, expected"):
        WindowDataset(dataset.store, None, np.array([0, 24]))


def test_it_travels_to_workers_without_its_arrays(dataset: WindowDataset) -> None:
    assert len(dataset.arrays) == 3
    data = pickle.dumps(dataset)
    assert len(data) < 50_000
    torch.testing.assert_close(pickle.loads(data)[0:5]["physio"], dataset[0:5]["physio"])


def test_labels_and_errors(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = clmer.data.load("deap", root, task="", modalities=("au",), cache=tmp_path)
    assert set(plain[0]) == {"au"}
    assert clmer.data.load("deap", root, modalities=("au",), cache=tmp_path).task.name == "valence"  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="found 'seed', expected one of amigos-short, "):
        clmer.data.load("seed", root)
    monkeypatch.delenv("CLMER_DATA", raising=False)
    with pytest.raises(DataError, match="no CLMER_DATA.*Give `root` or set CLMER_DATA"):
        clmer.data.load("deap")
    with pytest.raises(DataError, match="no such label"):
        clmer.data.load("deap", root, task="joy", modalities=("au",), cache=tmp_path)
