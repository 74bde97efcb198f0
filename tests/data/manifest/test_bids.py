"""A BIDS tree: people, sessions, events, participants' columns and physiology, as written."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mne_bids")
from support.bids_trees import FS, PHYSIO_FS, write_physio, write_tree

from clmer.data import load
from clmer.data.formats.biosignal import open_biosignal
from clmer.data.manifest import reader
from clmer.data.timeline import Piece
from clmer.errors import DataError


def people_table(root: Path, rows: str) -> None:
    (root / "participants.tsv").write_text(rows.replace(",", "\t"))


def test_events_are_trials_with_their_labels(tmp_path: Path) -> None:
    written = write_tree(tmp_path)
    people_table(tmp_path, "participant_id,sex,mood\nsub-01,F,7\nsub-02,n/a,3\n")
    found = list(reader.read(tmp_path))
    assert [(each.subject, each.trial) for each in found] == [
        (person, f"ses-a_task-emo_run-01_{i:03d}")
        for person in ("sub-01", "sub-02")
        for i in range(1, 5)
    ]
    assert [each.labels["label"] for each in found] == ["calm", "angry"] * 4
    assert {each.labels["mood"] for each in found if each.subject == "sub-01"} == {7.0}
    assert reader.labels(tmp_path)[0] == "label"
    assert set(reader.found(tmp_path)) == {"eeg", "ecg"}
    for each in found:
        start = round((2.0 + 10 * (int(each.trial[-1]) - 1)) * FS)
        signal = each.signals["eeg"]
        assert (signal.channels, signal.unit, signal.fs) == (("Fz", "Cz"), "uV", FS)
        wanted = written[each.subject][:, start : start + 1024]
        np.testing.assert_allclose(signal.data, wanted, atol=0.06)
        assert each.signals["ecg"].channels == ("ECG",)


def test_physiology_is_on_the_run_s_clock(tmp_path: Path) -> None:
    write_tree(tmp_path)
    tables = {person: write_physio(tmp_path, person) for person in ("sub-01", "sub-02")}
    assert set(reader.found(tmp_path)) == {"eeg", "ecg", "ppg", "resp"}
    first = next(iter(reader.read(tmp_path)))
    breath = first.signals["resp"]
    at = round((2.0 + 1.0) * PHYSIO_FS)  # the table begins a second before the run
    np.testing.assert_allclose(breath.data[0], tables["sub-01"][1, at : at + 256])
    assert (breath.fs, breath.line.pieces) == (PHYSIO_FS, (Piece(0.0, 0, 256),))
    files = {path.name for path in reader.sources(tmp_path)}
    run = "sub-01_ses-a_task-emo_run-01"
    assert {
        "dataset_description.json", "participants.tsv", f"{run}_eeg.vhdr", f"{run}_eeg.eeg",
        f"{run}_channels.tsv", f"{run}_events.tsv", f"{run}_physio.tsv.gz", f"{run}_physio.json",
    } <= files  # fmt: skip


def test_two_acquisitions_are_two_runs(tmp_path: Path) -> None:
    write_tree(tmp_path, acquisition="pre")
    write_tree(tmp_path, acquisition="post", events=((5.0, 8.0, "tired"),))
    trials = [(each.trial, each.labels["label"]) for each in reader.read(tmp_path)][:5]
    assert trials == [
        ("ses-a_task-emo_run-01_acq-post_001", "tired"),
        *(
            (f"ses-a_task-emo_run-01_acq-pre_{i:03d}", label)
            for i, label in enumerate(("calm", "angry", "calm", "angry"), 1)
        ),
    ]


def test_an_event_before_the_recording_ends_when_it_ends(tmp_path: Path) -> None:
    write_tree(tmp_path)
    for table in tmp_path.rglob("*_events.tsv"):
        table.write_text("onset\tduration\ttrial_type\n-2\t8\tcalm\n10\t8\tangry\n-9\t8\tlost\n")
    found = list(reader.read(tmp_path))
    assert [each.labels["label"] for each in found] == ["calm", "angry"] * 2
    assert [each.signals["eeg"].data.shape[1] / FS for each in found] == [6.0, 8.0] * 2


def test_what_one_person_lacks_is_left_out_and_said(tmp_path: Path) -> None:
    write_tree(tmp_path)
    write_physio(tmp_path, "sub-01")
    assert set(reader.found(tmp_path)) == {"eeg", "ecg"}
    assert "resp is in 4 of 8 trials only, and left out" in reader.describe(tmp_path)


def test_events_that_last_no_time_and_runs_without_any(tmp_path: Path) -> None:
    point = tuple((onset, 0.0, text) for onset, text in ((2.0, "calm"), (12.0, "angry")))
    write_tree(tmp_path / "a", events=point)
    table = reader.manifest_of(tmp_path / "a")
    spans = [(row.start_s, row.stop_s) for row in table.rows if row.modality == "eeg"]
    assert spans == [(2.0, 12.0), (12.0, None)] * 2
    assert "events without a duration last to the next one (2 times)" in table.notes
    write_tree(tmp_path / "b", events=())
    people_table(tmp_path / "b", "participant_id,group\nsub-01,patient\nsub-02,control\n")
    found = list(reader.read(tmp_path / "b"))
    assert [each.labels["group"] for each in found] == ["patient", "control"]
    assert [each.trial for each in found] == ["ses-a_task-emo_run-01"] * 2


def test_derivatives_are_left_out_unless_named(tmp_path: Path) -> None:
    write_tree(tmp_path)
    write_tree(tmp_path / "derivatives" / "clean", people=3)
    assert {row.subject for row in reader.manifest_of(tmp_path).rows} == {"sub-01", "sub-02"}
    cleaned = reader.manifest_of(tmp_path / "derivatives" / "clean")
    assert {row.subject for row in cleaned.rows} == {"sub-01", "sub-02", "sub-03"}


def test_windows_of_a_tree(tmp_path: Path) -> None:
    write_tree(tmp_path)
    data = load("bids", tmp_path, task="label", cache=tmp_path / "cache", modalities=("eeg",))
    assert len(data) == 64  # 2 people, 4 trials, 8 windows of a second


def test_what_is_no_tree_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="dataset_description.json"):
        reader.manifest_of(tmp_path)
    (tmp_path / "dataset_description.json").write_text("{}")
    with pytest.raises(DataError, match="recordings: found none"):
        reader.manifest_of(tmp_path)
    write_tree(tmp_path, events=())
    with pytest.raises(DataError, match="no column of events.tsv or participants.tsv has two"):
        reader.manifest_of(tmp_path)
    monkeypatch.setitem(sys.modules, "mne_bids", None)
    with pytest.raises(DataError, match="pip install mne-bids"):
        reader.manifest_of(tmp_path)


# --- Physiology's own tables ---------------------------------------------------------------------
def physio(folder: Path, rows: str, **about: object) -> Path:
    path = folder / "sub-01_task-x_physio.tsv.gz"
    path.write_bytes(gzip.compress(rows.encode()))
    known = {"SamplingFrequency": 2, "StartTime": 0, "Columns": ["GSR", "respiratory"]} | about
    (folder / "task-x_physio.json").write_text(json.dumps(known))
    return path


def test_rows_without_a_number_are_a_gap(tmp_path: Path) -> None:
    rows = "1\t5\n2\t6\nn/a\t7\n4\t8\n5\t9\n"
    file = open_biosignal(physio(tmp_path, rows, StartTime=1.5, GSR={"Units": "uS"}))
    got = file.signal(["GSR"])
    assert got.line.pieces == (Piece(1.5, 0, 2), Piece(3.0, 2, 4))
    assert (got.data.tolist(), got.unit, got.kinds) == ([[1, 2, 4, 5]], "uS", ("gsr",))
    assert [channel.kind for channel in file.all_channels] == ["gsr", "resp"]


def test_a_table_that_does_not_fit_its_description(tmp_path: Path) -> None:
    path = physio(tmp_path, "1\t2\t3\n1\t2\t3\n")
    with pytest.raises(DataError, match=r"found 3 columns.*Correct Columns in task-x_physio.json"):
        open_biosignal(path)
    path = physio(tmp_path, "GSR\trespiratory\n1\t2\n")
    with pytest.raises(DataError, match="expected numbers between tabs"):
        open_biosignal(path)
    for about in ({"SamplingFrequency": "fast"}, {"SamplingFrequency": 0}, {"Columns": []}):
        with pytest.raises(DataError, match="SamplingFrequency, StartTime, Columns"):
            open_biosignal(physio(tmp_path, "1\t2\n", **about))
    (tmp_path / "task-x_physio.json").write_text('{"Columns": ["GSR"]}')
    with pytest.raises(DataError, match="no SamplingFrequency, StartTime"):
        open_biosignal(path)
