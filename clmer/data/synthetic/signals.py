"""Raw signals that carry the latents of `model.py` under plausible nuisance.

Each function takes latents u [seconds, 2] (valence, arousal) and returns what a sensor, or
OpenFace, would have given. u is constant within a second up to smooth steps at its ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clmer.data.face import AU_NAMES
from clmer.data.readers.deap import BASELINE_S, CHANNELS, EEG_CHANNELS, FS
from clmer.data.synthetic.model import SignalModel

_EEG = len(EEG_CHANNELS)
_LEFT = [CHANNELS.index(name) for name in ("Fp1", "AF3", "F3", "F7", "FC5", "FC1")]
_RIGHT = [CHANNELS.index(name) for name in ("Fp2", "AF4", "F4", "F8", "FC6", "FC2")]
_CENTRAL = [CHANNELS.index(name) for name in ("C3", "Cz", "C4", "CP1", "CP2", "FC1", "FC2")]
#: Amplitude in arbitrary units of one unit of u in GSR, respiration, plethysmograph, temperature.
_PERIPHERAL_UNIT = (300.0, 200.0, 400.0, 0.05)
_AU_VALENCE = {"AU12": 1.0, "AU06": 0.8, "AU15": -0.9, "AU04": -0.8}
_AU_AROUSAL = {"AU05": 0.9, "AU26": 1.0, "AU01": 0.8}


@dataclass(frozen=True, eq=False)
class Person:
    """What stays the same over one person's trials."""

    mixing: np.ndarray  # [32, 32] sources of the EEG background to channels
    gain: np.ndarray  # [40]
    alpha_hz: float
    beta_hz: float
    phase: np.ndarray  # [32] of the oscillations
    level: np.ndarray  # [4] offsets of the slow channels, in units of u
    pulse_hz: float
    breath_hz: float
    face: np.ndarray  # [68, 3] mm
    seat: np.ndarray  # [3] mm
    au: np.ndarray  # [17]


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What marks one trial and says nothing of its labels; standard normal."""

    gain: np.ndarray  # [40]
    level: np.ndarray  # [4]
    face: np.ndarray  # [68, 3]
    au: np.ndarray  # [17]


@dataclass(frozen=True, eq=False)
class FaceFrames:
    """One trial's OpenFace output, frame by frame."""

    points: np.ndarray  # [n, 68, 3] mm
    pose: np.ndarray  # [n, 6] mm and rad
    intensity: np.ndarray  # [n, 17]
    presence: np.ndarray  # [n, 17]
    lost: np.ndarray  # [n] bool


def draw_person(rng: np.random.Generator, model: SignalModel) -> Person:
    """A person's constants."""
    mixing = np.eye(_EEG) + 0.15 * rng.standard_normal((_EEG, _EEG))
    scale = 1 + 0.03 * rng.standard_normal()
    return Person(
        mixing=mixing / np.linalg.norm(mixing, axis=1, keepdims=True),
        gain=np.exp(0.1 * rng.standard_normal(len(CHANNELS))),
        alpha_hz=rng.uniform(9.5, 10.5),
        beta_hz=rng.uniform(19.0, 21.0),
        phase=rng.uniform(-0.5, 0.5, _EEG),
        level=model.level_person * rng.standard_normal(4),
        pulse_hz=rng.uniform(1.0, 1.4),
        breath_hz=rng.uniform(0.2, 0.3),
        face=scale * neutral_face() + model.shape_mm * rng.standard_normal((68, 3)),
        seat=np.array([0, 0, 600]) + model.seat_mm * rng.standard_normal(3),
        au=model.au_person * rng.standard_normal(len(AU_NAMES)),
    )


def draw_fingerprint(rng: np.random.Generator) -> Fingerprint:
    """A trial's signature."""
    return Fingerprint(
        gain=rng.standard_normal(len(CHANNELS)),
        level=rng.standard_normal(4),
        face=rng.standard_normal((68, 3)),
        au=rng.standard_normal(len(AU_NAMES)),
    )


def physio(
    rng: np.random.Generator,
    model: SignalModel,
    person: Person,
    mark: Fingerprint,
    strength: float,
    u: np.ndarray,
) -> np.ndarray:
    """The 40 channels [40, 128 * (3 + seconds)] of one trial, its baseline included.

    Valence: left (-) and right (+) frontal alpha amplitude, level of GSR and temperature. Arousal:
    central beta amplitude, level of respiration, amplitude of pulse and breath.

    Args:
        rng: random numbers of this trial.
        model: the generator's parameters.
        person: the person's constants.
        mark: the trial's signature.
        strength: sd of that signature.
        u: [seconds, 2] latents; those of the baseline are noise.
    """
    u = np.concatenate([rng.standard_normal((int(BASELINE_S), 2)), u])
    time = np.arange(int(FS) * len(u)) / FS
    valence, arousal = hold(u, time, model.edge_s).T
    count = len(time)
    out = np.empty((len(CHANNELS), count))
    gain = person.gain * np.exp(strength * mark.gain)
    out[:_EEG] = model.eeg_uv * (person.mixing @ coloured(rng, _EEG, count, -0.5, 4.0, 45.0))

    wave = _carrier(rng, person.alpha_hz, time, person.phase)
    amplitude = np.full((_EEG, 1), 0.5 * model.alpha_uv) * np.ones(count)
    amplitude[_LEFT] = model.alpha_uv * np.exp(-model.alpha_gain * valence)
    amplitude[_RIGHT] = model.alpha_uv * np.exp(model.alpha_gain * valence)
    out[:_EEG] += amplitude * wave
    wave = _carrier(rng, person.beta_hz, time, person.phase)
    out[_CENTRAL] += model.beta_uv * np.exp(model.beta_gain * arousal) * wave[_CENTRAL]

    out[_EEG : _EEG + 2] = 20.0 * coloured(rng, 2, count, -1.0, 0.3, 45.0)  # EOG
    out[_EEG + 2 : _EEG + 4] = 8.0 * coloured(rng, 2, count, 0.0, 10.0, 60.0)  # EMG
    slow = model.level_noise * coloured(rng, 4, count, -1.0, 0.1, 2.0)
    slow += (person.level + model.level_trial * rng.standard_normal(4))[:, None]
    slow += (strength * mark.level)[:, None]
    breath = np.sin(2 * np.pi * (person.breath_hz * time + rng.uniform()))
    pulse = np.sin(2 * np.pi * (person.pulse_hz * time + rng.uniform()))
    swell = np.exp(model.pulse_gain * arousal)
    carried = np.stack([valence, arousal + 0.2 * swell * breath, swell * pulse, valence])
    out[_EEG + 4 :] = np.array(_PERIPHERAL_UNIT)[:, None] * (carried + slow)
    out[: _EEG + 4] *= gain[: _EEG + 4, None]
    return out


def face(
    rng: np.random.Generator,
    model: SignalModel,
    person: Person,
    mark: Fingerprint,
    strength: float,
    u_landmarks: np.ndarray,
    u_au: np.ndarray,
    fps: float,
) -> FaceFrames:
    """The face of one trial from the stimulus on; arguments as in `physio`.

    Landmarks: mouth corners rise with valence, brows and lids with arousal. Action units: 12 and 6
    against 15 and 4 with valence; 5, 26 and 1 with arousal.
    """
    time = np.arange(round(len(u_au) * fps)) / fps
    count = len(time)
    moved = hold(u_landmarks, time, model.edge_s) * model.landmark_mm  # [n, 2]
    shape = person.face + strength * mark.face
    points = shape + np.einsum("nd,dpx->npx", moved, expression_patterns())
    turn = np.radians(model.turn_deg) * _wander(rng, 3, count, fps)
    shift = person.seat + model.move_mm * _wander(rng, 3, count, fps)
    points = np.einsum("nij,npj->npi", _rotations(turn), points) + shift[:, None]
    points += model.jitter_mm * rng.standard_normal(points.shape)

    u = hold(u_au, time, model.edge_s)
    base = np.full(len(AU_NAMES), 0.8)
    slope = np.zeros((2, len(AU_NAMES)))
    for dimension, loadings in enumerate((_AU_VALENCE, _AU_AROUSAL)):
        for name, loading in loadings.items():
            base[AU_NAMES.index(name)] = 2.0
            slope[dimension, AU_NAMES.index(name)] = loading * model.au_gain
    intensity = base + person.au + 0.5 * strength * mark.au + u @ slope
    intensity += model.au_noise * rng.standard_normal(intensity.shape)
    presence = intensity + 0.2 * rng.standard_normal(intensity.shape) > base
    lost = np.zeros(count, dtype=bool)
    if rng.uniform() < model.lost_rate:
        start = rng.integers(1, count - 4)
        lost[start : start + rng.integers(1, 4)] = True
    return FaceFrames(
        points=points,
        pose=np.concatenate([shift, turn], axis=1),
        intensity=np.clip(intensity, 0.0, 5.0),
        presence=presence.astype(np.float64),
        lost=lost,
    )


def hold(u: np.ndarray, time: np.ndarray, edge_s: float) -> np.ndarray:
    """Latents u [seconds, d] at times [n]: constant in each second, raised-cosine steps between."""
    second = np.minimum(time.astype(np.int64), len(u) - 1)
    inside = time - second
    before, after = np.maximum(second - 1, 0), np.minimum(second + 1, len(u) - 1)
    into = 0.5 * (1 + np.sin(0.5 * np.pi * np.clip(inside / edge_s, 0, 1)))[:, None]
    out = 0.5 * (1 + np.sin(0.5 * np.pi * np.clip((1 - inside) / edge_s, 0, 1)))[:, None]
    return u[second] + (1 - into) * (u[before] - u[second]) + (1 - out) * (u[after] - u[second])


def coloured(
    rng: np.random.Generator, rows: int, count: int, slope: float, low: float, high: float
) -> np.ndarray:
    """Noise [rows, count] at 128 Hz with amplitude spectrum f^slope from low to high Hz, rms 1."""
    hz = np.fft.rfftfreq(count, 1 / FS)
    shape = np.where((hz >= low) & (hz <= high), np.maximum(hz, 1e-9) ** slope, 0.0)
    spectrum = rng.standard_normal((2, rows, len(hz)))
    noise = np.fft.irfft(shape * (spectrum[0] + 1j * spectrum[1]), n=count, axis=-1)
    return noise * (count / 2 / np.sqrt((shape**2).sum()))


def _carrier(
    rng: np.random.Generator, hz: float, time: np.ndarray, phase: np.ndarray
) -> np.ndarray:
    """Sinusoids [32, n] whose common phase is random in each trial."""
    return np.sin(2 * np.pi * (hz * time + rng.uniform()) + phase[:, None])


def _wander(rng: np.random.Generator, rows: int, count: int, fps: float) -> np.ndarray:
    """Slow motion [count, rows], sd about 1: an offset of the trial and a few slow sines."""
    time = np.arange(count)[:, None] / fps
    motion = 0.7 * rng.standard_normal(rows) * np.ones((count, 1))
    for hz in (0.05, 0.13, 0.31):
        motion += (
            0.4
            * rng.standard_normal(rows)
            * np.sin(2 * np.pi * (hz * time + rng.uniform(size=rows)))
        )
    return motion


def _rotations(angles: np.ndarray) -> np.ndarray:
    """Rotation matrices [n, 3, 3] of angles [n, 3] (rad) about x, then y, then z."""
    c, s = np.cos(angles), np.sin(angles)
    zero, one = np.zeros(len(angles)), np.ones(len(angles))
    matrices = []
    for rows in (
        [[one, zero, zero], [zero, c[:, 0], -s[:, 0]], [zero, s[:, 0], c[:, 0]]],
        [[c[:, 1], zero, s[:, 1]], [zero, one, zero], [-s[:, 1], zero, c[:, 1]]],
        [[c[:, 2], -s[:, 2], zero], [s[:, 2], c[:, 2], zero], [zero, zero, one]],
    ):
        matrices.append(np.moveaxis(np.array(rows), 2, 0))
    return matrices[2] @ matrices[1] @ matrices[0]


def neutral_face() -> np.ndarray:
    """The 68 iBUG points [68, 3] in mm about the head's centre: x right, y down, z away."""
    face = np.zeros((68, 3))
    angle = np.pi * np.arange(17) / 16
    face[:17] = np.stack(
        [-70 * np.cos(angle), 80 * np.sin(angle) - 10, 55 * np.cos(angle) ** 2], axis=1
    )
    arc = np.linspace(0, np.pi, 5)
    brow = np.stack([np.linspace(-55, -15, 5), -45 - 7 * np.sin(arc), 5 - 0 * arc], axis=1)
    face[17:22], face[22:27] = brow, brow[::-1] * [-1, 1, 1]
    face[27:31] = np.stack([np.zeros(4), np.linspace(-25, 12, 4), np.linspace(0, -22, 4)], axis=1)
    face[31:36] = np.stack([np.linspace(-12, 12, 5), np.full(5, 22.0), np.full(5, -8.0)], axis=1)
    eye = np.array([[-14, 0], [-5, -5], [5, -5], [14, 0], [5, 5], [-5, 5]])
    centre = np.array([32, -25])
    face[36:42, :2], face[42:48, :2] = eye + centre * [-1, 1], eye + centre
    face[36:48, 2] = 8
    for rows, number, width, height in ((slice(48, 60), 12, 26, 10), (slice(60, 68), 8, 20, 4)):
        angle = np.pi + 2 * np.pi * np.arange(number) / number
        face[rows, 0], face[rows, 1] = width * np.cos(angle), 45 + height * np.sin(angle)
    return face


def expression_patterns() -> np.ndarray:
    """Displacements [2, 68, 3] per unit of valence and of arousal; the largest has length 1."""
    patterns = np.zeros((2, 68, 3))
    for corner, side in ((48, -1), (60, -1), (54, 1), (64, 1)):
        patterns[0, corner, :2] = 0.5 * side, -0.85
    for near, side in ((49, -1), (59, -1), (53, 1), (55, 1), (61, -1), (67, -1), (63, 1), (65, 1)):
        patterns[0, near, :2] = 0.25 * side, -0.45
    patterns[1, 17:27, 1] = -1.0
    patterns[1, [37, 38, 43, 44], 1] = -0.6
    patterns[1, [40, 41, 46, 47], 1] = 0.4
    return patterns
