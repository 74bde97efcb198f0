"""Clips to series with MediaPipe, where it and the shared data are."""

from __future__ import annotations

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from support.video_cases import placed, run, scaled, write_clip

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
    assert "2 faces at once" in text  # two are looked for all the same


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


# --- one person, however small, dark or tilted ---------------------------------------------------
def portrait(clips: Path) -> np.ndarray:
    """The head alone; the face takes half of it."""
    return photo(clips)[10:270, 110:340]


def tracked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], images: list[np.ndarray], *options: object
) -> tuple[int, str, dict[str, np.ndarray]]:
    """Exit code, report, and the CSV's columns of a clip at 25 frames per second."""
    write_clip(tmp_path / "a.mp4", images, [40 * k for k in range(len(images))])
    code, text = run(capsys, tmp_path / "a.mp4", "--out", tmp_path / "out", *options)
    if code:
        return code, text, {}
    table = np.genfromtxt(tmp_path / "out" / "a.csv", delimiter=",", names=True, autostrip=True)
    return code, text, {name: table[name] for name in table.dtype.names or ()}


def test_a_covered_face_is_lost_and_found_though_another_is_in_view(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large, small = scaled(portrait(clips), 300), scaled(portrait(clips)[:, ::-1], 255)
    both = placed(540, 300, (large, 0, 0), (small, 285, 30))
    covered = placed(540, 300, (small, 285, 30))
    _, text, table = tracked(tmp_path, capsys, [both] * 8 + [covered] * 4 + [both] * 8)
    assert table["success"].tolist() == [1] * 8 + [0] * 4 + [1] * 8
    assert np.ptp(table["x_30"][table["success"] > 0]) < 20
    assert "lost 1 time, longest 0.16 s from 0.32 s" in text
    _, text, table = tracked(tmp_path, capsys, [both] * 8 + [covered] * 12)
    assert table["success"].tolist() == [1] * 8 + [0] * 12
    assert "lost from 0.32 s to the end, though 12 frames show one" in text


def test_a_cut_to_another_single_face_ends_the_series(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = placed(300, 300, (scaled(portrait(clips), 300), 20, 0))
    other = placed(300, 300, (scaled(portrait(clips)[:, ::-1], 290), 25, 5))
    _, text, table = tracked(tmp_path, capsys, [one] * 8 + [other] * 8)
    assert table["success"].tolist() == [1] * 8 + [0] * 8
    assert "changes at once at 0.32 s" in text


@pytest.mark.parametrize("share", [0.2, 0.1])
def test_a_small_face_is_found_and_has_the_large_one_s_values(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], share: float
) -> None:
    def clip(width: int, height: int, size: int, x: int) -> list[np.ndarray]:
        head = scaled(portrait(clips), size)
        return [placed(width, height, (head, x, (height - size) // 2))] * 5

    size = 2 * round(share * 720)
    code, text, small = tracked(tmp_path, capsys, clip(1280, 720, size, 560))
    assert code == 0
    assert "5 frames, a face in 5" in text
    assert "part of the picture in 5 frames" in text
    assert ("the face is small" in text) == (share < 0.15)
    (tmp_path / "out" / "a.csv").unlink()
    _, text, large = tracked(tmp_path, capsys, clip(size, size, size, 0))
    assert "part of the picture" not in text
    for column, tolerance in (("AU12_r", 0.7), ("AU25_r", 0.7), ("pose_Rx", 0.2), ("pose_Rz", 0.1)):
        assert small[column].mean() == pytest.approx(large[column].mean(), abs=tolerance)
    left = np.median(small["x_36"] - small["x_30"]), np.median(large["x_36"] - large["x_30"])
    assert left[0] == pytest.approx(left[1], abs=0.06 * size)
    depth = np.median(small["pose_Tz"]) / np.median(large["pose_Tz"])
    assert depth == pytest.approx(720 / size, rel=0.1)


@pytest.mark.slow
def test_a_small_face_that_moves_is_followed(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = scaled(portrait(clips), 120)
    images = [placed(960, 540, (head, 100 + 12 * k, 200)) for k in range(30)]
    _, text, table = tracked(tmp_path, capsys, images)
    assert "30 frames, a face in 30" in text
    np.testing.assert_allclose(np.diff(table["x_30"]), 12, atol=6)


@pytest.mark.slow
def test_a_small_face_is_followed_though_a_large_one_appears(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = scaled(portrait(clips), 130), scaled(portrait(clips)[:, ::-1], 500)
    alone = placed(960, 540, (small, 100, 200))
    both = placed(960, 540, (small, 100, 200), (large, 450, 20))
    _, text, table = tracked(tmp_path, capsys, [alone] * 5 + [both] * 45)
    assert "50 frames, a face in 50" in text
    assert np.ptp(table["x_30"]) < 10


def test_nothing_is_found_where_there_is_no_face(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(0).normal(size=(6, 270, 480, 3))
    smooth = gaussian_filter(noise, (0, 6, 6, 0))
    images = [np.uint8(128 + 100 * np.clip(each / each.std() / 3, -1, 1)) for each in smooth]
    code, text, _ = tracked(tmp_path, capsys, images)
    assert code == 3
    assert "no face found in 6 frames, nor in parts of the picture (brightness ok)" in text


def test_dark_and_tilted_faces_are_said(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = placed(300, 300, (scaled(portrait(clips), 300), 20, 0))
    _, text, _ = tracked(tmp_path, capsys, [image // 6] * 3)
    assert "of 255 (dark)" in text
    (tmp_path / "out" / "a.csv").unlink()
    _, text, _ = tracked(tmp_path, capsys, [np.ascontiguousarray(np.rot90(image, -1))] * 3)
    assert "the head is not upright: turn the clip" in text
    assert "transpose=2" in text  # which turns it back, counter-clockwise
    (tmp_path / "out" / "a.csv").unlink()
    _, text, _ = tracked(tmp_path, capsys, [image] * 3)
    assert "brightness ok" in text
    assert "not upright" not in text
    assert "0.1 s at 25 fps from 0.00 s" in text


def test_the_number_of_faces_does_not_smooth_the_series(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    still = placed(300, 300, (scaled(portrait(clips), 300), 20, 0)).astype(int)
    images = [
        (still + np.kron(rng.integers(-25, 26, (100, 100, 3)), np.ones((3, 3, 1), int)))
        .clip(0, 255)
        .astype(np.uint8)
        for _ in range(12)
    ]
    spread = {}
    for faces in (2, 1):
        _, _, table = tracked(tmp_path, capsys, images, "--faces", faces, "--overwrite")
        spread[faces] = table["x_30"][2:].std()
    assert spread[1] == pytest.approx(spread[2], rel=0.01)
    assert spread[1] > 0


def test_pixels_of_another_shape_give_the_same_face(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = placed(320, 320, (scaled(portrait(clips), 320), 20, 0))
    _, _, square = tracked(tmp_path, capsys, [image] * 3)
    narrow = np.ascontiguousarray(image[:, ::2])
    out = tmp_path / "b"
    write_clip(tmp_path / "b.mp4", [narrow] * 3, [0, 40, 80], aspect=Fraction(2))
    _, text = run(capsys, tmp_path / "b.mp4", "--out", out)
    assert "pixels of 2 made square: 160 x 320 to 320 x 320" in text
    stored = np.genfromtxt(out / "b.csv", delimiter=",", names=True, autostrip=True)
    for column in ("x_30", "y_30", "x_8", "y_8", "x_0", "x_16"):
        assert stored[column].mean() == pytest.approx(square[column].mean(), abs=6)


@pytest.mark.slow
def test_damage_is_an_error_and_partial_keeps_both_sides_of_it(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "a.mp4", tmp_path / "out"
    image = placed(300, 300, (scaled(portrait(clips), 300), 20, 0))
    images = [np.roll(image, k % 5, axis=1) for k in range(30)]
    write_clip(path, images, [40 * k for k in range(30)], "libx264", options={"g": "10"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 20] = bytes(len(data) // 20)
    path.write_bytes(data)
    code, text = run(capsys, path, "--out", out)
    assert code == 2
    assert "expected a whole clip" in text
    assert os.listdir(out) == []
    code, text = run(capsys, path, "--out", out, "--partial")
    assert code == 0
    assert "-> " in text
    assert "partial: " in text
    table = np.genfromtxt(out / "a.csv", delimiter=",", names=True, autostrip=True)
    assert table["timestamp"][-1] == pytest.approx(1.16)
    record = json.loads((out / "a.source.json").read_text())
    assert record["whole"] is False
    assert record["notes"][0].startswith("partial: ")
    assert (
        "done again, it is part of a truncated or damaged clip"
        in run(capsys, path, "--out", out)[1]
    )
