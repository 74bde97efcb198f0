"""Faces live: what is sent equals the CSV of the same frames, with the times they were taken at."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.lsl_streams import Received, import_lsl, unique, while_receiving
from support.video_cases import make_face, run, write_clip

from clmer import cli
from clmer.data.face.trackers.mesh import Face
from clmer.data.video.clips import Frame
from clmer.data.video.table import (
    COLUMNS,
    STREAM_COLUMNS,
    STREAM_UNITS,
    TableWriter,
    stream_values,
)
from clmer.data.video.tracker import Tracker
from clmer.errors import DataError
from clmer.live.senders.camera import Camera, Counts, Newest, RealTimeClip, face_outlet, send_faces


def read_csv(path: Path) -> dict[str, np.ndarray]:
    """Every column as numbers, as the CSV has them."""
    header, *rows = path.read_text().splitlines()
    values = np.array([[float(cell) for cell in row.split(",")] for row in rows])
    return dict(zip([name.strip() for name in header.split(",")], values.T, strict=True))


class ByBrightness:
    """A tracker whose face is a function of the picture; dark ones show none."""

    def __init__(self, *given: Any, takes_s: float = 0.0) -> None:
        self.takes_s = takes_s

    def __enter__(self) -> ByBrightness:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def track(self, frame: Frame) -> tuple[Face | None, int]:
        time.sleep(self.takes_s)
        grey = round(float(frame.image.mean()) / 10)
        return (make_face(grey), 2) if grey >= 5 else (None, 0)

    def notes(self) -> list[str]:
        return []


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """12 frames, 50 ms from one to the next with one pause, the first 3 of them dark."""
    pytest.importorskip("av", reason="needs the extra video")
    images = [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(12)]
    times = [50 * i + (100 if i > 6 else 0) for i in range(12)]
    write_clip(tmp_path / "grey.mp4", images, times)
    return tmp_path / "grey.mp4"


def test_a_frames_values_are_the_csvs(tmp_path: Path) -> None:
    with TableWriter(tmp_path / "a.csv") as table:
        table.add(0.0, make_face(3), 2)
        table.add(0.1, None, 0)
        table.finish()
    csv = read_csv(tmp_path / "a.csv")
    found, lost = stream_values(make_face(3), 2), stream_values(None, 0)
    assert tuple(n for n in COLUMNS if n not in ("frame", "face_id", "timestamp")) == STREAM_COLUMNS
    np.testing.assert_array_equal(found, [csv[name][0] for name in STREAM_COLUMNS])
    names = dict(zip(STREAM_COLUMNS, lost, strict=True))
    assert (names.pop("success"), names.pop("confidence"), names.pop(STREAM_COLUMNS[-1])) == (
        0,
    ) * 3
    assert np.isnan([*names.values()]).all()
    units = dict(zip(STREAM_COLUMNS, STREAM_UNITS, strict=True))
    expected = {"X_0": "mm", "x_67": "px", "gaze_angle_x": "rad", "pose_Tz": "mm", "AU45_c": ""}
    assert {name: units[name] for name in expected} == expected


def received_equals_csv(got: Received, csv: dict[str, np.ndarray], start_s: float) -> None:
    """Every frame that arrived has the values and the time that the CSV has for it."""
    rows = np.searchsorted(csv["timestamp"] + start_s, got.times - 1e-3)
    np.testing.assert_allclose(csv["timestamp"][rows] + start_s, got.times, atol=1e-4)
    assert got.info.get_channel_names() == list(STREAM_COLUMNS)
    for i, name in enumerate(STREAM_COLUMNS):
        wanted = csv[name][rows]
        if i not in (0, 1, len(STREAM_COLUMNS) - 1):
            wanted = np.where(csv["success"][rows] == 0, np.nan, wanted)
        np.testing.assert_array_equal(got.samples[i], wanted, err_msg=name)


def test_a_clip_in_real_time_is_its_csv(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lsl = import_lsl()
    model = tmp_path / "face_landmarker.task"
    model.write_text("stands for the model")
    monkeypatch.setattr("clmer.data.video.jobs.Tracker", ByBrightness)
    monkeypatch.setattr("clmer.cli.video.Tracker", ByBrightness)
    assert run(capsys, clip, "--out", tmp_path / "out", "--model", model)[0] == 0
    csv = read_csv(tmp_path / "out" / "grey.csv")
    assert csv["success"].sum() == 9
    name = unique("face")
    words = ["video", str(clip), "--live", "--lsl", name, "--wait", "--model", str(model)]
    made = []
    monkeypatch.setattr(
        "clmer.cli.video.face_outlet", lambda *of: made.append(of[1]) or face_outlet(*of)
    )
    before = lsl.local_clock()
    codes: list[int] = []
    got = while_receiving({name: 12}, lambda: codes.append(cli.main(words)))[name]
    assert codes == [0]
    assert before < made[0].start_s < lsl.local_clock()
    received_equals_csv(got, csv, made[0].start_s)
    assert got.info.sfreq == pytest.approx(20)
    said = capsys.readouterr().out
    assert f"faces as LSL stream {name}" in said
    assert f"{got.times.size} frames sent, a face in {int(got.samples[1].sum())}" in said


class Kept:
    """Stands for an outlet: what was pushed, and when."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.values: list[np.ndarray] = []

    def push(self, samples: np.ndarray, timestamps: np.ndarray) -> None:
        self.values.append(samples[:, 0])
        self.times.append(float(timestamps[0]))


def test_a_slow_tracker_gets_the_newest_frame(clip: Path) -> None:
    lsl = import_lsl()
    source, outlet, counts = RealTimeClip(clip), Kept(), Counts()
    behind: list[float] = []
    send_faces(
        source,
        ByBrightness(takes_s=0.12),
        outlet,
        counts,
        lambda: behind.append(lsl.local_clock() - outlet.times[-1]),
    )
    assert counts.dropped >= 4
    assert counts.frames + counts.dropped == 12
    assert counts.frames == len(outlet.times)
    at = np.array(outlet.times) - source.start_s
    assert at[-1] == pytest.approx(0.65, abs=2e-3)  # the last frame is no dropped one
    assert (np.diff(at) > 0).all()
    assert min(behind) > 0.11  # the tracker's time is not in the frames' times
    assert counts.latency_s >= 0.12


def test_what_a_source_raises_is_raised() -> None:
    def broken() -> Generator[Frame, None, None]:
        yield Frame(0.0, np.zeros((4, 4, 3), np.uint8))
        raise DataError("/dev/video0", "camera", "No such device", "frames")

    with Newest(broken()) as newest:
        got = iter(newest)
        assert next(got).seconds == 0.0
        with pytest.raises(DataError, match="No such device"):
            next(got)


def test_leaving_ends_the_thread() -> None:
    closed = threading.Event()

    def endless() -> Generator[Frame, None, None]:
        try:
            while True:
                time.sleep(0.01)
                yield Frame(0.0, np.zeros((4, 4, 3), np.uint8))
        finally:
            closed.set()

    with Newest(endless()) as newest:
        next(iter(newest))
    assert closed.wait(5)


@pytest.fixture
def camera(clip: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PyAV that takes a clip for the camera /dev/video7."""
    import av

    def opened(name: str, format: str) -> Any:
        assert (name, format) == ("/dev/video7", "v4l2")
        return av.open(str(clip))

    shim = SimpleNamespace(open=opened, FFmpegError=av.FFmpegError)
    monkeypatch.setattr("clmer.live.senders.camera.import_av", lambda: shim)
    return clip


def test_frames_of_a_camera_have_the_time_of_their_arrival(camera: Path) -> None:
    lsl = import_lsl()
    source = Camera(7)
    before = lsl.local_clock()
    found = list(source.frames())
    assert len(found) == 12
    assert found[0].image.shape == (48, 64, 3)
    at = [frame.seconds for frame in found]
    assert before <= at[0] <= at[-1] <= lsl.local_clock()
    assert at == sorted(at)
    assert not source.driver_times


def test_a_driver_on_lsls_clock_is_believed(camera: Path) -> None:
    """A camera's packets on Linux are stamped by the kernel, on the clock that LSL reads."""
    import_lsl()
    source = Camera(7)
    unit = Fraction(1, 1_000_000)
    recent = SimpleNamespace(pts=99_960_000, time_base=unit)
    assert source._taken(recent, 100.0) == pytest.approx(99.96)
    assert source.driver_times
    for pts in (98_000_000, 100_100_000):  # another clock's
        assert source._taken(SimpleNamespace(pts=pts, time_base=unit), 100.0) == 100.0
        assert not source.driver_times
    assert source._taken(SimpleNamespace(pts=None, time_base=unit), 100.0) == 100.0


def test_the_command_ends_with_the_camera(
    camera: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import_lsl()
    model = tmp_path / "face_landmarker.task"
    model.write_text("stands for the model")
    monkeypatch.setattr("clmer.cli.video.Tracker", ByBrightness)

    def interrupted(source: Any, tracker: Any, outlet: Any, counts: Any, said: Any) -> None:
        counts.frames, counts.found = 5, 4
        raise KeyboardInterrupt

    monkeypatch.setattr("clmer.cli.video.send_faces", interrupted)
    code, said = run(capsys, "--camera", 7, "--lsl", unique("face"), "--model", model)
    assert code == 0
    assert "/dev/video7: 5 frames sent, a face in 4, 0 dropped" in said
    assert "times of their arrival" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "found no CLIP, expected CLIP... --out DIR, or --camera N"),
        (["a.mp4"], "found no --out"),
        (["--live"], "found 0 clips and cameras"),
        (["a.mp4", "--camera", 0], "found 2 clips and cameras"),
        (["a.mp4", "b.mp4", "--live"], "found 2 clips and cameras"),
        (["a.mp4", "--live", "--out", "x"], "--out: found --live or --camera"),
        (["a.mp4", "--live", "--with", "openface"], "--with: found --live or --camera"),
        (["a.mp4", "--live", "--faces", 0], "--faces: found 0"),
        (["a.mp4", "--out", "x", "--lsl", "b"], "--lsl: found no --live"),
        (["a.mp4", "--out", "x", "--wait"], "--wait: found no --live"),
    ],
)
def test_options_of_the_other_kind(
    words: list[object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = run(capsys, *words)
    assert code == 2
    assert said in " ".join(text.split())


def test_no_such_camera() -> None:
    import_lsl()
    pytest.importorskip("av", reason="needs the extra video")
    with pytest.raises(DataError, match="/dev/video77: camera: found No such file") as raised:
        Camera(77)
    assert "no other program" in str(raised.value)


def test_a_real_face(clmer_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The landmarker itself: 8 pictures of a face, slower than any machine tracks them."""
    import_lsl()
    pytest.importorskip("mediapipe", reason="needs the extra video")
    from matplotlib.image import imread

    photo = (255 * imread(clmer_data / "face" / "astronaut.png")[:, :, :3]).astype(np.uint8)
    images = [np.roll(photo, 4 * i, axis=1) for i in range(8)]
    write_clip(tmp_path / "a.mp4", images, [400 * i for i in range(8)])
    model = clmer_data / "face" / "face_landmarker.task"
    assert run(capsys, tmp_path / "a.mp4", "--out", tmp_path, "--model", model)[0] == 0
    csv = read_csv(tmp_path / "a.csv")
    source, outlet, counts = RealTimeClip(tmp_path / "a.mp4"), Kept(), Counts()
    with Tracker(model) as tracker:
        send_faces(source, tracker, outlet, counts, lambda: None)
    assert (counts.frames, counts.found, counts.dropped) == (8, 8, 0)
    wanted = np.array([csv[name] for name in STREAM_COLUMNS]).T
    np.testing.assert_array_equal(np.array(outlet.values), wanted)
    at = np.array(outlet.times) - source.start_s
    np.testing.assert_allclose(at, csv["timestamp"], atol=1e-4)
