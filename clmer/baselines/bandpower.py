"""The plain baseline: log band power (RR intervals for ECG) and logistic regression.

Faces get the mean and standard deviation of every landmark coordinate and action unit. Nothing here
sees a test label, and a window's features depend on that window alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import signal
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from clmer.data.splits import Split

#: EEG bands in Hz.
BANDS = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 13.0),
    "beta": (13.0, 30.0),
    "gamma": (30.0, 45.0),
}
#: Inverse regularisation strengths tried on the validation part, strongest regularisation first.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
#: Smallest power that is told from silence, far below that of an EEG in volts.
POWER_FLOOR = 1e-20
#: RR intervals outside this range (seconds) are missed or doubled beats.
RR_RANGE_S = (0.3, 2.0)
#: Windows handled at a time: bounds the memory of the spectra.
CHUNK = 1024


def features(
    x: np.ndarray,
    fs: float,
    kind: str,
    *,
    band: tuple[float, float] | None = None,
    kinds: Sequence[str] | None = None,
) -> np.ndarray:
    """Features of each window.

    Args:
        x: [N, C, T] windows.
        fs: sampling rate in Hz.
        kind: the modality. "eeg": log band powers. "ecg": RR intervals. "physio": each channel by
            its own type. "landmarks", "au" and all others: mean and standard deviation of each row
            over the window.
        band: (low, high) in Hz that preparation kept in EEG; bands are clipped to it. None: all.
        kinds: C signal types (`clmer.data.recording.KINDS`) for "physio". None: every channel gets
            band powers, mean and standard deviation.

    Returns:
        [N, F] float64; NaN where a window has too few heart beats (the classifier imputes them).
    """
    if x.ndim != 3:
        raise ValueError(f"features of {kind!r}: expected [N, C, T] windows, found {x.shape}")
    if kinds is not None and len(kinds) != x.shape[1]:
        raise ValueError(f"features of {kind!r}: {len(kinds)} kinds for {x.shape[1]} channels")
    chunks = [x[i : i + CHUNK] for i in range(0, max(len(x), 1), CHUNK)]
    return np.concatenate(
        [_chunk(np.asarray(part, dtype=np.float64), fs, kind, band, kinds) for part in chunks]
    )


def _chunk(
    x: np.ndarray,
    fs: float,
    kind: str,
    band: tuple[float, float] | None,
    kinds: Sequence[str] | None,
) -> np.ndarray:
    if kind != "physio":
        return _by_type(x, fs, kind, band)
    if kinds is None:
        return np.hstack([band_power(x, fs, band), _moments(x)])
    rows = np.asarray(kinds)
    order = dict.fromkeys(kinds)
    return np.hstack([_by_type(x[:, rows == k], fs, k, band) for k in order])


def _by_type(x: np.ndarray, fs: float, kind: str, band: tuple[float, float] | None) -> np.ndarray:
    if kind == "eeg":
        return band_power(x, fs, band)
    if kind in ("eog", "emg"):
        return band_power(x, fs, None)
    if kind == "ecg":
        return np.hstack([rr_intervals(x[:, channel], fs) for channel in range(x.shape[1])])
    return _moments(x)


def _moments(x: np.ndarray) -> np.ndarray:
    return np.hstack([x.mean(axis=-1), x.std(axis=-1)])


def band_power(x: np.ndarray, fs: float, band: tuple[float, float] | None = None) -> np.ndarray:
    """Log10 power in each EEG band (Welch, Hann segments of 2 s or the whole window).

    Args:
        x: [N, C, T].
        fs: sampling rate in Hz.
        band: range kept by preparation; bands narrower than 1 Hz after clipping are left out.

    Returns:
        [N, C * bands], channel-major.
    """
    low, high = band or (0.0, fs / 2)
    clipped = [(max(a, low), min(b, high, fs / 2)) for a, b in BANDS.values()]
    segment = min(x.shape[-1], round(2 * fs))
    frequency, density = signal.welch(x, fs, nperseg=segment, axis=-1)
    step = fs / segment
    inside = np.array(
        [(frequency >= a) & (frequency < b) for a, b in clipped if b - a >= 1.0], dtype=np.float64
    )
    power = density @ inside.T * step  # [N, C, bands]
    return np.log10(np.maximum(power, POWER_FLOOR)).reshape(len(x), -1)


def rr_intervals(x: np.ndarray, fs: float) -> np.ndarray:
    """Heart-beat intervals of an ECG channel.

    Beats are maxima of the smoothed 5-15 Hz energy that reach 30 % of the window's 98th percentile
    and stand 0.3 s apart; each is then placed at the nearest extremum of the 5-15 Hz signal, by a
    parabola between samples (a sample is 8 ms at 128 Hz, heart-rate variability 30-50 ms).

    Args:
        x: [N, T] one ECG channel, either polarity.
        fs: sampling rate in Hz, above 30.

    Returns:
        [N, 4]: mean RR interval (s), its standard deviation (s), heart rate (beats a minute), and
        1 where fewer than two beats were found (the other three are then NaN), else 0.
    """
    out = np.tile([np.nan, np.nan, np.nan, 1.0], (len(x), 1))
    if x.shape[-1] < 0.5 * fs:
        return out
    sos = signal.butter(2, [5.0, 15.0], btype="bandpass", fs=fs, output="sos")
    wave = signal.sosfiltfilt(sos, x, axis=-1)
    upright = wave.max(axis=-1) >= -wave.min(axis=-1)
    wave = np.where(upright[:, None], wave, -wave)
    smooth = signal.windows.hann(max(round(0.12 * fs), 3))
    energy = signal.oaconvolve(wave**2, smooth[None] / smooth.sum(), mode="same", axes=-1)
    height = 0.3 * np.quantile(energy, 0.98, axis=-1)
    for row, (trace, least) in enumerate(zip(energy, height, strict=True)):
        peaks, _ = signal.find_peaks(trace, height=max(least, POWER_FLOOR), distance=0.3 * fs)
        rr = np.diff(_refine(wave[row], peaks, round(0.06 * fs))) / fs
        rr = rr[(rr >= RR_RANGE_S[0]) & (rr <= RR_RANGE_S[1])]
        if len(rr):
            out[row] = rr.mean(), rr.std(), 60.0 / rr.mean(), 0.0
    return out


def _refine(wave: np.ndarray, peaks: np.ndarray, reach: int) -> np.ndarray:
    """Positions, in samples, of the maxima of wave within `reach` samples of the peaks."""
    near = np.clip(peaks[:, None] + np.arange(-reach, reach + 1), 1, len(wave) - 2)
    top = np.take_along_axis(near, wave[near].argmax(axis=1)[:, None], axis=1)[:, 0]
    left, middle, right = wave[top - 1], wave[top], wave[top + 1]
    bend = left - 2 * middle + right
    shift = np.divide(0.5 * (left - right), bend, out=np.zeros_like(middle), where=bend < 0)
    return np.asarray(top + np.clip(shift, -0.5, 0.5))


def on_features(classifier: ClassifierMixin) -> Pipeline:
    """A classifier behind imputation and standardisation by the training part."""
    # Medians come from the training part; a column without any value becomes 0.
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), classifier
    )


def logistic_regressions(seed: int) -> list[Pipeline]:
    """Class-weighted logistic regression at each of `STRENGTHS`."""
    return [
        on_features(
            LogisticRegression(
                C=strength, class_weight="balanced", max_iter=1000, random_state=seed
            )
        )
        for strength in STRENGTHS
    ]


def fit_predict(
    by_modality: Mapping[str, np.ndarray],
    y: np.ndarray,
    split: Split,
    seed: int = 0,
    *,
    classes: int | None = None,
    candidates: Callable[[int], Sequence[Pipeline]] = logistic_regressions,
) -> np.ndarray:
    """Train on the training part, choose C on the validation part, predict the test part.

    The chosen C has the lowest class-balanced cross-entropy on the validation part. (Balanced
    accuracy there jumps with single windows: on eegmat's few validation people it chooses worse.)
    The model is fitted on the training part only, as the main model is.

    Args:
        by_modality: [N, F] `features` of all windows, by modality; they are put side by side.
        y: [N] int, class of each window.
        split: row numbers of the three parts.
        seed: of the solver.
        classes: K; None: the largest label + 1.
        candidates: seed -> the classifiers to choose from, of equal ones the first.

    Returns:
        [len(test), K] log-probabilities; classes without training rows get log 1e-12.

    Raises:
        ValueError: no modality, features that do not fit y, or a training part with one class.
    """
    if not by_modality or any(len(f) != len(y) for f in by_modality.values()):
        shapes = {name: f.shape for name, f in by_modality.items()}
        raise ValueError(f"fit_predict: expected features of {len(y)} windows, found {shapes}")
    y = np.asarray(y)
    if len(np.unique(y[split.train])) < 2:
        raise ValueError("fit_predict: the training part holds a single class")
    x = np.hstack(list(by_modality.values()))
    width = int(y.max()) + 1 if classes is None else classes
    fitted = []
    for model in candidates(seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x[split.train], y[split.train])
        logp = _log_probability(model, x[split.val], width)
        fitted.append((_balanced_cross_entropy(logp, y[split.val]), model))
    _, best = min(fitted, key=lambda candidate: candidate[0])
    return _log_probability(best, x[split.test], width)


def _log_probability(model: Pipeline, x: np.ndarray, width: int) -> np.ndarray:
    probability = np.zeros((len(x), width))
    if len(x):
        probability[:, model.classes_] = model.predict_proba(x)
    return np.log(np.maximum(probability, 1e-12))


def _balanced_cross_entropy(logp: np.ndarray, y: np.ndarray) -> float:
    """Mean over the classes in y of the mean negative log-probability; 0 without rows."""
    return -float(np.mean([logp[y == k, k].mean() for k in np.unique(y)])) if len(y) else 0.0
