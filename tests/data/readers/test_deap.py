from __future__ import annotations

import csv
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clmer.data.face import read_openface
from clmer.data.formats.restricted_pickle import load_arrays
from clmer.data.readers import deap
from clmer.data.recording import SYNTHETIC_MARKER
from clmer.data.synthetic import write_deap
from clmer.errors import DataError

TRIALS, SECONDS = 6, 2
SHAPE = (TRIALS, 40, 128 * (3 + SECONDS))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("deap") / "small"
    return write_deap(root, people=2, trials=TRIALS, seconds=SECONDS, fps=10)


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "copy"))


def table_of(root: Path) -> list[dict[str, str]]:
    with (root / "metadata_csv" / "participant_ratings.csv").open() as file:
        return list(csv.DictReader(file))


def write_table(root: Path, rows: list[dict[str, str]]) -> None:
    with (root / "metadata_csv" / "participant_ratings.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def dat(root: Path) -> Path:
    return root / "data_preprocessed_python" / "s01.dat"


def rewrite(path: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Put something else into a .dat; Python 3 writes it, which the reader takes as well."""
    arrays = {k: v.copy() for k, v in load_arrays(path, 10**9).items()}
    result = change(arrays)
    path.write_bytes(pickle.dumps(arrays if result is None else result, protocol=2))


def test_reads_signals_labels_and_faces(small: Path) -> None:
    recordings = list(deap.read(small))
    assert [(r.subject, r.trial) for r in recordings[:2]] == [("s01", "t01"), ("s01", "t02")]
    assert len(recordings) == 2 * TRIALS
    first, arrays = recordings[0], load_arrays(dat(small), 10**9)
    physio = first.signals["physio"]
    np.testing.assert_array_equal(physio.data, arrays["data"][0])
    assert (physio.fs, physio.channels[31], physio.channels[36]) == (128.0, "O2", "GSR")
    assert physio.select("eeg").data.shape[0] == 32
    assert list(first.labels.values()) == arrays["labels"][0].tolist()
    assert (first.stimulus, first.group, first.baseline_s, first.face_start_s) == (
        *("v01", "s01"),
        *(3.0, 3.0),
    )
    assert first.face is not None
    assert first.face.landmarks.shape == (10 * SECONDS, 68, 3)
    later = next(deap.read(small, face_start_s=4.5))
    assert later.face_start_s == 4.5


def test_faces_follow_presentation_order_not_rows(small: Path) -> None:
    """Fails where row i were paired with video i."""
    shown = {
        (f"s{int(row['Participant_id']):02d}", int(row["Experiment_id"])): int(row["Trial"])
        for row in table_of(small)
    }
    moved = 0
    for recording in deap.read(small):
        subject, video = recording.subject, int(recording.trial[1:])
        folder = small / "face" / subject
        assert recording.face is not None
        expected = read_openface(folder / f"{subject}_trial{shown[subject, video]:02d}.csv")
        np.testing.assert_array_equal(recording.face.landmarks, expected.landmarks)
        if shown[subject, video] != video:
            moved += 1
            by_row = read_openface(folder / f"{subject}_trial{video:02d}.csv")
            assert not np.array_equal(recording.face.landmarks, by_row.landmarks)
    assert moved > TRIALS


def test_the_pairing_carries_the_labels(tmp_path: Path) -> None:
    """The same by content: smiles go with the valence rating only when videos are mapped."""
    root = write_deap(tmp_path / "d", people=1, trials=20, seconds=6, fps=5)
    recordings = list(deap.read(root))
    smile = [r.face.au_intensity[:, 8].mean() for r in recordings if r.face is not None]
    valence = [float(r.labels["valence"]) for r in recordings]
    assert np.corrcoef(smile, valence)[0, 1] > 0.7
    by_row = [
        read_openface(root / "face" / "s01" / f"s01_trial{i:02d}.csv").au_intensity[:, 8].mean()
        for i in range(1, 21)
    ]
    assert abs(np.corrcoef(by_row, valence)[0, 1]) < 0.5


def test_flat_layout_and_absent_faces(copy: Path) -> None:
    shutil.move(dat(copy), copy / "s01.dat")
    shutil.rmtree(copy / "data_preprocessed_python")
    shutil.move(copy / "metadata_csv" / "participant_ratings.csv", copy)
    shown = next(int(row["Trial"]) for row in table_of_flat(copy) if row["Experiment_id"] == "2")
    (copy / "face" / "s01" / f"s01_trial{shown:02d}.csv").unlink()
    recordings = list(deap.read(copy))
    assert [r.trial for r in recordings if r.face is None] == ["t02"]
    shutil.rmtree(copy / "face")
    assert all(r.face is None for r in deap.read(copy, face=False))
    with pytest.raises(DataError, match="OpenFace CSVs"):
        next(deap.read(copy))


def table_of_flat(root: Path) -> list[dict[str, str]]:
    with (root / "participant_ratings.csv").open() as file:
        return list(csv.DictReader(file))


def test_sources_cover_every_file(small: Path, tmp_path: Path) -> None:
    assert set(deap.sources(small)) == {p for p in small.rglob("*") if p.is_file()}
    with pytest.raises(DataError, match=r"no sXX\.dat"):
        deap.sources(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        next(deap.read(tmp_path / "absent"))


class Hostile:
    def __init__(self, call: tuple[object, ...]) -> None:
        self.call = call

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_hostile_pickle_is_refused_and_not_executed(copy: Path, protocol: int) -> None:
    trace = copy / "executed"
    for call, name in (
        ((os.system, (f"touch {trace}",)), r"(posix|nt)\.system"),
        ((eval, (f"open({str(trace)!r}, 'w')",)), r"builtins\.eval|__builtin__\.eval"),
        ((np.load, (str(trace),)), r"numpy\.load|npyio\.load"),
    ):
        dat(copy).write_bytes(pickle.dumps({"data": Hostile(call)}, protocol=protocol))
        with pytest.raises(DataError, match=rf"s01\.dat.*global ({name})"):
            next(deap.read(copy, face=False))
        assert not trace.exists()
    dat(copy).write_bytes(pickle.dumps(Hostile((os.system, (f"touch {trace}",))), protocol=2))
    pickle.loads(dat(copy).read_bytes())
    assert trace.exists()  # the ordinary loader would have run it


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02}r\xff\xff\xff\xff.",  # a memo index that asks the C unpickler for 64 GB
        b"\x80\x02T\xff\xff\xff\x7f",  # a string of 2 GB in a file of 7 bytes
        b"\x80\x02\x82\x01.",  # copyreg extension, which bypasses find_class
        b"\x80\x02cnumpy\ndtype\n}U\x01aK\x01sb.",  # BUILD on a class
        b"\x80\x02cnumpy\ndtype\n)R.",
        b"\x80\x02cnumpy\nndarray\nK\x01\x85R.",
        b"cposix\nsystem\n(S'true'\ntR.",
        b"\x80\x02]q\x00.",
        b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.",  # a key that cannot be hashed
        b"\x80\x02}U\x04datacnumpy\nndarray\n)R(K\x01K\x02\x85)" + b"\x85" * 100_000 + b"\x89Ntbs.",
        b"not a pickle",
    ],
)
def test_damaged_streams_are_data_errors(copy: Path, stream: bytes) -> None:
    dat(copy).write_bytes(stream)
    with pytest.raises(DataError, match=r"s01\.dat: "):
        next(deap.read(copy, face=False))


def test_a_truncated_file_says_so(copy: Path) -> None:
    content = dat(copy).read_bytes()
    for length in (40, 1000, len(content) // 2, len(content) - 1):
        dat(copy).write_bytes(content[:length])
        with pytest.raises(DataError, match="truncated"):
            next(deap.read(copy, face=False))
    dat(copy).write_bytes(content + bytes(2 * 2**20))
    with pytest.raises(DataError, match="at most"):
        next(deap.read(copy, face=False))


def put(name: str, value: np.ndarray) -> Callable[[dict[str, np.ndarray]], object]:
    return lambda arrays: arrays.__setitem__(name, value)


def label(value: float) -> Callable[[dict[str, np.ndarray]], object]:
    return lambda arrays: arrays["labels"].__setitem__((2, 1), value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("data", np.zeros((TRIALS, 39, SHAPE[2]))), r"data shape: found \(6, 39"),
        (put("data", np.zeros((TRIALS, 40, SHAPE[2] - 1))), "data shape"),
        (put("labels", np.full((TRIALS, 3), 5.0)), "labels shape"),
        (put("labels", np.full((TRIALS, 4), 5)), "labels dtype: found 'i8'"),
        (label(np.nan), "labels row 2, arousal: found nan"),
        (label(0.5), "labels row 2, arousal: found 0.5, expected a rating from 1 to 9"),
        (label(9.5), r"labels row 2, arousal: found 9\.5"),
        (lambda arrays: arrays.pop("labels") is None, "keys data and labels|a dict"),
        (lambda arrays: {"data": 3}, "data: found int, expected a NumPy array"),
        (lambda arrays: [1, 2], "truncated or damaged|a dict of arrays"),
    ],
)
def test_wrong_content_is_named(
    copy: Path, change: Callable[[dict[str, np.ndarray]], object], message: str
) -> None:
    rewrite(dat(copy), change)
    with pytest.raises(DataError, match=message):
        next(deap.read(copy, face=False))


def test_only_the_marker_allows_another_trial_length(copy: Path) -> None:
    marker = copy / SYNTHETIC_MARKER
    stated = json.loads(marker.read_text())
    wrong: object
    for wrong in ({"shape": stated["shape"]}, {"synthetic": True}, [], {**stated, "shape": [6, 9]}):
        marker.write_text(json.dumps(wrong))
        with pytest.raises(DataError, match="synthetic, shape"):
            next(deap.read(copy))
    marker.write_text("{")
    with pytest.raises(DataError, match="JSON"):
        next(deap.read(copy))
    marker.unlink()
    rows = [{**table_of(copy)[0], "Trial": str(i), "Experiment_id": str(i)} for i in range(1, 41)]
    write_table(copy, rows)
    with pytest.raises(DataError, match=r"data shape.*\(40, 40, 8064\)"):
        next(deap.read(copy, face=False))


def test_the_ratings_table_is_required_for_faces_and_must_agree(small: Path, copy: Path) -> None:
    rows = table_of(copy)
    swapped = [dict(row) for row in rows]
    a, b = swapped[0], swapped[1]  # the map of two videos exchanged: their ratings betray it
    a["Experiment_id"], b["Experiment_id"] = b["Experiment_id"], a["Experiment_id"]
    write_table(copy, swapped)
    for face in (True, False):
        with pytest.raises(DataError, match="as in participant_ratings"):
            next(deap.read(copy, face=face))
    for change, message in (
        ({"Experiment_id": "99"}, "each of 1-6 once"),
        ({"Trial": rows[1]["Trial"]}, "each of 1-6 once"),
        ({"Valence": "high"}, "line 2, Valence: found 'high', expected a rating from 1 to 9"),
        ({"Arousal": "NA"}, "line 2, Arousal: found 'NA', expected a rating from 1 to 9"),
        ({"Liking": "nan"}, "line 2, Liking: found 'nan'"),
        ({"Dominance": ""}, "line 2, Dominance: found ''"),
        ({"Valence": "9.5"}, "line 2, Valence: found '9.5'"),
        ({"Trial": "1.5"}, "line 2, Trial: found '1.5', expected a whole number"),
        (
            {"Experiment_id": rows[1]["Experiment_id"]},
            r"line 3, Experiment_id of s01: found \d+ again",
        ),
    ):
        write_table(copy, [{**rows[0], **change}, *rows[1:]])
        with pytest.raises(DataError, match=message):
            next(deap.read(copy))
    write_table(copy, rows)
    table = copy / "metadata_csv" / "participant_ratings.csv"
    text = table.read_text()
    table.write_bytes(text.replace(",", ";").replace(".", ",").encode("utf-16"))
    assert next(deap.read(copy)).labels == next(deap.read(small)).labels
    write_table(copy, [row for row in rows if row["Participant_id"] != "1"])
    with pytest.raises(DataError, match="no rows of s01"):
        next(deap.read(copy))
    write_table(copy, [{k: v for k, v in row.items() if k != "Trial"} for row in rows])
    with pytest.raises(DataError, match="no Trial"):
        next(deap.read(copy))
    (copy / "metadata_csv" / "participant_ratings.csv").unlink()
    with pytest.raises(DataError, match="paired with other trials"):
        next(deap.read(copy))
    assert next(deap.read(copy, face=False)).trial == "t01"
