"""Recordings that hold the same samples, whatever they are called: the audit of leakage.

A file under two names, trials that overlap in one file, one person's recording given to another: a
model that saw one of them has seen the other. Names cannot tell, so samples do.

The samples from one turning point of a channel to the next are counted; `RUNS` such counts in a row
make a word. A word survives a change of unit, offset or rounding, and a cut at another second. A
recording keeps the words whose hash is smallest (MinHash), about `KEPT` of them, with their places.
Two recordings that share words at one and the same distance share the samples between them, where
those words carry enough information: noise in a narrow band turns alike for a while by chance, so
it is counted in bits, and the heights of the turning points have to agree as well as their places.

A slow signal (skin conductance, temperature) turns too seldom for words. Two such recordings are
compared whole, by some of their samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from clmer.data.channels import canonical
from clmer.data.recording import SharedSamples

Interval = tuple[float, float]

#: Words kept of a recording, about.
KEPT = 1024
#: Turning points of a word.
RUNS = 24
#: A word whose counts differ by less is a plain rhythm, which two recordings may have in common.
_LEAST_RANGE = 2
#: Shared words at one distance that are no chance, and their information in bits beyond that of
#: one pair out of all that are compared.
_LEAST_SHARED, _LEAST_BITS = 6, 30.0
#: Turning points of a word whose heights are kept, and how far they may differ, in standard
#: deviations of all its turning points (the median of shared words): a copy's differ by rounding.
_HEIGHTS, _SAME_HEIGHT = (0, 7, 13, 19), 0.1
#: Counts from here on are one, where their information is taken.
_LONGEST = 64
#: A word in more recordings than this is a pattern of the device, not a copy.
_MOST_RECORDINGS = 32
#: A recording with fewer words than this is compared as a whole, by `_POINTS` of its samples.
_FEW = _POINTS = 64
#: Those samples tell nothing where fewer of them differ, a cubic or a sine leaves less of them, or
#: their correlation falls short of 1 by more.
_LEAST_DIFFERENT, _LEAST_REST, _NEAR = 32, (0.05, 0.02), 1e-5


_WEIGHTS = np.random.default_rng(0).integers(1, 2**64 - 1, RUNS, dtype=np.uint64) | np.uint64(1)


class Words(NamedTuple):
    """What is kept of a channel.

    Args:
        words: [k] uint64.
        places: [k] the sample at which each begins.
        numbers: [k] how many turning points there are before it.
        heights: [k, 4] of some of its turning points, standardised over all of them.
        bits: information of the samples between two turning points, given those before.
        samples: how many the channel has.
        sketch: [64] some of them, standardised, of a channel with few words; else empty.
    """

    words: np.ndarray
    places: np.ndarray
    numbers: np.ndarray
    heights: np.ndarray
    bits: float
    samples: int
    sketch: np.ndarray


def words_in(
    channels: Sequence[str], pieces: Sequence[tuple[float, np.ndarray]], fs: float, span: Interval
) -> dict[str, tuple[Words, float]]:
    """The words of some channels within the seconds that windows are made of.

    Args:
        channels: names of the rows.
        pieces: start in seconds and samples [C, T] of every stretch without a pause.
        fs: samples per second.
        span: from when to when, in seconds.

    Returns:
        Words and `fs` by canonical name.
    """
    found = {}
    for row, channel in _compared(tuple(channels)):
        parts = [_within(x[row], start_s, fs, span) for start_s, x in pieces]
        if any(len(part) for part in parts):
            found[channel] = words_of(np.concatenate(parts)), fs
    return found


def _within(x: np.ndarray, start_s: float, fs: float, span: Interval) -> np.ndarray:
    """The samples [T] of a piece that starts at `start_s` that lie in a span of seconds."""
    first, last = (max(0.0, (at - start_s) * fs) for at in span)
    return x[round(first) : None if math.isinf(last) else round(last)]


@lru_cache  # a modality has the same channels in every recording
def _compared(channels: tuple[str, ...]) -> list[tuple[int, str]]:
    """Place and canonical name of the channels that are compared, whatever their order.

    Two of many: one may be dead in one recording alone.
    """
    names = sorted((canonical(name), place) for place, name in enumerate(channels))
    some = dict.fromkeys((0, len(names) - 1) if names else ())
    return [(names[i][1], names[i][0]) for i in some]


def words_of(x: np.ndarray) -> Words:
    """The kept words of a channel [T]."""
    rising = np.diff(x) > 0
    turns = np.flatnonzero(rising[1:] != rising[:-1])
    runs = np.diff(turns)
    count = len(runs) - RUNS + 1
    if count < 1:
        none = np.empty(0, np.int64)
        empty = np.empty((0, len(_HEIGHTS)), np.float32)
        return Words(none.astype(np.uint64), none, none, empty, 0.0, len(x), _sketch(x))
    words = np.convolve(runs.astype(np.uint64), _WEIGHTS[::-1], "valid")  # modulo 2^64
    words ^= words >> np.uint64(29)
    words *= _WEIGHTS[0]
    share = min(1.0, KEPT / count)
    small = words >> np.uint64(32) < np.uint64(int(share * 2**32))
    at = np.flatnonzero(small & (_ranges(runs) >= _LEAST_RANGE))
    sketch = _sketch(x) if len(at) < _FEW else np.empty(0)
    heights = _heights(x[turns + 1], at)
    return Words(words[at], turns[at], at, heights, _information(runs), len(x), sketch)


def _heights(turning: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Heights [k, 4] within the words that begin at some turning points, whose values are [n]."""
    values = np.lib.stride_tricks.sliding_window_view(turning, RUNS + 1)[at].astype(np.float64)
    centred = values[:, _HEIGHTS] - values.mean(1, keepdims=True)
    return (centred / values.std(1, keepdims=True)).astype(np.float32)


def _ranges(runs: np.ndarray) -> np.ndarray:
    """Largest less smallest of every `RUNS` counts in a row [n - RUNS + 1]."""
    high = low = runs
    for step in (1, 2, 4, 8, 8):  # extremes of 2, 4, 8, 16 and 24 counts
        high = np.maximum(high[step:], high[:-step])
        low = np.minimum(low[step:], low[:-step])
    return np.asarray(high - low)


def _information(runs: np.ndarray) -> float:
    """Entropy in bits of a count of samples [n], given the one before."""
    short = np.minimum(runs, _LONGEST - 1)
    found = (np.bincount(x) for x in (short[:-1] * _LONGEST + short[1:], short))
    shares = (counts[counts > 0] / counts.sum() for counts in found)
    of_both, of_one = (float(-(p * np.log2(p)).sum()) for p in shares)
    return max(0.0, of_both - of_one)


def _sketch(x: np.ndarray) -> np.ndarray:
    """Standardised samples [64], evenly spaced, of a channel [T]; empty where they tell nothing."""
    some = x[np.linspace(0, len(x) - 1, _POINTS).round().astype(np.int64)] if len(x) else x
    if len(x) < _POINTS or not np.isfinite(some).all() or np.ptp(some) == 0:
        return np.empty(0)
    some = (some - some.mean()) / some.std()
    if len(np.unique(some.round(6))) < _LEAST_DIFFERENT:
        return np.empty(0)
    t = np.linspace(-1, 1, _POINTS)
    trend = np.polynomial.Polynomial.fit(t, some, 3)(t)
    power = np.abs(np.fft.rfft(some * np.hanning(_POINTS)))[1:] ** 2
    at = int(power.argmax())
    rests = (some - trend).std(), 1 - power[max(0, at - 2) : at + 3].sum() / power.sum()
    return some if all(r > least for r, least in zip(rests, _LEAST_REST, strict=True)) else t[:0]


@dataclass(frozen=True)
class _Channel:
    """One channel of one recording, at `fs` samples per second."""

    name: str
    words: Words
    fs: float

    @property
    def scale(self) -> float:
        """Seconds of the recording for each of its words."""
        return self.words.samples / self.fs / max(len(self.words.words), 1)


@dataclass
class DuplicateFinder:
    """Collects recordings' words, channel by channel."""

    _channels: dict[tuple[str, str], list[_Channel]] = field(default_factory=dict)

    def add(self, name: str, modality: str, words: Words, fs: float, channel: str = "") -> None:
        """A recording's words of a channel, at `fs` samples per second."""
        self._channels.setdefault((modality, channel), []).append(_Channel(name, words, fs))

    def shared(self, known: Sequence[SharedSamples] = ()) -> list[SharedSamples]:
        """Every pair of recordings that share samples, the longest stretch first.

        Args:
            known: pairs that the files' names tell.
        """
        found = {(each.one, each.other): each for each in known if each.length > 0}
        for (modality, _), channels in self._channels.items():
            for one, other, seconds in (*_by_words(channels), *_by_sketches(channels)):
                key = (one, other)
                if (other, one) not in found and (key not in found or found[key].length < seconds):
                    found[key] = SharedSamples(one, other, modality, seconds)
        return sorted(found.values(), key=lambda pair: (-pair.length, pair.one, pair.other))


def _by_words(channels: Sequence[_Channel]) -> Iterator[tuple[str, str, float]]:
    """Pairs that share words at one distance, and for how many seconds."""
    words = np.concatenate([each.words.words for each in channels])
    places = np.concatenate([each.words.places for each in channels])
    numbers = np.concatenate([each.words.numbers for each in channels])
    heights = np.concatenate([each.words.heights for each in channels])
    owner = np.repeat(np.arange(len(channels)), [len(each.words.words) for each in channels])
    bits = _LEAST_BITS + 2 * math.log2(max(len(words), 1))
    ordered = np.sort(words)
    several = ordered[1:][ordered[1:] == ordered[:-1]]
    rows = np.flatnonzero(np.isin(words, several)) if several.size else np.empty(0, np.int64)
    rows = rows[np.argsort(words[rows], kind="stable")]
    words, places, numbers, owner = words[rows], places[rows], numbers[rows], owner[rows]
    heights = heights[rows]
    edges = np.flatnonzero(np.diff(words)) + 1
    lags: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    for a, b in zip(np.r_[0, edges], np.r_[edges, len(words)], strict=True):
        if b - a > _MOST_RECORDINGS:
            continue
        for i in range(a, b):
            for j in range(i + 1, b):
                if owner[i] != owner[j]:
                    lag = owner[i], owner[j], places[j] - places[i]
                    lags.setdefault(lag, []).append((i, j))
    best: dict[tuple[int, int], int] = {}
    for (i, j, _), pairs in lags.items():
        if len(pairs) < _LEAST_SHARED:
            continue
        at = np.array(pairs)
        informed = _information_of(numbers[at[:, 0]], channels[i], channels[j]) > bits
        if informed and _same_heights(heights[at[:, 0]], heights[at[:, 1]]):
            best[i, j] = max(best.get((i, j), 0), len(at))
    for (i, j), count in best.items():
        one, other = channels[i], channels[j]
        yield one.name, other.name, count * max(one.scale, other.scale)


def _same_heights(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether heights [k, 4] of shared words are those of a copy, whose sign may have changed."""
    apart = (np.median(np.abs(one - sign * other).max(1)) for sign in (1, -1))
    return bool(min(apart) <= _SAME_HEIGHT)


def _information_of(at: np.ndarray, one: _Channel, other: _Channel) -> float:
    """Bits of the shared words that begin at these turning points."""
    turns = np.minimum(np.diff(np.unique(at)), RUNS).sum() + RUNS
    return float(turns * min(one.words.bits, other.words.bits))


def _by_sketches(channels: Sequence[_Channel]) -> Iterator[tuple[str, str, float]]:
    """Pairs of slow recordings of one length that agree in all of some samples."""
    alike: dict[tuple[int, float], list[_Channel]] = {}
    for each in channels:
        if len(each.words.sketch):
            alike.setdefault((each.words.samples, each.fs), []).append(each)
    for (samples, fs), same in alike.items():
        sketches = np.stack([each.words.sketch for each in same])
        near = np.abs(sketches @ sketches.T) > _POINTS * (1 - _NEAR)
        for i, j in np.argwhere(np.triu(near, 1)):
            yield same[i].name, same[j].name, samples / fs
