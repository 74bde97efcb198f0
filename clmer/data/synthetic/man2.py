"""Write a small MAN-II: Emotiv EDF and two-header CSV, OpenFace CSV with gaze.

The latents, and what they do to EEG and faces, are those of the generated DEAP (`model.py`,
`signals.py`); the headset's sensors are the DEAP channels of the same name, T7 and T8 excepted,
which take C3 and C4, where the model has its arousal rhythm. Each emotion is one corner of the two
latents, +-`LEVEL`; which one is no claim about emotions. Gaze, which DEAP's model lacks, carries
both latents too, as angles. People with odd numbers have EDF, the others CSV.

Traps: about 4200 uV of offset, counters and qualities beside the sensors, two header lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, sqrt
from pathlib import Path

import numpy as np

from clmer.data.formats.tables.profiles import EPOC_CHANNELS
from clmer.data.readers import deap
from clmer.data.readers.man2 import EMOTIONS
from clmer.data.synthetic import signals
from clmer.data.synthetic.files import write_openface
from clmer.data.synthetic.folder import check_range, write_folder
from clmer.data.synthetic.model import MODALITIES, Control, SignalModel
from clmer.errors import DataError

FS = 128
LEVEL = 1.5
_CORNERS = dict(zip(EMOTIONS, ((1, -1), (-1, 1), (1, 1), (-1, -1)), strict=True))
_GAZE_DELTA, _GAZE_RAD, _GAZE_NOISE_RAD = 0.8, 0.05, 0.005
_OFFSET_UV = 4200.0
_FORMAT = 1  # raise when the same parameters give other files
_ROWS = [deap.CHANNELS.index({"T7": "C3", "T8": "C4"}.get(n, n)) for n in EPOC_CHANNELS]


def write_man2(
    root: Path | str,
    *,
    people: int = 6,
    seconds: int = 12,
    fps: float = 25,
    seed: int = 0,
    control: str = "none",
) -> Path:
    """Write a generated MAN-II into `root`, person by person, or reuse what is there.

    Args:
        root: the folder to make; absent, empty, or already written with these arguments.
        people: 1-99 (19 in the real data).
        seconds: length of a recording; 12 in the real data.
        fps: frames per second of the face series.
        seed: of all random numbers; 0 or more.
        control: "none", "one:<modality>" or "fingerprint" (`model.py`); XOR has two classes.

    Returns:
        `root` as a path.

    Raises:
        ValueError: an argument out of range.
        DataError: `root` holds something else, or cannot be written; an XOR control.
    """
    parsed = Control.parse(control)
    if parsed.kind == "xor":
        raise DataError(root, "`control`", control, "none, one:<modality> or fingerprint")
    ranges = {"people": (people, 1, 99), "seconds": (seconds, 2, 3600), "seed": (seed, 0, 2**63)}
    check_range("write_man2", fps=(fps, 5, 1000), **ranges)
    model = SignalModel()
    marker: dict[str, object] = {
        "synthetic": True,
        "people": people,
        "seconds": seconds,
        "fps": fps,
        "seed": seed,
    }
    marker |= {"control": control, "model": model.digest(), "format": _FORMAT}

    def write(folder: Path) -> None:
        for number in range(1, people + 1):
            _write_person(folder / f"p{number:02d}", number, model, parsed, seconds, fps, seed)

    return write_folder(Path(root), marker, write)


def man2_bayes_accuracy(
    task: str, modalities: Sequence[str], *, control: str = "none", windows: int = 1
) -> float:
    """Accuracy of the ideal observer, who sees the latents of some modalities.

        Phi(LEVEL sqrt(w sum_k delta_k^2))^2

    Args:
        task: "label".
        modalities: any of physio (or eeg), landmarks, au, gaze.
        control: as the data were written.
        windows: seconds seen of one recording.
    """
    parsed, model = Control.parse(control), SignalModel()
    seen = {"physio" if name == "eeg" else name for name in modalities}
    if task != "label" or not seen <= {*MODALITIES, "gaze"} or windows < 1:
        raise ValueError(f"man2_bayes_accuracy: found task {task!r}, modalities {sorted(seen)}")
    power = sum(_delta(parsed, model, name) ** 2 for name in seen)
    return (0.5 * (1 + erf(LEVEL * sqrt(windows * power / 2)))) ** 2


def _delta(control: Control, model: SignalModel, name: str) -> float:
    if name == "gaze":
        return _GAZE_DELTA if control.kind == "none" else 0.0
    return float(control.delta(model, name))


def _write_person(
    folder: Path,
    number: int,
    model: SignalModel,
    control: Control,
    seconds: int,
    fps: float,
    seed: int,
) -> None:
    folder.mkdir()
    person = signals.draw_person(np.random.default_rng([seed, number]), model)
    strong = control.kind == "fingerprint"
    strength = model.strong_fingerprint if strong else model.fingerprint
    deltas = np.array([_delta(control, model, name) for name in (*MODALITIES, "gaze")])
    for index, emotion in enumerate(EMOTIONS):
        rng = np.random.default_rng([seed, number, index + 1])
        means = LEVEL * deltas[:, None] * np.array(_CORNERS[emotion])  # [4, 2]
        u = means + rng.standard_normal((seconds, len(deltas), 2))
        mark = signals.draw_fingerprint(rng)
        physio = signals.physio(rng, model, person, mark, strength, u[:, 0])
        eeg = physio[_ROWS, int(deap.BASELINE_S * deap.FS) :] + _OFFSET_UV
        write = write_emotiv_edf if number % 2 else write_emotiv_csv
        write(folder / f"{emotion}{'.edf' if number % 2 else '.csv'}", eeg)
        frames = signals.face(rng, model, person, mark, strength, u[:, 1], u[:, 2], fps)
        time = np.arange(len(frames.lost)) / fps
        gaze = _GAZE_RAD * signals.hold(u[:, 3], time, model.edge_s)
        gaze += _GAZE_NOISE_RAD * rng.standard_normal(gaze.shape)
        write_openface(folder / f"{emotion}_face.csv", frames, fps, gaze)


def write_emotiv_csv(path: Path, eeg: np.ndarray, start_s: float = 1.6e9) -> None:
    """EmotivPRO's CSV of an EPOC: a line of key:value pairs, the columns, one row per sample.

    Args:
        path: the file.
        eeg: [14, T] uV at 128 Hz, `EPOC_CHANNELS`.
        start_s: time of the first sample in seconds since 1970.
    """
    count = eeg.shape[1]
    stop_s = start_s + count / FS
    meta = f"title:synthetic,start timestamp:{start_s:.6f},stop timestamp:{stop_s:.6f},"
    meta += f"headset type:EPOCPLUS,sampling rate:eeg_{FS},samples:{count},version:2.0"
    columns = ["Timestamp", "EEG.Counter", "EEG.Interpolated", *(f"EEG.{n}" for n in EPOC_CHANNELS)]
    columns += ["EEG.RawCq", "EEG.Battery", "EEG.BatteryPercent", "MarkerIndex", "MarkerType"]
    columns += ["MarkerValueInt", "EEG.MarkerHardware", "CQ.Overall"]
    columns += [f"{quality}.{name}" for quality in ("CQ", "EQ") for name in EPOC_CHANNELS]
    after = ",0,4,80,,,,0,100" + ",4" * (2 * len(EPOC_CHANNELS))
    lines = [meta, ",".join(columns)]
    for i, row in enumerate(eeg.T.tolist()):
        values = ",".join(f"{value:.6f}" for value in row)
        lines.append(f"{start_s + i / FS:.6f},{i % 128},0,{values}{after}")
    path.write_text("\n".join([*lines, ""]), encoding="ascii")


def write_emotiv_edf(path: Path, eeg: np.ndarray) -> None:
    """EmotivPRO's EDF of an EPOC: records of 1 s, 16-bit samples, service channels around the EEG.

    Args:
        path: the file.
        eeg: [14, T] uV at 128 Hz, `EPOC_CHANNELS`; T is whole seconds.
    """
    records = eeg.shape[1] // FS
    names = ["TIME_STAMP_s", "TIME_STAMP_ms", "COUNTER", "INTERPOLATED", *EPOC_CHANNELS, "BATTERY"]
    names += ["MARKER_HARDWARE", *(f"{q}_{n}" for q in ("CQ", "EQ") for n in EPOC_CHANNELS)]
    time = np.arange(records * FS)
    data = np.zeros((len(names), records * FS))
    data[:3] = time // FS, 1000 * (time % FS) // FS, time % 128
    first = names.index(EPOC_CHANNELS[0])
    sensors = slice(first, first + len(EPOC_CHANNELS))
    data[sensors] = eeg[:, : records * FS]
    low = np.where(np.isin(names, EPOC_CHANNELS), 3000.0, -32768.0)
    high = np.where(np.isin(names, EPOC_CHANNELS), 5400.0, 32767.0)
    scaled = np.rint((data - low[:, None]) / (high - low)[:, None] * 65535 - 32768)
    samples = scaled.clip(-32768, 32767).astype("<i2").reshape(len(names), records, FS)
    unit = ["uV" if name in EPOC_CHANNELS else "" for name in names]
    head = [("0", 8), ("synthetic", 80), ("", 80), ("01.01.20", 8), ("00.00.00", 8)]
    head += [(str(256 * (1 + len(names))), 8), ("", 44), (str(records), 8), ("1", 8)]
    head += [(str(len(names)), 4)]
    head += [(name, 16) for name in names] + [("", 80)] * len(names) + [(u, 8) for u in unit]
    head += [(f"{value:g}", 8) for value in low] + [(f"{value:g}", 8) for value in high]
    head += [("-32768", 8)] * len(names) + [("32767", 8)] * len(names)
    head += [("", 80)] * len(names) + [(str(FS), 8)] * len(names) + [("", 32)] * len(names)
    text = "".join(value.ljust(width)[:width] for value, width in head)
    path.write_bytes(text.encode("ascii") + samples.transpose(1, 0, 2).tobytes())
