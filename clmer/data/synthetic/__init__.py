"""Write small data sets in their true on-disk formats, with known Bayes accuracy.

`write_deap` and `write_amigos` make the files, the ordinary readers read them as they read the real
ones, and `bayes_accuracy` says what the best possible classifier would score on them. The model is
described in `model.py`, its encoding into signals in `signals.py`. `WRITERS` is what `clmer train
--synthetic` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from clmer.data.readers.deap import BASELINE_S, CHANNELS, FS
from clmer.data.synthetic import signals
from clmer.data.synthetic.amigos import write_amigos
from clmer.data.synthetic.bdf import write_bdf
from clmer.data.synthetic.files import RATINGS_HEADER, ratings_rows, write_dat, write_openface
from clmer.data.synthetic.folder import check_range, write_folder
from clmer.data.synthetic.man2 import write_man2
from clmer.data.synthetic.model import (
    CONTROLS,
    MODALITIES,
    Control,
    SignalModel,
    Trials,
    bayes_accuracy,
    draw_trials,
)

__all__ = [
    "CONTROLS",
    "MODALITIES",
    "WRITERS",
    "SignalModel",
    "bayes_accuracy",
    "write_amigos",
    "write_deap",
    "write_deap_raw",
    "write_man2",
]

_FORMAT = 1  # raise when the same parameters give other files


def write_deap(
    root: Path | str,
    *,
    people: int = 6,
    trials: int = 40,
    seconds: int = 8,
    fps: float = 25,
    seed: int = 0,
    control: str = "none",
) -> Path:
    """Write a generated DEAP into `root`, person by person, or reuse what is there.

    Everything is written to a temporary folder beside `root` and renamed at the end. Person and
    trial draw from their own streams: the first people of a larger data set are the same.

    Args:
        root: the folder to make; absent, empty, or already written with these arguments.
        people: 1-99, all of them with face series (of the real 32, the first 22 have video).
        trials: trials of each person, 2-99; 40 in the real data.
        seconds: length of a trial without its 3 s of baseline; 60 in the real data.
        fps: frames per second of the face series; 50 in the real data.
        seed: of all random numbers; 0 or more.
        control: "none", "one:<modality>", "xor:<modality>,<modality>" or "fingerprint"
            (`model.py`).

    Returns:
        `root` as a path.

    Raises:
        ValueError: an argument out of range.
        DataError: `root` holds something else, or cannot be written.
    """
    return _write(Path(root), False, people, trials, seconds, fps, seed, control)


def write_deap_raw(
    root: Path | str,
    *,
    people: int = 4,
    trials: int = 20,
    seconds: int = 8,
    fps: float = 25,
    seed: int = 0,
    control: str = "none",
) -> Path:
    """The same people, trials and faces as original recordings: `data_original/sXX.bdf`, 512 Hz.

    Videos lie in the file in the order in which they were shown; odd and even people have the
    channel order and the status words of the two laboratories. About 1 MiB per trial. Arguments,
    result and errors as in `write_deap`.
    """
    return _write(Path(root), True, people, trials, seconds, fps, seed, control)


def _write(
    root: Path,
    raw: bool,
    people: int,
    trials: int,
    seconds: int,
    fps: float,
    seed: int,
    control: str,
) -> Path:
    parsed = Control.parse(control)
    check_range(
        "write_deap_raw" if raw else "write_deap",
        people=(people, 1, 99),
        trials=(trials, 2, 99),
        seconds=(seconds, 1, 3600),
        fps=(fps, 5, 1000),
        seed=(seed, 0, 2**63),
    )
    model = SignalModel()
    marker: dict[str, object] = {
        "synthetic": True,
        "shape": [trials, len(CHANNELS), int(FS * (BASELINE_S + seconds))],
        "people": people,
        "fps": fps,
        "seed": seed,
        "control": control,
        "model": model.digest(),
        "format": _FORMAT,
    } | ({"source": "bdf"} if raw else {})

    def write(folder: Path) -> None:
        task = _Writer(folder, raw, model, parsed, trials, seconds, float(fps), seed)
        _write_all(task, people)

    return write_folder(root, marker, write)


@dataclass(frozen=True)
class _Writer:
    """The arguments that writing one person needs."""

    root: Path
    raw: bool
    model: SignalModel
    control: Control
    trials: int
    seconds: int
    fps: float
    seed: int


def _write_all(task: _Writer, people: int) -> None:
    (task.root / ("data_original" if task.raw else "data_preprocessed_python")).mkdir()
    (task.root / "metadata_csv").mkdir()
    lines = [RATINGS_HEADER]
    for number in range(1, people + 1):
        lines += _write_person(task, number)
    table = task.root / "metadata_csv" / "participant_ratings.csv"
    table.write_text("\n".join([*lines, ""]), encoding="ascii")


def _write_person(task: _Writer, number: int) -> list[str]:
    """One person's .dat or .bdf, and CSVs; returns the lines of the ratings table."""
    name = f"s{number:02d}"
    rng = np.random.default_rng([task.seed, number])
    person = signals.draw_person(rng, task.model)
    trials = draw_trials(rng, task.trials, task.model, task.control)
    order = rng.permutation(task.trials) + 1
    presented = np.argsort(order) + 1  # [n] Trial by Experiment_id - 1
    faces = task.root / "face" / name
    faces.mkdir(parents=True)

    def data(rows: Iterable[int]) -> Iterator[np.ndarray]:
        for row in rows:
            physio, frames = _render(task, person, trials, number, row)
            write_openface(faces / f"{name}_trial{presented[row]:02d}.csv", frames, task.fps)
            yield physio

    if task.raw:
        path = task.root / "data_original" / f"{name}.bdf"
        shown = data((order - 1).tolist())
        write_bdf(path, shown, task.trials, task.seconds, twente=number % 2 == 0)
        return list(ratings_rows(number, order, trials.ratings))
    samples = int(FS * (BASELINE_S + task.seconds))
    with (task.root / "data_preprocessed_python" / f"{name}.dat").open("wb") as file:
        shape = (task.trials, len(CHANNELS), samples)
        write_dat(file, data(range(task.trials)), shape, trials.ratings)
    return list(ratings_rows(number, order, trials.ratings))


def _render(
    task: _Writer, person: signals.Person, trials: Trials, number: int, row: int
) -> tuple[np.ndarray, signals.FaceFrames]:
    rng = np.random.default_rng([task.seed, number, row + 1])
    model = task.model
    strong = task.control.kind == "fingerprint"
    strength = model.strong_fingerprint if strong else model.fingerprint
    u = trials.means[row] + rng.standard_normal((task.seconds, len(MODALITIES), 2))
    mark = signals.draw_fingerprint(rng)
    physio = signals.physio(rng, model, person, mark, strength, u[:, 0])
    frames = signals.face(rng, model, person, mark, strength, u[:, 1], u[:, 2], task.fps)
    return physio, frames


#: data set -> what writes a generated one (root, people=, seed=, control=), and its usual people
WRITERS: dict[str, tuple[Callable[..., Path], int]] = {
    "deap": (write_deap, 6),
    "deap-raw": (write_deap_raw, 4),
    "man2": (write_man2, 6),
    "amigos-short": (write_amigos, 6),
    "amigos-long": (partial(write_amigos, short_s=0, long_s=110, fps=5), 10),
}
