"""`Live`: streams in, windows and what a trained run says of them out."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from clmer.data.face.windows import FACE_TOKENS
from clmer.data.store.plausibility import amplitudes
from clmer.errors import ConfigError
from clmer.live.clock import JUMP_S
from clmer.live.faces import FaceStream
from clmer.live.formats import LiveWindow, Recent, StreamCounts, StreamFormat
from clmer.live.opening import check_filter, open_streams, own_stream
from clmer.live.reference import LiveReference
from clmer.live.signals import SignalStream
from clmer.pipeline.reference import PersonReference
from clmer.pipeline.run.trained import TrainedRun
from clmer.pipeline.split.windows import Windows
from clmer.predict import other_scales, plan_of

#: Samples are worked on in blocks of so many windows, so that buffers stay small.
_BLOCK = 0.5
#: Seconds of signals that stay for `recent`, and by which their amplitude is judged.
_SHOWN_S, _JUDGED_S = 10.0, 5.0
_ROUNDING_S = 1e-6


class Live:
    """What a trained run says of streams as they come.

    Samples are filtered with state, resampled, cut into windows on the streams' clock, standardised
    and predicted: what `clmer predict` gives of the same recording prepared with `filter=causal`,
    by the same model, whatever the chunks (of several streams, shorter than `patience_s`). The
    first sample of the first signal is second 0 of that recording. It has no thread: everything
    happens within `push`.

        live = clmer.Live(clmer.load("runs/x"))
        for samples, timestamps in device:
            for window in live.push(samples, timestamps):
                print(window.start_s, window.values)

    Args:
        trained: the run.
        streams: what is pushed, by name; None for one stream of the run's signals, their channels
            one after the other, at their own rate and in their unit.
        names: the stream's name of a channel, by the run's, where they differ.
        reference: where the run was trained with one: so many first seconds, windows [M, C, T]
            by modality from before, or what `trained.known_person` made of them.
        accept_mismatch: use a run that was trained on signals filtered forwards and backwards.
        patience_s: seconds that a window waits for a stream that is behind the first signal's.

    Attributes:
        notes: what a user should know, a sentence each; more may come.

    Raises:
        ConfigError: a run that cannot be used live (why), or a reference missing or not asked for.
        DataError: a stream's channels, units or rate are not those of the run.
    """

    def __init__(
        self,
        trained: TrainedRun,
        streams: Mapping[str, StreamFormat] | None = None,
        *,
        names: Mapping[str, str] | None = None,
        reference: float | Windows | PersonReference | None = None,
        accept_mismatch: bool = False,
        patience_s: float = 2.0,
    ) -> None:
        if not 0 < patience_s < math.inf:
            raise ConfigError(f"`patience_s`: found {patience_s}, expected seconds above 0")
        self._trained, self._patience_s = trained, patience_s
        self.classes = trained.classes
        self._plan = plan_of(trained, trained.folder)
        streams = own_stream(trained) if streams is None else streams
        keep_s = self._plan.window_s + patience_s + _SHOWN_S
        opened = open_streams(trained, self._plan, streams, names or {}, keep_s)
        self.notes = opened.notes
        rates = {name: opened.all[home].fs for name, home in opened.homes.items()}
        self.notes += check_filter(trained, self._plan, rates, accept=accept_mismatch)
        self._signals, self._faces, self._homes = opened.signals, opened.faces, opened.homes
        self._streams = opened.all
        self._reference = LiveReference(trained, reference)
        self._unjudged = list(trained.modalities.keys() - FACE_TOKENS.keys())
        self._zero: float | None = None  # when window 0 begins, without the drift
        self._number = 0  # of the next window

    # --- use ------------------------------------------------------------------------------------
    @property
    def counts(self) -> Mapping[str, StreamCounts]:
        """What became of each stream's samples so far, by stream."""
        return {name: each.counts for name, each in self._streams.items()}

    @property
    def reference_left_s(self) -> float:
        """Seconds of windows that the reference still lacks; 0 where it is complete, or none."""
        return self._reference.left_s

    def recent(self, modality: str, seconds: float) -> Recent:
        """The newest samples of a signal, before and after the filter.

        Args:
            modality: one of the run's signals.
            seconds: how many at most; some 10 are kept.

        Raises:
            KeyError: no such signal.
        """
        stream = self._signals[self._homes[modality]]
        buffer = next(each for each in stream.buffers if each.name == modality)
        return buffer.recent(seconds, stream.clock.drift_s)

    def push(
        self, samples: ArrayLike, timestamps: ArrayLike | None = None, stream: str | None = None
    ) -> list[LiveWindow]:
        """Take the next samples of a stream; the windows that became complete, in order.

        Args:
            samples: [C, n], channels first. Those that are not finite count as lost; a face's frame
                without a face has `success` 0.
            timestamps: [n] seconds on one clock for all streams; None for one after the other from
                0 s on.
            stream: its name; None where there is one.

        Raises:
            ValueError: no such stream, another number of channels, timestamps that do not fit or
                are not finite.
        """
        began = time.perf_counter()
        name = self._named(stream)
        x = np.asarray(samples, np.float64)
        known = self._streams[name]
        if x.ndim != 2 or len(x) != known.channels:
            raise ValueError(
                f"push: found shape {x.shape}, expected [{known.channels}, n]; of a chunk "
                "[samples, channels], as many devices give it, push chunk.T"
            )
        stamps = known.stamps(x.shape[1]) if timestamps is None else np.asarray(timestamps, float)
        if stamps.shape != x.shape[1:] or not np.isfinite(stamps).all():
            raise ValueError(
                f"push: found timestamps {stamps.shape}, expected {x.shape[1]} finite seconds"
            )
        block = max(1, int(_BLOCK * self._plan.window_s * known.fs))
        found = []
        for at in range(0, x.shape[1], block):
            part = slice(at, at + block)
            if known.push(x[:, part], stamps[part]):
                self._restart(known)
            self._judge()
            found += self._advance(began)
        return found

    def finish(self) -> list[LiveWindow]:
        """The windows that still wait for a stream that is behind: given up."""
        return self._advance(time.perf_counter(), patience_s=0.0)

    def _judge(self) -> None:
        """Note amplitudes that only another unit makes, once there are seconds of a signal."""
        for name in self._unjudged[:]:
            recent = self.recent(name, _JUDGED_S)
            fs = self._streams[self._homes[name]].fs
            if recent.samples.shape[1] >= int(_JUDGED_S * fs):
                self._unjudged.remove(name)
                modality = self._trained.modalities[name]
                levels = amplitudes(recent.samples, modality.kinds)
                for kind, said, usual in other_scales(levels, modality):
                    self.notes.append(
                        f"amplitude of {name} ({kind}): found {said}, expected {usual}. Does it "
                        "come in another unit? State the true one with `unit`"
                    )

    def _named(self, stream: str | None) -> str:
        names = list(self._streams)
        name = names[0] if stream is None and len(names) == 1 else stream
        if name not in names:
            raise ValueError(f"push: found stream {stream!r}, expected one of {', '.join(names)}")
        return str(name)

    def _restart(self, jumped: SignalStream | FaceStream) -> None:
        """A clock jumped back. Where it is the one that numbers windows, all begins anew.

        What other streams brought in what is now the future was recorded before the jump.
        """
        if jumped is not self._lead:
            return
        for stream in self._streams.values():
            if stream.counts.last_s > jumped.counts.last_s + JUMP_S:
                stream.clear()
        self._zero, self._number = None, 0

    @property
    def _lead(self) -> SignalStream | FaceStream:
        """The stream by which windows are numbered: the first signal's, or the face's."""
        return next(iter(self._streams.values()))

    # --- windows --------------------------------------------------------------------------------
    def _advance(self, began: float, patience_s: float | None = None) -> list[LiveWindow]:
        """The windows that are complete, or given up."""
        patience_s = self._patience_s if patience_s is None else patience_s
        found: list[LiveWindow] = []
        while self._begin():
            window = self._next(began, patience_s)
            if window is None:
                break
            if window.status:
                self._number += 1
                found.append(window)
        return found

    def _begin(self) -> bool:
        """Whether second 0 is known: the first sample of the first signal, or of the face."""
        if self._zero is None:
            self._zero = self._lead.first_s
        return self._zero is not None

    def _next(self, began: float, patience_s: float) -> LiveWindow | None:
        """The next window; None where it is not complete; without a status, of a pause."""
        assert self._zero is not None
        plan = self._plan
        start_s = self._zero + self._number * plan.step / plan.dataset.fs + self._lead.drift_s
        stop_s = start_s + plan.length / plan.dataset.fs
        come_s = self._lead.counts.last_s + 1 / self._lead.fs
        over = come_s > stop_s + patience_s - _ROUNDING_S
        arrays: dict[str, np.ndarray] = {}
        reasons, lost = [], 0
        for stream in self._signals.values():
            own_s = start_s - stream.drift_s
            ends = (b.pause_end(own_s, own_s + stop_s - start_s) for b in stream.buffers)
            resumed_s = max((end for end in ends if end is not None), default=None)
            if resumed_s is not None:
                self._skip_to(resumed_s + stream.drift_s)
                return LiveWindow(start_s, stop_s, None, "", 0, 0.0)
            for buffer in stream.buffers:
                x = buffer.window(own_s, plan.length)
                if isinstance(x, str):
                    if not x and not over:
                        return None
                    reasons.append(x or f"no {buffer.name}")
                else:
                    arrays[buffer.name] = x
            lost += stream.lost_within(own_s, own_s + stop_s - start_s)
        for face in self._faces.values():
            parts = face.windows(start_s)
            if isinstance(parts, str):
                if not parts and not over and not reasons:
                    return None
                reasons.append(parts or "no face")
            else:
                arrays |= parts
        return self._said(start_s, stop_s, arrays, reasons, lost, began)

    def _skip_to(self, time_s: float) -> None:
        """Go on with the first window that ends after a time."""
        assert self._zero is not None
        plan, fs = self._plan, self._plan.dataset.fs
        passed = (time_s - self._lead.drift_s - self._zero) * fs - plan.length
        self._number = max(self._number + 1, math.floor(passed / plan.step + _ROUNDING_S) + 1)

    def _said(
        self,
        start_s: float,
        stop_s: float,
        arrays: dict[str, np.ndarray],
        reasons: list[str],
        lost: int,
        began: float,
    ) -> LiveWindow:
        if reasons:
            return LiveWindow(start_s, stop_s, None, reasons[0], lost, time.perf_counter() - began)
        x = {name: arrays[name][None].copy() for name in self._trained.modalities}
        if self._reference.left_s:
            self._reference.add(x)
            latency_s = time.perf_counter() - began
            return LiveWindow(start_s, stop_s, None, "reference", lost, latency_s)
        values = self._reference.values(x)
        status = "interpolated" if lost else "ok"
        return LiveWindow(start_s, stop_s, values, status, lost, time.perf_counter() - began)
