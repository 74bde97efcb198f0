"""DEAP's original BDF files: trials by their marker and the ratings table, never by row."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import mne
import numpy as np
import pytest

from clmer.cli import main
from clmer.data.face import read_openface
from clmer.data.readers import deap, deap_raw
from clmer.data.registry import DATASETS
from clmer.data.store.prepare import prepare
from clmer.data.synthetic import bayes_accuracy, write_deap, write_deap_raw
from clmer.data.synthetic.bdf import TWENTE
from clmer.data.tasks import task_for
from clmer.errors import DataError

TRIALS, SECONDS = 6, 3
SIZE = {"people": 2, "trials": TRIALS, "seconds": SECONDS, "fps": 25}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_deap_raw(tmp_path_factory.mktemp("raw") / "small", **SIZE)


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "copy"))


def shown(root: Path, subject: int) -> dict[int, dict[str, str]]:
    """Lines of the ratings table by Experiment_id."""
    with (root / "metadata_csv" / "participant_ratings.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["Participant_id"] == str(subject)]
    return {int(row["Experiment_id"]): row for row in rows}


def test_the_files_are_biosemi_s(small: Path) -> None:
    raw = mne.io.read_raw_bdf(small / "data_original" / "s02.bdf", verbose="ERROR")
    assert (raw.info["sfreq"], len(raw.ch_names)) == (512.0, 48)
    assert tuple(raw.ch_names[:32]) == TWENTE
    first = mne.io.read_raw_bdf(small / "data_original" / "s01.bdf", verbose="ERROR")
    assert tuple(first.ch_names[:32]) == deap.EEG_CHANNELS
    assert first.ch_names[40:] == ["GSR1", "GSR2", "Erg1", "Erg2", "Resp", "Plet", "Temp", "Status"]
    status = first.get_data(picks=["Status"])[0].astype(int)
    assert set(status & 0xFF) == {0, 3, 4, 5}
    assert status.min() > 0  # high bits are set
    assert abs(first.get_data(picks=["Fp1"])).mean() > 1e-4  # an electrode without a reference


def test_each_marker_is_the_video_that_was_shown(small: Path) -> None:
    """Fails where marker k were paired with video k."""
    recordings = list(deap_raw.read(small))
    assert [r.trial for r in recordings[:TRIALS]] == [f"t{v:02d}" for v in range(1, TRIALS + 1)]
    moved = 0
    for number, subject in ((1, "s01"), (2, "s02")):
        raw = mne.io.read_raw_bdf(small / "data_original" / f"{subject}.bdf", verbose="ERROR")
        status = raw.get_data(picks=["Status"])[0].astype(int) & 0xFF
        starts = np.flatnonzero((status[1:] == 4) & (status[:-1] != 4)) + 1
        for recording in (r for r in recordings if r.subject == subject):
            video = int(recording.trial[1:])
            row = shown(small, number)[video]
            place = int(row["Trial"])
            moved += place != video
            ratings = [float(row[name.capitalize()]) for name in deap.LABELS]
            assert list(recording.labels.values()) == ratings
            signal = recording.signals["physio"]
            start = round(recording.baseline_s * 512)
            plet = 1e6 * raw.get_data(picks=["Plet"])[0]
            expected = plet[starts[place - 1] :][: SECONDS * 512]
            got = signal.data[signal.channels.index("Plethysmograph")][start:][: SECONDS * 512]
            np.testing.assert_allclose(got, expected, atol=1e-9)
            face = read_openface(small / "face" / subject / f"{subject}_trial{place:02d}.csv")
            assert recording.face is not None
            np.testing.assert_array_equal(recording.face.landmarks, face.landmarks)
    assert moved > TRIALS


def test_the_windows_are_those_of_the_preprocessed_data(small: Path, tmp_path: Path) -> None:
    """Same people and trials in both formats: order, reference, rate and units agree."""
    cache = tmp_path / "cache"
    raw = prepare(DATASETS["deap-raw"], small, cache=cache, progress=False)
    processed = prepare(
        DATASETS["deap"], write_deap(tmp_path / "d", **SIZE), cache=cache, progress=False
    )
    assert len(raw.windows) == 2 * TRIALS * SECONDS
    assert raw.windows.recording.tolist() == processed.windows.recording.tolist()
    for name in ("valence", "liking"):
        assert np.array_equal(raw.windows.labels[name], processed.windows.labels[name])
    np.testing.assert_allclose(raw.array("landmarks"), processed.array("landmarks"), atol=1e-4)
    ours, theirs = raw.array("physio"), np.array(processed.array("physio"))
    assert raw.modalities["physio"].channels == processed.modalities["physio"].channels
    theirs[:, :32] -= theirs[:, :32].mean(axis=1, keepdims=True)
    for channel in range(40):
        for window in (0, 4, len(ours) - 1):
            assert np.corrcoef(ours[window, channel], theirs[window, channel])[0, 1] > 0.95
    assert ours[:, 0].std() == pytest.approx(theirs[:, 0].std(), rel=0.1)
    assert any("GSR" in note for note in raw.report["notes"])


def test_what_does_not_fit_is_named(copy: Path) -> None:
    path = copy / "data_original" / "s01.bdf"
    content = path.read_bytes()
    table = copy / "metadata_csv" / "participant_ratings.csv"
    assert set(deap_raw.sources(copy)) == {p for p in copy.rglob("*") if p.is_file()}

    def refused(message: str) -> None:
        with pytest.raises(DataError, match=message):
            list(deap_raw.read(copy))

    path.write_bytes(content[: len(content) // 2])
    refused(r"s01\.bdf: number of records")
    path.write_bytes(content.replace(b"GSR1", b"GSRX", 1))
    refused("channels: found no GSR1")
    path.write_bytes(content.replace(b"Status", b"Statut", 1))
    refused("Status: found no such channel")
    cut = bytearray(content)
    size = len(cut) - 256 * 49
    cut[256 * 49 :] = cut[256 * 49 :][: size // 2] + bytes(size - size // 2)  # markers lost
    path.write_bytes(bytes(cut))
    refused("3 starts of a video in .* expected 6 markers of code 4")
    path.write_bytes(content)
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if not line.startswith("1,")))
    refused("no rows of s01")
    table.unlink()
    refused("only this table says which is which")
    shutil.rmtree(copy / "data_original")
    refused(r"data_original: found no sXX\.bdf")


def test_nine_levels_a_dimension() -> None:
    task = task_for("deap", "arousal9")
    levels = [task.classes[task.of({"arousal": a}, "x")] for a in (1.0, 1.5, 1.51, 5.2, 8.5, 9.0)]
    assert levels == ["1", "1", "2", "5", "8", "9"]
    assert bayes_accuracy("liking9", ["au"]) == 0.125
    assert 0.125 < bayes_accuracy("valence9", ["au"]) < bayes_accuracy("valence9", ["au", "eeg"])
    assert bayes_accuracy("valence9", ["au", "eeg", "landmarks"], windows=60) == pytest.approx(
        # every band known: (1.5, 3], (3, 5], (5, 6] and (6, 9], the best level's share of each
        0.35 * 1 / 1.5 + 0.15 * 1 / 2 + 0.15 * 1 / 2 + 0.35 * 1 / 3,
        abs=0.002,
    )


def test_a_run_from_the_command_line(small: Path, tmp_path: Path) -> None:
    options = "--threads 1 --no-permuted --no-contrastive --dim 8 --heads 2 --token-length 5 "
    options += "--cross-layers 1 --memory-layers 1 --epochs-fusion 1 --repeats 1 --folds 3"
    own = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run")]
    command = ["train", "deap-raw", "--root", str(small), "--protocol", "block"]
    assert main([*command, *options.split(), *own]) == 0
    with (tmp_path / "run" / "predictions.csv").open() as file:
        tested = list(csv.DictReader(file))
    assert {row["subject"] for row in tested} == {"s01", "s02"}
    assert "physio+landmarks+au" in {row["model"] for row in tested}
