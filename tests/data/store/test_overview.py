"""What a loaded data set says of itself, and its splits."""

from __future__ import annotations

import inspect
import pickle
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, random_split

import clmer.data
from clmer.data.splits import make_splits
from clmer.data.store.dataset import WindowDataset
from clmer.data.store.options import PrepareOptions
from clmer.errors import ConfigError, DataError

CHANNELS = "Fp1 Fp2 F3 F4 F7 F8 T3 T4 C3 C4 T5 T6 P3 P4 O1 O2 Fz Cz Pz".split()
PEOPLE = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight people, a calm and an angry recording each of 4 s; one of them has no label."""
    root = tmp_path_factory.mktemp("study")
    rows = ["subject,trial,label,rating,modality,path,rate,channels"]
    for k in range(2 * PEOPLE):
        samples = np.random.default_rng(k).normal(0, 10, (19, 512))
        np.save(root / f"{k}.npy", samples.astype(np.float32))
        label = "" if k == 15 else ("calm", "angry")[k % 2]
        names = ";".join(CHANNELS)
        rows.append(f"p{k // 2},{k % 2},{label},{1 + k / 2},eeg,{k}.npy,128,{names}")
    (root / "manifest.csv").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module")
def dataset(root: Path, tmp_path_factory: pytest.TempPathFactory) -> WindowDataset:
    return clmer.data.load("manifest", root, cache=tmp_path_factory.mktemp("stores"))


def test_a_data_set_fits_a_screen(dataset: WindowDataset) -> None:
    text = repr(dataset)
    lines = text.splitlines()
    assert lines[0] == "manifest: 8 people, 15 recordings, 60 windows of 1 s (of 64)"
    assert max(map(len, lines)) <= 80
    assert "label: angry 28, calm 32" in text
    assert "[19, 128] at 128 Hz, uV, eeg: Fp1" in text
    assert 'split("subject"): No person is in two parts. Or: loso, trial,' in " ".join(text.split())
    assert len(lines) < 25


def test_ratings_and_no_task(root: Path, tmp_path: Path) -> None:
    rated = clmer.data.load(
        "manifest", root, task="rating", target="rating", scale=(1, 9), cache=tmp_path
    )
    assert "rating: 1 to 8.5 (ratings, scale 1-9)" in repr(rated)
    assert rated.classes == ()
    without = clmer.data.load("manifest", root, task="", cache=tmp_path)
    assert (without.classes, without.targets, len(without)) == ((), None, 64)
    assert "label" not in repr(without)
    with pytest.raises(ConfigError, match="`task`: found none"):
        without.split()


def test_people_recordings_classes_and_targets(dataset: WindowDataset) -> None:
    assert dataset.people == tuple(f"p{k}" for k in range(PEOPLE))
    assert dataset.recordings == tuple(f"p{k // 2}/{k % 2}" for k in range(15))
    assert dataset.classes == ("angry", "calm")
    one = dataset[7]
    assert dataset.classes[int(one["y"])] == ("calm", "angry")[7 // 4 % 2]
    assert dataset.targets is not None
    assert torch.equal(dataset.targets, dataset[:]["y"])
    part = WindowDataset(dataset.store, dataset.task, np.array([9, 3]))
    assert (part.people, part.recordings) == (("p0", "p1"), ("p0/0", "p1/0"))
    assert part.targets is not None
    assert torch.equal(part.targets, part[:]["y"])


def test_splits_are_those_of_training(dataset: WindowDataset) -> None:
    splits = dataset.split("subject", folds=4, seed=3)
    y = dataset.y.numpy()  # type: ignore[union-attr]
    drawn = make_splits(dataset.store.windows, y, "subject", folds=4, seed=3)
    assert len(splits) == len(drawn) == 4
    for split, rows in zip(splits, drawn, strict=True):
        for name in ("train", "val", "test"):
            np.testing.assert_array_equal(getattr(split, name).rows, getattr(rows, name))
        people = [set(part.people) for part in (split.train, split.val, split.test)]
        assert not people[0] & people[2]
        assert not people[1] & people[2]
        assert split.note.startswith("No person is in two parts")
    assert repr(splits[0]).startswith("subject 1/4: train ")
    tested = sorted(name for split in splits for name in split.test.recordings)
    assert tested == list(dataset.recordings)
    assert [s.name for s in dataset.split()] == [s.name for s in dataset.split("subject")]


def test_splits_of_a_part_stay_within_it(dataset: WindowDataset) -> None:
    part = WindowDataset(dataset.store, dataset.task, np.arange(24))
    rows = np.concatenate(
        [
            getattr(split, name).rows
            for split in part.split("subject", folds=3)
            for name in ("train", "val", "test")
        ]
    )
    assert set(rows.tolist()) == set(range(24))


def test_splits_of_a_table(dataset: WindowDataset, tmp_path: Path) -> None:
    table = tmp_path / "own.csv"
    rows = [f"mine,p{k},{'test' if k < 2 else 'train'}" for k in range(PEOPLE)]
    table.write_text("\n".join(["split,subject,part", *rows]))
    (split,) = dataset.split(table)
    assert split.test.people == ("p0", "p1")


def test_what_no_split_can_do_is_said(dataset: WindowDataset, root: Path) -> None:
    with pytest.raises(ConfigError, match=r"`protocol`: found 'subjct', expected one of subject"):
        dataset.split("subjct")
    with pytest.raises(DataError, match="8 people, expected at least 9"):
        dataset.split("subject", folds=9)


def test_it_is_a_torch_data_set(dataset: WindowDataset) -> None:
    """Case 22: workers, random_split and pickle take it as it is."""
    split = dataset.split()[0]
    for data in (dataset, split.train):
        batch = next(iter(DataLoader(data, batch_size=8, num_workers=2)))
        assert batch["eeg"].shape == (8, 19, 128)
        half, _ = random_split(data, [0.5, 0.5], torch.Generator().manual_seed(0))
        assert next(iter(DataLoader(half, batch_size=4)))["y"].shape == (4,)
        again = pickle.loads(pickle.dumps(data))
        assert torch.equal(again[3]["eeg"], data[3]["eeg"])
        assert repr(again) == repr(data)


def test_the_signature_has_every_option_of_a_preparation() -> None:
    signature = inspect.signature(clmer.data.load)
    defaults = PrepareOptions()
    for field in fields(PrepareOptions):
        assert signature.parameters[field.name].default == getattr(defaults, field.name)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds
