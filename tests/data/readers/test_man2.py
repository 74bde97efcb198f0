"""MAN-II's layout and Emotiv's files: what was written is read; a real EPOC recording too."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clmer.cli import main
from clmer.data.face import read_face
from clmer.data.formats.biosignal import open_biosignal
from clmer.data.formats.tables.profiles import EPOC_CHANNELS
from clmer.data.manifest import reader as manifest
from clmer.data.readers import man2
from clmer.data.recording import Signal
from clmer.data.registry import DATASETS
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare
from clmer.data.synthetic.man2 import (
    man2_bayes_accuracy,
    write_emotiv_csv,
    write_emotiv_edf,
    write_man2,
)
from clmer.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_man2(tmp_path_factory.mktemp("man2") / "data", people=4, seconds=6, fps=10)


def read(path: Path, start_s: float = 0.0, stop_s: float | None = None) -> Signal:
    """The sensors of an EPOC between two times."""
    return open_biosignal(path).signal(EPOC_CHANNELS, start_s, stop_s)


def ramp(seconds: int = 3) -> np.ndarray:
    return 4200 + np.arange(14)[:, None] + 100 * np.sin(np.arange(128 * seconds) / 9)


def test_csv_with_two_header_lines(tmp_path: Path) -> None:
    write_emotiv_csv(tmp_path / "a.csv", ramp())
    signal = read(tmp_path / "a.csv")
    assert signal.channels == EPOC_CHANNELS
    assert (signal.fs, signal.unit, set(signal.kinds)) == (128.0, "uV", {"eeg"})
    np.testing.assert_allclose(signal.data, ramp(), atol=1e-5)
    part = open_biosignal(tmp_path / "a.csv").signal(("AF4", "F7"), 1.0, 2.5)
    np.testing.assert_allclose(part.data, ramp()[[13, 1], 128:320], atol=1e-5)


def test_edf_without_its_service_channels(tmp_path: Path) -> None:
    write_emotiv_edf(tmp_path / "a.edf", ramp())
    file = open_biosignal(tmp_path / "a.edf")
    assert file.channels == EPOC_CHANNELS
    signal = file.signal(EPOC_CHANNELS)
    assert signal.fs == 128.0
    np.testing.assert_allclose(signal.data, ramp(), atol=2400 / 65535)


def test_emotiv_csv_s_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_emotiv_csv(path, ramp())
    lines = path.read_text().splitlines()
    for text, message in (
        ("\n".join(lines[:2]), "rows"),
        ("\n".join(lines).replace("eeg_128", "eeg_256"), "256 Hz in the header"),
        ("a,b\n1,2\n", "rows: found 1 of numbers in 'a,b'"),
        ("", "0 bytes"),
        (
            "\n".join(lines[:50]).replace("4201", "x"),
            r"line \d+, EEG\.\w+: found 'x\.\d+', expected a number",
        ),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read(path)
    path.write_text("\n".join(lines[:100] + lines[120:]))
    pieces = read(path).line.pieces
    assert [(p.start_s, p.first) for p in pieces] == [(0.0, 0), (118 / 128, 98)]
    path.write_text("\n".join(lines[:100])[:-250])
    cut = read(path)
    np.testing.assert_allclose(cut.data, ramp()[:, :97], atol=1e-5)
    assert any("ends within line 100" in note for note in cut.notes)
    write_emotiv_csv(path, ramp())
    with pytest.raises(DataError, match="no Cz"):
        open_biosignal(path).signal(("Cz",))
    with pytest.raises(DataError, match="found nothing"):
        read(tmp_path / "absent.csv")


def test_a_rate_that_no_headset_has(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for seconds, found in (
        (16e9, "times in steps of 1.6e.10 "),
        (1.0, "times in steps of 1 "),
        (0.0, "the same time in all"),
        (1e-6, "times in steps of 1e-06"),
    ):
        write_times(path, seconds * np.arange(9))
        path.write_text(path.read_text().replace(",sampling rate:eeg_128", ""))
        with pytest.raises(DataError, match=f"Timestamp: found {found}"):
            read(path)
    for rate in (0, 10**6, 10**400):
        write_emotiv_csv(path, ramp())
        path.write_text(path.read_text().replace("eeg_128", f"eeg_{rate}"))
        with pytest.raises(DataError, match=r"sampling rate: found .* Hz, expected 0.01 to 100000"):
            read(path)


def write_times(path: Path, seconds: np.ndarray) -> None:
    """An Emotiv CSV whose samples have these times."""
    write_emotiv_csv(path, np.resize(ramp(), (14, len(seconds))))
    head, rows = (lines := path.read_text().splitlines())[:2], lines[2:]
    stamped = [f"{t:.6f},{row.split(',', 1)[1]}" for t, row in zip(seconds, rows, strict=True)]
    path.write_text("\n".join([*head, *stamped, ""]))


def test_lost_samples_are_no_slow_clock(tmp_path: Path) -> None:
    path, every = tmp_path / "a.csv", np.arange(10 * 128)
    write_times(path, every[every % 64 != 63] / 128)
    pieces = read(path).line.pieces
    assert [round(128 * p.start_s) for p in pieces] == list(range(0, 1280, 64))
    write_times(path, every[every % 3 != 2] / 128)
    with pytest.raises(DataError, match=r"128 Hz in the header, expected the times' 85\.3 Hz"):
        read(path)
    write_times(path, every[~np.isin(every, [100, 300, 301, 302, 500, 501, 700])] / 128)
    signal = read(path)
    assert signal.data.shape == (14, 1273)
    assert [round(128 * p.start_s) for p in signal.line.pieces] == [0, 101, 303, 502, 701]
    assert any("7 samples (0.0547 s) are missing in 4 places" in n for n in signal.notes)


def test_late_samples_and_slow_clocks_are_no_loss(tmp_path: Path) -> None:
    path, every = tmp_path / "a.csv", np.arange(10 * 128)
    jitter = np.random.default_rng(0).uniform(-0.004, 0.004, len(every))
    for seconds in (
        every / 127.7,
        np.ceil(every / 6) * 6 / 128,  # handed on in sixes
        np.sort(every / 128 + jitter),
    ):
        write_times(path, seconds)
        signal = read(path)
        assert signal.data.shape == (14, 1280)
        assert len(signal.line.pieces) == 1
    write_times(path, every / 127)
    with pytest.raises(DataError, match=r"128 Hz in the header, expected the times' 127\.0 Hz"):
        read(path)


def test_a_real_epoc_recording_through_a_manifest(clmer_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(clmer_data / "feis" / "01.zip") as archive:
        (tmp_path / "feis.csv").write_bytes(archive.read("articulators.csv"))
    header = "subject,trial,label,modality,path,start_s,stop_s\n"
    rows = [f"p1,t{i},{label},eeg,feis.csv,{start},{start + 1}\n" for i, label, start in
            ((1, "goose", 0), (2, "fleece", 0.5))]  # fmt: skip
    (tmp_path / "manifest.csv").write_text(header + rows[0] + rows[1].replace("0.5,1.5", "0,1"))
    first, _ = manifest.read(tmp_path)
    signal = first.signals["eeg"]
    assert set(signal.channels) == set(EPOC_CHANNELS)
    assert (signal.fs, signal.data.shape) == (256.0, (14, 256))
    assert 4000 < signal.data.mean() < 4400
    store = prepare(DATASETS["manifest"], tmp_path, cache=tmp_path / "cache", progress=False)
    assert abs(store.array("eeg").mean()) < 5  # the offset is gone


def test_people_and_emotions_are_paired_with_their_own_files(root: Path) -> None:
    recordings = list(man2.read(root))
    assert [r.subject for r in recordings] == [f"p{n:02d}" for n in (1, 2, 3, 4) for _ in range(4)]
    assert [r.trial for r in recordings[:4]] == list(man2.EMOTIONS)
    for r in recordings:
        assert r.labels == {"label": r.trial}
        end = ".edf" if int(r.subject[1:]) % 2 else ".csv"
        own = root / r.subject / f"{r.trial}{end}"
        assert r.source == own
        physio = r.signals["physio"]
        assert physio.channels == EPOC_CHANNELS
        assert physio.data.shape == (14, 6 * 128)
        assert physio.data.mean() == pytest.approx(4200, abs=20)
        face = read_face(root / r.subject / f"{r.trial}_face.csv")
        assert r.face is not None
        assert r.face.gaze is not None
        assert np.array_equal(r.face.landmarks, face.landmarks)
    assert all(r.face is None for r in man2.read(root, face=False))
    assert len(man2.sources(root)) == 32


def test_every_modality_reaches_the_store_and_carries_the_label(root: Path, tmp_path: Path) -> None:
    names = ("eeg", "landmarks", "au", "gaze")
    options = PrepareOptions(modalities=names)
    store = prepare(DATASETS["man2"], root, options, cache=tmp_path, progress=False)
    assert store.modalities["gaze"].tokens == 2
    assert store.array("gaze").shape[1:] == (2, 25)
    assert store.report["filter"] == {"eeg": "1-50 Hz"}
    assert any("One recording per class" in note for note in store.report["notes"])
    gaze = store.array("gaze").mean(axis=2)
    label = store.windows.labels["label"]
    assert gaze[label == "moved", 0].mean() > 0.02 > -0.02 > gaze[label == "angry", 0].mean()
    aligned = replace(options, face="aligned")
    other = prepare(DATASETS["man2"], root, aligned, cache=tmp_path, progress=False)
    assert other.fingerprint != store.fingerprint
    raw, still = store.array("landmarks"), other.array("landmarks")
    assert raw[:, 136:].mean() > 400 > 100 > np.abs(still[:, 136:].mean())  # seat distance
    assert np.array_equal(store.array("au"), other.array("au"))
    with pytest.raises(ConfigError, match="`face`: found 'sideways', expected raw or aligned"):
        replace(options, face="sideways")


def test_mixed_units_of_landmarks_are_refused(root: Path, tmp_path: Path) -> None:
    def read(folder: Path, *, face: bool = True):  # type: ignore[no-untyped-def]
        for i, recording in enumerate(man2.read(folder)):
            assert recording.face is not None
            px = replace(recording.face, unit="px", tracker="Py-Feat 1", gaze=None)
            yield replace(recording, face=px) if i else recording

    def only(name: str) -> PrepareOptions:
        return PrepareOptions(modalities=(name,))

    mixed = replace(DATASETS["man2"], name="mixed", read=read)
    with pytest.raises(DataError, match=r"unit of landmarks: found px \(Py-Feat 1\), expected mm"):
        prepare(mixed, root, only("landmarks"), cache=tmp_path, progress=False)
    store = prepare(mixed, root, only("au"), cache=tmp_path, progress=False)
    assert "different trackers" in store.report["notes"][-1]
    store = prepare(mixed, root, only("gaze"), cache=tmp_path, progress=False)
    assert set(store.report["recordings_skipped"].values()) == {"no gaze from Py-Feat 1"}


def test_missing_and_doubled_recordings_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="p01/moved.edf"):
        man2.sources(tmp_path)
    write_man2(tmp_path / "data", people=1, seconds=2, fps=10)
    folder = tmp_path / "data" / "p01"
    (folder / "angry.csv").write_text("")
    with pytest.raises(DataError, match=r"angry: found angry\.edf and angry\.csv"):
        man2.sources(tmp_path / "data")
    (folder / "angry.csv").unlink()
    (folder / "angry.edf").unlink()
    with pytest.raises(DataError, match="angry: found no recording"):
        list(man2.read(tmp_path / "data"))


def test_bayes_accuracy_against_a_brute_force_observer() -> None:
    rng = np.random.default_rng(0)
    means = 1.5 * 0.8 * np.array([[1, -1], [-1, 1], [1, 1], [-1, -1]])
    u = means[:, None, None] + rng.standard_normal((4, 20_000, 2, 2))  # two modalities
    guess = np.argmin(np.square(u.mean(2)[:, :, None] - means).sum(-1), axis=2)
    share = (guess == np.arange(4)[:, None]).mean()
    assert man2_bayes_accuracy("label", ["physio", "gaze"]) == pytest.approx(share, abs=0.005)
    assert man2_bayes_accuracy("label", ["au"], control="one:physio") == 0.25
    assert man2_bayes_accuracy("label", ["gaze"], control="fingerprint") == 0.25


def test_a_run_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = (
        "--no-contrastive --no-permuted --folds 3 --threads 1 --dim 8 --heads 2 --epochs-fusion 1"
    )
    small += " --cross-layers 1 --memory-layers 1 --people 3 --modalities eeg,gaze"
    command = ["train", "man2", "--synthetic", *small.split(), "--cache", str(tmp_path / "cache")]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    assert "Bayes accuracy per window of eeg+gaze" in capsys.readouterr().out
    assert main([*command, "--out", str(tmp_path / "x"), "--control", "xor:physio,au"]) == 2
    assert "--control" in capsys.readouterr().err
