"""Manifests: real files of every supported kind, and every way to get the table wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.face_cases import write_openface

from clmer.data.manifest import reader as manifest
from clmer.data.recording import Recording
from clmer.data.registry import DATASETS
from clmer.data.store.prepare import prepare
from clmer.errors import DataError

HEADER = "subject,trial,label,modality,path,start_s,stop_s"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a manifest beside two .npy files; write(line, ..., header=...)."""
    for name, seed in (("a.npy", 0), ("b.npy", 1)):
        np.save(tmp_path / name, np.random.default_rng(seed).standard_normal((2, 1280)))

    def call(*lines: str, header: str = HEADER + ",rate") -> Path:
        (tmp_path / "manifest.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return tmp_path

    return call


GOOD = ("p1,t1,calm,eeg,a.npy,1,9,128", "p1,t2,angry,eeg,b.npy,,,128")


def read_all(root: Path) -> list[Recording]:
    return list(manifest.read(root))


def test_npy_with_a_rate(write: Callable[..., Path]) -> None:
    root = write(*GOOD)
    first, second = read_all(root)
    array = np.load(root / "a.npy")
    eeg = first.signals["eeg"]
    assert np.array_equal(eeg.data, array[:, 128 : 9 * 128])
    assert (eeg.fs, eeg.channels, eeg.kinds) == (128.0, ("ch1", "ch2"), ("eeg", "eeg"))
    assert (first.subject, first.trial, first.labels) == ("p1", "t1", {"label": "calm"})
    assert (first.stimulus, first.group) == ("calm", "p1")
    assert second.signals["eeg"].duration_s == 10.0
    assert manifest.found(root) == ("eeg",)
    assert manifest.labels(root) == ("label",)
    assert manifest.sources(root) == [root / n for n in ("a.npy", "b.npy", "manifest.csv")]
    assert read_all(root / "manifest.csv")[0].subject == "p1"


def test_optional_columns_and_ratings(write: Callable[..., Path]) -> None:
    root = write(
        "p2,x,3.5,high,a.npy,gsr,gsr,C3;C4,128,film1,couple1",
        "p1,x,7,low,a.npy,physio,,,128,film1,couple1",
        header="subject,trial,valence,mood,path,modality,kind,channels,rate,stimulus,group",
    )
    first, second = read_all(root)
    assert (first.subject, second.subject) == ("p1", "p2")
    assert first.labels == {"valence": 7.0, "mood": "low"}
    assert (second.stimulus, second.group) == ("film1", "couple1")
    assert second.signals["gsr"].channels == ("C3", "C4")
    assert second.signals["gsr"].kinds == ("gsr", "gsr")
    assert first.signals["physio"].kinds == ("other", "other")
    assert manifest.labels(root) == ("valence", "mood")


def test_files_through_mne(write: Callable[..., Path], clmer_data: Path) -> None:
    formats, edf = clmer_data / "eeg-formats", clmer_data / "eegmat" / "Subject00_2.edf"
    root = write(
        f"p1,edf,a,eeg,{edf},2,4",
        f"p1,edf,a,ecg,{edf},2,4",
        f"p1,vhdr,b,eeg,{formats / 'test.vhdr'},,",
        f"p2,bdf,b,physio,{formats / 'test.bdf'},,",
        f"p2,odd,a,eeg,{formats / 'duplicate_channel_labels.edf'},0,5",
        header=HEADER,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, vhdr, bdf, odd = read_all(root)
    assert one.signals["ecg"].channels == ("ECG",)
    assert one.signals["ecg"].kinds == ("ecg",)
    assert len(one.signals["eeg"].channels) == 19
    assert one.signals["eeg"].left_out == ("A2-A1 (ref)", "ECG (ecg)")
    assert one.signals["eeg"].duration_s == one.signals["ecg"].duration_s == 2.0
    assert vhdr.signals["eeg"].fs == 1000.0
    assert set(vhdr.signals["eeg"].kinds) == {"eeg"}
    assert bdf.signals["physio"].fs == 2048.0
    assert "Status" not in bdf.signals["physio"].channels
    assert len(set(odd.signals["eeg"].channels)) == 3
    assert {p.suffix for p in manifest.sources(root)} >= {".vhdr", ".eeg", ".vmrk"}


def test_uneven_rates_are_refused(write: Callable[..., Path], clmer_data: Path) -> None:
    path = clmer_data / "eeg-formats" / "test_uneven_samp.edf"
    root = write(f"p1,t1,x,eeg,{path},,,", "p1,t2,y,eeg,a.npy,,,128")
    with pytest.raises(
        DataError, match=r"test_uneven_samp\.edf: sampling rate: found .* and 100 Hz"
    ):
        read_all(root)


def test_a_truncated_brainvision_file(write: Callable[..., Path], clmer_data: Path) -> None:
    root = write("p1,t1,x,eeg,test.vhdr,,,", "p1,t2,y,eeg,a.npy,,,128")
    for name in ("test.vhdr", "test.vmrk", "test.eeg"):
        (root / name).write_bytes((clmer_data / "eeg-formats" / name).read_bytes()[:100_000])
    with pytest.raises(DataError, match=r"test\.eeg: length: found 100000 bytes, .*truncated"):
        read_all(root)
    with (root / "test.eeg").open("r+b") as file:
        file.truncate(64 * 1000)  # whole samples, but markers lie behind their end
    with pytest.raises(DataError, match=r"test\.vhdr: samples"):
        read_all(root)


def test_a_face_is_cut_with_the_signals(write: Callable[..., Path]) -> None:
    root = write(
        "p1,t1,calm,eeg,a.npy,1,9,128,",
        "p1,t1,calm,face,face.csv,1.5,9.5,,",
        "p1,t2,angry,eeg,b.npy,,,128,",
        header=HEADER + ",rate,group",
    )
    write_openface(root / "face.csv")
    assert manifest.found(root) == ("eeg", "landmarks", "au")
    face = read_all(root)[0].face
    assert face is not None
    assert len(face.valid) == 201
    assert read_all(root)[0].face_start_s == pytest.approx(-0.02)  # frame 37, at 1.48 s
    assert list(manifest.read(root, face=False))[0].face is None
    store = prepare(DATASETS["manifest"], root, cache=root / "cache", progress=False)
    assert list(store.modalities) == ["eeg", "landmarks", "au"]
    assert store.report["recordings_skipped"] == {"p1/t2": "no face"}
    times = 1.5 + store.windows.start_s[:, None] + np.arange(25) / 25
    got = store.array("landmarks")[:, 0]
    np.testing.assert_allclose(got, times, atol=1e-4)
    assert len(got) == 8


def test_a_slow_video_loses_no_window_at_a_trial_s_end(write: Callable[..., Path]) -> None:
    root = write(
        "p1,t1,calm,eeg,a.npy,1,9,128", "p1,t1,calm,face,face.csv,1,9,",
        "p1,t2,angry,eeg,b.npy,,,128",
    )  # fmt: skip
    write_openface(root / "face.csv", frames=100, fps=10)
    store = prepare(DATASETS["manifest"], root, cache=root / "cache", progress=False)
    assert len(store.windows.start_s) == 8


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("p1,t1,calm,eeg,c.npy,,,128", "p1,t2,x,eeg,d.npy,,,1"), r"2 missing: .*c\.npy, .*d\.npy"),
        ((f"p1,t1,calm,eeg,{300 * 'x'}.npy,,,128",), "path: found 1 missing: .*xxx"),
        (("p/1,t1,calm,eeg,a.npy,,,128",), "line 2, subject: found p/1, expected a name without /"),
        (("p1,t1,calm,eeg,a.npy,,,0.01",), "line 2, rate: found '0.01', expected a number from"),
        ((*GOOD, GOOD[0]), r"line 4: found p1 t1 eeg again, as in line 2"),
        ((GOOD[0], GOOD[1].replace("angry", "calm")), "label: found only calm"),
        ((*GOOD, "p1,t1,angry,ecg,b.npy,1,9,128"), "line 4, label: found angry, expected calm"),
        ((*GOOD, "p1,t1,calm,ecg,b.npy,1,5,128"), "4 s, expected 8 s, as in line 2"),
        ((*GOOD, "p1,t3,calm,eeg,manifest.doc,,,128"), r"manifest\.doc: suffix: found \.doc"),
        ((*GOOD, "p1,t3,calm,eeg,a.npy,5,5,128"), "5 to 5 s, expected start_s < stop_s"),
        ((*GOOD, "p1,t3,calm,eeg,a.npy,x,5,128"), "line 4, start_s: found 'x'"),
        ((*GOOD, "p1,t3,calm,eeg,a.npy,-1,5,128"), "line 4, start_s: found '-1'"),
        ((*GOOD, "p1,t3,calm,eeg,a.npy,1,11,128"), r"1 to 11 s in line 4 .* the file's 10 s"),
        ((*GOOD, "p1,t3,calm,eeg,a.npy,1,11,128"), "stop_s the trial's end, no duration"),
        ((*GOOD, "p1,t3,calm,eeg,a.npy,1000,9000,128"), "Are they milliseconds, or samples"),
        ((*GOOD, "p1,t3,calm,eeg,a.npy,5,4,128"), "5 to 4 s, expected .* no duration"),
        ((*GOOD, "p1,t3,calm,face,clip.mp4,1,9,"), r"clmer video clip\.mp4"),
        (
            (*GOOD, "p1,t3,calm,eeg,face.csv,1,9,"),
            "line 4 .*: found eeg, expected face",
        ),
        ((*GOOD, "p1,t3,calm,eeg,a.npy,10,,128"), "10 to the end s"),
        ((*GOOD, "p1,t3,calm,eeg,a.npy,,,"), r"a\.npy: rate: found none"),
        ((*GOOD, "p1,t3,calm,face,a.npy,,,128"), "modality in line 4"),
        ((*GOOD, "p1,t3,calm,eeg,a.npy,,,128,9,9"), "line 4: found more cells"),
        ((), "rows: found 0"),
    ],
)
def test_bad_rows(write: Callable[..., Path], lines: tuple[str, ...], message: str) -> None:
    root = write(*lines)
    for name in ("manifest.doc", "clip.mp4"):
        (root / name).write_text("")
    (root / "face.csv").write_text("frame, timestamp, X_0, AU01_r\n1, 0, 0, 0\n")
    with pytest.raises(DataError, match=message):
        read_all(root)


def test_group_of_a_person_is_one(write: Callable[..., Path]) -> None:
    root = write(
        "p1,t1,calm,eeg,a.npy,128,g1", "p1,t2,x,eeg,a.npy,128,g2",
        header="subject,trial,label,modality,path,rate,group",
    )  # fmt: skip
    with pytest.raises(DataError, match="line 3, group: found g2, expected g1"):
        read_all(root)


@pytest.mark.parametrize(
    "header", ["subject,trial,label,path", "subject,trial,modality,path", "", "a,a"]
)
def test_bad_headers(write: Callable[..., Path], header: str) -> None:
    with pytest.raises(DataError, match=r"manifest\.csv: header"):
        read_all(write(*GOOD, header=header))


def test_csvs_that_are_no_face_tracker_s(write: Callable[..., Path]) -> None:
    root = write("p1,t1,calm,face,emotiv.csv,,,", "p1,t2,x,eeg,a.npy,,,128")
    (root / "emotiv.csv").write_text("title:x\nTimestamp, EEG.Counter, EEG.AF3\n1,2,3\n")
    with pytest.raises(DataError, match=r"none of a face tracker's.*another modality"):
        read_all(root)


def test_bad_arrays(write: Callable[..., Path]) -> None:
    root = write(*GOOD)
    array = np.load(root / "a.npy")
    for bad, message in (
        (array.T, "more samples than channels"),
        (array[None], "shape"),
        (array.astype(str), "real numbers"),
    ):
        np.save(root / "a.npy", bad)
        with pytest.raises(DataError, match=message):
            read_all(root)
    array[1, 200] = np.nan
    np.save(root / "a.npy", array)
    with pytest.raises(DataError, match=r"ch2: found nan at 1\.562 s"):
        read_all(root)
    (root / "a.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"a\.npy: array"):
        read_all(root)


def test_a_missing_manifest_says_what_one_looks_like(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="subject,trial,label,modality,path"):
        manifest.sources(tmp_path)


@pytest.mark.parametrize("name", ["pupil.size", "eye/left", ".."])
def test_modalities_that_cannot_be_named_so(
    write: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    root = write(*(line.replace("eeg", name) for line in GOOD))
    with pytest.raises(DataError, match="modality: found .*letters, digits") as caught:
        prepare(DATASETS["manifest"], root, cache=tmp_path / "cache", progress=False)
    assert name in str(caught.value)


def test_an_error_names_the_file_of_its_modality(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    np.save(tmp_path / "c.npy", np.zeros((1, 1280)))
    root = write(
        GOOD[0], "p1,t1,calm,pupil,b.npy,1,9,128", GOOD[1], "p1,t2,angry,pupil,c.npy,,,128"
    )
    with pytest.raises(DataError, match="channels of pupil") as caught:
        prepare(DATASETS["manifest"], root, cache=tmp_path / "cache", progress=False)
    assert caught.value.path == root / "c.npy"


def test_tasks_are_label_columns_and_the_ratings_they_make_up(write: Callable[..., Path]) -> None:
    header = "subject,trial,valence,arousal,modality,path,start_s,stop_s,rate"
    root = write("p1,t1,3,7,eeg,a.npy,,,128", "p1,t2,8,2,eeg,b.npy,,,128", header=header)
    made = ("va4", "va9", "valence9", "arousal9")
    assert manifest.tasks(root) == ("valence", "arousal", *made)


def test_a_fif_file_cut_off_within_its_samples(write: Callable[..., Path], tmp_path: Path) -> None:
    import mne

    raw = mne.io.RawArray(np.zeros((2, 1280)), mne.create_info(2, 128.0, "eeg"), verbose="ERROR")
    raw.save(tmp_path / "a_raw.fif", verbose="ERROR")
    path = tmp_path / "a_raw.fif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 4 // 5])
    root = write("p1,t1,calm,eeg,a_raw.fif,,,", GOOD[1])
    with pytest.raises(DataError, match="a_raw.fif: file: found MNE's error"):
        read_all(root)
