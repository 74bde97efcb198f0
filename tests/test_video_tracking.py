"""Clips to series with MediaPipe, where it and the shared data are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from video_cases import run, write_clip

from clmer.data.face import AU_NAMES, read_face
from clmer.data.video import jobs
from clmer.data.video.preview import Mp4Preview


@pytest.fixture
def clips(clmer_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("mediapipe", reason="needs the extra video")
    pytest.importorskip("av", reason="needs the extra video")
    monkeypatch.setenv("CLMER_FACE_MODEL", str(clmer_data / "face" / "face_landmarker.task"))
    return clmer_data / "face"


def photo(clips: Path) -> np.ndarray:
    from matplotlib.image import imread

    return np.ascontiguousarray((255 * imread(clips / "astronaut.png")[:, :, :3]).astype(np.uint8))


def test_a_real_face_at_uneven_times(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = photo(clips)
    write_clip(tmp_path / "a.mp4", [image] * 8, [0, 40, 80, 120, 200, 240, 280, 320])
    code, text = run(capsys, tmp_path / "a.mp4", "--out", tmp_path / "out", "--preview")
    assert code == 0
    assert "8 frames, a face in 8" in text
    assert "variable frame rate: 40 to 80 ms" in text
    face = read_face(tmp_path / "out" / "a.csv")
    assert (face.tracker, face.fps, len(face.valid)) == ("MediaPipe", 25.0, 9)
    eyes = face.landmarks[0, [36, 45]]
    assert np.linalg.norm(eyes[1] - eyes[0]) == pytest.approx(89, abs=0.1)
    assert face.landmarks[0, 8, 1] > face.landmarks[0, 27, 1]  # the chin is below the nose
    assert face.au_intensity[0, AU_NAMES.index("AU12")] > 2.5  # she smiles
    assert (tmp_path / "out" / "a_preview" / "000001.png").is_file()
    again = (tmp_path / "a.mp4", "--out", tmp_path / "out")
    assert "skipped" in run(capsys, *again)[1]
    assert "done again, it has no mp4 preview" in run(capsys, *again, "--preview", "mp4")[1]
    film = tmp_path / "out" / "a_preview" / "preview.mp4"
    assert film.is_file()
    assert "skipped" in run(capsys, *again, "--preview", "mp4")[1]
    film.unlink()
    assert "done again, it has no mp4 preview" in run(capsys, *again, "--preview", "mp4")[1]
    assert film.is_file()


def test_a_series_waits_for_its_preview(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "a.mp4", [photo(clips)] * 3, [0, 40, 80])
    model = clips / "face_landmarker.task"
    task = jobs.Task(tmp_path / "a.mp4", tmp_path / "a.csv", model, preview="mp4")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Mp4Preview, "__exit__", killed)
    with pytest.raises(KeyboardInterrupt):
        jobs.process(task, lambda _: None)
    assert jobs.outdated(task) == "it is not there"
    assert not (tmp_path / "a.source.json").exists()


def test_two_faces_one_is_kept(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = photo(clips)[:400, 60:360]
    small = np.zeros_like(image)
    rows, columns = (np.arange(0, size, 1.25).astype(int) for size in image.shape[:2])
    small[: len(rows), : len(columns)] = image[rows][:, columns]
    write_clip(tmp_path / "a.mp4", [np.hstack([small, image])] * 5, [0, 40, 80, 120, 160])
    code, text = run(capsys, tmp_path / "a.mp4", "--out", tmp_path / "out")
    assert code == 0
    assert "2 faces at once" in text
    face = read_face(tmp_path / "out" / "a.csv")
    assert (face.landmarks[:, 30, 0] > 0).all()  # the large one, on the right
    code, text = run(capsys, tmp_path / "a.mp4", "--out", tmp_path / "out", "--faces", 1)
    assert code == 0
    assert "done again, faces changed" in text
    assert "faces at once" not in text


def test_no_face_no_video_and_half_a_clip(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import av

    code, text = run(capsys, clips / "no_face.mp4", "--out", tmp_path / "out")
    assert (code, os.listdir(tmp_path / "out")) == (3, [])
    assert "no face found" in text
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    whole = (clips / "WolfgangLanger_Pexels.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 20])
    (tmp_path / "text.mp4").write_text("no clip")
    shutil.copy(clips / "no_face.mp4", tmp_path / "model.task")
    for name, message in (
        ("sound.wav", "audio only"),
        ("text.mp4", "no clip"),
        ("half.mp4", "half.mp4: f"),
    ):
        code, text = run(capsys, tmp_path / name, "--out", tmp_path / "out")
        assert code == 2
        assert message in text
    code, text = run(
        capsys, tmp_path / "half.mp4", "--out", tmp_path / "out", "--model", tmp_path / "model.task"
    )
    assert code == 2
    assert "model.task: --model" in text
