"""One signal at the common rate: filter, then resample, piece by piece of what was recorded.

Filtering comes first, at the native rate and over the whole recording with its baseline, forwards
and backwards (zero phase), so that no inner window sees an edge; then polyphase resampling; then
the baseline goes. Both happen piece by piece where a recording has pauses (`clmer.data.timeline`).

`filter=causal` filters forwards alone and resamples from samples that have come by then, a piece in
one push of what `clmer.live` pushes chunk by chunk: `CausalFilter`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from clmer.data.recording import Recording, Signal
from clmer.data.registry import Band
from clmer.data.store.plan import WindowPlan
from clmer.data.store.segments import Segment
from clmer.errors import DataError
from clmer.signal import Resampler, Stream, butter_bandpass, resample, sosfiltfilt


class SkipRecording(Exception):
    """A recording that cannot be used, and why."""


@lru_cache
def filter_of(band: Band, fs: float) -> tuple[np.ndarray | None, str]:
    """The second-order sections of a band at a rate, None for no filter; and what to call it."""
    if band is None:
        return None, "as recorded"
    low, high = band
    if high is not None and high >= fs / 2:
        high = None  # there is nothing above it to remove
    if low is None and high is None:
        return None, "as recorded"
    text = f"{low:g}-{high:g} Hz" if low and high else f"above {low:g} Hz" if low else ""
    return butter_bandpass(low, high, fs), text or f"below {high:g} Hz"


def rows_by_band(plan: WindowPlan, kinds: Sequence[str]) -> dict[Band, slice | list[int]]:
    """The rows of each pass band, as a slice where they are neighbours, by their types."""
    bands = [plan.band(kind) for kind in kinds]
    return {
        band: _as_slice([row for row, each in enumerate(bands) if each == band])
        for band in dict.fromkeys(bands)
    }


class CausalFilter:
    """Channels filtered by their bands, then resampled, from what has come by then.

    Starts from the steady state of each channel's first sample. Any chunking gives the same bits as
    one pass.

    Args:
        bands: rows by band, from `rows_by_band`.
        fs_in: rate of what is pushed, Hz.
        fs_out: the common rate, Hz.
    """

    def __init__(
        self, bands: Mapping[Band, slice | list[int]], fs_in: float, fs_out: float
    ) -> None:
        sections = ((rows, filter_of(band, fs_in)[0]) for band, rows in bands.items())
        self._streams = [(rows, Stream(sos)) for rows, sos in sections if sos is not None]
        self._resampler = Resampler(fs_in, fs_out)

    def push(self, chunk: np.ndarray) -> np.ndarray:
        """The next samples [C, n], finite; [C, m] float32 at the common rate.

        Raises:
            ValueError: samples that are not finite, or another number of channels.
        """
        x = np.array(chunk, np.float64)
        for rows, stream in self._streams:
            x[rows] = stream.push(x[rows])
        with np.errstate(over="ignore"):
            return self._resampler.push(x).astype(np.float32)


@dataclass(frozen=True)
class SignalFilter:
    """One signal of a recording on its way to the common rate.

    Args:
        plan: the bands, and the rate.
        recording: whose signal.
        name: of its modality.
        signal: as read.
    """

    plan: WindowPlan
    recording: Recording
    name: str
    signal: Signal

    @property
    def file(self) -> Path:
        """The signal's file, for messages."""
        return self.recording.files.get(self.name, self.recording.source)

    def check_finite(self) -> None:
        """Refuse samples that are not finite.

        Raises:
            DataError: there are some.
            SkipRecording: there are some, in a data set with gaps.
        """
        if not _is_finite(self.signal.data):
            raise self._not_finite()

    @cached_property
    def rows_by_band(self) -> dict[Band, slice | list[int]]:
        """The rows of each pass band, as a slice where they are neighbours.

        Raises:
            DataError: the signal's rate does not hold a band.
        """
        signal = self.signal
        for kind in dict.fromkeys(signal.kinds):
            band = self.plan.band(kind)
            if band is not None and band[0] is not None and band[0] >= signal.fs / 2:
                hint = (
                    f"{kind} is filtered from {band[0]:g} Hz on, which such a rate does not hold."
                )
                if self.plan.filter == "paper":
                    hint += " Leave out `filter=paper`, which filters every channel so."
                elif kind == "eeg":
                    hint += " If it is no EEG, state its type in the manifest's column kind."
                raise self._rate_error(hint)
        return rows_by_band(self.plan, signal.kinds)

    @property
    def texts(self) -> dict[str, str]:
        """What is done to each signal type."""
        return {kind: self._text(kind) for kind in dict.fromkeys(self.signal.kinds)}

    def _text(self, kind: str) -> str:
        sos, text = filter_of(self.plan.band(kind), self.signal.fs)
        return f"{text}, causal" if sos is not None and self.plan.filter == "causal" else text

    @property
    def changes(self) -> bool:
        """Whether anything is filtered or resampled."""
        fs = self.signal.fs
        filtered = any(filter_of(band, fs)[0] is not None for band in self.rows_by_band)
        return fs != self.plan.dataset.fs or filtered

    def segments(self) -> list[Segment]:
        """The signal at the common rate, from the stimulus on; no piece that is too short.

        Raises:
            DataError: a rate from which the common one cannot be reached.
        """
        fs = self.plan.dataset.fs
        length_s = self.recording.length_s
        found = []
        for piece in self.signal.line.pieces:
            start_s = piece.start_s - self.recording.baseline_s
            x = self._resampled(self.signal.data[:, piece.first : piece.stop])
            if x is None:
                continue
            if length_s is not None:
                x = x[:, : max(0, round((length_s - start_s) * fs))]
            if x.shape[1]:
                found.append(Segment(start_s, x, fs))
        return found

    def _resampled(self, data: np.ndarray) -> np.ndarray | None:
        """One piece, filtered and resampled, [C, T] float32; None where it is too short for it."""
        native, fs = self.signal.fs, self.plan.dataset.fs
        if self.plan.filter == "causal":
            try:
                return self._finite(CausalFilter(self.rows_by_band, native, fs).push(data))
            except ValueError as error:
                raise self._rate_error(str(error)) from error
        # The kernels compute in float64 whatever they write: rounding to float32 comes last.
        x: np.ndarray = np.empty(data.shape, np.float32 if native == fs else np.float64)
        for band, rows in self.rows_by_band.items():  # a vector takes several channels
            sos, _ = filter_of(band, native)
            if sos is None:
                x[rows] = data[rows]
            elif x.shape[1] <= 3 * (2 * len(sos) + 1):
                return None
            elif isinstance(rows, slice):
                sosfiltfilt(sos, data[rows], out=x[rows])
            else:
                x[rows] = sosfiltfilt(sos, data[rows])
        if x.shape[1] < 2 and native != fs:  # no line goes through one sample
            return None
        try:
            x = resample(x, native, fs)
        except ValueError as error:
            raise self._rate_error(str(error)) from error
        with np.errstate(over="ignore"):
            return self._finite(x.astype(np.float32, copy=False))

    def _finite(self, x: np.ndarray) -> np.ndarray:
        """The same, none of it beyond float32's range."""
        if not _is_finite(x):
            raise self._not_finite()
        return x

    def _rate_error(self, hint: str) -> DataError:
        return DataError(
            self.file,
            f"rate of {self.name}",
            f"{self.signal.fs:g} Hz",
            "a rate that the filter and the windows can be made of",
            hint,
        )

    def _not_finite(self) -> Exception:
        """What a signal with samples that are not finite comes to."""
        if self.plan.dataset.gaps:
            return SkipRecording(f"{self.name} has samples that are not finite")
        data = self.signal.data
        size = np.nan_to_num(np.abs(data), nan=np.inf, posinf=np.inf)
        channel, sample = np.unravel_index(size.argmax(), size.shape)
        return DataError(
            self.file,
            f"{self.signal.channels[channel]} of {self.recording.subject}/{self.recording.trial}",
            f"{data[channel, sample]} {sample / self.signal.fs:.3f} s after its start",
            "finite numbers within float32's range",
            "Interpolate the gap or leave that part out; a download may be damaged: get it again.",
        )


def _is_finite(x: np.ndarray) -> bool:
    """Whether all samples are finite."""
    # A sum is one pass without a copy, and finite where all its terms are, or nearly so.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(x.sum()) or np.isfinite(x).all())


def _as_slice(rows: Sequence[int]) -> slice | list[int]:
    first, last = rows[0], rows[-1]
    return slice(first, last + 1) if last - first + 1 == len(rows) else list(rows)
