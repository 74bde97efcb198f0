"""A session's files: what came in is what is read, up to a kill; a prediction is no label."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.video_cases import make_face

from clmer import cli
from clmer.data.face import read_face
from clmer.data.formats.biosignal import open_biosignal
from clmer.data.formats.xdf_writer import XdfWriter
from clmer.data.manifest.reader import read_file
from clmer.data.video.table import STREAM_COLUMNS, STREAM_UNITS, TableWriter, stream_values
from clmer.errors import DataError
from clmer.live import LiveWindow, StreamFormat
from clmer.live.record import Recorder

pyxdf = pytest.importorskip("pyxdf", reason="needs the extra xdf")
T0 = 1234.5


HEADSET = StreamFormat(("Fp1", "Fp2", "Cz"), 250.0, ("uV", "uV", "uV"))
FACE = StreamFormat(STREAM_COLUMNS, 30.0, STREAM_UNITS)


def window(
    start_s: float, stop_s: float, values: np.ndarray | None, status: str = "ok"
) -> LiveWindow:
    return LiveWindow(start_s, stop_s, values, status, lost=0, latency_s=0.004)


def samples(count: int, seed: int = 0) -> np.ndarray:
    return 20 * np.random.default_rng(seed).standard_normal((3, count))


def load(path: Path, **given: Any) -> dict[str, Any]:
    """A file's streams by name, by pyxdf."""
    found, _ = pyxdf.load_xdf(path, **given)
    return {stream["info"]["name"][0]: stream for stream in found}


@pytest.mark.parametrize("chunk", [1, 32, 500])
def test_what_came_in_is_read(tmp_path: Path, chunk: int) -> None:
    data, times = samples(1000), T0 + np.arange(1000) / 250
    with Recorder(tmp_path / "p1.xdf", {"headset": HEADSET}, ("calm", "tense")) as recorder:
        for first in range(0, 1000, chunk):
            part = slice(first, first + chunk)
            recorder.add("headset", data[:, part], times[part])
        recorder.add_window(window(T0, T0 + 2, np.array([0.25, 0.75])))
        recorder.add_window(window(T0 + 2, T0 + 4, None, "gap in eeg"))
        recorder.add_window(window(T0 + 1, T0 + 3, np.array([0.5, 0.5]), "interpolated"))
        recorder.event("headset: dropped", T0 + 1.5)
        recorder.event("headset: back")
    assert recorder.paths == [tmp_path / "p1.xdf"]
    signal = read_file(recorder.paths[0], "eeg")
    np.testing.assert_array_equal(signal.data, data)
    assert (signal.channels, signal.fs, signal.unit) == (HEADSET.channels, 250.0, "uV")
    raw = load(recorder.paths[0], dejitter_timestamps=False)
    np.testing.assert_array_equal(raw["headset"]["time_stamps"], times)
    np.testing.assert_array_equal(raw["headset"]["time_series"], data.T)
    assert raw["headset"]["footer"]["info"]["sample_count"] == ["1000"]
    assert float(raw["headset"]["footer"]["info"]["last_timestamp"][0]) == times[-1]
    said = raw["clmer predictions"]
    assert [row[0] for row in said["time_series"]] == [
        "prediction over 2 s: calm 0.2500, tense 0.7500",
        "prediction over 2 s: gap in eeg",
        "prediction over 2 s: calm 0.5000, tense 0.5000 (interpolated)",
    ]
    np.testing.assert_array_equal(said["time_stamps"], [T0, T0 + 2, T0 + 1])
    events = raw["clmer events"]
    assert [row[0] for row in events["time_series"]] == ["headset: dropped", "headset: back"]
    np.testing.assert_array_equal(events["time_stamps"], [T0 + 1.5, times[-1]])


def test_a_gap_is_a_pause(tmp_path: Path) -> None:
    times = T0 + np.concatenate([np.arange(500), np.arange(500) + 1000]) / 250
    with Recorder(tmp_path / "p1.xdf", {"headset": HEADSET}) as recorder:
        recorder.add("headset", samples(1000), times)
    pieces = read_file(tmp_path / "p1.xdf", "eeg").line.pieces
    assert [(round(p.start_s, 6), p.first, p.stop) for p in pieces] == [(0, 0, 500), (4, 500, 1000)]


def test_a_face_beside_it_is_the_face_that_came(tmp_path: Path) -> None:
    """The face's first frames came before the first sample, and are no part of the session."""
    times, faces = T0 + np.arange(1000) / 250, [make_face(i % 5) for i in range(120)]
    lost = range(50, 70)
    with Recorder(tmp_path / "p1.xdf", {"headset": HEADSET, "face": FACE}) as recorder:
        for i in range(-5, 120):
            values = stream_values(None if i in lost else faces[i], 1)
            recorder.add("face", values[:, None], [T0 + i / 30])
            if i == 0:
                recorder.add("headset", samples(1000), times)
    with TableWriter(tmp_path / "offline.csv") as table:
        for i in range(120):
            table.add(i / 30, None if i in lost else faces[i], 1)
        table.finish()
    live, offline = read_face(recorder.paths[1]), read_face(tmp_path / "offline.csv")
    assert recorder.paths[1] == tmp_path / "p1-face.csv"
    assert live.tracker == "MediaPipe"
    assert live.fps == pytest.approx(offline.fps, rel=1e-4)
    np.testing.assert_array_equal(live.valid, offline.valid)
    assert (~live.valid).sum() == 20
    for name in ("landmarks", "au_intensity", "au_presence", "gaze"):
        np.testing.assert_array_equal(
            getattr(live, name)[live.valid], getattr(offline, name)[live.valid], err_msg=name
        )


def test_a_session_of_a_face_alone(tmp_path: Path) -> None:
    with Recorder(tmp_path / "p1.xdf", {"face": FACE}) as recorder:
        for i in range(30):
            recorder.add("face", stream_values(make_face(i), 1)[:, None], [T0 + i / 30])
    assert len(read_face(tmp_path / "p1-face.csv").valid) == 30


def test_a_folder_of_sessions_is_a_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """People and labels are told by the files' names; predictions and events make no trials."""
    for person in ("S1", "S2", "S3"):
        for label in ("calm", "tense"):
            path = tmp_path / "study" / f"{person}_{label}.xdf"
            with Recorder(path, {"headset": HEADSET, "face": FACE}, ("calm", "tense")) as recorder:
                recorder.add("headset", samples(2000, int(person[1])), T0 + np.arange(2000) / 250)
                for i in range(240):
                    recorder.add("face", stream_values(make_face(i), 1)[:, None], [T0 + i / 30])
                for start in (0, 2, 4):
                    said = window(T0 + start, T0 + start + 4, np.array([0.9, 0.1]))
                    recorder.add_window(said)
                recorder.event("face: face lost")
    assert open_biosignal(path).markers == ()
    assert cli.main(["manifest", str(tmp_path / "study")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "3: S1, S2, S3" in said
    assert "2 per person: calm, tense" in said
    rows = (tmp_path / "study" / "manifest.csv").read_text().splitlines()
    assert rows[0] == "subject,trial,label,modality,path"
    assert len(rows) == 1 + 3 * 2 * 2
    assert "S1,calm,calm,face,S1_calm-face.csv" in rows
    assert "S1,calm,calm,eeg,S1_calm.xdf" in rows


def test_a_file_cut_anywhere_is_read_up_to_there(tmp_path: Path) -> None:
    data, times = samples(1000), T0 + np.arange(1000) / 250
    recorder = Recorder(tmp_path / "p1.xdf", {"headset": HEADSET})
    flushed = []
    for first in range(0, 1000, 100):
        recorder.add("headset", data[:, first : first + 100], times[first : first + 100])
        recorder.flush()
        flushed.append((recorder.paths[0].stat().st_size, first + 100))
    recorder.close()
    whole = recorder.paths[0].read_bytes()
    for size in np.random.default_rng(1).integers(flushed[1][0], len(whole), 25).tolist():
        cut = tmp_path / f"cut{size}.xdf"
        cut.write_bytes(whole[:size])
        known = max(count for end, count in flushed if end <= size)
        signal = read_file(cut, "eeg")
        assert known <= signal.data.shape[1] < known + 100 or known == 1000
        np.testing.assert_array_equal(signal.data, data[:, : signal.data.shape[1]])


_SESSION = """
import sys, time, numpy as np
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_record import FACE, HEADSET, T0, samples, stream_values, make_face
from clmer.live import LiveWindow, StreamFormat
from clmer.live.record import Recorder
recorder = Recorder(Path(sys.argv[1]), {"headset": HEADSET, "face": FACE})
for i in range(10_000):
    recorder.add("headset", samples(25, i), T0 + np.arange(25 * i, 25 * i + 25) / 250)
    recorder.add("face", stream_values(make_face(i), 1)[:, None], [T0 + i / 10])
    if i == 40:
        recorder.flush()
        print("flushed", flush=True)
    time.sleep(0.002)
"""


def test_a_killed_session_is_there_up_to_its_last_flush(tmp_path: Path) -> None:
    path = tmp_path / "p1.xdf"
    command = [sys.executable, "-c", _SESSION, str(path), str(Path(__file__).parent)]
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"flushed\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    signals = read_file(path, "eeg")
    assert signals.data.shape[1] >= 41 * 25
    wanted = np.concatenate([samples(25, i) for i in range(signals.data.shape[1] // 25)], axis=1)
    np.testing.assert_array_equal(signals.data, wanted)
    assert any("interrupted" in note for note in open_biosignal(path).notes)
    assert len(read_face(tmp_path / "p1-face.csv").valid) >= 41


def test_a_second_of_samples_is_all_that_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("clmer.live.record.time.monotonic", lambda: now[0])
    most = 0
    with Recorder(tmp_path / "p1.xdf", {"headset": HEADSET, "face": FACE}) as recorder:
        for i in range(2000):
            now[0] = i / 30
            recorder.add("headset", samples(8), T0 + (8 * i + np.arange(8)) / 250)
            recorder.add("face", stream_values(None, 0)[:, None], [T0 + now[0]])
            waiting = [stream.waiting for stream in recorder._files._xdf._streams]
            most = max(most, *waiting, len(recorder._files.faces["face"]._lines))
    assert 200 < most <= 8 * 31


@pytest.mark.parametrize("taken", ["p1.xdf", "p1-face.csv"])
def test_a_recording_is_never_written_over(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("precious")
    with pytest.raises(DataError, match=f"{taken}: file: found a recording, expected a new file"):
        Recorder(tmp_path / "p1.xdf", {"headset": HEADSET, "face": FACE})
    assert [path.name for path in tmp_path.iterdir()] == [taken]


def test_a_start_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, channels: Any) -> None:
        raise DataError(path, "writing", "a full disk", "a writable disk")

    monkeypatch.setattr("clmer.live.record._FaceTable", full)
    with pytest.raises(DataError, match="p1-face.csv: writing: found a full disk"):
        Recorder(tmp_path / "p1.xdf", {"headset": HEADSET, "face": FACE})
    assert list(tmp_path.iterdir()) == []


def test_samples_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    data, times = samples(1000), T0 + np.arange(1000) / 250
    bad = data.copy()
    bad[1, 300:310], bad[0, 700] = np.nan, np.inf
    with Recorder(tmp_path / "p1.xdf", {"headset": HEADSET}) as recorder:
        for first in range(0, 1000, 100):
            part = slice(first, first + 100)
            recorder.add("headset", bad[:, part], times[part])
    good = np.isfinite(bad).all(axis=0)
    raw = load(recorder.paths[0], dejitter_timestamps=False)
    np.testing.assert_array_equal(raw["headset"]["time_stamps"], times[good])
    np.testing.assert_array_equal(raw["headset"]["time_series"], data[:, good].T)
    events = raw["clmer events"]
    said = "headset: samples that are not finite in every channel are not recorded"
    assert [row[0] for row in events["time_series"]] == [said]
    np.testing.assert_array_equal(events["time_stamps"], times[[300]])


@pytest.mark.parametrize("first", ["headset", "face"])
@pytest.mark.parametrize("back_s", [1000.0, 2.0])
def test_a_clock_that_jumps_back_begins_further_files(
    tmp_path: Path, first: str, back_s: float
) -> None:
    """Whichever stream is the first to jump, second 0 of the new files is behind the jump."""
    (tmp_path / "p1-2-face.csv").write_text("precious")
    data = samples(2000)
    times, frames = T0 + np.arange(2000) / 250, T0 + np.arange(240) / 30
    times[1000:] -= back_s
    frames[120:] -= back_s
    with Recorder(tmp_path / "p1.xdf", {"headset": HEADSET, "face": FACE}) as recorder:
        for i in range(81):  # a tenth of a second each; a stream is one behind the other
            n = i if first == "headset" else i - 1
            part = slice(max(0, 25 * n), max(0, 25 * n + 25))
            recorder.add("headset", data[:, part], times[part])
            n = i if first == "face" else i - 1
            for at in range(max(0, 3 * n), min(240, max(0, 3 * n + 3))):
                values = stream_values(make_face(at), 1)[:, None]
                recorder.add("face", values, frames[at : at + 1])
    names = ["p1.xdf", "p1-face.csv", "p1-3.xdf", "p1-3-face.csv"]
    assert [path.name for path in recorder.paths] == names
    for path, part, said in (
        (recorder.paths[0], slice(0, 1000), "clock jump: goes on in p1-3.xdf"),
        (recorder.paths[2], slice(1000, 2000), "clock jump: goes on from p1.xdf"),
    ):
        raw = load(path, dejitter_timestamps=False)
        np.testing.assert_array_equal(raw["headset"]["time_stamps"], times[part])
        np.testing.assert_array_equal(raw["headset"]["time_series"], data[:, part].T)
        assert [row[0] for row in raw["clmer events"]["time_series"]] == [said]
    for path in recorder.paths[1::2]:
        seconds = np.loadtxt(path, delimiter=",", skiprows=1, usecols=0)
        assert 114 <= len(seconds) <= 120
        assert (np.diff(seconds) > 0).all()
        assert seconds[-1] == pytest.approx(4 - 1 / 30, abs=0.15)


def test_a_stream_that_does_not_jump_with_the_first_is_kept(tmp_path: Path) -> None:
    belt = StreamFormat(("Resp",), 10.0)
    times, others = T0 + np.arange(5000) / 250, T0 + np.arange(200) / 10
    times[2500:] -= 1000
    with Recorder(tmp_path / "p1.xdf", {"headset": HEADSET, "belt": belt}) as recorder:
        for i in range(20):
            recorder.add("headset", samples(250), times[250 * i : 250 * i + 250])
            recorder.add("belt", np.ones((1, 10)), others[10 * i : 10 * i + 10])
    kept = load(tmp_path / "p1-2.xdf", dejitter_timestamps=False)["belt"]["time_stamps"]
    np.testing.assert_array_equal(kept, others[140:])


def test_a_folder_gets_a_file_called_by_the_time(tmp_path: Path) -> None:
    with Recorder(tmp_path / "sessions", {"headset": HEADSET}) as recorder:
        recorder.add("headset", samples(10), T0 + np.arange(10) / 250)
    (path,) = (tmp_path / "sessions").iterdir()
    assert recorder.paths == [path]
    assert path.match("live-????????-??????.xdf")


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path / "p1.xdf", {"headset": HEADSET})
    recorder.add("headset", samples(10), T0 + np.arange(10) / 250)

    class Full:
        closed = False

        def write(self, content: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(recorder._files._xdf, "_file", Full())
    with pytest.raises(DataError, match="p1.xdf: writing: found No space left on device"):
        recorder.flush()


def test_shapes_and_names_are_checked(tmp_path: Path) -> None:
    with Recorder(tmp_path / "p1.xdf", {"headset": HEADSET}) as recorder:
        with pytest.raises(ValueError, match=r"samples \(3, 5\) and timestamps \(4,\)"):
            recorder.add("headset", samples(5), np.arange(4))
        with pytest.raises(ValueError, match="found stream 'belt', expected headset"):
            recorder.add("belt", samples(5), np.arange(5))


def test_names_and_units_of_any_letters(tmp_path: Path) -> None:
    writer = XdfWriter(tmp_path / "a.xdf")
    stream = writer.add_stream("A & B <1>", "EEG", ("Fp1",), 250, ("µV",))
    writer.add(stream, np.ones((1, 4)), np.arange(4) / 250)
    writer.close()
    found = load(tmp_path / "a.xdf")["A & B <1>"]
    (channel,) = found["info"]["desc"][0]["channels"][0]["channel"]
    assert (channel["label"], channel["unit"]) == (["Fp1"], ["µV"])


def test_which_stream_is_a_face() -> None:
    assert StreamFormat(STREAM_COLUMNS, 25.0).is_face
    assert not StreamFormat(("Fp1", "AU", "x_0"), 25.0).is_face
