"""When a table's rows were sampled: units and forms of times, lost samples, counters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from clmer.data.formats.biosignal import open_biosignal
from clmer.data.formats.tables.times import lost_by_counter, lost_by_time
from clmer.errors import DataError

RNG = np.random.default_rng(0)


def write(path: Path, **columns: Sequence[object]) -> Path:
    """A table of columns by name, "__" in which is a space; EEG in uV is added."""
    count = len(next(iter(columns.values())))
    every = {**columns, "Fp1 [uV]": [f"{x:.3f}" for x in np.arange(count) % 97 - 50.0]}
    lines = [",".join(name.replace("__", " ") for name in every)]
    lines += [",".join(map(str, row)) for row in zip(*every.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "rate", [4, 32, 51.2, 64, 102.4, 128, 130, 204.8, 250, 256, 500, 512, 1000]
)
@pytest.mark.parametrize(
    ("name", "scale", "digits", "start"),
    [("time", 1.0, 3, 0), ("Time [s]", 1.0, 4, 5), ("timestamp_ms", 1e3, 0, 0),
     ("t (us)", 1e6, 0, 7),
     ("Timestamp [ns]", 1e9, 0, 0), ("timestamps", 1.0, 6, 1.7e9), ("unix", 1e3, 3, 1.7e9),
     ("LocalTimestamp", 1e6, 0, 1.7e9), ("time", 1e9, 0, 1.7e9)],
)  # fmt: skip
def test_units_and_rates(
    tmp_path: Path, rate: float, name: str, scale: float, digits: int, start: float
) -> None:
    seconds = [f"{(start + i / rate) * scale:.{digits}f}" for i in range(round(8 * rate))]
    file = open_biosignal(write(tmp_path / "a.csv", **{name: seconds}))
    assert file.fs == rate
    assert file.duration_s == pytest.approx(len(seconds) / rate)
    assert len(file.signal(["Fp1"]).line.pieces) == 1


@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%fZ", "%d.%m.%Y %H:%M:%S.%f", "%H:%M:%S.%f",
     "%Y-%m-%dT%H:%M:%S.%f+01:00", "%I:%M:%S.%f %p", "%M:%S.%f", "%m/%d/%Y %H:%M:%S:%f"],
)  # fmt: skip
def test_clock_times_go_on_at_midnight(tmp_path: Path, form: str) -> None:
    start = datetime(2024, 2, 29, 23, 59, 58)
    stamps = [(start + timedelta(seconds=i / 128)).strftime(form) for i in range(128 * 6)]
    pause = stamps[:300] + stamps[428:]
    file = open_biosignal(write(tmp_path / "a.csv", TimeStamp=pause))
    assert file.fs == 128.0
    first, second = file.signal(["Fp1"]).line.pieces
    assert (first.stop, second.start_s) == (300, 428 / 128)
    assert any("128 samples (1 s) are missing in 1 place, by its times" in n for n in file.notes)


def test_a_pause_is_no_pause_of_the_clock(tmp_path: Path) -> None:
    kept = np.r_[0:700, 950:1300, 1301:2000]
    file = open_biosignal(write(tmp_path / "a.csv", time=[f"{i / 250:.3f}" for i in kept]))
    signal = file.signal(["Fp1"])
    pieces = [(p.start_s, p.first, p.stop) for p in signal.line.pieces]
    assert pieces == [(0, 0, 700), (3.8, 700, 1050), (pytest.approx(1301 / 250), 1050, 1749)]
    assert file.duration_s == 8.0
    inside = file.signal(["Fp1"], 2.9, 4.0)  # begins in the pause
    assert [p.start_s for p in inside.line.pieces] == [pytest.approx(0.9)]
    np.testing.assert_array_equal(inside.data[0], np.arange(700, 750) % 97 - 50.0)


def test_bursts_jitter_and_slow_clocks_are_no_loss(tmp_path: Path) -> None:
    i = np.arange(2560)
    for seconds in (
        np.ceil(i / 12) * 12 / 256,  # handed on in twelves
        i / 256 + RNG.uniform(-0.003, 0.003, len(i)),
        i / 255.8,
        np.floor(i / 256),  # full seconds
    ):
        file = open_biosignal(write(tmp_path / "a.csv", timestamps=[f"{s:.6f}" for s in seconds]))
        assert file.fs in (256.0, 255.8)
        assert len(file.signal(["Fp1"]).line.pieces) == 1, file.notes


@pytest.mark.parametrize(
    ("modulus", "step", "first"), [(256, 1, 0), (16, 1, 5), (256, 2, 0), (128, 1, 0), (0, 1, 9)]
)
def test_a_wrapped_counter_is_no_gap_and_a_jump_is_one(
    tmp_path: Path, modulus: int, step: int, first: int
) -> None:
    count = (first + step * np.arange(3000)) % (modulus or 10**9)
    kept = np.r_[0:1000, 1003:2050, 2051:3000]
    path = tmp_path / "a.csv"
    path.write_text(
        "%Sample Rate = 250 Hz\nSample Index, EXG Channel 0\n"
        + "".join(f"{c}, {i * i % 97}.5\n" for i, c in zip(kept, count[kept], strict=True))
    )
    file = open_biosignal(path)
    pieces = [(round(p.start_s * 250), p.first) for p in file.signal(["EXG Channel 0"]).line.pieces]
    assert pieces == [(0, 0), (1003, 1000), (2051, 2047)]
    assert any("4 samples (0.016 s) are missing in 2 places" in note for note in file.notes)


def test_counter_and_times_together_count_each_loss_once() -> None:
    kept = np.r_[0:1000, 1003:2000, 2512:4000]  # the second gap is two turns of the counter
    lost, wraps = lost_by_counter(kept % 256) or (np.zeros(0), 0)
    assert wraps == 256
    assert np.flatnonzero(lost).tolist() == [999]
    index = np.arange(len(kept)) + np.concatenate([[0], np.cumsum(lost[:-1])])
    more = lost_by_time(kept / 250, 250.0, index)
    assert {int(i): int(more[i]) for i in np.flatnonzero(more)} == {1996: 512}
    assert lost_by_counter(np.repeat(np.arange(100), 2)) is None  # two samples per packet
    assert lost_by_counter(RNG.integers(0, 256, 1000)) is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"time": ["1.7E+09"] * 200}, r"time: found the same time in all rows.*spreadsheet"),
        ({"time": range(200)}, r"steps of 1 of an unknown unit.*time \[ms\].*column rate"),
        ({"time": range(0, 20000, 100)}, r"steps of 100 of an unknown unit"),
        ({"Time [s]": [i * 1000 for i in range(200)]}, r"Time: found steps of 1000 s"),
        ({"x": [i**0.5 for i in range(200)]}, r"rate: found no column of times"),
    ],
)
def test_times_that_tell_nothing(
    tmp_path: Path, columns: dict[str, Sequence[object]], message: str
) -> None:
    path = write(tmp_path / "a.csv", **columns)
    with pytest.raises(DataError, match=message):
        open_biosignal(path)


def test_a_stated_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", time=range(0, 800, 4))
    assert open_biosignal(path, rate=250.0).duration_s == pytest.approx(0.8)
    with pytest.raises(DataError, match=r"100 Hz in the manifest, expected the times' 250\.0 Hz"):
        open_biosignal(path, rate=100.0)
    path = write(tmp_path / "b.csv", **{"time [ms]": range(0, 8000, 4)})
    with pytest.raises(DataError, match=r"128 Hz in the manifest, expected the times' 250\.0 Hz"):
        open_biosignal(path, rate=128.0)
    path = write(tmp_path / "c.csv", time=["1.7E+09"] * 200)
    file = open_biosignal(path, rate=100.0)
    assert file.duration_s == 2.0
    assert any("time is counted by the rate" in note for note in file.notes)


@pytest.mark.parametrize(
    ("start", "step", "rate", "unit"),
    [(4.5e14, 1e7, 100.0, "ns"), (2e11, 16667, 60.0, "us"), (1.8e8, 8, 125.0, "ms"),
     (3e10, 4000, 250.0, "us"), (8.64e13, 4e6, 250.0, "ns"), (5e5, 4, 250.0, "ms")],
)  # fmt: skip
def test_times_since_a_device_was_switched_on(
    tmp_path: Path, start: float, step: float, rate: float, unit: str
) -> None:
    file = open_biosignal(
        write(tmp_path / "a.csv", timestamp=[int(start + i * step) for i in range(3000)])
    )
    assert file.fs == pytest.approx(rate, rel=1e-4)
    assert file.duration_s == pytest.approx(3000 / rate, rel=1e-4)
    assert any(f"is taken for {unit}" in note for note in file.notes)


def test_slow_dates_and_an_uptime_as_large_as_a_date(tmp_path: Path) -> None:
    """1e15 is September 2001 in us, and two weeks in ns."""
    slow = write(tmp_path / "a.csv", time=[1_700_000_000_000 + 1000 * i for i in range(200)])
    assert open_biosignal(slow).fs == 1.0
    either = write(tmp_path / "b.csv", time=[10**15 + 10**7 * i for i in range(2000)])
    with pytest.raises(DataError, match=r"steps of 1e\+07 of an unknown unit.*time \[ms\]"):
        open_biosignal(either)
    assert open_biosignal(either, rate=100.0).duration_s == pytest.approx(20.0)


def two_numbers(seconds: Sequence[int], unit: int) -> list[str]:
    """Clock times of two numbers: mm:ss where a unit is a second, hh:mm where it is a minute."""
    return [f"{s // unit // 60:02d}:{s // unit % 60:02d}" for s in seconds]


@pytest.mark.parametrize("rate", [1, 4, 16])
def test_two_numbers_of_a_clock_are_minutes_and_seconds(tmp_path: Path, rate: int) -> None:
    seconds = [3300 + i // rate for i in range(600 * rate)]  # past the hour
    file = open_biosignal(write(tmp_path / "a.csv", time=two_numbers(seconds, 1)))
    assert (file.fs, file.duration_s) == (rate, 600.0)
    assert any("time (55:00) is taken for mm:ss" in note for note in file.notes)
    again = [f"{s // 60 % 60:02d}:{s % 60:02d}" for s in seconds]  # 59:59, 00:00
    assert open_biosignal(write(tmp_path / "b.csv", time=again)).duration_s == 600.0


def test_two_numbers_of_a_clock_that_may_be_hours(tmp_path: Path) -> None:
    fast = [i // 250 for i in range(250 * 60)]
    path = write(tmp_path / "a.csv", time=two_numbers(fast, 1))
    with pytest.raises(DataError, match=r"times such as '00:00'.*hours, minutes and.*column rate"):
        open_biosignal(path)
    file = open_biosignal(path, rate=250.0)
    assert (file.fs, file.duration_s) == (250.0, 60.0)
    hours = [86160 + i // 50 for i in range(50 * 600)]  # 23:56, past midnight
    cells = two_numbers([s % 86400 for s in hours], 60)
    file = open_biosignal(write(tmp_path / "b.csv", time=cells), rate=50.0)
    assert (file.fs, file.duration_s) == (50.0, pytest.approx(600.0))
    assert any("time (23:56) is taken for hh:mm" in note for note in file.notes)
    dated = [f"31.01.2024 {cell}" for cell in two_numbers([60 * i for i in range(200)], 60)]
    assert open_biosignal(write(tmp_path / "c.csv", time=dated)).fs == pytest.approx(1 / 60, 1e-3)


@pytest.mark.parametrize(("rate", "stated"), [(249.0, 250.0), (250.1, 250.0), (256.05, None)])
def test_a_clock_that_drifts_is_no_stated_rate(
    tmp_path: Path, rate: float, stated: float | None
) -> None:
    seconds = [f"{i / rate:.5f}" for i in range(round(200 * rate))]
    file = open_biosignal(write(tmp_path / "a.csv", time=seconds), rate=stated)
    assert file.duration_s == pytest.approx(len(seconds) / rate, abs=2e-3)
    assert any("Hz by its times (time), 250 Hz" in note for note in file.notes) == bool(stated)


def test_a_clock_that_drifts_is_no_rate_of_a_device(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = (f"{1.7e9 + i / 255.1:.5f},{i % 97},{i % 89},{i % 83},{i % 79},0" for i in range(51020))
    path.write_text("timestamps,TP9,AF7,AF8,TP10,Right AUX\n" + "\n".join(rows) + "\n")
    file = open_biosignal(path)
    assert file.duration_s == pytest.approx(200.0, abs=2e-3)
    assert any("255.1 Hz by its times" in note for note in file.notes)
