"""The pictures of the page about a data set, each a PNG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.signal
from matplotlib.figure import Figure

from clmer.data.recording import FaceSeries, Recording, Signal
from clmer.data.registry import Dataset
from clmer.data.store.filtering import filter_of
from clmer.report.figures import png
from clmer.report.html import Html
from clmer.signal import sosfiltfilt

_SHOWN_S = 5.0
_CROSSED = ("valence", "arousal")  # drawn against each other
_ALPHA = (8.0, 13.0)  # Hz
_LEAST_POSITIONS = 4  # channels with a known place, fewer make no map


def before_and_after(dataset: Dataset, example: Recording, filter: str) -> Html:
    """One channel of each type: five seconds and the power spectrum, as recorded and filtered."""
    shown = [
        (name, signal, signal.kinds.index(kind))
        for name, signal in example.signals.items()
        for kind in dict.fromkeys(signal.kinds)
    ]
    figure = Figure(figsize=(10, 2.2 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), 2, squeeze=False)
    for (time, spectrum), (name, signal, row) in zip(axes, shown, strict=True):
        band = dataset.paper_band if filter == "paper" else dataset.band.get(signal.kinds[row])
        sos, text = filter_of(band, signal.fs)
        raw = np.asarray(signal.data[row], np.float64)
        curves = [("as recorded", raw, "0.6")]
        if sos is not None:
            curves.append((text, sosfiltfilt(sos, raw), "C0"))
        at = slice(round(example.baseline_s * signal.fs), None)
        for label, x, colour in curves:
            part = x[at][: round(_SHOWN_S * signal.fs)]
            time.plot(np.arange(len(part)) / signal.fs, part - part.mean(), colour, lw=0.8)
            f, power = scipy.signal.welch(x, signal.fs, nperseg=min(len(x), int(4 * signal.fs)))
            spectrum.semilogy(
                f[1:], np.maximum(power[1:], power.max() * 1e-12), colour, label=label
            )
        time.set_title(f"{name}, {signal.channels[row]} ({signal.kinds[row]})", fontsize=9)
        time.set_ylabel(f"{signal.unit}, mean removed", fontsize=8)
        spectrum.set_ylabel(f"{signal.unit}²/Hz", fontsize=8)
        spectrum.legend(fontsize=8)
    axes[-1, 0].set_xlabel("s")
    axes[-1, 1].set_xlabel("Hz")
    return png(figure, "Signals and power spectra before and after filtering")


def channel_map(example: Recording) -> Html | None:
    """Alpha power of the EEG channels with a standard position; None where there are too few."""
    import mne

    names = mne.channels.get_builtin_montages()
    montage = mne.channels.make_standard_montage(
        "colin27_1020" if "colin27_1020" in names else "standard_1020"  # its name before MNE 1.13
    )
    places = {name.lower(): place for name, place in montage.get_positions()["ch_pos"].items()}
    for signal in example.signals.values():
        rows = [
            row
            for row, (channel, kind) in enumerate(zip(signal.channels, signal.kinds, strict=True))
            if kind == "eeg" and channel.lower() in places
        ]
        if len(rows) >= _LEAST_POSITIONS:
            return _topomap(signal, rows, montage)
    return None


def _topomap(signal: Signal, rows: list[int], montage: object) -> Html:
    import mne

    names = [signal.channels[row] for row in rows]
    info = mne.create_info(names, signal.fs, "eeg", verbose="error")
    info.set_montage(montage, match_case=False, verbose="error")
    x = np.asarray(signal.data[rows], np.float64)
    f, power = scipy.signal.welch(x, signal.fs, nperseg=min(x.shape[1], int(2 * signal.fs)))
    inside = (f >= _ALPHA[0]) & (f <= _ALPHA[1])
    values = np.log10(np.maximum(power[:, inside].mean(1), np.finfo(float).tiny))
    figure = Figure(figsize=(5, 4), layout="constrained")
    axis = figure.subplots()
    image, _ = mne.viz.plot_topomap(values, info, axes=axis, names=names, show=False)
    figure.colorbar(image, label=f"log10 {signal.unit}²/Hz")
    return png(figure, "Alpha power over the scalp")


def tracking(face: FaceSeries) -> Html:
    """Where the face was lost, the tracker's confidence, and the mean action unit, over time."""
    seconds = np.arange(len(face.valid)) / face.fps
    figure = Figure(figsize=(10, 3), layout="constrained")
    rows = 1 if face.au_intensity is None else 2
    above, *below = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    above.fill_between(seconds, face.valid, step="mid", alpha=0.6)
    if face.confidence is not None:
        above.plot(seconds, face.confidence, "C1", lw=0.8, label="confidence")
        above.legend(fontsize=8, loc="lower right")
    above.set_ylim(0, 1.05)
    above.set_ylabel("tracked")
    if face.au_intensity is not None:
        below[0].plot(seconds, np.where(face.valid, face.au_intensity.mean(1), np.nan), lw=0.8)
        below[0].set_ylabel("mean AU, 0-5")
    (below or [above])[-1].set_xlabel("s")
    return png(figure, "Face tracking over time")


def labels(
    columns: Mapping[str, np.ndarray], edges: Mapping[str, Sequence[float]] | None = None
) -> Html:
    """A histogram of every label, and valence against arousal where both are ratings.

    Args:
        columns: one value per recording, nan or "" where there is none.
        edges: where the task splits a column of ratings.
    """
    edges = edges or {}
    crossed = all(each in columns and columns[each].dtype.kind == "f" for each in _CROSSED)
    count = len(columns) + crossed
    across = min(count, 3)
    down = math.ceil(count / across)
    figure = Figure(figsize=(10, 2.6 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, (name, values) in zip(axes, columns.items(), strict=False):
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
            on_nine = values.size and values.min() >= 1 and values.max() <= 9
            axis.hist(values, bins=np.arange(0.75, 9.5, 0.5) if on_nine else 16)
            for edge in edges.get(name, ()):
                axis.axvline(edge, color="0.4", lw=0.8)
        else:
            found, counts = np.unique(values[values != ""], return_counts=True)
            axis.bar(found, counts)
        axis.set_title(name, fontsize=9)
    if crossed:
        axis = axes[len(columns)]
        axis.scatter(columns["valence"], columns["arousal"], s=8, alpha=0.6)
        for edge in edges.get("valence", ()):
            axis.axvline(edge, color="0.4", lw=0.8)
        for edge in edges.get("arousal", ()):
            axis.axhline(edge, color="0.4", lw=0.8)
        axis.set_xlabel("valence")
        axis.set_ylabel("arousal")
    for axis in axes[count:]:
        axis.set_axis_off()
    return png(figure, "Histograms of labels")
