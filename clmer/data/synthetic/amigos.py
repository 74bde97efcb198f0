"""Write a small AMIGOS in its on-disk format, with the traps of the real one.

The latents, and what they do to EEG, GSR and faces, are those of the generated DEAP (`model.py`,
`signals.py`): the headset's 14 channels are the DEAP channels of the same name, T7 and T8 excepted,
which take C3 and C4, where the model has its arousal rhythm. Two ECG leads carry arousal as the
plethysmograph does there.

Valence and arousal belong to the video: four short videos and one long one per quadrant, and every
person's rating lies in the video's band, so that `--labels stimulus` and `self` give the same
classes and `bayes_accuracy` holds for both. Everyone's files list the videos in another order.

Traps: an empty trial (person 2), labels that are missing (person 3), an ECG lead that is NaN
throughout (person 4), short gaps of NaN (everyone), no long videos (person 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io

from clmer.data.readers import deap
from clmer.data.readers.amigos import BASELINE_S, CHANNELS, EEG_CHANNELS, FS, LONG, SHORT
from clmer.data.synthetic import signals
from clmer.data.synthetic.files import write_openface
from clmer.data.synthetic.folder import check_range, write_folder
from clmer.data.synthetic.model import MODALITIES, Control, SignalModel, Trials, draw_trials

#: Names of the short and the long videos, as public loaders list them.
VIDEOS = tuple("4 5 9 10 13 18 19 20 23 30 31 34 36 58 80 138 N1 P1 B1 U1".split())

_FORMAT = 1  # raise when the same parameters give other files
_EEG_ROWS = [deap.CHANNELS.index({"T7": "C3", "T8": "C4"}.get(n, n)) for n in EEG_CHANNELS]
_GSR_ROW = deap.CHANNELS.index("GSR")
_GAP = 12  # samples


def write_amigos(
    root: Path | str,
    *,
    people: int = 6,
    short_s: int = 8,
    long_s: int = 0,
    fps: float = 25,
    seed: int = 0,
    control: str = "none",
) -> Path:
    """Write a generated AMIGOS into `root`, person by person, or reuse what is there.

    Args:
        root: the folder to make; absent, empty, or already written with these arguments.
        people: 1-40; with long videos and four people or more, the first four watched them
            together (groups.csv).
        short_s: length of the short videos in seconds, without the 5 s of baseline (51-150 in the
            real data); 0 leaves them empty.
        long_s: length of the long videos (over 14 minutes in the real data); 0 leaves them empty.
        fps: frames per second of the face series.
        seed: of all random numbers; 0 or more.
        control: "none", "one:<modality>", "xor:<modality>,<modality>" or "fingerprint"
            (`model.py`).

    Returns:
        `root` as a path.

    Raises:
        ValueError: an argument out of range.
        DataError: `root` holds something else, or cannot be written.
    """
    parsed = Control.parse(control)
    check_range(
        "write_amigos",
        people=(people, 1, 40),
        short_s=(short_s, 0, 3600),
        long_s=(long_s, 0, 3600),
        fps=(fps, 5, 1000),
        seed=(seed, 0, 2**63),
    )
    model = SignalModel()
    marker = {
        **{"synthetic": True, "people": people, "short_s": short_s, "long_s": long_s, "fps": fps},
        **{"seed": seed, "control": control, "model": model.digest(), "format": _FORMAT},
    }
    seconds = (short_s,) * SHORT + (long_s,) * LONG

    def write(folder: Path) -> None:
        task = _Writer(folder, model, parsed, seconds, float(fps), seed)
        videos = _draw_videos(task)
        for number in range(1, people + 1):
            _write_person(task, videos, number)
        if long_s and people >= LONG:
            lines = ["subject,group", *(f"P{number:02d},1" for number in range(1, 5)), ""]
            (folder / "groups.csv").write_text("\n".join(lines), encoding="ascii")

    return write_folder(Path(root), marker, write)


@dataclass(frozen=True)
class _Writer:
    """The arguments that writing one person needs."""

    root: Path
    model: SignalModel
    control: Control
    seconds: tuple[int, ...]  # of each video
    fps: float
    seed: int


def _draw_videos(task: _Writer) -> Trials:
    """Ratings and latent means of the 20 videos: every quadrant as often as the others."""
    rng = np.random.default_rng([task.seed, 0])
    parts = []
    for count in (SHORT, LONG):
        quadrants = np.zeros(4, dtype=np.int64)
        while not (quadrants == count // 4).all():
            part = draw_trials(rng, count, task.model, task.control)
            high = part.ratings[:, :2] > 5
            quadrants = np.bincount(2 * high[:, 0] + high[:, 1], minlength=4)
        parts.append(part)
    return Trials(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("ratings", "means")))


def _write_person(task: _Writer, videos: Trials, number: int) -> None:
    subject = f"P{number:02d}"
    rng = np.random.default_rng([task.seed, number])
    person = signals.draw_person(rng, task.model)
    order = [*rng.permutation(SHORT), *(SHORT + rng.permutation(LONG))]
    chosen = int(order[rng.integers(SHORT)])  # the short video that this person's trap is in
    folder = task.root / f"Data_Preprocessed_{subject}"
    folder.mkdir()
    faces = task.root / "face" / subject
    faces.mkdir(parents=True)
    cells: dict[str, list[object]] = {"VideoIDs": [VIDEOS[video] for video in order]}
    rows = [_write_trial(task, person, videos, number, int(video), faces) for video in order]
    names = ("joined_data", "labels_selfassessment", "labels_ext_annotation")
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        cells[name] = list(column)
    _set_traps(cells, order.index(chosen), number, rng)
    arrays = {}
    for name, values in cells.items():
        arrays[name] = np.empty((1, len(values)), dtype=object)
        arrays[name][0, :] = values
    path = folder / f"Data_Preprocessed_{subject}.mat"
    scipy.io.savemat(path, arrays, do_compression=True)


def _set_traps(
    cells: dict[str, list[object]], trial: int, number: int, rng: np.random.Generator
) -> None:
    """Spoil one short trial of a person, and the long videos of person 2."""
    data = cells["joined_data"][trial]
    assert isinstance(data, np.ndarray)
    nothing, labels = np.zeros((0, 0)), ("labels_selfassessment", "labels_ext_annotation")
    if data.size:
        start = int(rng.integers(1, len(data) - _GAP - 1))
        data[start : start + _GAP, rng.integers(len(EEG_CHANNELS))] = np.nan
    if number == 2:
        cells["joined_data"][trial] = nothing
        for name, empty in (("joined_data", nothing), *((n, np.zeros((1, 0))) for n in labels)):
            cells[name][SHORT:] = [empty] * LONG
    elif number == 3:
        for name in labels:
            cells[name][trial] = np.zeros((1, 0))
    elif number == 4 and data.size:
        data[:, CHANNELS.index("ECG-L")] = np.nan


def _write_trial(
    task: _Writer, person: signals.Person, videos: Trials, number: int, video: int, faces: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One viewing: samples [n, 17], self-assessment [1, 12], annotation [segments, 3]; its CSV."""
    seconds, model = task.seconds[video], task.model
    if not seconds:
        return np.zeros((0, 0)), np.zeros((1, 0)), np.zeros((1, 0))
    rng = np.random.default_rng([task.seed, number, video + 1])
    strong = task.control.kind == "fingerprint"
    strength = model.strong_fingerprint if strong else model.fingerprint
    u = videos.means[video] + rng.standard_normal((seconds, len(MODALITIES), 2))
    mark = signals.draw_fingerprint(rng)
    data = _physio(rng, model, person, mark, strength, u[:, 0])
    frames = signals.face(rng, model, person, mark, strength, u[:, 1], u[:, 2], task.fps)
    write_openface(faces / f"{VIDEOS[video]}.csv", frames, task.fps)
    valence, arousal = _near(rng, model, videos.ratings[video, :2])
    others = [*rng.uniform(1, 9, 3).round(2), *rng.integers(2, size=7)]
    own = np.array([[arousal, valence, *others]], dtype=np.float64)
    return data, own, _annotation(rng, seconds, videos.ratings[video, :2])


def _near(rng: np.random.Generator, model: SignalModel, ratings: np.ndarray) -> list[float]:
    """One person's ratings of a video: anywhere in the bands of the video's own."""
    near = []
    for rating in ratings:
        low, high = next(band for band in model.bands if band[0] < rating <= band[1])
        near.append(round(float(rng.uniform(low + 0.01, high)), 2))
    return near


def _annotation(rng: np.random.Generator, seconds: int, ratings: np.ndarray) -> np.ndarray:
    """Segments of 20 s: index, valence, arousal, the latter two from -1 to 1."""
    count = seconds // 20 + 2
    scale = np.exp(0.1 * rng.standard_normal((count, 2)))
    values = np.clip((ratings - 5) / 4 * scale, -1, 1)
    return np.column_stack([np.arange(1, count + 1), values])


def _physio(
    rng: np.random.Generator,
    model: SignalModel,
    person: signals.Person,
    mark: signals.Fingerprint,
    strength: float,
    u: np.ndarray,
) -> np.ndarray:
    """The 17 channels [128 * (5 + seconds), 17] of one viewing; arguments as `signals.physio`."""
    lead = int(BASELINE_S - deap.BASELINE_S)
    rows = signals.physio(
        rng, model, person, mark, strength, np.concatenate([rng.standard_normal((lead, 2)), u])
    )
    u = np.concatenate([rng.standard_normal((int(BASELINE_S), 2)), u])
    time = np.arange(rows.shape[1]) / FS
    swell = np.exp(model.pulse_gain * signals.hold(u, time, model.edge_s)[:, 1])
    beat = (person.pulse_hz * time + rng.uniform()) % 1 / person.pulse_hz  # seconds since the last
    wave = np.exp(-0.5 * ((beat - 0.2) / 0.02) ** 2) + 0.25 * np.exp(
        -0.5 * ((beat - 0.45) / 0.05) ** 2
    )
    leads = np.array([[1.0], [0.7]]) * swell * wave + 0.02 * rng.standard_normal((2, len(time)))
    return np.concatenate([rows[_EEG_ROWS], leads, rows[[_GSR_ROW]]]).T
