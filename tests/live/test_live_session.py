"""The loop of `clmer live`: what goes where, and what its CSV files and the screen say."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from clmer.errors import DataError
from clmer.live import LiveWindow, StreamCounts
from clmer.live.command.loop import Session, in_turns
from clmer.live.command.screen import Screen
from clmer.live.command.table import Table
from clmer.live.command.watch import Watch
from clmer.live.lsl import Event

OK = LiveWindow(10.0, 12.0, np.array([0.25, 0.75]), "ok", 0, 0.0125)
MARKED = LiveWindow(12.0, 14.0, np.array([0.5, 0.5]), "interpolated", 3, 0.01)
FACELESS = LiveWindow(14.0, 16.0, None, "no face", 0, 0.001)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_every_row_is_in_the_files_at_once(tmp_path: Path) -> None:
    table = Table(str(tmp_path / "s.csv"), ("calm", "=angry"), lambda: 0.0)
    for number, window in enumerate((OK, MARKED, FACELESS), 1):
        table.window(window)
        assert len(rows(tmp_path / "s.csv")) == number
    table.event(Event(13.5, "eeg", "gap", "40 samples lost"))
    found = rows(tmp_path / "s.csv")
    assert list(found[0]) == [
        *("start_s", "stop_s", "time", "status", "lost", "latency_ms"),
        *("class", "p_calm", "p_=angry"),
    ]
    assert [row["class"] for row in found] == ["'=angry", "calm", ""]
    assert [row["p_calm"] for row in found] == ["0.250000", "0.500000", ""]
    assert [row["status"] for row in found] == ["ok", "interpolated", "no face"]
    assert [row["lost"] for row in found] == ["0", "3", "0"]
    assert found[0]["latency_ms"] == "12.500"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", found[0]["time"])
    [event] = rows(tmp_path / "s-events.csv")
    assert [event[name] for name in ("time_s", "stream", "event", "detail")] == [
        *("13.500000", "eeg", "gap", "40 samples lost")
    ]
    table.close()


def test_the_time_of_a_row_is_the_wall_clocks(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_000.0)
    monkeypatch.setenv("TZ", "UTC")
    table = Table(str(tmp_path / "s.csv"), ("a", "b"), lambda: 15.0)
    table.window(OK)  # ended 3 s ago
    assert rows(tmp_path / "s.csv")[0]["time"].startswith("1970-01-12T13:46:37.000")
    table.close()


def test_a_rating_has_one_value(tmp_path: Path) -> None:
    table = Table(str(tmp_path / "s.csv"), (), lambda: 0.0)
    table.window(LiveWindow(0.0, 1.0, np.array(6.25), "ok", 0, 0.0))
    assert rows(tmp_path / "s.csv")[0]["value"] == "6.250000"
    table.close()


@pytest.mark.parametrize("there", ["s.csv", "s-events.csv"])
def test_an_earlier_session_is_not_written_over(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("earlier")
    with pytest.raises(DataError, match="found an earlier session, expected a new file"):
        Table(str(tmp_path / "s.csv"), ("a", "b"), lambda: 0.0)
    assert [path.name for path in tmp_path.iterdir()] == [there]
    with pytest.raises(DataError, match="no such folder"):
        Table(str(tmp_path / "none" / "s.csv"), ("a", "b"), lambda: 0.0)


def test_a_table_without_events_is_not_left(tmp_path: Path, monkeypatch) -> None:
    opened = Path.open

    def full(path: Path, *given, **more):
        if "events" in path.name:
            raise OSError(28, "No space left on device")
        return opened(path, *given, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(DataError, match=r"s-events\.csv: writing: found No space left"):
        Table(str(tmp_path / "s.csv"), ("a", "b"), lambda: 0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch) -> None:
    table = Table(str(tmp_path / "s.csv"), ("calm", "angry"), lambda: 0.0)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(table._windows, "_writer", csv.writer(full))
        monkeypatch.setattr(table._windows, "_file", full)
        with pytest.raises(DataError, match=r"s\.csv: writing: found No space left"):
            table.window(OK)
        full.buffer.raw.close()
    table._events.close()


def test_standard_output_takes_the_windows(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("-", ("calm", "angry"), lambda: 0.0)
    table.window(OK)
    table.event(Event(13.5, "eeg", "gap"))
    table.close()
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert said[1].endswith(",ok,0,12.500,angry,0.250000,0.750000")
    assert table.said() == []
    assert not sys.stdout.closed


def test_what_the_counts_tell() -> None:
    watch, counts = Watch(offset_s=0.0), StreamCounts(last_s=5.0)
    assert watch.pushed("eeg", counts) == []
    counts.gaps, counts.lost = 1, 40
    assert watch.pushed("eeg", counts) == [Event(5.0, "eeg", "gap", "40 samples lost")]
    assert watch.pushed("eeg", counts) == []
    counts.clock_jumps = 1
    assert watch.pushed("eeg", counts) == [Event(5.0, "eeg", "clock jump")]
    assert watch.pushed("face", StreamCounts(clock_jumps=1, last_s=2.0))[0].stream == "face"


def test_a_face_that_goes_and_comes_is_told_once() -> None:
    watch = Watch(offset_s=0.0)
    told = [watch.window(window) for window in (OK, FACELESS, FACELESS, OK, MARKED)]
    assert told == [[], [Event(16.0, "", "face lost")], [], [Event(12.0, "", "face back")], []]
    watch = Watch(offset_s=0.0)
    told = [watch.window(window) for window in (FACELESS, OK)]
    assert told == [[Event(16.0, "", "no face yet")], [Event(12.0, "", "face back")]]


def test_a_window_that_knows_nothing_of_the_face_does_not_bring_it_back() -> None:
    gap = LiveWindow(16.0, 18.0, None, "gap in eeg", 0, 0.001)
    taken = LiveWindow(18.0, 20.0, None, "reference", 0, 0.001)
    watch = Watch(offset_s=0.0)
    told = [watch.window(window) for window in (gap, FACELESS, gap, FACELESS, taken, gap)]
    back = [Event(20.0, "", "face back")]
    assert told == [[], [Event(16.0, "", "no face yet")], [], [], back, []]


@pytest.mark.parametrize(("ppm", "said"), [(20_000.0, "2 % slower"), (-2000.0, "0.2 % faster")])
def test_a_rate_that_is_not_the_streams_is_told_once(ppm: float, said: str) -> None:
    watch, counts = Watch(offset_s=0.0), StreamCounts(drift_ppm=ppm)
    told = []
    for counts.last_s in range(100, 160, 5):
        told += watch.pushed("eeg", counts)
    [event] = told
    assert (event.time_s, event.what) == (130, "note")
    assert f"rate of eeg: its samples come {said} than it states" in event.detail
    counts = StreamCounts(drift_ppm=900.0, last_s=100.0)
    watch.pushed("face", counts)
    counts.last_s = 200.0
    assert watch.pushed("face", counts) == []


def test_a_drift_is_judged_anew_behind_a_jump() -> None:
    watch, counts = Watch(offset_s=0.0), StreamCounts(last_s=100.0)
    watch.pushed("eeg", counts)
    counts.clock_jumps, counts.last_s = 1, 10.0
    assert [event.what for event in watch.pushed("eeg", counts)] == ["clock jump"]
    counts.drift_ppm, counts.last_s = 5000.0, 12.0
    assert watch.pushed("eeg", counts) == []
    counts.last_s = 50.0
    assert [event.what for event in watch.pushed("eeg", counts)] == ["note"]


def test_a_machines_clock_that_is_set_is_told() -> None:
    watch = Watch(offset_s=100.0)
    assert watch.clock(1.0, 100.01) == []
    assert watch.clock(2.0, 96.51) == [Event(2.0, "", "wall clock moved", "by -3.500 s")]
    assert watch.clock(3.0, 96.51) == []


class Stream:
    """A source that brings what it is told."""

    def __init__(self, name: str, chunks: Sequence[int]) -> None:
        self.name, self.is_connected = name, True
        self._chunks, self._sent = list(chunks), 0
        self._events = [Event(0.0, name, "connected")]

    def pull(self) -> tuple[np.ndarray, np.ndarray]:
        count = self._chunks.pop(0) if self._chunks else 0
        times = np.arange(self._sent, self._sent + count) / 250
        self._sent += count
        return times[None], times

    def take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events


class Engine:
    """Gives a window per push."""

    def __init__(self, names: Sequence[str]) -> None:
        self.counts = {name: StreamCounts() for name in names}
        self.notes: list[str] = []

    def push(self, samples: np.ndarray, times: np.ndarray, name: str) -> list[LiveWindow]:
        counts = self.counts[name]
        counts.received += samples.shape[1]
        counts.last_s = float(times[-1])
        if counts.received > 4:
            counts.gaps, counts.lost = 1, 7
        return [LiveWindow(times[0], times[-1], None, name, 0, 0.0)]


def test_streams_are_read_in_turn_and_told_to_all() -> None:
    windows, events, samples, ticks = [], [], [], []
    streams = [Stream("eeg", [3, 0, 4]), Stream("face", [0, 2])]
    engine = Engine(["eeg", "face"])
    engine.notes.append("eeg comes at 250 Hz, in training at 500")
    session = Session(engine, streams, lambda: 0.0)
    session.tell(windows=windows.append, events=events.append)
    session.tell(samples=lambda name, x, times: samples.append((name, x.shape, times.tolist())))
    session.tell(ticks=lambda: ticks.append(1))
    assert [session.step() for _ in range(4)] == [True, True, True, False]
    assert [window.status for window in windows] == ["eeg", "face", "eeg"]
    assert samples == [
        ("eeg", (1, 3), [0, 0.004, 0.008]),
        ("face", (1, 2), [0, 0.004]),
        ("eeg", (1, 4), [0.012, 0.016, 0.02, 0.024]),
    ]
    assert [str(event) for event in events] == [
        *("eeg: connected", "face: connected"),
        "note: eeg comes at 250 Hz, in training at 500",
        "eeg: gap, 7 samples lost",
    ]
    assert len(ticks) == 4
    assert session.summary() == ["eeg: 7 samples, 7 lost, 1 gap", "face: 2 samples"]


def test_a_backlog_is_taken_in_turns() -> None:
    times = {"eeg": 100 + np.arange(1000) / 250, "face": 100.3 + np.arange(100) / 25}
    chunks = [(name, np.arange(len(t))[None], t) for name, t in times.items()]
    parts = list(in_turns(chunks, seconds=0.5))
    for name, t in times.items():
        own = [part for part in parts if part[0] == name]
        np.testing.assert_array_equal(np.hstack([part[2] for part in own]), t)
        np.testing.assert_array_equal(np.hstack([part[1] for part in own])[0], np.arange(len(t)))
    newest = dict.fromkeys(times, 100.0)
    for name, _, t in parts:
        newest[name] = t[-1]
        assert abs(newest["eeg"] - newest["face"]) <= 0.81
    back = np.array([5.0, 6.0, 1.0, 2.0])
    jumped = [part[2].tolist() for part in in_turns([("eeg", back[None], back)], seconds=1.0)]
    assert jumped == [[5.0], [6.0], [1.0], [2.0]]
    late = np.array([5.0, 6.0, 5.9, 6.1])
    own = [part[2].tolist() for part in in_turns([("eeg", late[None], late)], seconds=1.0)]
    assert own == [[5.0], [6.0, 5.9, 6.1]]


def test_a_backlog_in_which_clocks_jump_is_taken_in_turns() -> None:
    """Every stream's samples of before come first, then all of after."""
    back = [np.where(t < 10, t, t - 1000) for t in (np.arange(0, 24, 0.1), np.arange(0, 24, 0.25))]
    chunks = [("eeg", back[0][None], back[0]), ("face", back[1][None], back[1])]
    parts = list(in_turns(chunks, seconds=0.5))
    newest: dict[str, float] = {}
    for name, _, times in parts:
        newest[name] = times[-1]
        if len(newest) == 2 and min(newest.values()) < 0:
            ahead = abs(newest["eeg"] - newest["face"])
            assert ahead <= 0.81 or max(newest.values()) > 9


def test_a_session_ends_when_told_or_after_its_seconds() -> None:
    asked: list[int] = []

    def is_stopped() -> bool:
        asked.append(1)
        return len(asked) > 3

    session = Session(Engine(["eeg"]), [Stream("eeg", [1])], lambda: 0.0)
    session.run(is_stopped, float("inf"))
    assert len(asked) == 4
    session.run(lambda: False, 0.05)


def test_the_screen_says_what_is_now(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr("clmer.live.command.screen.LOG_S", 0.0)
    screen = Screen(("calm", "angry"), {"reference": "--reference"})
    screen.say("give `reference`")
    screen.show(0.0, [])
    screen.show(42.4, [])
    screen.window(OK)
    screen.window(MARKED)
    screen.window(OK)
    screen.show(0.0, [])
    screen.window(FACELESS)
    screen.show(0.0, [])
    screen.show(0.0, ["eeg"])
    screen.event(Event(1.0, "eeg", "dropped", "it is gone"))
    screen.event(Event(2.0, "eeg", "back", "after 1.0 s"))
    screen.show(0.0, [])
    assert capsys.readouterr().err.splitlines() == [
        "give --reference",
        "waiting for the first window",
        "reference: 42 s to go",
        "angry 0.750  latency 12 ms  lost 3  windows 3",
        "no face  latency 1 ms  lost 3  windows 4",
        "waiting for eeg, after 4 windows",
        "eeg: dropped, it is gone",
        "eeg: back, after 1.0 s",
        "waiting for the next window",
    ]
    said = screen.summary()
    assert said == (
        "4 windows: 2 ok, 1 interpolated, 1 no face; latency 12.5 ms (median), 12.5 ms (99 %)"
    )


def test_a_log_has_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen((), {})
    screen.window(LiveWindow(0.0, 1.0, np.array(6.25), "ok", 0, 0.0))
    for _ in range(5):
        screen.show(0.0, [])
    assert capsys.readouterr().err == "6.250  latency 0 ms  lost 0  windows 1\n"
