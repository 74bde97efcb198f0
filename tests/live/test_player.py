"""Recordings and face series over LSL: what arrives is what the files hold, at exact times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.lsl_streams import import_lsl, unique, while_receiving
from support.video_cases import make_face

from clmer import cli
from clmer.data.face import AU_NAMES, read_face
from clmer.data.recording import Signal
from clmer.data.timeline import Piece, Timeline
from clmer.data.video.table import TableWriter
from clmer.errors import ConfigError
from clmer.live.senders.player import Track, channel_units, play, read_face_track, read_track


@pytest.fixture
def face_csv(tmp_path: Path) -> Path:
    """30 frames at 30 a second of `clmer video`, of which 10 in a row have no face."""
    path = tmp_path / "face.csv"
    with TableWriter(path) as table:
        for i in range(30):
            table.add(i / 30, None if 10 <= i < 20 else make_face(0), 1)
        table.finish()
    return path


@pytest.fixture
def array(tmp_path: Path) -> Path:
    path = tmp_path / "signal.npy"
    np.save(path, np.random.default_rng(0).standard_normal((3, 700)))
    return path


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_a_recording_arrives_whole_at_exact_times(array: Path, chunk: int) -> None:
    lsl = import_lsl()
    name = unique("headset")
    track = read_track(array, name, "eeg", rate=700.0, unit="mV", chunk=chunk)
    before, t0 = lsl.local_clock(), []
    got = while_receiving({name: 700}, lambda: t0.append(play([track], speed=5, wait=True)))[name]
    assert before < t0[0] < lsl.local_clock()
    np.testing.assert_array_equal(got.samples, 1e3 * np.load(array))
    np.testing.assert_array_equal(got.times, t0[0] + np.arange(700) / 700)
    assert got.info.get_channel_names() == ["ch1", "ch2", "ch3"]
    assert got.info.get_channel_units() == ["uV"] * 3
    assert got.info.get_channel_types() == ["EEG"] * 3
    assert (got.info.stype, got.info.sfreq) == ("EEG", 700.0)


def test_a_signal_and_a_face_share_their_time_0(array: Path, face_csv: Path) -> None:
    import_lsl()
    names = {unique("headset"): 700, unique("face"): 30}
    headset, face = names
    tracks = [read_track(array, headset, rate=700.0), read_face_track(face_csv, face)]
    got = while_receiving(names, lambda: play(tracks, speed=5, wait=True))
    np.testing.assert_allclose(got[headset].times[0], got[face].times[0], atol=1e-9)
    np.testing.assert_allclose(np.diff(got[face].times), 1 / 30, atol=2e-6)  # as written
    series = read_face(face_csv)
    rows = dict(zip(got[face].info.get_channel_names(), got[face].samples, strict=True))
    np.testing.assert_array_equal(rows["success"], series.valid)
    assert rows["success"].sum() == 20
    assert np.isnan(rows["X_0"][10:20]).all()
    seen = series.valid
    for i in (0, 30, 67):
        for axis, letter in enumerate("XYZ"):
            row = rows[f"{letter}_{i}"][seen]
            np.testing.assert_array_equal(row, series.landmarks[seen, i, axis])
    for i, au in enumerate(AU_NAMES):
        np.testing.assert_array_equal(rows[f"{au}_r"][seen], series.au_intensity[seen, i])
        np.testing.assert_array_equal(rows[f"{au}_c"][seen], series.au_presence[seen, i])
    np.testing.assert_array_equal(rows["gaze_angle_y"][seen], series.gaze[seen, 1])
    assert "<tracker>MediaPipe</tracker>" in got[face].info.as_xml


def test_chunks_leave_in_order_when_their_last_sample_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import_lsl()
    sent: list[tuple[str, float]] = []
    monkeypatch.setattr(
        "clmer.live.outlets.Outlet.push",
        lambda self, samples, times: sent.append((self.name.split("-")[0], float(times[-1]))),
    )
    slow = _track(unique("slow"), fs=10.0, count=5)
    fast = replace(_track(unique("fast"), fs=100.0, count=50), chunk=20)
    t0 = play([slow, fast], speed=50)
    at = [(name, round(time - t0, 6)) for name, time in sent]
    assert at == [
        *(("slow", 0.0), ("slow", 0.1), ("fast", 0.19), ("slow", 0.2), ("slow", 0.3)),
        *(("fast", 0.39), ("slow", 0.4), ("fast", 0.49)),
    ]


def test_the_speed_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.5 s at twice the speed: by the time that passes between sleeps, not by the processor."""
    import_lsl()
    slept: list[float] = []
    monkeypatch.setattr("clmer.live.senders.player.time.sleep", slept.append)
    play([_track(unique("slow"), fs=10.0, count=6)], speed=2)
    assert len(slept) == 5
    np.testing.assert_allclose(slept, np.arange(1, 6) / 10 / 2, atol=0.04)


def test_a_pause_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Timeline(100.0, (Piece(0.0, 0, 3), Piece(5.0, 3, 5)))
    signal = Signal(np.zeros((1, 5)), 100.0, ("Cz",), ("eeg",), timeline=line)
    monkeypatch.setattr("clmer.live.senders.player.read_file", lambda *args, **given: signal)
    track = read_track(Path("p01.edf"), "headset")
    np.testing.assert_allclose(track.times, [0, 0.01, 0.02, 5, 5.01])
    assert track.length_s == pytest.approx(5.02)


def test_units_of_several_kinds() -> None:
    kinds = ("eeg", "gsr", "resp")
    mixed = Signal(np.zeros((3, 2)), 10.0, ("Cz", "EDA", "belt"), kinds, unit="mixed")
    assert channel_units(mixed) == ("uV", "uS", "")
    assert channel_units(replace(mixed, unit="uV")) == ("uV",) * 3


def test_pixels_have_no_depth(tmp_path: Path) -> None:
    path = tmp_path / "pixels.csv"
    columns = [f"{axis}_{i}" for axis in "xy" for i in range(68)]
    rows = np.random.default_rng(0).uniform(100, 300, (12, len(columns)))
    lines = [",".join(["frame", "timestamp", "confidence", "success", *columns])]
    lines += [
        ",".join([str(i + 1), f"{i / 25:.3f}", "1", "1", *(f"{v:.1f}" for v in row)])
        for i, row in enumerate(rows)
    ]
    path.write_text("\n".join(lines))
    track = read_face_track(path, "face")
    assert track.channels == ("confidence", "success", *columns)
    assert track.units == ("", "", *["px"] * 136)
    np.testing.assert_allclose(track.data[2:, 4], rows[4], atol=0.051)


def test_eegmat_is_sent_as_clmer_reads_it(clmer_data: Path) -> None:
    path = clmer_data / "eegmat" / "Subject00_2.edf"
    track = read_track(path, "headset")
    assert (track.channels[0], track.channels[-1]) == ("Fp1", "ECG")
    assert (track.fs, track.units[0], track.kinds[-1]) == (500.0, "uV", "ECG")
    eeg = read_track(path, "headset", "eeg")
    np.testing.assert_array_equal(eeg.data, track.data[: len(eeg.channels)])
    assert set(eeg.kinds) == {"EEG"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"speed": 0.0}, "`speed`: found 0"),
        ({"speed": float("inf")}, "`speed`: found inf"),
        ({"twice": True}, "`stream`: found one, one"),
    ],
)
def test_what_cannot_be_played(given: dict[str, float], said: str) -> None:
    track = _track("one", fs=10.0, count=2)
    tracks = [track] * (1 + bool(given.pop("twice", False)))
    with pytest.raises(ConfigError, match=said):
        play(tracks, **given)


def test_the_command(array: Path, face_csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import_lsl()
    headset, face = unique("headset"), unique("face")
    words = ["play", array, "--stream", headset, "--rate", 700, "--unit", "uV", "--speed", 20]
    words += ["--face", face_csv, "--face-stream", face, "--wait", "--chunk", 8]
    codes: list[int] = []
    got = while_receiving({headset: 700, face: 30}, lambda: codes.append(cli.main(_texts(words))))
    assert codes == [0]
    assert got[headset].samples.shape == (3, 700)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{headset}: 3 channels at 700 Hz, 1.0 s"
    assert said[1].startswith(f"{face}: ")
    assert said[-1] == "1.0 s sent"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "recording: found none"),
        (["absent.edf"], "absent.edf: file: found nothing"),
        (["absent.edf", "--chunk", "0"], "--chunk: found 0"),
    ],
)
def test_the_commands_errors(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["play", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def _texts(words: list[object]) -> list[str]:
    return [str(word) for word in words]


def _track(name: str, fs: float, count: int) -> Track:
    return Track(
        name=name,
        kind="EEG",
        channels=("Cz",),
        units=("uV",),
        fs=fs,
        times=np.arange(count) / fs,
        data=np.zeros((1, count)),
    )
