"""Clips to series: the pure parts everywhere, the landmarker where MediaPipe and the data are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from clmer.data.face import AU_NAMES, NEEDED_COLUMNS, read_face
from clmer.data.video import jobs, record
from clmer.data.video.__main__ import main
from clmer.data.video.clips import frames, variable_rate
from clmer.data.video.mesh import IBUG, MESH_POINTS, Face, action_units, to_face
from clmer.data.video.preview import Mp4Preview, draw, open_preview, preview_folder
from clmer.data.video.table import COLUMNS, TableWriter

_PAIRED = "browDown browOuterUp cheekSquint eyeBlink eyeLookDown eyeLookIn eyeLookOut eyeLookUp "
_PAIRED += "eyeSquint eyeWide mouthDimple mouthFrown mouthPress mouthSmile mouthStretch "
_PAIRED += "mouthUpperUp noseSneer"
_SHAPES = [f"{name}{side}" for name in _PAIRED.split() for side in ("Left", "Right")]
_SHAPES += "browInnerUp jawOpen mouthClose mouthRollLower mouthRollUpper mouthShrugLower".split()


def scores(**given: float) -> dict[str, float]:
    return dict.fromkeys(_SHAPES, 0.0) | given


def make_mesh(seed: int = 0) -> np.ndarray:
    """Of the mesh the 68 points."""
    return np.random.default_rng(seed).uniform(0.3, 0.7, (68, 3)) * [1, 1, 0.1]


def make_face(seed: int = 0) -> Face:
    pose = np.eye(4)
    pose[:3, 3] = 1.0, 2.0, -50.0
    return to_face(make_mesh(seed), scores(mouthSmileLeft=0.8, mouthSmileRight=0.6), pose, 640, 480)


def test_each_ibug_point_is_one_mesh_point() -> None:
    assert len(IBUG) == len(set(IBUG)) == 68
    assert max(IBUG) < MESH_POINTS


def test_points_are_millimetres_in_the_camera_s_frame() -> None:
    face, mesh = make_face(), make_mesh()
    assert np.linalg.norm(face.points[45] - face.points[36]) == pytest.approx(89.0)
    np.testing.assert_allclose(face.image, mesh[:, :2] * (640, 480))
    scale = face.points[:, 0] / (face.image[:, 0] - 320)
    np.testing.assert_allclose(scale, scale[0])
    np.testing.assert_allclose(face.points[:, 1], scale[0] * (face.image[:, 1] - 240))
    nearer = mesh[:, 2].argsort()
    assert (np.diff(face.points[nearer, 2]) >= 0).all()
    np.testing.assert_allclose(face.translation, [10, -20, 500])


def test_action_units_follow_the_blendshapes() -> None:
    given = scores(mouthSmileLeft=0.8, mouthSmileRight=0.6, jawOpen=0.7, mouthClose=0.5)
    au = dict(zip(AU_NAMES, action_units(given), strict=True))
    assert au["AU12"] == pytest.approx(0.7)
    assert au["AU26"] == pytest.approx(0.7)
    assert au["AU25"] == pytest.approx(0.2)
    assert sum(au.values()) == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("given", "axis", "sign"),
    [
        ({"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0}, 0, 1),  # the person's left: image right
        ({"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0}, 0, -1),
        ({"eyeLookDownLeft": 1.0, "eyeLookDownRight": 1.0}, 1, 1),
        ({"eyeLookUpLeft": 1.0, "eyeLookUpRight": 1.0}, 1, -1),
    ],
)
def test_gaze_has_openface_s_signs(given: dict[str, float], axis: int, sign: int) -> None:
    gaze = to_face(make_mesh(), scores(**given), np.eye(4), 640, 480).gaze
    assert gaze[axis] == pytest.approx(0.5 * sign)
    assert gaze[1 - axis] == pytest.approx(0.0)


def test_gaze_turns_with_the_head_and_the_pose_is_its_angles() -> None:
    pose, angle = np.eye(4), 0.3
    # About MediaPipe's y axis (up): the face turns to the image's right.
    pose[:3, :3] = [
        [np.cos(angle), 0, np.sin(angle)],
        [0, 1, 0],
        [-np.sin(angle), 0, np.cos(angle)],
    ]
    face = to_face(make_mesh(), scores(), pose, 640, 480)
    np.testing.assert_allclose(face.gaze, [angle, 0], atol=1e-12)
    np.testing.assert_allclose(face.rotation, [0, -angle, 0], atol=1e-12)


def test_the_csv_is_one_that_our_reader_takes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with TableWriter(path) as table:
        for i in range(50):
            table.add(i / 30, None if i in (10, 11) else make_face(i), 2)
        table.finish()
    assert os.listdir(tmp_path) == ["a.csv"]
    assert set(NEEDED_COLUMNS) < set(COLUMNS)
    face = read_face(path)
    assert (face.tracker, face.unit, face.fps) == ("MediaPipe", "mm", pytest.approx(30, abs=0.01))
    assert face.valid.all()
    assert face.confidence is not None
    assert np.flatnonzero(face.confidence == 0).tolist() == [10, 11]
    expected = make_face(7)
    np.testing.assert_allclose(face.landmarks[7], expected.points, atol=0.006)
    np.testing.assert_allclose(face.au_intensity[7, AU_NAMES.index("AU12")], 3.5, atol=1e-3)
    assert face.au_presence[7, AU_NAMES.index("AU12")] == 1
    assert face.gaze is not None
    np.testing.assert_allclose(face.gaze[7], expected.gaze, atol=1e-4)


def test_a_csv_that_is_not_finished_never_appears(tmp_path: Path) -> None:
    stale = tmp_path / ".a.csv.999999999.tmp"
    stale.write_text("killed")
    with pytest.raises(KeyboardInterrupt), TableWriter(tmp_path / "a.csv") as table:  # noqa: PT012
        table.add(0.0, make_face(), 1)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_variable_rates_are_said() -> None:
    assert variable_rate(np.arange(9) / 25) == ""
    assert "20 to 60 ms" in variable_rate(np.cumsum([0, 0.02, 0.04, 0.06, 0.04]))


def test_previews_show_the_points_and_are_marked(tmp_path: Path) -> None:
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    drawn = draw(image, np.array([[5.0, 7.0], [-50, 3], [29.4, 19.2]]))
    assert drawn[7, 5].tolist() == [0, 255, 0]
    assert drawn[19, 29].tolist() == [0, 255, 0]
    assert (drawn[:, :, 1] > 0).sum() == 9 + 4
    assert not image.any()
    assert draw(image, None) is image
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "000007.png").write_text("of an earlier run")
    with open_preview("png", tmp_path / "p", 1.0) as preview:
        for i in range(50):
            preview.add(i + 1, i / 25, image, None)
    assert sorted(path.name for path in (tmp_path / "p").glob("*.png")) == [
        "000001.png",
        "000026.png",
    ]
    assert (tmp_path / "p" / ".gitignore").read_text() == "*\n"
    assert "do not commit" in (tmp_path / "p" / "NOTICE").read_text()


def test_a_film_has_the_points_at_the_clip_s_times(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="needs the extra video")
    points = np.array([[20.0, 12.0], [21.0, 12.0], [20.0, 13.0], [21.0, 13.0]])
    times = [0.0, 0.04, 0.2, 0.24]
    with open_preview("mp4", tmp_path, 1.0) as preview:
        for i, seconds in enumerate(times):
            image = np.zeros((33, 41, 3), dtype=np.uint8)
            preview.add(i + 1, seconds, image, points if i == 2 else None)
        assert not (tmp_path / "preview.mp4").exists()
    with av.open(str(tmp_path / "preview.mp4")) as container:
        shown = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    assert [time for time, _ in shown] == pytest.approx(times)
    assert [image.shape for _, image in shown] == [(32, 40, 3)] * 4
    assert [image[12, 20, 1] > 128 for _, image in shown] == [False, False, True, False]
    with pytest.raises(KeyboardInterrupt), open_preview("mp4", tmp_path, 1.0) as preview:  # noqa: PT012
        preview.add(1, 0.0, image, None)
        raise KeyboardInterrupt
    assert sorted(os.listdir(tmp_path)) == [".gitignore", "NOTICE"]


# --- the command ---
def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_options_that_cannot_be_met(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLMER_FACE_MODEL", raising=False)
    monkeypatch.setenv("PATH", "")
    out = ("--out", tmp_path / "out")
    for arguments, message in (
        (("a.mp4", *out), "face_landmarker.task"),
        (("a.mp4", *out, "--model", tmp_path / "absent.task"), "absent.task: --model"),
        (("a.mp4", "b/a.avi", *out), "one name a clip"),
        (("a.mp4", *out, "--jobs", 0), "--jobs"),
        (("a.mp4", *out, "--preview", "png", "--every", -1), "--every"),
        (("a.mp4", *out, "--preview", "mp4", "--every", 2), "--every: found 2.0"),
        (("a.mp4", *out, "--faces", 0), "--faces"),
        (("a.mp4", *out, "--with", "openface", "--faces", 2), "--faces: found --with openface"),
        (("a.mp4", *out, "--hog"), "--hog"),
        (("a.mp4", *out, "--with", "openface", "--preview"), "--preview"),
        (("a.mp4", *out, "--with", "openface"), "OpenFace 2's program"),
        (("a.mp4", "--out", __file__, "--with", "openface"), "--out"),
    ):
        code, text = run(capsys, *arguments)
        assert code == 2
        assert message in text


_FAKE = """#!/bin/sh
# what FeatureExtraction does with -f CLIP -out_dir DIR -of NAME
while [ $# -gt 0 ]; do case $1 in
  -f) f=$2;; -out_dir) d=$2;; -of) n=$2;; -hogalign) hog=1;; esac; shift; done
grep -q broken "$f" && { echo "Could not open the video" >&2; exit 1; }
[ "$hog" ] && echo 1 > "$d/$n.hog"
cp "$f" "$d/$n.csv"
"""


@pytest.fixture
def openface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for OpenFace on the PATH whose "clips" are the CSVs that it will write."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / jobs.OPENFACE).write_text(_FAKE)
    (folder / jobs.OPENFACE).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    with TableWriter(tmp_path / "good.avi") as table:
        for i in range(10):
            table.add(i / 25, make_face(i), 1)
        table.finish()
    return tmp_path


@pytest.mark.parametrize("count", [1, 2])
def test_with_openface_and_resumed(
    openface: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    (openface / "broken.avi").write_text("broken")
    clips = [openface / "good.avi", openface / "broken.avi", openface / "absent.avi"]
    command = ("--out", openface / "out", "--with", "openface", "--jobs", count)
    code, text = run(capsys, *clips, *command)
    assert code == 2
    assert "10 frames, a face in 10" in text
    assert "exit code 1 Could not open the video" in text
    assert "absent.avi: file: found nothing" in text
    assert sorted(os.listdir(openface / "out")) == ["good.csv", "good.source.json"]
    code, text = run(capsys, clips[0], *command)
    assert code == 0
    assert "skipped" in text
    os.utime(clips[0], (0, 0))
    code, text = run(capsys, clips[0], *command)
    assert "done again, mtime_ns changed" in text
    assert "10 frames" in text
    assert "10 frames" in run(capsys, clips[0], *command, "--overwrite")[1]


def test_a_hog_file_stays_with_its_series(
    openface: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = openface / "good.avi", openface / "out"
    command = (clip, "--out", out, "--with", "openface")
    assert "done again" not in run(capsys, *command, "--hog")[1]
    assert (out / "good.hog").read_text() == "1\n"
    assert "skipped" in run(capsys, *command)[1]  # more than was asked for
    clip.write_text(clip.read_text() + "\n")
    assert "done again, size, mtime_ns changed" in run(capsys, *command)[1]
    assert not (out / "good.hog").exists()
    assert "done again, it has no HOG file" in run(capsys, *command, "--hog")[1]
    assert (out / "good.hog").is_file()


def test_a_series_of_unknown_origin_is_not_replaced(
    openface: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (openface / "out").mkdir()
    own = openface / "out" / "good.csv"
    own.write_text("my own")
    command = (openface / "good.avi", "--out", own.parent, "--with", "openface")
    code, text = run(capsys, *command)
    assert code == 2
    assert "good.csv: file: found a CSV without good.source.json" in text
    assert own.read_text() == "my own"
    assert "10 frames" in run(capsys, *command, "--overwrite")[1]


def test_what_makes_a_finished_series_another_one(tmp_path: Path) -> None:
    clip, model, other = tmp_path / "a.mp4", tmp_path / "m.task", tmp_path / "n.task"
    for path, text in ((clip, "clip"), (model, "model"), (other, "other")):
        path.write_text(text)
    csv, made = tmp_path / "out.csv", tmp_path / "made"
    source = record.describe(clip, "mediapipe", model)

    def why(source: dict[str, object], *, hog: bool = False, partial: bool = False) -> str | None:
        return record.outdated(csv, source, hog=hog, partial=partial)

    for whole, reason in ((True, None), (False, "it is part of a truncated clip")):
        made.write_text("rows")
        record.place(made, csv, source | {"whole": whole})
        assert why(source) == reason
        assert why(source, partial=True) is None
    (tmp_path / "copy.task").write_text("model")
    assert why(record.describe(clip, "mediapipe", tmp_path / "copy.task"), partial=True) is None
    assert why(record.describe(clip, "mediapipe", other)) == "model_sha256 changed"
    assert why(record.describe(clip, "openface", None)) == "tracker, model_sha256 changed"
    csv.unlink()
    assert why(source) == "it is not there"


def test_a_preview_that_is_gone_or_of_other_times_is_made_again(tmp_path: Path) -> None:
    clip, csv, made = tmp_path / "a.mp4", tmp_path / "out.csv", tmp_path / "made"
    clip.write_text("clip")
    made.write_text("rows")
    source = record.describe(clip, "openface", None)
    record.place(made, csv, source | {"whole": True, "preview": "png", "every": 1.0})

    def why(preview: str, every: float | None = None) -> str | None:
        return record.outdated(csv, source, hog=False, partial=False, preview=preview, every=every)

    assert why("png", 1.0) == "it has no png preview"
    with open_preview("png", preview_folder(csv), 1.0) as preview:
        preview.add(1, 0.0, np.zeros((4, 4, 3), dtype=np.uint8), None)
    assert why("png", 1.0) is None
    assert why("png", 2.0) == "every changed"
    assert why("mp4") == "it has no mp4 preview"
    assert why("") is None


def test_a_kill_while_a_series_is_put_in_place_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, csv, made, hog = (tmp_path / name for name in ("a.mp4", "out.csv", "made", "hog"))
    for path in (clip, made, hog):
        path.write_text(path.name)
    source = record.describe(clip, "openface", None)
    record.place(made, csv, source | {"whole": True}, hog)
    made.write_text("new")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(record, "write_file", killed)
    with pytest.raises(KeyboardInterrupt):
        record.place(made, csv, source | {"whole": True})
    assert record.outdated(csv, source, hog=False, partial=False) == "it is not there"
    assert not csv.with_suffix(".hog").exists()


def test_openface_without_a_face(openface: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with TableWriter(openface / "empty.avi") as table:
        for i in range(10):
            table.add(i / 25, None, 0)
        table.finish()
    code, text = run(
        capsys, openface / "empty.avi", "--out", openface / "out", "--with", "openface"
    )
    assert code == 3
    assert "no face found" in text
    assert os.listdir(openface / "out") == []


# --- decoding ---
def write_clip(path: Path, images: list[np.ndarray], times_ms: list[int]) -> None:
    """An MPEG-4 clip whose frames are shown at these times."""
    from fractions import Fraction

    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        stream.codec_context.time_base = Fraction(1, 1000)
        for image, time in zip(images, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def held(path: Path, matrix: list[list[int]]) -> None:
    """Write into an MP4's track header how the phone was held."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    values = [65536 * value for row in matrix for value in (*row, 0)] + [0, 0, 2**30]
    data[at : at + 36] = np.array(values, dtype=">i4").tobytes()
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "corner"),  # where the stored frame's upper left is shown, and where its upper right
    [
        ([[1, 0], [0, 1]], ("upper left", "upper right")),
        ([[0, 1], [-1, 0]], ("upper right", "lower right")),  # a quarter turn clockwise
        ([[0, -1], [1, 0]], ("lower left", "upper left")),
        ([[-1, 0], [0, -1]], ("lower right", "lower left")),
        ([[-1, 0], [0, 1]], ("upper right", "upper left")),  # a mirrored selfie
        ([[0, -1], [-1, 0]], ("lower right", "upper right")),
    ],
)
def test_frames_are_turned_upright(
    tmp_path: Path, matrix: list[list[int]], corner: tuple[str, str]
) -> None:
    pytest.importorskip("av", reason="needs the extra video")
    stored = np.zeros((64, 96, 3), dtype=np.uint8)
    stored[:32, :48, 0], stored[:32, 48:, 2] = 255, 255  # red upper left, blue upper right
    write_clip(tmp_path / "a.mp4", [stored] * 2, [0, 40])
    held(tmp_path / "a.mp4", matrix)
    image = next(frames(tmp_path / "a.mp4")).image
    assert image.shape == ((64, 96, 3) if matrix[0][0] else (96, 64, 3))
    assert image.flags.c_contiguous
    height, width, _ = image.shape
    for name, colour in zip(corner, (0, 2), strict=True):
        row = height // 4 if name.startswith("upper") else 3 * height // 4
        column = width // 4 if name.endswith("left") else 3 * width // 4
        assert image[row, column, colour] > 200
        assert image[row, column, 2 - colour] < 50


# --- with MediaPipe and real clips ---------------------------------------------------------------
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
