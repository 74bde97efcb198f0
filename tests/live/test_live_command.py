"""`clmer live` over real LSL: streams played at 20 times give what `clmer predict` says of files."""

from __future__ import annotations

import csv
import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.live_cases import (
    ECG,
    EEG,
    FPS,
    FS,
    face_columns,
    face_frames,
    signals,
    train,
    write_study,
)
from support.lsl_senders import Sender, lsl, unique

import clmer
from clmer import predict
from clmer.cli import main

SPEED = 20.0
CHANNELS = (*EEG, *ECG)


@pytest.fixture(scope="module")
def signals_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EEG and ECG of one person, and a run on them that reads a reference."""
    root = write_study(tmp_path_factory.mktemp("reference"), face=False, people=2)
    train(root, "--reference", "calm:12")
    return root


class Played:
    """A recording of the study as streams: [C, n] samples, and their times from 0 s."""

    def __init__(self, study: Path, *, face: bool = True) -> None:
        x = np.round(signals(0), 6)
        self.data = {"device": (x, np.arange(x.shape[1]) / FS)}
        if face:
            frames = face_frames(study / "p0calm-face.csv")
            self.data["face"] = (frames, np.arange(frames.shape[1]) / FPS)

    def without(self, stream: str, lost: np.ndarray) -> Played:
        samples, times = self.data[stream]
        keep = np.setdiff1d(np.arange(len(times)), lost)
        self.data[stream] = (samples[:, keep], times[keep])
        return self


@contextmanager
def playing(
    played: Played,
    chunk: int = 16,
    *,
    order: Sequence[str] = ("device", "face"),
    between: Mapping[float, Callable[[dict[str, Sender]], None]] | None = None,
) -> Iterator[dict[str, str]]:
    """Streams that begin to send once all are read; their names by what they carry.

    `between` are done when the recording has come to their second.
    """
    names = {each: unique(each) for each in played.data}
    formats = {"device": (CHANNELS, FS), "face": (face_columns(), FPS)}
    ended = threading.Event()
    failed: list[BaseException] = []

    def send() -> None:
        senders: dict[str, Sender] = {}
        for each in order:
            if each in names:
                channels, fs = formats[each]
                unit, kind = ("uV", "eeg") if each == "device" else (None, "misc")
                senders[each] = Sender(names[each], channels, fs, units=unit, kinds=kind)
                time.sleep(0.3)
        while not all(sender.outlet.has_consumers for sender in senders.values()):
            if ended.wait(0.05):
                return
        time.sleep(2.5)  # until the last of them compared clocks
        begun, due = lsl.local_clock(), dict(between or {})
        chunks = [
            (times[min(first + chunk, len(times)) - 1], each, first)
            for each, (_, times) in played.data.items()
            for first in range(0, len(times), chunk)
        ]
        for at_s, each, first in sorted(chunks):
            for when in [when for when in due if when <= at_s]:
                due.pop(when)(senders)
            wait_s = at_s / SPEED - (lsl.local_clock() - begun)
            if wait_s > 0 and ended.wait(wait_s):
                return
            samples, times = played.data[each]
            part = slice(first, first + chunk)
            if senders[each].outlet is not None:
                senders[each].send(samples[:, part], begun + times[part])
        ended.wait(60)

    def guarded() -> None:
        try:
            send()
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield names
    finally:
        ended.set()
        thread.join()
    assert not failed


def words(run: Path, names: Mapping[str, str], *more: str) -> list[str]:
    face = ["--face-stream", names["face"]] if "face" in names else []
    return ["live", str(run), "--stream", names["device"], *face, "--threads", "1", *more]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def probabilities(found: Sequence[Mapping[str, str]]) -> np.ndarray:
    return np.array([[float(row["p_angry"]), float(row["p_calm"])] for row in found])


def offline(study: Path, *, face: bool = True) -> np.ndarray:
    trained = clmer.load(study / "run")
    files = predict.files_of([str(study / "p0calm.csv")], trained.modalities)
    recording = predict.read_recording(trained, files, rate=FS)
    table = str(study / "p0calm-face.csv") if face else None
    windows = predict.windows_of(trained, predict.with_face(trained, recording, table))
    return trained.predict_proba(windows.arrays)


@pytest.mark.parametrize(
    ("chunk", "order"),
    [(1, ("device", "face")), (17, ("face", "device")), (64, ("device", "face"))],
)
def test_a_replay_is_what_predict_says(live_study, tmp_path, capsys, chunk, order) -> None:
    out, sent = tmp_path / "s.csv", unique("emotion")
    with playing(Played(live_study), chunk, order=order) as names:
        line = words(live_study / "run", names, "--out", str(out), "--seconds", "8", "--lsl", sent)
        assert main(line) == 0
    found = rows(out)
    want = offline(live_study)
    assert {row["status"] for row in found} == {"ok"}
    assert {row["lost"] for row in found} == {"0"}
    assert len(found) == len(want)
    np.testing.assert_allclose(probabilities(found), want, atol=1e-5)
    starts = np.array([float(row["start_s"]) for row in found])
    np.testing.assert_allclose(np.diff(starts), 1.0, atol=1e-5)
    events = rows(tmp_path / "s-events.csv")
    assert {row["event"] for row in events} <= {"connected", "silent"}  # silent at the end
    said = capsys.readouterr().err
    assert f"{len(want)} windows: {len(want)} ok; latency" in " ".join(said.split())
    assert f"{out}: a row per window" in said
