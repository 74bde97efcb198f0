"""`filter_raw`: a recording of MNE's, filtered in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clmer.signal.design import butter_bandpass, steady_state
from clmer.signal.offline import sosfiltfilt
from clmer.signal.passes import filter_into

if TYPE_CHECKING:
    import mne

#: Annotations across which MNE does not filter either.
_CUTS = ("edge", "bad_acq_skip")


def filter_raw(
    raw: mne.io.BaseRaw,
    low: float | None,
    high: float | None,
    *,
    order: int = 4,
    picks: Any = None,
    phase: Literal["zero", "forward"] = "zero",
) -> mne.io.BaseRaw:
    """Filter a recording in place, as `raw.filter(low, high, method="iir")` does.

    Args:
        raw: an MNE recording; it is loaded if it is not yet.
        low: lower -3 dB edge of one pass in Hz; None gives a low-pass.
        high: upper -3 dB edge of one pass in Hz; None gives a high-pass.
        order: of the Butterworth prototype, 4 in MNE.
        picks: channels, as in MNE; None takes what `raw.filter` takes: the data channels, those of
            reference sensors and channels marked bad among them.
        phase: "zero" filters both ways, extended by the length of the filter's ringing as MNE
            does. "forward" filters causally from each channel's steady state, like `Bandpass`;
            MNE's own "forward" starts from zeros.

    A recording joined from pieces ("edge" annotations) is filtered piece by piece, and what is
    marked "bad_acq_skip" is left as it is, as MNE does.

    Returns:
        raw, with `info["highpass"]` and `info["lowpass"]` brought up to date where all data
        channels were filtered, as MNE does: they hold for the whole recording.

    Raises:
        ValueError: edges that do not fit the rate, an unknown phase, or picks that MNE refuses.
        TypeError: no recording, such as Epochs.
    """
    _check_recording(raw)
    if phase not in ("zero", "forward"):
        raise ValueError(f"filter_raw: found phase {phase!r}, expected 'zero' or 'forward'")
    sos = butter_bandpass(low, high, raw.info["sfreq"], order)
    raw.load_data(verbose="error")

    pieces = _pieces(raw)

    def filtered(x: np.ndarray) -> np.ndarray:
        for piece in pieces:
            part = x[:, piece]
            if phase == "zero":
                part[...] = sosfiltfilt(sos, part, padlen="ringing")
            else:
                state = steady_state(sos)[:, None] * part[:, :1]
                filter_into(sos, part, 1, part, state, state)
        return x

    chosen = _indices(raw, "data" if picks is None else picks)
    raw.apply_function(filtered, picks=chosen, channel_wise=False, verbose="error")
    if not _covers_data(raw, chosen):
        return raw
    with raw.info._unlock():
        if low is not None and low > (raw.info["highpass"] or 0):
            raw.info["highpass"] = float(low)
        if high is not None and high < (raw.info["lowpass"] or np.inf):
            raw.info["lowpass"] = float(high)
    return raw


def _check_recording(raw: object) -> None:
    from mne.io import BaseRaw

    if not isinstance(raw, BaseRaw):
        raise TypeError(
            f"filter_raw: found {type(raw).__name__}, expected an MNE recording (Raw); filter it "
            "before epochs are cut, as their edges would be made up"
        )


def _indices(raw: mne.io.BaseRaw, picks: Any) -> list[int]:
    """The channels that picks name, in MNE's reading of them."""
    from mne.io import RawArray

    sample = RawArray(np.zeros((len(raw.ch_names), 1)), raw.info, verbose="error")
    names = sample.pick(picks, verbose="error").ch_names
    return [raw.ch_names.index(name) for name in names]


def _covers_data(raw: mne.io.BaseRaw, chosen: list[int]) -> bool:
    """Whether there are data channels and all were chosen."""
    try:
        data = _indices(raw, "data")
    except ValueError:  # MNE's, where there are none
        return False
    return set(data) <= set(chosen)


def _pieces(raw: mne.io.BaseRaw) -> list[slice]:
    """The stretches between annotations of `_CUTS`, none of them empty."""
    time = len(raw.times)
    cut, turns = np.zeros(time, bool), {0, time}
    for annotation in raw.annotations:
        if annotation["description"].lower().startswith(_CUTS):
            onset = annotation["onset"] - raw.first_time
            ends = raw.time_as_index((onset, onset + annotation["duration"]), use_rounding=True)
            first, last = (int(at) for at in np.clip(ends, 0, time))
            cut[first:last] = True
            turns |= {first, last}
    edges = sorted(turns)
    return [slice(a, b) for a, b in zip(edges, edges[1:], strict=False) if not cut[a]]
