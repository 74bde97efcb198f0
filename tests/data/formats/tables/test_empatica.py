"""Empatica E4: files with a start and a rate above the samples, alone and as a session's folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clmer.cli import main
from clmer.data.formats.biosignal import files_of, open_biosignal
from clmer.data.manifest import reader as manifest
from clmer.data.manifest.reader import read_file
from clmer.data.registry import DATASETS
from clmer.data.store.prepare import prepare
from clmer.errors import DataError

START = 1_700_000_000.0
RNG = np.random.default_rng(0)
EDA = (2 + np.abs(RNG.normal(0, 0.5, 160))).round(6)
BVP = RNG.normal(0, 30, 64 * 40).round(2)
ACC = RNG.integers(-128, 128, (32 * 40, 3))


def column(path: Path, start: float, rate: float, values: np.ndarray) -> None:
    """One of a band's files."""
    rows = np.atleast_2d(values.T).T
    head = [[start] * rows.shape[1], [rate] * rows.shape[1]]
    text = [", ".join(f"{x:.6f}" for x in row) for row in head]
    text += [",".join(f"{x:.8g}" for x in row) for row in rows]
    path.write_text("\n".join(text) + "\n")


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A folder as the band's program exports it."""
    folder = tmp_path / "1700000000_A00123"
    folder.mkdir()
    column(folder / "EDA.csv", START, 4.0, EDA)
    column(folder / "TEMP.csv", START, 4.0, 33 + RNG.normal(0, 0.1, 160).round(2))
    column(folder / "BVP.csv", START, 64.0, BVP)
    column(folder / "ACC.csv", START, 32.0, ACC)
    column(folder / "HR.csv", START + 10, 1.0, 70 + RNG.normal(0, 2, 30).round(2))
    (folder / "IBI.csv").write_text(f"{START}, IBI\n3.5,0.8125\n4.3,0.796875\n")
    (folder / "tags.csv").write_text(f"{START + 12.5:.2f}\n{START + 30:.2f}\n")
    (folder / "info.txt").write_text(".csv files in this archive are in the following format:\n")
    return folder


def test_the_header_is_none_of_the_samples(session: Path) -> None:
    eda, temp = read_file(session / "EDA.csv", "gsr"), read_file(session / "TEMP.csv", "temp")
    assert (eda.channels, eda.kinds, eda.unit, eda.fs) == (("EDA",), ("gsr",), "uS", 4.0)
    np.testing.assert_allclose(eda.data[0], EDA)
    assert (temp.unit, temp.data.shape) == ("degC", (1, 160))
    bvp = read_file(session / "BVP.csv", "bvp")
    assert (bvp.kinds, bvp.fs) == (("ppg",), 64.0)
    np.testing.assert_allclose(bvp.data[0], BVP)
    acc = read_file(session / "ACC.csv", "acc")
    assert (acc.channels, acc.unit, acc.fs) == (("ACC_x", "ACC_y", "ACC_z"), "g", 32.0)
    np.testing.assert_allclose(acc.data, ACC.T / 64)
    markers = open_biosignal(session / "EDA.csv").markers
    assert [(m.onset_s, m.text) for m in markers] == [(12.5, "tag 1"), (30.0, "tag 2")]


@pytest.mark.parametrize(
    ("name", "modality"), [("p01_EDA_rest.csv", "gsr"), ("wrist.csv", "acc"), ("x.csv", "ppg")]
)
def test_a_file_by_another_name(tmp_path: Path, name: str, modality: str) -> None:
    values, rate = {"gsr": (EDA, 4.0), "acc": (ACC, 32.0), "ppg": (BVP, 64.0)}[modality]
    column(tmp_path / name, START, rate, values)
    signal = read_file(tmp_path / name, modality)
    assert (signal.fs, set(signal.kinds)) == (rate, {modality})


def test_a_folder_is_one_recording(session: Path) -> None:
    file = open_biosignal(session)
    found = {c.name: (c.kind, c.fs) for c in file.all_channels}
    assert found == {
        "EDA": ("gsr", 4.0), "BVP": ("ppg", 64.0), "ACC_x": ("acc", 32.0), "ACC_y": ("acc", 32.0),
        "ACC_z": ("acc", 32.0), "TEMP": ("temp", 4.0), "HR": ("derived", 1.0),
    }  # fmt: skip
    assert file.duration_s == 40.0
    assert [m.onset_s for m in file.markers] == [12.5, 30.0]
    part = file.signal(file.select("gsr"), 10.0, 20.0)
    np.testing.assert_allclose(part.data[0], EDA[40:80])
    heart = file.signal([file.all_channels[-1].of_kind("other")])
    assert heart.line.pieces[0].start_s == 10.0  # it starts later than the others
    assert {path.name for path in files_of(session)} >= {"EDA.csv", "ACC.csv", "tags.csv"}


def test_files_that_are_no_samples(session: Path) -> None:
    for name, message in (
        ("IBI.csv", r"IBI\.csv: rows: found the time and length of each heart beat.*BVP\.csv"),
        ("tags.csv", r"tags\.csv: rows: found the times at which.*read as markers"),
        ("info.txt", r"rows: found none of numbers"),
    ):
        with pytest.raises(DataError, match=message):
            open_biosignal(session / name)
    with pytest.raises(DataError, match="found a folder"):
        open_biosignal(session.parent)


def test_a_manifest_names_folder_and_files(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for person in "ab":
        other = tmp_path / person
        other.mkdir()
        for file in session.iterdir():
            text = file.read_text()
            (other / file.name).write_text(text if person == "a" else text.replace("2.", "3."))
    lines = ["subject,trial,label,modality,path"]
    lines += [f"{p},1,{'xy'[p == 'b']},{m},{p}" for p in "ab" for m in ("gsr", "bvp")]
    lines += [f"{p},1,{'xy'[p == 'b']},temp,{p}/TEMP.csv" for p in "ab"]
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    recording = next(manifest.read(tmp_path))
    assert {name: s.fs for name, s in recording.signals.items()} == {
        "gsr": 4.0, "ppg": 64.0, "temp": 4.0}  # fmt: skip
    store = prepare(DATASETS["manifest"], tmp_path, cache=tmp_path / "cache", progress=False)
    assert len(store.windows) == 80
    page = tmp_path / "page.html"
    assert main(["inspect", "manifest", "--root", str(tmp_path), "--out", str(page), "--cache",
                 str(tmp_path / "cache")]) == 0  # fmt: skip
    assert "EDA" in page.read_text()
    capsys.readouterr()


def test_a_header_that_was_read_as_samples_is_refused(session: Path, tmp_path: Path) -> None:
    lines = ["subject,trial,label,modality,path,rate"]
    for person in "ab":
        np.save(tmp_path / f"{person}.npy", np.loadtxt(session / "EDA.csv"))
        lines.append(f"{person},1,{person},gsr,{person}.npy,4")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="first sample|header"):
        prepare(DATASETS["manifest"], tmp_path, cache=tmp_path / "cache", progress=False)
