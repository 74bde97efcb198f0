"""Recordings that hold the same samples, whatever they are called: the audit of leakage.

A file under two names, trials that overlap in one file, one person's recording given to another: a
model that saw one of them has seen the other. Names cannot tell, so samples do.

The samples between one turning point of a channel and the next are counted; `RUNS` such counts in a
row make a word. It survives a change of unit, offset, or rounding, and a cut at another second. A
recording keeps the words whose hash is smallest, about `KEPT` of them, with their places. Two
recordings that share words at one and the same distance share the samples between them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

#: Words kept of a recording, about.
KEPT = 1024
#: Turning points of a word.
RUNS = 24
#: A word whose counts differ by less is a plain rhythm, which two recordings may have in common.
_LEAST_RANGE = 2
#: Shared words at one distance that are no chance.
_LEAST_SHARED = 6
#: A word in more recordings than this is a pattern of the device, not a copy.
_MOST_RECORDINGS = 32


_WEIGHTS = np.random.default_rng(0).integers(1, 2**64 - 1, RUNS, dtype=np.uint64) | np.uint64(1)


def words_of(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """The kept words of a channel [T].

    Returns:
        words [k] uint64; the sample [k] at which each begins; T.
    """
    rising = np.diff(x) > 0
    turns = np.flatnonzero(rising[1:] != rising[:-1])
    runs = np.diff(turns)
    count = len(runs) - RUNS + 1
    if count < 1:
        return np.empty(0, np.uint64), np.empty(0, np.int64), len(x)
    views = sliding_window_view(runs, RUNS)
    varied = views.max(axis=1) - views.min(axis=1) >= _LEAST_RANGE
    words = views.astype(np.uint64) @ _WEIGHTS  # modulo 2^64
    words ^= words >> np.uint64(29)
    words *= _WEIGHTS[0]
    share = min(1.0, KEPT / count)
    small = words >> np.uint64(32) < np.uint64(int(share * 2**32))
    at = np.flatnonzero(varied & small)
    return words[at], turns[at], len(x)


@dataclass(frozen=True)
class Shared:
    """Two recordings that share samples of a modality, and for about how many seconds."""

    one: str
    other: str
    modality: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.one} and {self.other} ({self.modality}, about {self.seconds:.3g} s)"


@dataclass
class Copies:
    """Collects recordings' words, modality by modality."""

    _words: dict[str, list[np.ndarray]] = field(default_factory=dict)
    _places: dict[str, list[np.ndarray]] = field(default_factory=dict)
    _names: dict[str, list[str]] = field(default_factory=dict)
    #: Seconds of a recording for each of its words.
    _scale: dict[str, list[float]] = field(default_factory=dict)

    def add(
        self, name: str, modality: str, found: tuple[np.ndarray, np.ndarray, int], fs: float
    ) -> None:
        """A recording's words, as `words_of` gave them, at `fs` samples a second."""
        words, places, samples = found
        self._words.setdefault(modality, []).append(words)
        self._places.setdefault(modality, []).append(places)
        self._names.setdefault(modality, []).append(name)
        self._scale.setdefault(modality, []).append(samples / fs / max(len(words), 1))

    def shared(self) -> list[Shared]:
        """Every pair of recordings that share samples, the longest stretch first."""
        found: dict[tuple[str, str], Shared] = {}
        for modality in self._names:
            for pair in self._of(modality):
                key = (pair.one, pair.other)
                if key not in found or found[key].seconds < pair.seconds:
                    found[key] = pair
        return sorted(found.values(), key=lambda pair: (-pair.seconds, pair.one, pair.other))

    def _of(self, modality: str) -> list[Shared]:
        names, scale = self._names[modality], self._scale[modality]
        words = np.concatenate(self._words[modality])
        places = np.concatenate(self._places[modality])
        owner = np.repeat(np.arange(len(names)), [len(w) for w in self._words[modality]])
        order = np.argsort(words, kind="stable")
        words, places, owner = words[order], places[order], owner[order]
        edges = np.flatnonzero(np.diff(words)) + 1
        lags: Counter[tuple[int, int, int]] = Counter()
        starts, stops = np.r_[0, edges], np.r_[edges, len(words)]
        for a, b in zip(starts[stops - starts > 1], stops[stops - starts > 1], strict=True):
            if b - a > _MOST_RECORDINGS:
                continue
            for i in range(a, b):
                for j in range(i + 1, b):
                    if owner[i] != owner[j]:
                        lags[owner[i], owner[j], places[j] - places[i]] += 1
        best: dict[tuple[int, int], int] = {}
        for (i, j, _), count in lags.items():
            best[i, j] = max(best.get((i, j), 0), count)
        return [
            Shared(names[i], names[j], modality, count * max(scale[i], scale[j]))
            for (i, j), count in best.items()
            if count >= _LEAST_SHARED
        ]
