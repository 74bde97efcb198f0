"""Protocols: nothing shared, everyone tested, the same splits everywhere, refusals that say why."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from clmer.data.splits import PROTOCOLS, Split, make_splits
from clmer.data.store.store import Windows
from clmer.errors import DataError

GROUPS = {"subject": "group", "loso": "group", "trial": "recording", "stimulus": "stimulus"}


def make_windows(
    people: int = 8, trials: int = 12, length: int = 6, classes: int = 2
) -> tuple[Windows, np.ndarray]:
    """Every person sees every stimulus once; the class depends on both."""
    p, t, k = (a.ravel() for a in np.mgrid[:people, :trials, :length])
    subject = np.array([f"s{i:02d}" for i in range(people)])[p]
    trial = np.array([f"t{i:02d}" for i in range(trials)])[t]
    recording = np.char.add(np.char.add(subject, "/"), trial)
    windows = Windows(
        subject=subject,
        group=subject,
        recording=recording,
        stimulus=np.char.replace(trial, "t", "v"),
        start_s=k.astype(float),
        labels={},
        window_s=1.0,
    )
    return windows, (p + t) % classes


def check_partition(split: Split, count: int) -> None:
    rows = np.concatenate([split.train, split.val, split.test])
    assert all(len(part) for part in (split.train, split.val, split.test))
    assert len(np.unique(rows)) == len(rows)
    assert rows.min() >= 0
    assert rows.max() < count
    assert split.train.dtype == np.int64


@pytest.mark.parametrize("protocol", GROUPS)
def test_groups_stay_whole_and_everyone_is_tested_once(protocol: str) -> None:
    windows, y = make_windows()
    groups = getattr(windows, GROUPS[protocol])
    splits = make_splits(windows, y, protocol)
    assert len(splits) == (8 if protocol == "loso" else 6)
    for split in splits:
        check_partition(split, len(windows))
        seen = set(groups[split.train]) | set(groups[split.val])
        assert not seen & set(groups[split.test])
        assert not set(groups[split.train]) & set(groups[split.val])
        assert split.shared_groups == 0
        assert len(split.train) + len(split.val) + len(split.test) == len(windows)
        assert set(y[split.train]) == set(y[split.val]) == set(y[split.test]) == {0, 1}
    tested = np.concatenate([s.test for s in splits])
    assert np.array_equal(np.sort(tested), np.arange(len(windows)))


def test_loso_tests_one_person_at_a_time() -> None:
    windows, y = make_windows()
    people = [set(windows.subject[s.test]) for s in make_splits(windows, y, "loso")]
    assert people == [{f"s{i:02d}"} for i in range(8)]


def test_people_who_watched_together_stay_together() -> None:
    windows, y = make_windows(people=12)
    together = np.array([f"g{int(s[1:]) // 2}" for s in windows.subject])
    windows = Windows(**{**vars(windows), "group": together})
    for split in make_splits(windows, y, "subject"):
        assert not set(together[split.test]) & set(together[split.train])
        assert not set(windows.subject[split.test]) & set(windows.subject[split.train])


def test_trial_keeps_every_person_on_both_sides() -> None:
    windows, y = make_windows(people=6, trials=24)
    for split in make_splits(windows, y, "trial"):
        assert set(windows.subject[split.train]) == set(windows.subject[split.test])


def test_classes_are_stratified() -> None:
    windows, y = make_windows(people=6, trials=40)
    for split in make_splits(windows, y, "trial"):
        assert y[split.test].mean() == pytest.approx(y.mean(), abs=0.06)


def test_rounds_after_the_first_draw_new_folds() -> None:
    windows, y = make_windows()
    splits = make_splits(windows, y, "trial", folds=4, repeats=8)
    for turn in (splits[:4], splits[4:]):
        assert np.array_equal(np.sort(np.concatenate([s.test for s in turn])), np.arange(len(y)))
    assert not np.array_equal(splits[0].test, splits[4].test)
    other = make_splits(windows, y, "trial", folds=4, seed=1)
    assert not np.array_equal(splits[0].test, other[0].test)


def test_validation_is_the_next_fold() -> None:
    windows, y = make_windows()
    splits = make_splits(windows, y, "subject", folds=4)
    for this, following in zip(splits, splits[1:] + splits[:1], strict=True):
        assert np.array_equal(this.val, following.test)


@pytest.mark.parametrize(("stride", "length"), [(1.0, 36), (0.25, 96)])
def test_block_leaves_a_gap_and_tests_every_window(stride: float, length: int) -> None:
    windows, y = make_windows(people=2, trials=2, length=length)
    windows = Windows(**{**vars(windows), "start_s": windows.start_s * stride})
    splits = make_splits(windows, y, "block")
    for split in splits:
        check_partition(split, len(windows))
        assert split.shared_groups == 0
        gaps = len(windows) - len(split.train) - len(split.val) - len(split.test)
        assert f"{gaps} of {len(windows)} windows lie in the gaps" in split.note
        parts = (split.train, split.val, split.test)
        for i, one in enumerate(parts):
            for other in parts[i + 1 :]:
                for recording in np.unique(windows.recording):
                    a = windows.start_s[one[windows.recording[one] == recording]]
                    b = windows.start_s[other[windows.recording[other] == recording]]
                    assert (
                        np.abs(a[:, None] - b[None, :]).min() >= 2.0
                    )  # a window, and a gap as long
        for recording in np.unique(windows.recording):
            starts = windows.start_s[split.test[windows.recording[split.test] == recording]]
            assert np.allclose(np.diff(starts), stride)  # contiguous
            assert len(starts) == length // 6
    tested = np.concatenate([s.test for s in splits])
    assert np.array_equal(np.sort(tested), np.arange(len(windows)))


@pytest.mark.parametrize("missing", [False, True])
def test_recordings_that_share_samples_stay_together_whatever_lacks_a_class(missing: bool) -> None:
    windows, y = make_windows()
    names = np.unique(windows.recording)
    pairs = [(str(a), str(b)) for a, b in zip(names[::8], names[5::8], strict=False)]
    if missing:
        y = np.where(windows.recording == names[1], -1, y)
    for split in make_splits(windows, y, "trial", shared=pairs):
        for part in (split.train, split.val, split.test):
            there = set(windows.recording[part].tolist())
            assert all((a in there) == (b in there) for a, b in pairs)
    with pytest.raises(DataError, match="the same samples"):
        make_splits(windows, y, "block", folds=3, shared=pairs)


def test_a_class_with_too_few_groups_is_named() -> None:
    windows, y = make_windows()
    y = np.where(windows.subject == "s00", 2, np.minimum(y, 1))
    with pytest.raises(DataError, match="1 people with class bored, expected at least"):
        make_splits(windows, y, "subject", classes=("calm", "angry", "bored"))


def test_block_takes_one_recording_a_class() -> None:
    windows, _ = make_windows(people=4, trials=2, length=12)
    y = (windows.stimulus == "v01").astype(int)
    for split in make_splits(windows, y, "block", folds=4):
        assert set(y[split.test]) == set(y[split.train]) == {0, 1}
        assert "Every recording has one class" in split.note
    y[windows.recording == "s00/t00"] = (np.arange(12) // 3) % 2
    assert "one class" not in make_splits(windows, y, "block", folds=3)[0].note


def test_shuffled_is_70_15_15_in_five_orders_and_says_that_it_is_inflated() -> None:
    windows, y = make_windows()
    splits = make_splits(windows, y, "shuffled")
    assert len(splits) == 5
    for split in splits:
        check_partition(split, len(windows))
        assert len(split.test) == len(split.val) == round(0.15 * len(windows))
        assert len(split.train) + len(split.val) + len(split.test) == len(windows)
        assert split.shared_groups > 70  # of 96 recordings of six windows
        assert "INFLATED" in split.note
    assert not np.array_equal(splits[0].test, splits[1].test)


_DIGEST = """
import hashlib
from test_draw import make_windows
from clmer.data.splits import PROTOCOLS, make_splits
windows, y = make_windows()
digest = hashlib.sha256()
for protocol in PROTOCOLS:
    for split in make_splits(windows, y, protocol, seed=3):
        for part in (split.train, split.val, split.test):
            digest.update(part.tobytes())
        digest.update(split.note.encode())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_same_splits_in_any_process() -> None:
    digests = set()
    for hash_seed in ("0", "4242"):
        env = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        run = subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env=env,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        digests.add(run.stdout)
    assert len(digests) == 1


def test_trial_is_refused_with_one_recording_a_class() -> None:
    windows, _ = make_windows(trials=2)
    y = (windows.stimulus == "v01").astype(int)
    with pytest.raises(
        DataError, match="opposite class.*`protocol=block` or `protocol=sub"
    ) as caught:
        make_splits(windows, y, "trial")
    assert caught.value.field == "`protocol=trial`"


def test_trial_is_refused_for_one_such_person() -> None:
    windows, y = make_windows()
    drop = (windows.subject == "s03") & (windows.stimulus > "v01")
    windows = Windows(
        **{
            name: value[~drop] if isinstance(value, np.ndarray) else value
            for name, value in vars(windows).items()
        }
    )
    with pytest.raises(DataError, match="s03"):
        make_splits(windows, y[~drop], "trial")


def test_trial_is_refused_where_one_class_is_single_for_most() -> None:
    windows, _ = make_windows(trials=3)
    y = (windows.stimulus == "v02").astype(int)  # two recordings of class 0, one of class 1
    with pytest.raises(DataError, match="one recording of class 1 for 8 of 8 people"):
        make_splits(windows, y, "trial", folds=3)


def test_trial_says_how_many_recordings_are_single() -> None:
    windows, y = make_windows()
    first = windows.subject == "s00"
    y = np.where(first, (windows.stimulus == "v05").astype(int), y)
    assert " 1 recordings are" in make_splits(windows, y, "trial")[0].note


@pytest.mark.parametrize(
    ("protocol", "people", "trials", "message"),
    [
        ("subject", 5, 12, r"5 people, expected at least 6\. `folds=5` works here"),
        ("loso", 2, 12, r"2 people, expected at least 3\. Choose"),
        ("stimulus", 8, 4, r"4 stimuli, expected at least 6"),
        ("trial", 1, 4, r"4 recordings, expected at least 6"),
    ],
)
def test_too_few_groups(protocol: str, people: int, trials: int, message: str) -> None:
    windows, y = make_windows(people=people, trials=trials)
    with pytest.raises(DataError, match=message):
        make_splits(windows, y, protocol)


@pytest.mark.parametrize("protocol", ["subject", "stimulus", "trial", "block"])
def test_a_refusal_names_folds_that_work(protocol: str) -> None:
    windows, y = make_windows(people=2 if protocol == "trial" else 12)
    group = {"subject": windows.subject, "stimulus": windows.stimulus}.get(protocol)
    if group is not None:  # one class has three people, or stimuli
        y = np.where(np.unique(group, return_inverse=True)[1] < 3, 2, y)
    folds = {"trial": 30}.get(protocol, 12)  # of 24 recordings, and of 6 windows in each
    with pytest.raises(DataError, match=r"`folds=\d+` works here\. ") as caught:
        make_splits(windows, y, protocol, folds=folds)
    fits = int(re.findall(r"`folds=(\d+)`", str(caught.value))[0])
    assert len(make_splits(windows, y, protocol, folds=fits)) == fits
    assert {"subject": 3, "stimulus": 3}.get(protocol, fits) == fits
    with pytest.raises(DataError):
        make_splits(windows, y, protocol, folds=fits + 1)


def test_a_refusal_names_no_folds_where_none_work() -> None:
    windows, y = make_windows(people=12)
    y = np.where(windows.subject < "s02", 2, y)
    with pytest.raises(DataError, match="2 people with class 2, expected at least 6. Choose"):
        make_splits(windows, y, "subject")


def test_block_refuses_short_recordings() -> None:
    windows, y = make_windows(length=5)
    with pytest.raises(DataError, match="5 windows in s00/t00, expected at least 6"):
        make_splits(windows, y, "block")


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        ("random", {}, "`protocol`: found random"),
        ("subject", {"folds": 2}, "`folds`: found 2"),
        ("subject", {"repeats": 0}, "`repeats`: found 0"),
    ],
)
def test_bad_options(protocol: str, options: dict[str, int], message: str) -> None:
    windows, y = make_windows()
    with pytest.raises(DataError, match=message):
        make_splits(windows, y, protocol, **options)


def test_one_class_is_refused() -> None:
    windows, y = make_windows()
    for protocol in PROTOCOLS:
        with pytest.raises(DataError, match="classes: found 1"):
            make_splits(windows, y * 0, protocol)
