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
        picks: channels, as in MNE; None takes its data channels.
        phase: "zero" filters both ways, extended by the length of the filter's ringing as MNE
            does. "forward" filters causally from each channel's steady state, like `Bandpass`;
            MNE's own "forward" starts from zeros.

    Returns:
        raw, with `info["highpass"]` and `info["lowpass"]` brought up to date.

    Raises:
        ValueError: edges that do not fit the rate, an unknown phase, or a recording joined from
            pieces (MNE filters each on its own).
    """
    if phase not in ("zero", "forward"):
        raise ValueError(f"filter_raw: found phase {phase!r}, expected 'zero' or 'forward'")
    cuts = [name for name in raw.annotations.description if name.lower().startswith(_CUTS)]
    if cuts:
        raise ValueError(
            f"filter_raw: found the annotation {cuts[0]!r}, expected one continuous recording; "
            "filter the pieces before joining them, or use raw.filter"
        )
    sos = butter_bandpass(low, high, raw.info["sfreq"], order)
    raw.load_data(verbose="error")

    def filtered(x: np.ndarray) -> np.ndarray:
        if phase == "zero":
            return sosfiltfilt(sos, x, padlen="ringing")
        state = steady_state(sos)[:, None] * x[:, :1]
        filter_into(sos, x, 1, x, state, state)
        return x

    chosen = "data" if picks is None else picks
    raw.apply_function(filtered, picks=chosen, channel_wise=False, verbose="error")
    with raw.info._unlock():
        if low is not None and low > (raw.info["highpass"] or 0):
            raw.info["highpass"] = float(low)
        if high is not None and high < (raw.info["lowpass"] or np.inf):
            raw.info["lowpass"] = float(high)
    return raw
