"""What generated DEAP knows about emotion: labels, latents and their Bayes accuracy.

A trial has a level m of valence and one of arousal, -1.5, -0.75, +0.75 or +1.5, by the band of its
rating. Every second of every modality k draws, independently, u_k = delta_k m + N(0, 1) for each of
the two, and `signals.py` writes u_k into the raw signals at a high signal-to-noise ratio. So
what can be known about the label is what the u_k say, and that can be computed.

Controls (`control=`) test whoever learns from such data:
    one:M        only modality M depends on the label
    xor:M1,M2    valence is high where exactly one of two fair bits is 1; M1 shows one, M2 the other
    fingerprint  no signal depends on the label, but every trial has its own strong signature
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod, sqrt

import numpy as np

from clmer.data.tasks import RATING_TASKS

MODALITIES = ("physio", "landmarks", "au")
DIMENSIONS = ("valence", "arousal")
CONTROLS = ("none", "one:<modality>", "xor:<modality>,<modality>", "fingerprint")


@dataclass(frozen=True)
class SignalModel:
    """Every parameter of the generator: frozen, and its digest is tested.

    Args:
        bands: rating intervals (low, high].
        probability: of each band.
        level: m of each band.
        delta: strength of each modality's latent, for valence and arousal alike.
        xor_delta: distance of a bit's two means from 0 in the XOR control.
        edge_s: half-width in seconds of the smooth step from one second's latent to the next.
        eeg_uv, alpha_uv, beta_uv: root mean square of the background and amplitude of the
            oscillations at u = 0, in uV.
        alpha_gain, beta_gain: log-amplitude per unit of u.
        pulse_gain: log-amplitude of plethysmograph and respiration per unit of u.
        level_person, level_trial, level_noise: sd of GSR, temperature and respiration offsets and
            drift, in units of u.
        fingerprint, strong_fingerprint: sd of a trial's log-gains, and of its offsets in units of
            u; ordinarily and in the fingerprint control.
        landmark_mm: displacement per unit of u.
        shape_mm, seat_mm: sd of a person's shape and position.
        move_mm, turn_deg: sd of the head's motion within and between trials.
        jitter_mm: sd of a landmark from frame to frame.
        au_gain: intensity per unit of u.
        au_person, au_noise: sd of a person's offset and of the frame noise in intensity.
        lost_rate: share of trials with a short loss of the face.
    """

    bands: tuple[tuple[float, float], ...] = ((1.5, 3.0), (3.0, 5.0), (5.0, 6.0), (6.0, 9.0))
    probability: tuple[float, ...] = (0.35, 0.15, 0.15, 0.35)
    level: tuple[float, ...] = (-1.5, -0.75, 0.75, 1.5)
    delta: tuple[float, float, float] = (0.8, 0.8, 0.8)
    xor_delta: float = 2.0
    edge_s: float = 0.06
    eeg_uv: float = 6.0
    alpha_uv: float = 14.0
    beta_uv: float = 9.0
    alpha_gain: float = 0.3
    beta_gain: float = 0.35
    pulse_gain: float = 0.25
    level_person: float = 0.25
    level_trial: float = 0.15
    level_noise: float = 0.1
    fingerprint: float = 0.08
    strong_fingerprint: float = 1.0
    landmark_mm: float = 1.5
    shape_mm: float = 1.0
    seat_mm: float = 4.0
    move_mm: float = 1.5
    turn_deg: float = 1.0
    jitter_mm: float = 0.15
    au_gain: float = 0.35
    au_person: float = 0.12
    au_noise: float = 0.12
    lost_rate: float = 0.1

    def digest(self) -> str:
        """A hash of all parameters."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Control:
    """A parsed `control` argument: kind none, one, xor or fingerprint, and its modalities."""

    kind: str
    modalities: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Control:
        """Read "none", "one:au", "xor:physio,au" or "fingerprint"; ValueError on anything else."""
        kind, _, rest = text.partition(":")
        modalities = tuple(rest.split(",")) if rest else ()
        count = {"none": 0, "one": 1, "xor": 2, "fingerprint": 0}.get(kind)
        known = set(modalities) <= set(MODALITIES) and len(set(modalities)) == len(modalities)
        if count != len(modalities) or not known:
            raise ValueError(
                f"control: found {text!r}, expected one of {', '.join(CONTROLS)} "
                f"with modalities out of {', '.join(MODALITIES)}"
            )
        return cls(kind, modalities)

    def delta(self, model: SignalModel, modality: str) -> float:
        """How strongly a modality's latents depend on valence and on arousal (XOR apart)."""
        if self.kind == "none" or (self.kind == "one" and modality in self.modalities):
            return model.delta[MODALITIES.index(modality)]
        return 0.0


@dataclass(frozen=True, eq=False)
class Trials:
    """One person's trials: ratings [n, 4] in DEAP's order and latent means [n, modality, 2]."""

    ratings: np.ndarray
    means: np.ndarray


def draw_trials(
    rng: np.random.Generator, count: int, model: SignalModel, control: Control
) -> Trials:
    """Ratings and latent means of one person's trials.

    Bands are drawn independently, and all of them again until the person has two trials or more of
    every class of `va9` (with 36 trials or more; otherwise of low and high valence and arousal).
    Exactly balanced classes would not do: a held-out trial would then be told by what is missing in
    the person's others, and a learner without any information would score under chance.
    """
    while True:
        bands = rng.choice(len(model.bands), size=(count, 2), p=model.probability)  # [n, 2]
        if _every_class_twice(bands):
            break
    ratings = rng.uniform(1.0, 9.0, (count, 4))
    low, high = np.array(model.bands).T
    ratings[:, :2] = rng.uniform(low[bands] + 0.01, high[bands])
    means = np.zeros((count, len(MODALITIES), 2))
    for k, modality in enumerate(MODALITIES):
        means[:, k] = control.delta(model, modality) * np.array(model.level)[bands]
    if control.kind == "xor":
        positive = np.array(model.level)[bands[:, 0]] > 0
        first = rng.integers(2, size=count).astype(bool)
        for bit, modality in zip((first, first ^ positive), control.modalities, strict=True):
            means[:, MODALITIES.index(modality), 0] = model.xor_delta * np.where(bit, 1, -1)
    return Trials(np.round(ratings, 2), means)


def _every_class_twice(bands: np.ndarray) -> bool:
    """Whether bands [n, 2] hold every class often enough for splits by trial."""
    count = len(bands)
    if count >= 36:
        thirds = np.array([0, 1, 1, 2])[bands]
        return bool(np.bincount(3 * thirds[:, 0] + thirds[:, 1], minlength=9).min() >= 2)
    high = (bands >= 2).sum(axis=0)
    return bool(np.minimum(high, count - high).min() >= min(2, count // 2))


def bayes_accuracy(
    task: str,
    modalities: Sequence[str],
    model: SignalModel | None = None,
    *,
    control: str = "none",
    windows: int = 1,
) -> float:
    """Accuracy of the best possible classifier of unseen trials, computed by quadrature.

    It sees u exactly, and knows the model: an upper bound for anything that sees the raw signals,
    where u is measured with a small error. With equal m in all modalities sum_k delta_k u_k / d is
    sufficient and N(d m, 1), d^2 = sum_k delta_k^2. Valence and arousal are independent, so
    accuracies multiply in `va4` and `va9`.

    Args:
        task: one of `RATING_TASKS`.
        modalities: any of physio (or eeg, which carries the same latents), landmarks, au.
        model: the generator's parameters.
        control: as the data were written.
        windows: seconds seen of one trial: 1 for the accuracy per window of 1 s, a trial's length
            for the accuracy per trial.
    """
    model = model or SignalModel()
    parsed = Control.parse(control)
    seen = {"physio" if name == "eeg" else name for name in modalities}
    if task not in RATING_TASKS or not seen <= set(MODALITIES) or windows < 1:
        raise ValueError(
            f"bayes_accuracy: found task {task!r}, modalities {sorted(modalities)}, "
            f"{windows} windows"
        )
    columns, edges, _ = RATING_TASKS[task]
    limits = np.array([1.0, *edges, 9.0])
    if not set(columns) <= set(DIMENSIONS):
        return float(np.diff(limits).max() / 8)  # uniform on 1-9, and in no signal
    # classes x bands: the joint probability of class and band; ratings are uniform in their band
    low, high = np.array(model.bands).T
    shared = np.minimum(limits[1:, None], high) - np.maximum(limits[:-1, None], low)
    joint = shared.clip(min=0) / (high - low) * np.array(model.probability)
    strength = sqrt(windows * sum(parsed.delta(model, name) ** 2 for name in seen))
    accuracies = []
    for dimension in columns:
        if parsed.kind == "xor" and dimension == "valence" and set(parsed.modalities) <= seen:
            accuracies.append(_xor_accuracy(joint, model, windows))
        else:
            accuracies.append(_accuracy(joint, strength * np.array(model.level)))
    return prod(accuracies)


def _density(t: np.ndarray, mean: np.ndarray | float) -> np.ndarray:
    return np.exp(-0.5 * (t - mean) ** 2) / sqrt(2 * np.pi)


def _accuracy(joint: np.ndarray, means: np.ndarray) -> float:
    """Integral over t of max_c sum_b joint[c, b] N(t; means[b], 1)."""
    reach = np.abs(means).max() + 9.0
    t, step = np.linspace(-reach, reach, 20001, retstep=True)
    return float((joint @ _density(t, means[:, None])).max(axis=0).sum() * step)


def _xor_accuracy(joint: np.ndarray, model: SignalModel, windows: int) -> float:
    """The same over two statistics, one a bit: t1, t2 ~ N(+-delta, 1)."""
    delta = model.xor_delta * sqrt(windows)
    t, step = np.linspace(-delta - 8, delta + 8, 1201, retstep=True)
    low, high = _density(t, -delta), _density(t, delta)
    same = 0.5 * (np.outer(low, low) + np.outer(high, high))
    differ = 0.5 * (np.outer(low, high) + np.outer(high, low))
    positive = np.array(model.level) > 0
    share_high = joint[:, positive].sum(axis=1) / joint[:, positive].sum()
    share_low = joint[:, ~positive].sum(axis=1) / joint[:, ~positive].sum()
    per_class = joint[:, positive].sum() * np.multiply.outer(share_high, differ) + joint[
        :, ~positive
    ].sum() * np.multiply.outer(share_low, same)
    return float(per_class.max(axis=0).sum() * step**2)
