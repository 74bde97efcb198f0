"""Tracking a clip of 640 x 480 on one core: frames a second of processor time and of wall time.

    CLMER_DATA=... pytest benchmarks/bench_video.py --benchmark-only

The shared clip of a face is stored anew at 640 x 480 (H.264). `clmer video`'s own
work on it is then timed from the first frame's end to the last one's, without start-up, on one core
that all threads share. Beside it stand its parts alone: decoding and conversion to RGB, and
MediaPipe's call with the result that it makes; what is left is ours: the choice of the face, the
search for it in parts of the picture where it is lost (in 7 of the 150 frames), the mapping to 68
points and action units, and the CSV.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from _measure import Comparison, compare_passes, table

from clmer.data.choices.video import FACES, MIN_FACES
from clmer.data.video import jobs
from clmer.data.video.clips import Frame, frames, import_av
from clmer.data.video.tracker import Tracker

DATA = Path(os.environ.get("CLMER_DATA", Path(__file__).parents[2] / "shared" / "data")) / "face"
CLIP, MODEL = DATA / "WolfgangLanger_Pexels.mp4", DATA / "face_landmarker.task"
WIDTH, HEIGHT, FRAMES = 640, 480, 150
COMMAND, DECODING, MEDIAPIPE = "the command", "decoding, RGB", "MediaPipe"
Cost = dict[str, float]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("av", "mediapipe"):
        pytest.importorskip(name, reason="needs the extra video")
    for path in (CLIP, MODEL):
        if not path.is_file():
            pytest.skip(f"{path} is missing: set CLMER_DATA")
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    _store(path, frames(CLIP))
    return path


def _store(path: Path, images: Iterator[Frame]) -> None:
    av = import_av()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, image in zip(range(FRAMES), images, strict=False):
            frame = av.VideoFrame.from_ndarray(image.image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture
def one_core() -> Iterator[None]:
    """This thread, and those that it starts, on one core."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system cannot hold a process on one core")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    yield
    os.sched_setaffinity(0, before)


class Clock:
    """Milliseconds a frame from the first `tick` to the last."""

    def __init__(self) -> None:
        self.ticks: list[tuple[float, float]] = []

    def tick(self, count: int = 1) -> None:
        self.ticks.append((time.process_time(), time.perf_counter()))

    def cost(self) -> Cost:
        steps = len(self.ticks) - 1
        assert steps == FRAMES - 1
        (cpu, wall), (cpu_end, wall_end) = self.ticks[0], self.ticks[-1]
        return {"cpu": 1e3 * (cpu_end - cpu) / steps, "wall": 1e3 * (wall_end - wall) / steps}


def command(clip: Path, faces: int) -> Cost:
    clock, csv = Clock(), clip.with_suffix(".csv")
    task = jobs.Task(clip, csv, MODEL, faces=faces)
    assert jobs.process(task, clock.tick).status == "done"
    return clock.cost()


def decoding(clip: Path) -> Cost:
    clock = Clock()
    for _ in frames(clip):
        clock.tick()
    return clock.cost()


def mediapipe(images: list[Frame], faces: int) -> Cost:
    clock = Clock()
    with Tracker(MODEL, faces) as tracker:
        for image in images:
            tracker.detect(image)
            clock.tick()
    return clock.cost()


@pytest.mark.parametrize("faces", [FACES, MIN_FACES])
def test_video(benchmark, clip: Path, one_core: None, faces: int) -> None:
    images = list(frames(clip))
    runs: dict[str, Callable[[], Cost]] = {
        COMMAND: lambda: command(clip, faces),
        DECODING: lambda: decoding(clip),
        MEDIAPIPE: lambda: mediapipe(images, faces),
    }
    result = benchmark.pedantic(compare_passes, (runs, 3, 0.0), rounds=1)
    table(f"tracking {WIDTH} x {HEIGHT} on one core, {FRAMES} frames, medians").rows.append(
        {"--faces": str(faces)} | row(result["cpu"], result["wall"])
    )
    benchmark.extra_info |= {name: each.extra() for name, each in result.items()}


def row(cpu: Comparison, wall: Comparison) -> dict[str, str]:
    whole, parts = cpu.medians[COMMAND], cpu.medians
    rest = whole - parts[DECODING] - parts[MEDIAPIPE]
    return {
        "frames / CPU s": f"{1e3 / whole:.1f}",
        "frames / wall s": f"{1e3 / wall.medians[COMMAND]:.1f}",
        "CPU ms a frame": f"{whole:.1f}",
        **{name: f"{parts[name]:.1f}" for name in (DECODING, MEDIAPIPE)},
        "the rest": f"{rest:.1f}",
        "MediaPipe's share": f"{parts[MEDIAPIPE] / whole:.0%}",
        "": wall.void,
    }
