"""`clmer live` over real LSL: a replay at 20 times gives what `clmer predict` says of files."""

from __future__ import annotations

import csv
import io
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
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
from support.lsl_senders import Sender, lsl, running_sender, unique

import clmer
from clmer import predict
from clmer.cli import main
from clmer.errors import EXIT_INPUT
from clmer.live import LiveWindow
from clmer.live.lsl import Event, PredictionsOutlet

SPEED = 20.0
CHANNELS = (*EEG, *ECG)


@pytest.fixture(scope="module")
def signals_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EEG and ECG of people, and a run on them that reads a reference."""
    root = write_study(tmp_path_factory.mktemp("reference"), face=False, people=3)
    train(root, "--reference", "calm:6", "--protocol", "subject")
    return root


class Played:
    """A recording as streams: samples [C, n], times [n] from 0 s, and when each is sent."""

    def __init__(self, study: Path, *, face: bool = True, channels: Sequence[str] = CHANNELS):
        x = np.round(signals(0), 6)
        self.samples = {"device": x}
        self.formats = {"device": (channels, FS, "uV", "eeg")}
        if face:
            self.samples["face"] = face_frames(study / "p0calm-face.csv")
            self.formats["face"] = (face_columns(), FPS, None, "misc")
        self.sent = {
            name: np.arange(x.shape[1]) / self.formats[name][1] for name, x in self.samples.items()
        }
        self.times = dict(self.sent)

    def leave_out(self, name: str, lost: np.ndarray) -> None:
        keep = np.setdiff1d(np.arange(len(self.sent[name])), lost)
        self.samples[name] = self.samples[name][:, keep]
        self.sent[name], self.times[name] = self.sent[name][keep], self.times[name][keep]

    def chunks(self, length: int) -> Iterator[tuple[float, str, slice]]:
        """Second of its last sample, stream and samples of each chunk, in the order of sending."""
        yield from sorted(
            (
                (float(sent[first : first + length][-1]), name, slice(first, first + length))
                for name, sent in self.sent.items()
                for first in range(0, len(sent), length)
            ),
            key=lambda chunk: chunk[0],
        )


@contextmanager
def playing(
    played: Played, length: int = 16, order: Sequence[str] = ("device", "face")
) -> Iterator[dict[str, str]]:
    """Streams that begin to send once all are read, in chunks; their names by what they carry."""
    names = {each: unique(each) for each in order if each in played.samples}
    ended, failed = threading.Event(), []

    def send() -> None:
        senders: dict[str, Sender] = {}
        for each, name in names.items():
            channels, fs, unit, kind = played.formats[each]
            senders[each] = Sender(name, channels, fs, units=unit, kinds=kind)
            time.sleep(0.3)
        while not all(sender.outlet.has_consumers for sender in senders.values()):
            if ended.wait(0.05):
                return
        begun = lsl.local_clock()
        for at_s, each, part in played.chunks(length):
            wait_s = at_s / SPEED - (lsl.local_clock() - begun)
            if wait_s > 0 and ended.wait(wait_s):
                return
            senders[each].send(played.samples[each][:, part], begun + played.times[each][part])
        ended.wait(60)

    def guarded() -> None:
        try:
            send()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield names
    finally:
        ended.set()
        thread.join()
    assert failed == []


def words(run: Path, names: Mapping[str, str], *more: str) -> list[str]:
    face = ["--face-stream", names["face"]] if "face" in names else []
    return [
        "live",
        str(run),
        "--stream",
        names["device"],
        *face,
        "--threads",
        "1",
        "--seconds",
        "5",
        *more,
    ]


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
        line = words(live_study / "run", names, "--out", str(out), "--lsl", sent)
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
    said = " ".join(capsys.readouterr().err.split())
    assert f"{len(want)} windows: {len(want)} ok; latency" in said
    assert f"{out}: a row per window" in said


@pytest.mark.slow
def test_windows_with_lost_samples_and_no_others_are_marked(live_study, tmp_path) -> None:
    played = Played(live_study)
    count = len(played.sent["device"])
    lost = np.random.default_rng(5).choice(np.arange(1, count - 1), count // 100, replace=False)
    lost = lost[(lost < 9 * FS) | (lost > 13 * FS)]  # some windows have all
    played.leave_out("device", lost)
    out = tmp_path / "s.csv"
    with playing(played) as names:
        assert main(words(live_study / "run", names, "--out", str(out))) == 0
    found = rows(out)
    inside = [int(((lost / FS >= n) & (lost / FS < n + 2)).sum()) for n in range(len(found))]
    assert len(found) == len(offline(live_study))
    assert 0 in inside
    assert [int(row["lost"]) for row in found] == inside
    marks = ["interpolated" if count else "ok" for count in inside]
    assert [row["status"] for row in found] == marks


@pytest.mark.slow
def test_a_lost_face_gives_no_old_answer(live_study, tmp_path, capsys) -> None:
    played = Played(live_study)
    frames = played.samples["face"]
    column = face_columns().index
    gone = slice(round(8 * FPS), round(12 * FPS))
    frames[:, gone] = np.nan
    frames[column("success"), gone] = frames[column("confidence"), gone] = 0
    out = tmp_path / "s.csv"
    with playing(played) as names:
        assert main(words(live_study / "run", names, "--out", str(out))) == 0
    found = rows(out)
    begin = float(found[0]["start_s"])
    for row in found:
        start_s = float(row["start_s"]) - begin
        has_face = start_s + 2 <= 8 or start_s >= 12
        assert row["status"] == ("ok" if has_face else "no face"), start_s
        assert (row["p_calm"] == "") == (not has_face)
    events = [row["event"] for row in rows(tmp_path / "s-events.csv")]
    assert [each for each in events if each.startswith("face")] == ["face lost", "face back"]
    assert "face lost" in capsys.readouterr().err


@pytest.mark.slow
def test_a_clock_that_is_set_back_begins_anew(live_study, tmp_path) -> None:
    played = Played(live_study)
    for name, times in played.times.items():
        played.times[name] = np.where(times < 10, times, times - 1000.0)
    out = tmp_path / "s.csv"
    with playing(played) as names:
        assert main(words(live_study / "run", names, "--out", str(out))) == 0
    found = rows(out)
    starts = np.array([float(row["start_s"]) for row in found])
    assert (np.diff(starts) < -900).sum() == 1
    assert {row["status"] for row in found} == {"ok"}
    assert "clock jump" in [row["event"] for row in rows(tmp_path / "s-events.csv")]


@pytest.mark.slow
def test_a_program_that_is_killed_and_restarted(signals_study, tmp_path, capsys) -> None:
    name, out = unique("device"), tmp_path / "s.csv"

    def send() -> None:
        for seconds in (9, 12):
            with running_sender(name, CHANNELS, FS):
                time.sleep(seconds)

    thread = threading.Thread(target=send)
    thread.start()
    line = ["live", str(signals_study / "run"), "--stream", name, "--threads", "1"]
    assert main([*line, "--reference", "5", "--seconds", "16", "--out", str(out)]) == 0
    thread.join()
    events = [row["event"] for row in rows(tmp_path / "s-events.csv")]
    order = [each for each in events if each in ("dropped", "back", "gap")]
    assert order == ["dropped", "back", "gap"]
    found = rows(out)
    statuses = [row["status"] for row in found]
    assert statuses[:4] == ["reference"] * 4
    assert set(statuses[4:]) >= {"ok"}
    starts = np.array([float(row["start_s"]) for row in found if row["status"] == "ok"])
    assert np.diff(starts).max() > 1.5  # goes on behind the pause
    said = capsys.readouterr().err
    assert "dropped" in said
    assert "reference: 5 s to go" in said


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["seconds", "file"])
def test_the_reference_comes_first_or_from_before(signals_study, tmp_path, kind) -> None:
    out, said, file = tmp_path / "s.csv", tmp_path / "said.csv", str(signals_study / "p0calm.csv")
    rate = ["--rate", str(FS)]
    line = ["predict", str(signals_study / "run"), file, *rate, "--reference", f"{file}:0-6"]
    assert main([*line, "--out", str(said)]) == 0
    want = probabilities(rows(said))
    reference = "6" if kind == "seconds" else f"{file}:0-6"
    with playing(Played(signals_study, face=False)) as names:
        line = words(signals_study / "run", names, "--reference", reference, "--out", str(out))
        assert main([*line, *(rate if kind == "file" else [])]) == 0
    found = rows(out)
    first = 5 if kind == "seconds" else 0
    assert [row["status"] for row in found] == ["reference"] * first + ["ok"] * (23 - first)
    np.testing.assert_allclose(probabilities(found[first:]), want[first:], atol=1e-5)


@pytest.mark.slow
def test_channels_of_other_names_are_told_and_mapped(signals_study, tmp_path, capsys) -> None:
    channels = (*EEG, "Heart")
    line = ["--reference", "6", "--out", str(tmp_path / "s.csv"), "--seconds", "2"]
    with playing(Played(signals_study, face=False, channels=channels)) as names:
        assert main(words(signals_study / "run", names, *line)) == EXIT_INPUT
        said = " ".join(capsys.readouterr().err.split())
        assert f"{names['device']}: channels of ecg: found" in said
        assert "no ECG, expected all of ECG" in said
        assert "with --map" in said
        assert not (tmp_path / "s.csv").exists()
        line += ["--map", "ECG=Heart"]
        assert main(words(signals_study / "run", names, *line)) == 0


def test_ctrl_c_leaves_complete_files(live_study, tmp_path) -> None:
    out = tmp_path / "s.csv"
    with playing(Played(live_study)) as names:
        line = words(live_study / "run", names, "--seconds", "60", "--out", str(out))
        command = [sys.executable, "-m", "clmer", *line]
        live = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while (not out.exists() or len(rows(out)) < 5) and time.monotonic() < until:
            time.sleep(0.1)
        live.send_signal(signal.SIGINT)
        _, said = live.communicate(timeout=30)
    assert live.returncode == 0, said
    assert out.read_text().endswith("\n")
    found = rows(out)
    assert len(found) >= 5
    assert {row["status"] for row in found} == {"ok"}
    assert rows(tmp_path / "s-events.csv")[0]["event"] == "connected"
    assert f"{len(found)} windows" in " ".join(said.split())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "--stream: found none, expected the name of an LSL stream"),
        (["--stream", "a", "--lsl", "a"], "--lsl: found a, which is read"),
        (["--stream", "a", "--map", "Fz"], "--map: found Fz, expected RUN'S=STREAM'S"),
        (["--stream", "a", "--timeout", "0"], "--timeout: found 0, expected seconds above 0"),
        (["--stream", "a", "--seconds", "-1"], "--seconds: found -1, expected seconds above 0"),
        (["--stream", "a", "--out", "none/s.csv"], "none/s.csv: --out: found no such folder"),
        (["--stream", "a", "--reference", "6"], "--reference: found one, expected none"),
        (["--stream", "a", "--reference", "all"], "--reference all: a session has no end"),
        (["--stream", "none", "--timeout", "1"], "none: stream: found none of that name within"),
    ],
)
def test_what_cannot_be_is_refused_before_it_begins(live_study, capsys, more, said) -> None:
    assert main(["live", str(live_study / "run"), "--threads", "1", *more]) == EXIT_INPUT
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_face_that_the_run_uses_is_asked_for(live_study, capsys) -> None:
    with playing(Played(live_study, face=False)) as names:
        assert main(words(live_study / "run", names)) == EXIT_INPUT
    said = " ".join(capsys.readouterr().err.split())
    assert f"--stream: found {names['device']}, expected a face's too" in said


def test_a_run_with_a_reference_asks_for_one(signals_study, capsys) -> None:
    assert main(["live", str(signals_study / "run"), "--stream", "a"]) == EXIT_INPUT
    said = " ".join(capsys.readouterr().err.split())
    assert "record 6 s of calm of this person (--reference calm:6 in training)" in said


@pytest.mark.parametrize("fault", ["page", "record"])
def test_a_start_that_fails_leaves_no_files(live_study, tmp_path, capsys, fault) -> None:
    record, out = tmp_path / "P1.xdf", tmp_path / "s.csv"
    with playing(Played(live_study)) as names, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        more = ["--out", str(out), "--record", str(record)]
        if fault == "page":
            more += ["--page", f"127.0.0.1:{taken.getsockname()[1]}"]
            said = "page: found"
        else:
            record.with_name("P1-face.csv").write_text("precious")
            said = "P1-face.csv: file: found a recording, expected a new file"
        before = sorted(tmp_path.iterdir())
        assert main(words(live_study / "run", names, *more)) == EXIT_INPUT
        assert said in " ".join(capsys.readouterr().err.split())
        assert sorted(tmp_path.iterdir()) == before


def test_a_recording_in_the_way_is_told_at_once(live_study, tmp_path, capsys) -> None:
    record = tmp_path / "P1.xdf"
    record.write_text("precious")
    line = ["live", str(live_study / "run"), "--stream", "none", "--record", str(record)]
    assert main(line) == EXIT_INPUT
    said = " ".join(capsys.readouterr().err.split())
    assert "P1.xdf: file: found a recording, expected a new file" in said


def test_what_the_run_alone_tells_is_refused_before_streams_are_looked_for(
    signals_study, tmp_path, capsys
) -> None:
    run = str(signals_study / "run")
    began = time.monotonic()
    assert main(["live", run, "--stream", "absent", "--timeout", "600"]) == EXIT_INPUT
    said = " ".join(capsys.readouterr().err.split())
    assert "--reference: found none, expected so many first seconds of the session" in said
    line = ["live", run, "--stream", "absent", "--reference", "6", "--timeout", "600"]
    assert main([*line, "--face-stream", "none"]) == EXIT_INPUT
    assert "--face-stream: found one, expected none" in " ".join(capsys.readouterr().err.split())
    other = train(write_study(tmp_path, face=False), "--filter", "type")
    capsys.readouterr()
    assert main(["live", str(other), "--stream", "absent", "--timeout", "600"]) == EXIT_INPUT
    assert "needs what comes later" in " ".join(capsys.readouterr().err.split())
    assert time.monotonic() - began < 300


def test_a_stream_that_stops_ends_the_answer() -> None:
    """Who reads `--lsl` gets NaN when a stream is silent."""
    sent = unique("emotion")
    outlet = PredictionsOutlet(sent, ("angry", "calm"))
    [info] = lsl.resolve_streams(timeout=20, name=sent, minimum=1)
    inlet = lsl.StreamInlet(info)
    inlet.open_stream(timeout=20)
    outlet.window(LiveWindow(3.0, 5.0, np.array([0.25, 0.75]), "ok", 0, 0.01))
    outlet.event(Event(6.0, "device", "gap"))
    outlet.event(Event(8.0, "device", "silent"))
    got: list[list[float]] = []
    until = time.monotonic() + 20
    while len(got) < 2 and time.monotonic() < until:
        got.extend(np.array(inlet.pull_chunk(timeout=0.2)[0]).tolist())
    assert got[0] == [0.25, 0.75]
    assert len(got) == 2
    assert np.isnan(got[1]).all()
    outlet.close()


@pytest.mark.slow
def test_a_session_is_recorded_and_shown(live_study, tmp_path, capsys) -> None:
    record = tmp_path / "study" / "p7_calm.xdf"
    with playing(Played(live_study)) as names:
        line = words(live_study / "run", names, "--record", str(record), "--page", "127.0.0.1:0")
        assert main(line) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "page: http://127.0.0.1:" in said
    assert f"{record}, {record.with_name('p7_calm-face.csv')}: what came in, for training" in said
    trained = clmer.load(live_study / "run")
    files = predict.files_of([str(record)], trained.modalities)
    face = str(record.with_name("p7_calm-face.csv"))
    recording = predict.with_face(trained, predict.read_recording(trained, files), face)
    windows = predict.windows_of(trained, recording)
    want = offline(live_study)
    np.testing.assert_allclose(trained.predict_proba(windows.arrays), want, atol=1e-5)
