"""LSL streams over loopback: found by name, described, read, dropped and taken up again."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest
from support.lsl_senders import Sender, lsl, running_sender, unique

from clmer.errors import ConfigError, DataError
from clmer.live import LiveWindow, StreamFormat
from clmer.live.lsl import PredictionsOutlet, Source, open_sources
from clmer.live.lsl.description import unit_text
from clmer.live.lsl.source import followed

FS = 250.0


def pulled(source: Source, count: int, within_s: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    """So many samples of a source, and their times."""
    until = time.monotonic() + within_s
    samples, times = source.pull()
    while times.size < count and time.monotonic() < until:
        time.sleep(0.01)
        more, later = source.pull()
        samples, times = np.hstack([samples, more]), np.hstack([times, later])
    return samples, times


def happened(source: Source) -> list[str]:
    return [event.what for event in source.take_events()]


def until_event(source: Source, what: str, within_s: float = 15.0) -> list[str]:
    """What happened up to an event; the source is read meanwhile."""
    until, found = time.monotonic() + within_s, []
    while what not in found and time.monotonic() < until:
        source.pull()
        found += happened(source)
        time.sleep(0.02)
    assert what in found
    return found


def test_samples_and_times_come_as_they_were_sent() -> None:
    name = unique("eeg")
    sender = Sender(name, ["Fp1", "Fp2", "ECG"], FS)
    [source] = open_sources([name], timeout_s=10)
    assert source.format == StreamFormat(("Fp1", "Fp2", "ECG"), FS, ("microvolts",) * 3)
    data = np.random.default_rng(0).standard_normal((3, 90))
    times = lsl.local_clock() + np.arange(90) / FS
    for first, stop in ((0, 1), (1, 64), (64, 90)):
        sender.send(data[:, first:stop], times[first:stop])
    samples, found = pulled(source, 90)
    np.testing.assert_array_equal(samples, data)
    np.testing.assert_allclose(found, times, atol=1e-9)
    assert samples.flags.owndata
    assert happened(source) == ["connected"]
    assert source.pull()[0].shape == (3, 0)


def test_streams_may_start_later_and_in_any_order() -> None:
    first, second, lines = unique("one"), unique("two"), []
    senders = []

    def start() -> None:
        senders.append(Sender(second, ["A"], FS))
        time.sleep(0.7)
        senders.append(Sender(first, ["B"], FS))

    later = threading.Timer(0.7, start)
    later.start()
    sources = open_sources([first, second], timeout_s=20, say=lines.append)
    later.join()
    assert [source.format.channels for source in sources] == [("B",), ("A",)]
    assert lines == [f"waiting for {first} and {second}, up to 20 s"]


def test_streams_that_run_already_begin_together() -> None:
    names = [unique("one"), unique("two")]
    with running_sender(names[0], ["A"], FS), running_sender(names[1], ["B"], FS):
        sources = open_sources(names, timeout_s=20)
        first, second = (pulled(source, 100)[1] for source in sources)
    assert abs(first[0] - second[0]) < 0.2  # opening one takes a second


def test_a_stream_that_is_not_there_is_told_with_those_that_are() -> None:
    name = unique("headset")
    sender = Sender(name, ["A", "B"], FS)
    wrong = name.replace("headset", "haedset")
    with pytest.raises(DataError, match=r"none of that name within 1 s") as caught:
        open_sources([wrong], timeout_s=1)
    assert f"{name} (EEG, 2 channels at 250 Hz)" in str(caught.value)
    assert f"Did you mean {name}?" in str(caught.value)
    sender.stop()


def test_text_and_events_are_refused() -> None:
    text, events = unique("markers"), unique("events")
    words, irregular = Sender(text, 1, FS, units=None, dtype="string"), Sender(events, 1, 0.0)
    with pytest.raises(DataError, match=f"{text}: samples of the stream: found text"):
        open_sources([text], timeout_s=10)
    with pytest.raises(DataError, match=f"{events}: rate of the stream: found an irregular one"):
        open_sources([events], timeout_s=10)
    words.stop()
    irregular.stop()


def test_two_of_a_name_are_told_apart_by_source_id() -> None:
    name = unique("twin")
    twins = [Sender(name, [label], FS, source_id=f"{name}-{label}") for label in ("L", "R")]
    with pytest.raises(DataError, match=f"2, with the source ids {name}-L, {name}-R"):
        open_sources([name], timeout_s=10)
    [source] = open_sources([f"{name}-R"], timeout_s=10)
    assert source.format.channels == ("R",)
    with pytest.raises(ConfigError, match="expected each stream once"):
        open_sources([name, name], timeout_s=1)
    for twin in twins:
        twin.stop()


def test_what_a_description_leaves_out() -> None:
    name = unique("bare")
    sender = Sender(name, 3, FS, units=None)
    [source] = open_sources([name], timeout_s=10, unit="mV")
    assert source.format == StreamFormat(("1", "2", "3"), FS, ("mV",) * 3)
    sender.stop()
    again = unique("again")
    sender = Sender(again, ["A", "B", "A"], FS)
    with pytest.raises(DataError, match=f"{again}: channels: found A more than once"):
        open_sources([again], timeout_s=10)
    sender.stop()


@pytest.mark.parametrize(
    ("text", "kind", "unit"),
    [
        ("microvolts", "eeg", "microvolts"),
        ("-6", "eeg", "uV"),
        ("0", "EEG", "V"),
        ("0", "gsr", "S"),
        ("0", "misc", ""),
        ("-3", "ecg", "mV"),
        ("", "eeg", ""),
    ],
)
def test_units_of_mne_streams(text: str, kind: str, unit: str) -> None:
    assert unit_text(text, kind) == unit


def test_another_machines_clock_is_followed_without_its_jitter() -> None:
    rng, offset, fs = np.random.default_rng(0), 5.0, 512
    found = []
    for chunk in range(4000):  # of 16 samples; the true correction grows by 50 us a second
        true = 5.0 + 5e-5 * chunk * 16 / fs
        offset = followed(offset, true + 1e-4 * rng.standard_normal(), 16 / fs)
        found.append((offset, true))
    offsets, true = np.array(found).T
    assert np.abs(offsets - true).max() < 2e-4
    assert np.abs(np.diff(offsets)).max() * fs < 0.01  # of a sample
    assert followed(5.0, 8.0, 0.01) == 8.0


@pytest.mark.slow
def test_a_program_that_is_killed_and_restarted() -> None:
    name = unique("killed")
    with running_sender(name, ["A"], FS):
        [source] = open_sources([name], timeout_s=20)
        pulled(source, 50)
        assert source.is_connected
    assert until_event(source, "dropped")[-1] == "dropped"
    assert not source.is_connected
    with running_sender(name, ["A"], FS):
        assert until_event(source, "back", within_s=30)[-1] == "back"
        samples, times = pulled(source, 50)
    np.testing.assert_array_equal(np.diff(samples[0]), 1)
    np.testing.assert_allclose(np.diff(times), 1 / FS, atol=1e-9)


@pytest.mark.slow
def test_a_stream_that_is_closed_and_opened_again() -> None:
    name = unique("closed")
    sender = Sender(name, ["A"], FS)
    [source] = open_sources([name], timeout_s=10)
    sender.stop()
    until_event(source, "dropped")
    sender = Sender(name, ["A"], FS)
    assert until_event(source, "back") == ["back"]
    sender.send(np.full((1, 5), 2.0), lsl.local_clock() + np.arange(5) / FS)
    assert pulled(source, 5)[0].tolist() == [[2.0] * 5]
    assert source.is_connected
    sender.stop()


@pytest.mark.slow
def test_another_stream_of_the_name_does_not_take_its_place() -> None:
    name = unique("other")
    sender = Sender(name, ["A"], FS)
    [source] = open_sources([name], timeout_s=10)
    sender.stop()
    until_event(source, "dropped")
    sender = Sender(name, ["A", "B"], FS)
    assert until_event(source, "refused") == ["refused"]
    for _ in range(30):
        time.sleep(0.05)
        source.pull()
    assert happened(source) == []
    sender.stop()
    sender = Sender(name, ["A"], FS)
    until_event(source, "back")
    sender.stop()


def test_a_silent_stream_is_told() -> None:
    name = unique("silent")
    sender = Sender(name, ["A"], FS)
    [source] = open_sources([name], timeout_s=10)
    assert until_event(source, "silent") == ["connected", "silent"]
    assert not source.is_connected
    sender.send(np.ones((1, 2)), lsl.local_clock() + np.arange(2) / FS)
    pulled(source, 2)
    assert happened(source) == ["back"]
    assert source.is_connected


def test_probabilities_go_out_with_the_time_of_their_windows_end() -> None:
    name = unique("emotion")
    outlet = PredictionsOutlet(name, ("calm", "angry"))
    [info] = lsl.resolve_streams(timeout=10, name=name)
    inlet = lsl.StreamInlet(info)
    inlet.open_stream(timeout=10)
    assert inlet.get_sinfo(timeout=10).get_channel_names() == ["calm", "angry"]
    assert info.sfreq == 0
    outlet.window(LiveWindow(10.0, 12.0, np.array([0.25, 0.75]), "ok", 0, 0.01))
    outlet.window(LiveWindow(12.0, 14.0, None, "no face", 0, 0.01))
    first, first_s = inlet.pull_sample(timeout=10)
    np.testing.assert_array_equal(first, [0.25, 0.75])
    second, second_s = inlet.pull_sample(timeout=10)
    assert np.isnan(second).all()
    assert (first_s, second_s) == (12.0, 14.0)
    outlet.close()


def test_without_mne_lsl_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mne_lsl", None)
    monkeypatch.delitem(sys.modules, "mne_lsl.lsl", raising=False)
    with pytest.raises(DataError, match=r"clmer\[live\]"):
        open_sources(["any"], timeout_s=1)
