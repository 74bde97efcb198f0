"""Stamps to samples: what is lost, late, twice; jitter, drift and jumps."""

from __future__ import annotations

import numpy as np
import pytest

from clmer.live.clock import Placed, SampleClock

FS = 500.0


def placed(clock: SampleClock, stamps: np.ndarray, size: int = 16) -> list[Placed]:
    out = []
    for at in range(0, len(stamps), size):
        for each in clock.place(stamps[at : at + size]):
            out.append(each._replace(first=each.first + at, stop=each.stop + at))
    return out


def kept(runs: list[Placed]) -> np.ndarray:
    return np.concatenate([np.arange(each.first, each.stop) for each in runs])


@pytest.mark.parametrize("size", [1, 7, 64, 5000])
def test_stamps_on_the_grid_are_one_piece(size: int) -> None:
    clock = SampleClock(FS, 12)
    runs = placed(clock, 1234.5 + np.arange(5000) / FS, size)
    assert [each.anew for each in runs] == [True] + [False] * (len(runs) - 1)
    np.testing.assert_array_equal(kept(runs), np.arange(5000))
    at = [each.first for each in runs]
    np.testing.assert_allclose([each.start_s for each in runs], 1234.5 + np.array(at) / FS)
    assert clock.counts.lost == clock.counts.gaps == 0
    assert abs(clock.drift_s) < 1e-9


@pytest.mark.parametrize("size", [1, 7, 64, 5000])
def test_every_lost_sample_is_told(size: int) -> None:
    number = np.arange(5000)
    rng = np.random.default_rng(0)
    number = np.setdiff1d(number, rng.choice(np.arange(1, 4999), 50, replace=False))
    clock = SampleClock(FS, 12)
    runs = placed(clock, 10 + number / FS, size)
    assert clock.counts.lost == 50
    for each in runs:
        np.testing.assert_allclose(each.start_s, 10 + number[each.first] / FS)
        assert each.lost == (0 if each.first == 0 else np.diff(number)[each.first - 1] - 1)


def test_a_long_gap_begins_a_piece_on_the_same_grid() -> None:
    number = np.setdiff1d(np.arange(5000), np.arange(1000, 1300))
    clock = SampleClock(FS, 12)
    anew = [each for each in placed(clock, number / FS, 64) if each.anew]
    assert [each.first for each in anew] == [0, 1000]
    assert anew[1].start_s == pytest.approx(1300 / FS)
    assert (clock.counts.lost, clock.counts.gaps) == (300, 1)


def test_samples_that_come_twice_or_late_are_left_out() -> None:
    number = np.concatenate([np.arange(100), [99], np.arange(100, 200), np.arange(180, 260)])
    clock = SampleClock(FS, 12)
    runs = placed(clock, number / FS, 32)
    np.testing.assert_array_equal(number[kept(runs)], np.arange(260))
    assert (clock.counts.repeated, clock.counts.late, clock.counts.lost) == (1, 20, 0)


@pytest.mark.parametrize("size", [8, 16, 64])
def test_chunks_stamped_as_they_are_sent_lose_nothing(size: int) -> None:
    rng = np.random.default_rng(1)
    exact = np.arange(30_000) / FS
    late = np.repeat(rng.gamma(2, 0.002, -(-30_000 // size)), size)[:30_000]
    late[15_000:15_064] += 0.15  # a stall
    clock = SampleClock(FS, 12)
    runs = placed(clock, 7 + exact + late, size)
    np.testing.assert_array_equal(kept(runs), np.arange(30_000))
    assert sum(each.anew for each in runs) == 1
    assert clock.counts.lost <= 1
    assert abs(clock.drift_s - (late.mean() - late[0])) < 0.003


@pytest.mark.parametrize("size", [8, 25, 50])
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_packets_whose_samples_are_stamped_one_after_the_other_lose_nothing(size, chunk) -> None:
    """As a program sends them that pushes each sample of a packet by itself."""
    number = np.arange(10_000)
    last = (number // size + 1) * size - 1
    stamps = 50 + last / 250 + (number % size) * 4e-6
    clock = SampleClock(250.0, 6)
    runs = placed(clock, stamps, chunk)
    np.testing.assert_array_equal(kept(runs), number)
    assert sum(each.anew for each in runs) == 1
    assert clock.counts.lost <= size
    assert (clock.counts.repeated, clock.counts.late) == (0, 0)


@pytest.mark.parametrize("samples", [3.4, 50.4, 100.6])
def test_a_gap_may_shift_the_grid(samples: float) -> None:
    stamps = np.arange(3000) / FS
    stamps[1500:] += samples / FS
    clock = SampleClock(FS, 2)
    anew = [each for each in placed(clock, stamps) if each.anew]
    assert [each.first for each in anew] == [0, 1500]
    assert anew[1].start_s == pytest.approx(stamps[1500])
    assert clock.counts.lost == round(samples)


def test_lost_samples_behind_a_gap_that_shifts_the_grid_are_told() -> None:
    number = np.setdiff1d(np.arange(5000), np.arange(2000, 5000, 97))
    stamps = number / FS + np.where(number > 1000, 60.4 / FS, 0.0)
    clock = SampleClock(FS, 12)
    placed(clock, stamps)
    assert clock.counts.lost == 60 + len(np.arange(2000, 5000, 97))


def test_a_device_clock_that_is_off_loses_no_gap() -> None:
    number = np.setdiff1d(np.arange(40_000), np.arange(20_000, 20_381))
    clock = SampleClock(2048.0, 51)
    placed(clock, number / 2048 * (1 + 100e-6))
    assert (clock.counts.lost, clock.counts.gaps) == (381, 1)


def test_every_lost_sample_of_a_slow_stream_is_told_though_stamps_jitter() -> None:
    rng = np.random.default_rng(4)
    number = np.setdiff1d(np.arange(960), np.arange(100, 900, 31))
    stamps = number / 4 + rng.uniform(0, 0.02, len(number))
    clock = SampleClock(4.0, 1)
    placed(clock, stamps, 1)
    assert clock.counts.lost == len(np.arange(100, 900, 31))
    assert abs(clock.drift_s) < 0.03


def test_a_gap_is_told_among_stamps_that_jitter() -> None:
    rng = np.random.default_rng(1)
    number = np.setdiff1d(np.arange(10_000), np.arange(5000, 5500))
    stamps = number / FS + np.repeat(rng.gamma(2, 0.001, 594), 16)[: len(number)]
    clock = SampleClock(FS, 12)
    anew = [each for each in placed(clock, stamps) if each.anew]
    assert [each.first for each in anew] == [0, 5000]
    assert anew[1].start_s == pytest.approx(11.0, abs=0.02)
    assert clock.counts.lost == pytest.approx(500, abs=5)


def test_a_clock_that_drifts_is_followed() -> None:
    stamps = np.arange(100_000) / FS * (1 + 50e-6)  # 200 s
    clock = SampleClock(FS, 12)
    runs = placed(clock, stamps, 50)
    assert len(kept(runs)) == 100_000
    assert clock.drift_s == pytest.approx(50e-6 * 200, abs=2e-3)
    assert clock.counts.drift_ppm == pytest.approx(50, rel=0.1)


def test_a_clock_that_goes_back_starts_anew() -> None:
    stamps = np.concatenate([100 + np.arange(500) / FS, 40 + np.arange(500) / FS])
    clock = SampleClock(FS, 12)
    runs = placed(clock, stamps, 100)
    assert [each.first for each in runs if each.jumped] == [500]
    assert clock.counts.clock_jumps == 1
    assert runs[-1].start_s == pytest.approx(40 + 400 / FS)


def test_stamps_that_are_no_times() -> None:
    with pytest.raises(ValueError, match="not finite"):
        list(SampleClock(FS, 12).place(np.array([1.0, np.nan])))
