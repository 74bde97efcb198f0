"""A video in place of a face's table: made into one once, kept, and used again."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.video_cases import run, write_clip

from clmer.data import load
from clmer.data.face import read_face
from clmer.data.recording import Recording
from clmer.data.video import series
from clmer.data.video.series import open_face, table_of
from clmer.errors import DataError
from clmer.predict import with_face

FRAMES = 50


@pytest.fixture
def clips(clmer_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("mediapipe", reason="needs the extra video")
    pytest.importorskip("av", reason="needs the extra video")
    monkeypatch.setenv("CLMER_FACE_MODEL", str(clmer_data / "face" / "face_landmarker.task"))
    return clmer_data / "face"


@pytest.fixture
def clip(clips: Path, tmp_path: Path) -> Path:
    """Two seconds of a face that wanders to the right."""
    from matplotlib.image import imread

    image = (255 * imread(clips / "astronaut.png")[:400, :, :3]).astype(np.uint8)
    images = [np.ascontiguousarray(image[:, 60 - k // 2 : 360 - k // 2]) for k in range(FRAMES)]
    write_clip(tmp_path / "p1.mp4", images, [40 * k for k in range(FRAMES)])
    return tmp_path / "p1.mp4"


def no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the table is made again")

    monkeypatch.setattr(series.jobs, "track", refuse)


def test_a_video_becomes_the_table_of_clmer_video_once(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    face = open_face(clip, cache=tmp_path / "cache")
    assert run(capsys, clip, "--out", tmp_path / "out")[0] == 0
    by_command = read_face(tmp_path / "out" / "p1.csv")
    assert (face.fps, face.unit, len(face.valid)) == (25.0, "mm", FRAMES)
    np.testing.assert_array_equal(face.landmarks, by_command.landmarks)
    np.testing.assert_array_equal(face.au_intensity, by_command.au_intensity)
    assert np.ptp(face.landmarks[:, 30, 0]) > 5  # mm
    csv, record = sorted((tmp_path / "cache" / "faces").glob("p1-*"))
    assert record.suffixes == [".source", ".json"]
    note = face.notes[0]
    assert "face_landmarker.task, Apache-2.0" in note
    assert str(csv.parent) in note
    no_tracker(monkeypatch)
    again = open_face(clip, cache=tmp_path / "cache")
    np.testing.assert_array_equal(again.landmarks, face.landmarks)
    assert again.notes == face.notes
    monkeypatch.delenv("CLMER_FACE_MODEL")  # what is kept needs no model
    assert table_of(clip, tmp_path / "cache")[0] == csv


def test_another_clip_or_model_makes_another_table(
    clip: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv, _ = table_of(clip, tmp_path / "cache")
    os.utime(clip, ns=(10**18, 10**18))
    other, _ = table_of(clip, tmp_path / "cache")
    assert csv != other
    assert csv.read_bytes() == other.read_bytes()
    model = tmp_path / "other.task"
    model.write_bytes((clips / "face_landmarker.task").read_bytes() + b"\0")
    monkeypatch.setenv("CLMER_FACE_MODEL", str(model))
    no_tracker(monkeypatch)
    with pytest.raises(AssertionError, match="made again"):
        table_of(clip, tmp_path / "cache")


def test_nothing_half_written_is_left(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(series.jobs.ClipReport, "add", killed)
        with pytest.raises(KeyboardInterrupt):
            table_of(clip, tmp_path / "cache")
    assert os.listdir(tmp_path / "cache" / "faces") == [".lock"]
    assert table_of(clip, tmp_path / "cache")[0].is_file()


def test_videos_in_a_manifest(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["subject,trial,label,modality,path"]
    rows += [f"p{k},1,{'ab'[k]},face,p{k}.mp4" for k in (0, 1)]
    (tmp_path / "p0.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    data = load("manifest", tmp_path, cache=tmp_path / "cache")
    assert data[0]["landmarks"].shape == (204, 25)
    assert data[0]["au"].shape == (34, 25)
    assert len(data) == 4
    notes = [note for note in data.store.report["notes"] if "Apache-2.0" in note]
    assert len(notes) == 1
    assert f"kept in {tmp_path / 'cache' / 'faces'} (in all 2 recordings)" in notes[0]
    no_tracker(monkeypatch)
    load("manifest", tmp_path, cache=tmp_path / "cache", window_s=0.5)


def test_predict_takes_a_video(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLMER_CACHE", str(tmp_path / "cache"))
    trained: Any = SimpleNamespace(modalities={"au": None})
    recording = with_face(trained, Recording("p", "1", "", "p", {}, {}), str(clip))
    assert recording.face is not None
    assert len(recording.face.valid) == FRAMES
    assert (recording.source, recording.files) == (clip, {"face": clip})
    assert len(list((tmp_path / "cache" / "faces").glob("p1-*.csv"))) == 1


def test_what_is_missing_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.MP4").write_bytes(b"clip")
    monkeypatch.setattr(series, "find_spec", lambda name: name)
    monkeypatch.delenv("CLMER_FACE_MODEL", raising=False)
    with pytest.raises(DataError, match=r"a\.MP4.*no CLMER_FACE_MODEL.*Apache-2.0.*Download it"):
        open_face(tmp_path / "a.MP4", cache=tmp_path / "c")
    monkeypatch.setenv("CLMER_FACE_MODEL", str(tmp_path / "absent.task"))
    with pytest.raises(DataError, match=r"no file .*absent\.task.*Apache-2.0"):
        open_face(tmp_path / "a.MP4", cache=tmp_path / "c")
    monkeypatch.setattr(series, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"no package av.*pip install .clmer\[video\].*table"):
        open_face(tmp_path / "a.MP4", cache=tmp_path / "c")
    with pytest.raises(DataError, match="absent.mp4: file: found nothing"):
        open_face(tmp_path / "absent.mp4", cache=tmp_path / "c")


@pytest.mark.slow
def test_no_face_and_a_damaged_clip(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no_face.mp4: face: found no face found in"):
        table_of(clips / "no_face.mp4", tmp_path / "cache")
    whole = (clips / "no_face.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"half.mp4"):
        table_of(tmp_path / "half.mp4", tmp_path / "cache")
    assert os.listdir(tmp_path / "cache" / "faces") == [".lock"]


def test_a_video_under_another_modality_is_told_where_it_goes(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"clip")
    (tmp_path / "manifest.csv").write_text("subject,trial,label,modality,path\np,1,a,eeg,a.mp4\n")
    with pytest.raises(DataError, match="row of modality face"):
        load("manifest", tmp_path, cache=tmp_path / "c")
