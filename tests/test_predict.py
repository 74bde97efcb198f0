"""`clmer.predict`: a recording goes the way of the training data, and no other."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.edf_files import noise, write_edf
from support.face_cases import write_openface
from support.train_cases import SMALL

import clmer
from clmer import predict
from clmer.cli import main
from clmer.data.manifest import reader as manifest
from clmer.data.readers import deap
from clmer.data.registry import DATASETS
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare
from clmer.errors import DataError
from clmer.predict.picture import timeline_png
from clmer.predict.said import Said, in_a_line, recordings_csv

EPOCHS = ["--no-contrastive", "--no-permuted", "--protocol", "block", "--window", "1"]


@pytest.fixture(scope="module")
def study(tmp_path_factory, clmer_data):
    """A manifest over two EDF files, EEG and ECG of each, and a run on it."""
    root = tmp_path_factory.mktemp("study")
    lines = ["subject,trial,label,modality,path,stop_s"]
    for person in ("00", "01"):
        for trial, label in (("1", "rest"), ("2", "arithmetic")):
            path = clmer_data / "eegmat" / f"Subject{person}_{trial}.edf"
            lines += [f"p{person},{label},{label},{name},{path},20" for name in ("eeg", "ecg")]
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    line = ["train", "manifest", "--root", str(root), "--cache", str(root / "cache")]
    assert main([*line, "--task", "label", "--out", str(root / "run"), *SMALL, *EPOCHS]) == 0
    return root


@pytest.fixture(scope="module")
def face_run(tmp_path_factory):
    """Two .npy recordings with faces, and a run on them."""
    root = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    lines = ["subject,trial,label,modality,path,rate"]
    for trial, label in (("a", "calm"), ("b", "angry")):
        np.save(root / f"{trial}.npy", rng.standard_normal((2, 1280)))
        write_openface(root / f"{trial}.csv", frames=250)
        for modality, file in (("eeg", f"{trial}.npy,128"), ("face", f"{trial}.csv,")):
            lines.append(f"p1,{trial},{label},{modality},{file}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    line = ["train", "manifest", "--root", str(root), "--cache", str(root / "cache")]
    assert main([*line, "--task", "label", "--out", str(root / "run"), *SMALL, *EPOCHS]) == 0
    return root


def table(text):
    return list(csv.DictReader(text.splitlines()))


def test_windows_of_an_edf_are_the_prepared_stores(study, clmer_data):
    """Cut off in the manifest at 20 s, the recording's filter ends there too: the same is done."""
    trained = clmer.load(study / "run", "split1")
    store = prepare(
        DATASETS["manifest"], study, PrepareOptions(window_s=1.0), cache=study / "cache"
    )
    path = clmer_data / "eegmat" / "Subject00_1.edf"
    files = predict.files_of([str(path)], trained.modalities)
    recording = predict.read_recording(trained, files)
    cut = {
        name: replace(signal, data=signal.data[:, : round(20 * signal.fs)], timeline=None)
        for name, signal in recording.signals.items()
    }
    windows = predict.windows_of(trained, replace(recording, signals=cut))
    rows = store.windows.recording == "p00/rest"
    np.testing.assert_array_equal(windows.start_s, store.windows.start_s[rows])
    for name, array in windows.arrays.items():
        np.testing.assert_array_equal(array, store.array(name)[rows])


def test_the_command_writes_one_row_a_window(study, clmer_data, tmp_path, capsys):
    path, out = clmer_data / "eegmat" / "Subject01_2.edf", tmp_path / "predictions.csv"
    line = ["predict", str(study / "run"), str(path), "--threads", "1"]
    assert main([*line, "--split", "split1", "--out", str(out)]) == 0
    rows = table(out.read_text())
    seconds = [float(row["time_s"]) for row in rows]
    assert seconds == [float(i) for i in range(len(seconds))]
    assert len(seconds) in (60, 61, 62)
    assert list(rows[0]) == ["time_s", "class", "p_arithmetic", "p_rest"]
    for row in rows:
        p = {name: float(row[f"p_{name}"]) for name in ("arithmetic", "rest")}
        assert sum(p.values()) == pytest.approx(1, abs=2e-6)
        assert p[row["class"]] == max(p.values())
    trained = clmer.load(study / "run", "split1")
    recording = predict.read_recording(trained, dict.fromkeys(("eeg", "ecg"), path))
    proba = trained.predict_proba(predict.windows_of(trained, recording).arrays)
    np.testing.assert_allclose([float(row["p_rest"]) for row in rows], proba[:, 1], atol=1e-6)
    assert "splits' models" not in capsys.readouterr().err


def test_a_recording_of_the_training_data_is_told(study, clmer_data, tmp_path, capsys):
    path = clmer_data / "eegmat" / "Subject00_1.edf"
    assert main(["predict", str(study / "run"), str(path), "--out", str(tmp_path / "p.csv")]) == 0
    said = " ".join(capsys.readouterr().err.split())  # of the protocol block, which divides it
    assert f"note: {path} is p00's rest, which the run was trained on, in every split" in said
    other = clmer_data / "eegmat" / "Subject05_1.edf"
    assert main(["predict", str(study / "run"), str(other), "--out", str(tmp_path / "p.csv")]) == 0
    assert "the run was trained on" not in " ".join(capsys.readouterr().err.split())


def test_the_split_that_held_a_person_out_is_named(tmp_path, capsys):
    rng = np.random.default_rng(0)
    lines = ["subject,trial,label,modality,path,rate"]
    for person in range(4):
        for label in ("calm", "angry"):
            np.save(tmp_path / f"p{person}{label}.npy", rng.standard_normal((2, 1280)))
            lines.append(f"p{person},{label},{label},eeg,p{person}{label}.npy,128")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    line = ["train", "manifest", "--root", str(tmp_path), "--cache", str(tmp_path / "cache")]
    quick = ["--classifier", "linear", "--no-contrastive", "--no-permuted", "--folds", "4"]
    run = tmp_path / "run"
    assert main([*line, "--task", "label", "--out", str(run), "--threads", "1", *quick]) == 0
    with (run / "predictions.csv").open() as file:
        tested = {row["subject"]: row["split"] for row in csv.DictReader(file)}
    number = tested["p2"].split()[1].partition("/")[0]
    copied = tmp_path / "elsewhere.npy"
    shutil.copyfile(tmp_path / "p2calm.npy", copied)
    ask = ["predict", str(run), str(copied), "--rate", "128", "--out", str(tmp_path / "said.csv")]
    capsys.readouterr()
    assert main(ask) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"{copied} is p2's calm, which the run was trained on: what follows flatters it." in said
    assert f"Trained without p2: --split split{number}" in said
    assert main([*ask, "--split", f"split{number}"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"split{number}, which answers here, was trained without p2" in said
    np.save(copied, rng.standard_normal((2, 1280)))
    assert main(ask) == 0
    assert "the run was trained on" not in capsys.readouterr().err


def test_signals_in_several_files_are_told_how_to_be_given(study, tmp_path, capsys):
    names = ["AF3", "AF4"]
    write_edf(tmp_path / "other.edf", names, noise(2, 12, 256, seed=0), 256.0)
    assert main(["predict", str(study / "run"), str(tmp_path / "other.edf")]) == 2
    assert "Signals in several files: eeg=FILE ecg=FILE." in capsys.readouterr().err


def test_a_face_comes_with_its_recording(face_run, capsys):
    line = ["predict", str(face_run / "run"), str(face_run / "a.npy"), "--rate", "128"]
    assert main([*line, "--face", str(face_run / "a.csv")]) == 0
    rows = table(capsys.readouterr().out)
    assert len(rows) == 10
    late = ["--face", str(face_run / "a.csv"), "--face-start", "2"]
    assert main([*line, *late]) == 0
    said = capsys.readouterr()
    assert [row["time_s"] for row in table(said.out)] == [f"{i}.0" for i in range(2, 10)]
    assert "left out: 2 windows, outside the face video" in said.err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([], "--face: found none, expected a face's CSV: the run uses landmarks, au"),
        (["--face", "{root}/none.csv"], "none.csv"),
        (["--threads", "0"], "--threads: found 0"),
        (["--split", "split9"], "--split: found split9, expected split1"),
        (["--face-rate", "0"], "--face-rate: found 0.0, expected at least 0.1 Hz"),
        (["--face", "{root}/a.csv", "--face-start", "1500"], "every window outside the face"),
        (["--face-start", "nan"], "--face-start: found nan, expected seconds"),
        (["--face", "{root}/a.csv", "--face-id", "3"], "face_id 3: found no column of that name"),
        (["--rate", "inf"], "--rate: found inf, expected at least 0.1 Hz"),
        (["--out", "{root}/none/p.csv"], "--out: found no such folder"),
    ],
)
def test_what_does_not_fit_a_run_with_faces_exits_2(face_run, extra, message, capsys):
    line = ["predict", str(face_run / "run"), str(face_run / "a.npy"), "--rate", "128"]
    assert main([*line, *(part.format(root=face_run) for part in extra)]) == 2
    assert message in capsys.readouterr().err


def test_an_array_needs_a_rate(face_run, capsys):
    assert main(["predict", str(face_run / "run"), str(face_run / "a.npy")]) == 2
    assert "--rate: found none, expected the samples a second of" in capsys.readouterr().err


def test_landmarks_in_another_unit_are_refused(face_run):
    trained = clmer.load(face_run / "run", "split1")
    recording = predict.read_recording(trained, {"eeg": face_run / "a.npy"}, rate=128.0)
    recording = predict.with_face(trained, recording, str(face_run / "a.csv"))
    pixels = replace(recording, face=replace(recording.face, unit="px"))
    with pytest.raises(DataError, match=r"found px \(OpenFace\), expected mm as in training"):
        predict.windows_of(trained, pixels)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["missing.edf"], r"missing\.edf: file: found nothing"),
        (["{formats}/test.bdf"], "channels: found no ECG, expected some of"),
        (["eeg={edf}"], "expected one file with all channels, or eeg=FILE ecg=FILE"),
        ([], "found none, expected one file"),
        (["{edf}", "{edf}"], "expected each file once"),
        (["{edf}", "--face", "face.csv"], "--face: found face.csv, expected none"),
    ],
)
def test_recordings_that_do_not_fit_the_run_exit_2(study, clmer_data, files, message, capsys):
    places = {
        "edf": clmer_data / "eegmat" / "Subject00_1.edf",
        "formats": clmer_data / "eeg-formats",
    }
    assert main(["predict", str(study / "run"), *(name.format(**places) for name in files)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("clmer: ")
    assert re.search(message, said), said


def test_each_modality_can_have_its_own_file(study, clmer_data):
    modalities = clmer.load(study / "run", "split1").modalities
    files = predict.files_of(["ecg=b.edf", "eeg=a.edf"], modalities)
    assert files == {"ecg": Path("b.edf"), "eeg": Path("a.edf")}


def test_types_are_those_of_training_whatever_the_file_says(face_run):
    """An .npy states no types; those of the run decide its filters."""
    trained = clmer.load(face_run / "run", "split1")
    recording = predict.read_recording(trained, {"eeg": face_run / "a.npy"}, rate=128.0)
    assert recording.signals["eeg"].kinds == ("eeg", "eeg")


def test_a_recording_shorter_than_a_window_is_named(face_run, tmp_path):
    np.save(tmp_path / "short.npy", np.zeros((2, 100)))
    trained = clmer.load(face_run / "run", "split1")
    recording = predict.read_recording(trained, {"eeg": tmp_path / "short.npy"}, rate=128.0)
    recording = predict.with_face(trained, recording, str(face_run / "a.csv"))
    with pytest.raises(DataError, match=r"short.npy: recording: found shorter than a window"):
        predict.windows_of(trained, recording)


def test_deap_raw_derives_its_channels_from_a_bdf(tmp_path):
    from clmer.data.synthetic import WRITERS

    WRITERS["deap-raw"][0](tmp_path, people=1, control="none", seed=0)
    (path,) = sorted(tmp_path.rglob("s01.bdf"))
    signal = DATASETS["deap-raw"].open_file(path)
    assert signal.channels == deap.CHANNELS
    eeg = signal.data[:32]
    assert np.abs(eeg.mean(0)).max() < 1e-9 * np.abs(eeg).max()


def test_a_manifests_row_and_the_file_alone_are_the_same(study, clmer_data):
    path = clmer_data / "eegmat" / "Subject00_2.edf"
    row = next(iter(manifest.read(study))).signals["eeg"]
    alone = manifest.read_file(path, "eeg", channels=row.channels)
    np.testing.assert_array_equal(alone.data[:, : row.data.shape[1]], row.data)


def test_a_reference_has_a_face_of_its_own(face_run, tmp_path, capsys):
    run = tmp_path / "run"
    line = ["train", "manifest", "--root", str(face_run), "--cache", str(face_run / "cache")]
    line += ["--task", "label", "--out", str(run), "--reference", "calm:4", *SMALL, *EPOCHS]
    assert main([*line, "--protocol", "shuffled"]) == 0
    a, b, face = face_run / "a.npy", face_run / "b.npy", face_run / "a.csv"
    line = ["predict", str(run), str(a), "--rate", "128", "--face", str(face), "--reference"]
    capsys.readouterr()
    assert main([*line, f"{a}:0-5"]) == 0
    captured = capsys.readouterr()
    assert "note: 5 windows of the table overlap the reference" in captured.err
    assert len(table(captured.out)) == 10
    assert main([*line, f"{b}:0-5"]) == 2
    assert "expected face=CSV beside it" in capsys.readouterr().err
    other = ["--reference", f"face={face_run / 'b.csv'}:0-5"]
    assert main([*line, f"{b}:0-5", *other]) == 0
    assert "overlap" not in capsys.readouterr().err
    assert main([*line, f"{b}:0-4", *other]) == 2
    assert "expected one START-STOP" in capsys.readouterr().err


def rows_of(run, model):
    """Windows of predictions.csv that a model was tested on."""
    with (run / "predictions.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["model"] == model]


@pytest.mark.parametrize("source", ["features", "band power"])
def test_a_baseline_is_served_as_it_was_tested(study, source):
    model = f"{source} + LR: eeg+ecg"
    trained = clmer.load(study / "run", "split1", model=model)
    store = prepare(
        DATASETS["manifest"], study, PrepareOptions(window_s=1.0), cache=study / "cache"
    )
    rows = rows_of(study / "run", model)
    place = {
        key: i
        for i, key in enumerate(
            zip(store.windows.recording.tolist(), store.windows.start_s.tolist(), strict=True)
        )
    }
    at = [place[row["recording"], float(row["start_s"])] for row in rows]
    proba = trained.predict_proba({name: store.array(name)[at] for name in ("eeg", "ecg")})
    wanted = [np.exp(float(row["logp_rest"])) for row in rows]
    np.testing.assert_allclose(proba[:, 1], wanted, atol=1e-5)


def test_the_best_model_of_the_run_answers(study, clmer_data, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(study / "run", run)
    results = json.loads((run / "results.json").read_text())
    for model in results["models"]:
        model["windows"]["balanced_accuracy"]["value"] = 0.9 if "band" in model["name"] else 0.4
    (run / "results.json").write_text(json.dumps(results))
    path = str(clmer_data / "eegmat" / "Subject01_2.edf")
    best = "band power + LR: eeg+ecg"
    assert main(["predict", str(run), path]) == 0
    said = capsys.readouterr()
    assert f"model: {best}, the best that the run kept" in said.err
    assert main(["predict", str(run), path, "--model", best]) == 0
    assert capsys.readouterr().out == said.out
    assert main(["predict", str(run), path, "--model", "eeg+ecg"]) == 0
    assert capsys.readouterr().out != said.out
    assert main(["predict", str(run), path, "--model", "bert"]) == 2
    assert f"model: found bert, expected eeg+ecg, {best}" in capsys.readouterr().err


def test_several_recordings_have_a_row_each_and_a_picture(study, clmer_data, tmp_path, capsys):
    files = [str(clmer_data / "eegmat" / f"Subject0{person}_2.edf") for person in (0, 1)]
    out = tmp_path / "said.csv"
    assert main(["predict", str(study / "run"), *files, "--out", str(out)]) == 0
    rows = table(out.read_text())
    assert list(rows[0]) == ["recording", "time_s", "class", "p_arithmetic", "p_rest"]
    found = table((tmp_path / "said-recordings.csv").read_text())
    assert [row["recording"] for row in found] == files
    for row in found:
        own = [each for each in rows if each["recording"] == row["recording"]]
        mean = np.mean([float(each["p_rest"]) for each in own])
        assert float(row["p_rest"]) == pytest.approx(mean, abs=1e-5)
        assert row["class"] == ("rest" if mean > 0.5 else "arithmetic")
        assert int(row["windows"]) == len(own)
        assert int(row["windows_of_class"]) == sum(e["class"] == row["class"] for e in own)
    assert (tmp_path / "said.png").read_bytes()[:4] == b"\x89PNG"
    said = capsys.readouterr().err
    assert f"{files[0]}: {found[0]['class']}, with a mean probability of" in " ".join(said.split())
    assert max(map(len, said.replace(str(tmp_path), "").splitlines())) <= 100


def test_a_face_is_of_one_recording(face_run, capsys):
    files = [str(face_run / "a.npy"), str(face_run / "b.npy")]
    line = ["predict", str(face_run / "run"), *files, "--rate", "128"]
    assert main([*line, "--face", str(face_run / "a.csv")]) == 2
    assert "expected one recording at a time, whose face it is" in capsys.readouterr().err


def test_ratings_have_a_mean_and_a_line_over_time():
    said = Said("a.edf", np.array([0.0, 1.0, 2.0]), 1.0, np.array([2.0, 4.0, 6.0]), ())
    (row,) = table(recordings_csv([said]))
    assert (row["recording"], row["windows"], float(row["value"])) == ("a.edf", "3", 4.0)
    assert float(row["sd"]) == pytest.approx(np.std([2, 4, 6]), abs=1e-6)
    assert in_a_line(said) == "a.edf: 4.000, the mean of 3 windows"
    assert timeline_png([said])[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "smell"}, "target: found smell, expected class or rating"),
        ({"models": [{"name": "eeg+ecg", "windows": {}}]}, "balanced_accuracy: found nothing"),
        ({"protocol": 3}, "protocol: found 3, expected text"),
    ],
)
def test_damaged_results_are_named(study, clmer_data, tmp_path, change, message, capsys):
    run = tmp_path / "run"
    shutil.copytree(study / "run", run)
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps(results | change))
    assert main(["predict", str(run), str(clmer_data / "eegmat" / "Subject01_2.edf")]) == 2
    assert message in capsys.readouterr().err
