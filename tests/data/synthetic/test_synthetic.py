from __future__ import annotations

import json
import pickle
import pickletools
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clmer.data.face import NEEDED_COLUMNS
from clmer.data.formats.restricted_pickle import load_arrays
from clmer.data.readers import deap
from clmer.data.synthetic import MODALITIES, SignalModel, bayes_accuracy, signals, write_deap
from clmer.data.synthetic.files import OPENFACE_COLUMNS
from clmer.data.synthetic.model import Control, draw_trials
from clmer.data.tasks import task_for
from clmer.errors import DataError

SMALL: dict[str, Any] = {"people": 2, "trials": 4, "seconds": 2, "fps": 10}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_deap(tmp_path_factory.mktemp("synthetic") / "small", **SMALL)


def test_the_parameters_are_frozen() -> None:
    """Change the generator only on purpose: results on it stop being comparable."""
    assert SignalModel().digest() == "91f0440c7f0ba3de"


# what pickletools says of a stream that cPickle of Python 2.7.18 wrote for the same dict
PYTHON_2 = """\
PROTO 2; EMPTY_DICT; BINPUT 1; MARK; SHORT_BINSTRING labels; BINPUT 2;
GLOBAL numpy.core.multiarray _reconstruct; BINPUT 3; GLOBAL numpy ndarray; BINPUT 4;
BININT1 0; TUPLE1; SHORT_BINSTRING b; TUPLE3; REDUCE; BINPUT 5;
MARK; BININT1 1; BININT1 4; BININT1 4; TUPLE2; GLOBAL numpy dtype; BINPUT 6;
SHORT_BINSTRING f8; BININT1 0; BININT1 1; TUPLE3; REDUCE; BINPUT 7;
MARK; BININT1 3; SHORT_BINSTRING <; NONE; NONE; NONE; BININT -1; BININT -1; BININT1 0;
TUPLE; BUILD; NEWFALSE; SHORT_BINSTRING 128 bytes; TUPLE; BUILD;
SHORT_BINSTRING data; BINPUT 8; BINGET 3; BINGET 4;
BININT1 0; TUPLE1; SHORT_BINSTRING b; TUPLE3; REDUCE; BINPUT 9;
MARK; BININT1 1; BININT1 4; BININT1 40; BININT2 640; TUPLE3; BINGET 7;
NEWFALSE; BINSTRING 819200 bytes; TUPLE; BUILD; SETITEMS; STOP"""


def test_dat_is_what_python_2_wrote(small: Path) -> None:
    content = (small / "data_preprocessed_python" / "s01.dat").read_bytes()
    shown = []
    for op, arg, _ in pickletools.genops(content):
        value = f"{len(arg)} bytes" if isinstance(arg, str) and len(arg) > 50 else arg
        shown.append(op.name if value is None else f"{op.name} {value}")
    assert shown == PYTHON_2.replace("\n", " ").split("; ")


def test_dat_is_read_alike_by_the_ordinary_and_the_restricted_loader(small: Path) -> None:
    path = small / "data_preprocessed_python" / "s02.dat"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy.core is deprecated
        ordinary = pickle.loads(path.read_bytes(), encoding="latin1")
    restricted = load_arrays(path, 10**9)
    assert list(restricted) == list(ordinary) == ["labels", "data"]
    for name in restricted:
        np.testing.assert_array_equal(restricted[name], ordinary[name])
    assert ordinary["data"].shape == (4, 40, 640)
    assert ordinary["data"].dtype == np.float64


def test_openface_csv_has_the_full_header(small: Path) -> None:
    lines = (small / "face" / "s01" / "s01_trial01.csv").read_text().splitlines()
    header = lines[0].split(", ")
    assert header == list(OPENFACE_COLUMNS)
    assert len(header) == len(set(header)) == 714
    assert set(NEEDED_COLUMNS) < set(header)
    assert (header[:5], header[293], header[299], header[-2:]) == (
        ["frame", "face_id", "timestamp", "confidence", "success"],
        "pose_Tx",
        "x_0",
        ["AU28_c", "AU45_c"],
    )
    assert len(lines) == 1 + 20
    assert {len(line.split(", ")) for line in lines} == {714}


def test_same_arguments_reuse_others_are_refused(small: Path, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in small.rglob("*")}
    assert write_deap(small, **SMALL) == small
    assert {p: p.stat().st_mtime_ns for p in small.rglob("*")} == before
    with pytest.raises(DataError, match="'seed': 0"):
        write_deap(small, **SMALL, seed=1)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="other files"):
        write_deap(tmp_path, **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_same_seed_same_files_and_people_do_not_depend_on_their_number(
    small: Path, tmp_path: Path
) -> None:
    again = write_deap(tmp_path / "again", **{**SMALL, "people": 1})
    other = write_deap(tmp_path / "other", **{**SMALL, "people": 1}, seed=1)
    for name in ("data_preprocessed_python/s01.dat", "face/s01/s01_trial03.csv"):
        assert (again / name).read_bytes() == (small / name).read_bytes()
        assert (other / name).read_bytes() != (small / name).read_bytes()


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_that_is_taken_for_data(tmp_path: Path) -> None:
    root = tmp_path / "d"
    code = (
        "from clmer.data.synthetic import write_deap;"
        f"write_deap({str(root)!r}, people=90, trials=90, seconds=9)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".d.*.partial/face/s01/*.csv")):
        assert writer.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    writer.kill()
    writer.wait(timeout=100)
    assert not root.exists()
    write_deap(root, **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["d"]
    assert len(list(deap.read(root))) == 8


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clmer.data.synthetic.write_openface", full)
    with pytest.raises(DataError, match="No space left"):
        write_deap(tmp_path / "d", **SMALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"people": 0},
        {"trials": 100},
        {"seconds": 0},
        {"fps": 0},
        {"seed": -1},
        {"control": "one:eyes"},
        {"control": "xor:au"},
        {"control": "xor:au,au"},
        {"control": "two"},
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        write_deap(tmp_path / "d", **wrong)


def test_everybody_has_trials_of_every_class() -> None:
    task = task_for("deap", "va9")
    share = np.zeros(2)
    for seed in range(100):
        trials = draw_trials(np.random.default_rng(seed), 40, SignalModel(), Control("none"))
        columns = {"valence": trials.ratings[:, 0], "arousal": trials.ratings[:, 1]}
        assert np.bincount(task.encode(columns, "x"), minlength=9).min() >= 2
        share += (trials.ratings[:, :2] > 5).mean(axis=0)
    np.testing.assert_allclose(share / 100, 0.5, atol=0.03)


def log_normal(u: np.ndarray, mean: np.ndarray | float) -> np.ndarray:
    return -0.5 * (u - mean) ** 2


def best_guess(task: str, u: np.ndarray, seen: list[int], control: Control) -> np.ndarray:
    """MAP classes from latents u [n, modality, 2] by summing over all hypotheses, no shortcut."""
    model = SignalModel()
    level, prior = np.array(model.level), np.log(model.probability)
    score = np.zeros((len(u), 4, 4))
    for dimension in range(2):
        evidence = np.tile(prior, (len(u), 1))
        if control.kind == "xor" and dimension == 0:
            first, second = (MODALITIES.index(m) for m in control.modalities)
            by_class = []
            for positive in (False, True):
                total = np.zeros(len(u))
                for bit in (False, True):
                    signs = {first: 2 * bit - 1, second: 2 * (bit ^ positive) - 1}
                    shown = [
                        log_normal(u[:, k, 0], model.xor_delta * s)
                        for k, s in signs.items()
                        if k in seen
                    ]
                    total += 0.5 * np.exp(np.sum(shown, axis=0) if shown else 0)
                by_class.append(np.log(total))
            evidence += np.stack([by_class[int(m > 0)] for m in level], axis=1)
        else:
            for k in seen:
                delta = control.delta(model, MODALITIES[k])
                for b, m in enumerate(level):
                    evidence[:, b] += log_normal(u[:, k, dimension], delta * m)
        score += evidence[:, :, None] if dimension == 0 else evidence[:, None, :]
    posterior = np.exp(score - score.max(axis=(1, 2), keepdims=True))
    rating_task = task_for("deap", task)
    tops = [high for _, high in model.bands]
    per_class = np.zeros((len(u), len(rating_task.classes)))
    for v, valence in enumerate(tops):
        for a, arousal in enumerate(tops):
            index = rating_task.of({"valence": valence, "arousal": arousal}, "x")
            per_class[:, index] += posterior[:, v, a]
    return per_class.argmax(axis=1)


@pytest.mark.parametrize("control", ["none", "one:landmarks", "xor:physio,au", "fingerprint"])
def test_bayes_accuracy_is_what_an_ideal_observer_scores(control: str) -> None:
    rng = np.random.default_rng(1)
    count = 20_000
    parsed = Control.parse(control)
    trials = draw_trials(rng, count, SignalModel(), parsed)
    u = trials.means + rng.standard_normal((count, 3, 2))
    columns = {"valence": trials.ratings[:, 0], "arousal": trials.ratings[:, 1]}
    for task in ("valence", "arousal", "va4", "va9"):
        truth = task_for("deap", task).encode(columns, "x")
        for seen in ([0], [2], [0, 2], [0, 1, 2]):
            expected = bayes_accuracy(task, [MODALITIES[k] for k in seen], control=control)
            scored = (best_guess(task, u, seen, parsed) == truth).mean()
            assert scored == pytest.approx(expected, abs=0.012), (task, seen)


def test_bayes_accuracy_of_the_default_model() -> None:
    for modality in (*MODALITIES, "eeg"):
        assert 0.80 <= bayes_accuracy("valence", [modality]) <= 0.84
    assert 0.94 <= bayes_accuracy("valence", MODALITIES) <= 0.96
    assert bayes_accuracy("valence", ["eeg", "physio"]) == bayes_accuracy("valence", ["eeg"])
    assert bayes_accuracy("valence", MODALITIES, windows=8) > 0.99
    assert bayes_accuracy("liking", MODALITIES) == 0.5
    assert bayes_accuracy("va4", ["au"]) == pytest.approx(bayes_accuracy("arousal", ["au"]) ** 2)
    for task, modalities, windows in (("label", ["au"], 1), ("valence", ["hog"], 1)):
        with pytest.raises(ValueError, match="bayes_accuracy"):
            bayes_accuracy(task, modalities, windows=windows)


def latents_and_readings(seconds: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Latents of valence and what simple means and powers of the raw signals make of them."""
    rng = np.random.default_rng(5)
    model = SignalModel()
    person = signals.draw_person(rng, model)
    u = 1.3 * rng.standard_normal((seconds, 3, 2))
    mark = signals.draw_fingerprint(rng)
    raw = signals.physio(rng, model, person, mark, model.fingerprint, u[:, 0])[:, 384:]
    frames = signals.face(rng, model, person, mark, model.fingerprint, u[:, 1], u[:, 2], fps=25.0)
    window = np.hanning(128)
    power = np.abs(np.fft.rfft(raw.reshape(40, -1, 128) * window, axis=-1)) ** 2
    band = {
        name: np.log(power[:32, :, a:b].sum(-1)).T
        for name, a, b in (("alpha", 8, 13), ("beta", 17, 24))
    }
    readings = {
        "physio": np.concatenate(list(band.values()), axis=1),
        "peripheral": raw[36:].reshape(4, -1, 128).mean(-1).T,
        "landmarks": frames.points.reshape(-1, 25, 204).mean(1),
        "au": frames.intensity.reshape(-1, 25, 17).mean(1),
    }
    return u, readings


def test_an_observer_of_the_raw_signals_recovers_the_latents() -> None:
    u, readings = latents_and_readings(400)
    for name, k, dimensions, least in (
        ("physio", 0, (0, 1), 0.95),
        ("peripheral", 0, (0,), 0.98),
        ("landmarks", 1, (0, 1), 0.98),
        ("au", 2, (0, 1), 0.98),
    ):
        x = readings[name] - readings[name].mean(axis=0)
        x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        train, test = slice(0, 300), slice(300, 400)
        for dimension in dimensions:
            truth = u[:, k, dimension]
            ridge = x[train].T @ x[train] + 1e-3 * np.diag(x[train].var(axis=0) + 1e-9) * 300
            weights = np.linalg.solve(ridge, x[train].T @ truth[train])
            assert np.corrcoef(x[test] @ weights, truth[test])[0, 1] > least, (name, dimension)


def test_intensities_stay_within_their_scale() -> None:
    rng = np.random.default_rng(0)
    model = SignalModel()
    person, mark = signals.draw_person(rng, model), signals.draw_fingerprint(rng)
    u = 1.2 + rng.standard_normal((60, 2))
    frames = signals.face(rng, model, person, mark, model.fingerprint, u, u, 25.0)
    assert frames.intensity.min() >= 0
    assert frames.intensity.max() <= 5
    assert (frames.intensity % 5 == 0).mean() < 0.005
    assert set(np.unique(frames.presence)) == {0.0, 1.0}


def test_full_length_trials_are_official_deap_without_the_marker(tmp_path: Path) -> None:
    """Two trials of 60 s; a person of 40 only takes longer."""
    root = write_deap(tmp_path / "d", people=1, trials=2, seconds=60, fps=5)
    assert json.loads((root / "synthetic.json").read_text())["shape"] == [2, *deap.SHAPE[1:]]
    recording = next(deap.read(root))
    assert recording.signals["physio"].data.shape == deap.SHAPE[1:]
    shutil.rmtree(root)
