"""A table of one's own splits: what it may say, and everything that it may not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_draw import check_partition, make_windows

from clmer.data.splits import splits_of_file
from clmer.errors import DataError

PEOPLE = """\
split,subject,part
a,s00,train
a,s01,train
a,s02,train
a,s03,train
a,s04,train
a,s05,validation
a,s06,validation
a,s07,test
b,s00,test
b,s01,train
b,s02,train
b,s03,train
b,s04,train
"""


def read(path: Path, text: str, protocol: str = "subject", **more):
    windows, y = make_windows()
    path.write_text(text)
    return windows, splits_of_file(windows, y, path, protocol, **more)


def test_people_are_where_the_table_puts_them(tmp_path: Path) -> None:
    windows, (a, b) = read(tmp_path / "mine.csv", PEOPLE)
    assert (a.name, b.name) == ("a", "b")
    for split in (a, b):
        check_partition(split, len(windows))
    assert set(windows.subject[a.train]) == {f"s0{i}" for i in range(5)}
    assert set(windows.subject[a.val]) == {"s05", "s06"}
    assert set(windows.subject[a.test]) == {"s07"}
    assert a.note == (
        f"Splits of your own: {tmp_path / 'mine.csv'}. No person of the test part is in training "
        "or validation."
    )
    left = 3 * 72
    assert f"{left} of {len(windows)} windows are named in no row of the split" in b.note


@pytest.mark.parametrize("protocol", ["subject", "loso", "trial", "stimulus"])
def test_validation_is_taken_from_training_by_the_protocol(tmp_path: Path, protocol: str) -> None:
    windows, (_, b) = read(tmp_path / "mine.csv", PEOPLE, protocol)
    groups = {"trial": windows.recording, "stimulus": windows.stimulus}
    group = groups.get(protocol, windows.subject)
    assert len(b.val)
    assert not set(group[b.val]) & set(group[b.train])
    assert set(windows.subject[np.r_[b.train, b.val]]) == {f"s0{i}" for i in range(1, 5)}
    assert f"by {protocol}." in b.note
    again = read(tmp_path / "mine.csv", PEOPLE, protocol)[1][1]
    assert np.array_equal(b.val, again.val)


def test_a_recording_counts_more_than_its_person(tmp_path: Path) -> None:
    text = "split;subject;recording;part\n"
    text += "x;s00;t02;test\nx;s00;;train\nx;s01;;val\nx;s00;s00/t03;test\n"
    windows, (split,) = read(tmp_path / "mine.csv", text)
    assert set(windows.recording[split.test]) == {"s00/t02", "s00/t03"}
    assert set(windows.subject[split.train]) == {"s00"}
    assert set(windows.subject[split.val]) == {"s01"}
    assert "1 people of the test part are in training or validation, too" in split.note
    assert split.shared_groups == 1


def test_what_training_may_lack_and_the_others_not(tmp_path: Path) -> None:
    windows, y = make_windows()
    path = tmp_path / "mine.csv"
    path.write_text("split,subject,part\na,s00,train\na,s01,train\na,s02,validation\na,s03,test\n")
    one = np.where(windows.subject == "s03", 0, y)
    (split,) = splits_of_file(windows, one, path, "subject", classes=("calm", "tense"))
    assert "The test part lacks class tense." in split.note
    one = np.where(np.isin(windows.subject, ["s00", "s01"]), 0, y)
    with pytest.raises(DataError, match="split a: found class tense missing from train"):
        splits_of_file(windows, one, path, "subject", classes=("calm", "tense"))
    unlabelled = np.where(windows.subject == "s03", -1, y)
    with pytest.raises(DataError, match="found only windows without a label of part test"):
        splits_of_file(windows, unlabelled, path, "subject")


def test_recordings_of_the_same_samples_stay_in_one_part(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    with pytest.raises(DataError, match=r"same samples in s00/t00 \(train\) and s07/t01 \(test\)"):
        read(path, PEOPLE, shared=[("s00/t00", "s07/t01")])
    _, splits = read(path, PEOPLE, shared=[("s00/t00", "s00/t01")])
    assert len(splits) == 2


def test_people_who_watched_together_are_counted_in_two_parts(tmp_path: Path) -> None:
    windows, y = make_windows()
    together = np.where(windows.subject == "s07", "s00", windows.group)
    (tmp_path / "mine.csv").write_text(PEOPLE)
    windows = replace(windows, group=together)
    a, b = splits_of_file(windows, y, tmp_path / "mine.csv", "subject")
    assert (a.shared_groups, b.shared_groups) == (1, 0)
    assert "scores do not hold for new people" in a.note


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("split,subject,part\n", "rows: found 0"),
        ("split,person,part\na,s00,train\n", "columns: found split, person, part, expected split"),
        ("split,subject,part,recordng\n", "Did you mean recording"),
        ("split,subject,part,part\n", "part twice"),
        ("split,subject,part\na,s0x,train\n", "line 2, subject: found s0x.*Did you mean s0"),
        (
            "split,subject,recording,part\na,s00,t99,train\n",
            "line 2, recording of s00: found t99, expected one with windows: t00, t01.*7 more",
        ),
        ("split,subject,part\na,s00,tests\n", "line 2, part: found tests.*Did you mean test"),
        ("split,subject,part\na,,train\n", "line 2, subject: found nothing"),
        ("split,subject,part\na,s00,\n", "line 2, part: found nothing"),
        (
            "split,subject,part\na,s00,train\na,s01,test\na,s00,test\n",
            "line 4: found s00 in test, on line 2 in train of split a, expected one row",
        ),
        ("split,subject,part\na,s00,train\na,s01,train\n", "split a: found no row of part test"),
        ("split,subject,part\na,s00,test\n", "split a: found no row of part train"),
        ("split,subject,part\na,s00,train\na,s01,test\n", "found 1 people, expected at least 2"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path / "mine.csv", text)


def test_no_table(tmp_path: Path) -> None:
    windows, y = make_windows()
    with pytest.raises(DataError, match="`splits`: found no such file"):
        splits_of_file(windows, y, tmp_path / "none.csv", "subject")
