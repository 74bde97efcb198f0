"""Writer of BioSemi BDF in the form of DEAP's original recordings.

48 channels of 24-bit samples at 512 Hz in records of one second. A trial is 2 s of fixation, then
what `signals.physio` gives (3 s of baseline and the video), then 1 s; the Status channel marks
fixation (3), video (4) and its end (5). Electrodes have offsets and a common-mode voltage.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from clmer.data.readers.deap import BASELINE_S, EEG_CHANNELS
from clmer.data.readers.deap import FS as MODEL_FS
from clmer.signal import resample

FS = 512
#: The order of the EEG channels at the other laboratory.
TWENTE = tuple(
    "Fp1 AF3 F7 F3 FC1 FC5 T7 C3 CP1 CP5 P7 P3 Pz PO3 O1 Oz O2 PO4 P4 P8 CP6 CP2 C4 T8 FC6 FC2 "
    "F4 F8 AF4 Fp2 Fz Cz".split()
)
_OTHERS = (
    *(f"EXG{i}" for i in range(1, 9)),
    "GSR1",
    "GSR2",
    "Erg1",
    "Erg2",
    "Resp",
    "Plet",
    "Temp",
)
_BEFORE_S, _AFTER_S = 2, 1
_STEP_UV = 1 / 32  # of the converter
_HELD = 8  # samples that a marker lasts
_TEMPERATURE = 1000.0  # the model's degrees are finer than the converter's steps


def write_bdf(
    path: Path, trials: Iterable[np.ndarray], count: int, seconds: int, *, twente: bool
) -> None:
    """Write trials in the order given.

    Args:
        path: the file.
        trials: [40, 128 * (3 + seconds)] each, channels as in the preprocessed data.
        count: how many.
        seconds: of the video.
        twente: order of the EEG channels, and status words without high bits.
    """
    eeg = TWENTE if twente else EEG_CHANNELS
    record_count = count * (_BEFORE_S + int(BASELINE_S) + seconds + _AFTER_S)
    with path.open("wb") as file:
        _write_header(file, (*eeg, *_OTHERS, "Status"), record_count)
        for trial in trials:
            samples = _samples(trial, [EEG_CHANNELS.index(name) for name in eeg])
            status = _status(samples.shape[1], 0 if twente else 0x10FF00)
            digital = np.vstack([np.rint(samples / _STEP_UV).astype("<i4"), status])
            # [48, seconds, 512] -> [seconds, 48, 512]; the low three bytes of four
            records = digital.reshape(len(digital), -1, FS).transpose(1, 0, 2)
            content = np.ascontiguousarray(records).view(np.uint8).reshape(-1, 4)[:, :3]
            file.write(content.tobytes())


def _write_header(file: BinaryIO, labels: tuple[str, ...], records: int) -> None:
    number = len(labels)
    limits = [("-262144", "262143")] * (number - 1) + [("-8388608", "8388607")]
    fields: list[tuple[int, list[str]]] = [
        (16, list(labels)),
        (80, ["Active Electrode"] * (number - 1) + ["Triggers and Status"]),
        (8, ["uV"] * (number - 1) + ["Boolean"]),
        (8, [low for low, _ in limits]),
        (8, [high for _, high in limits]),
        (8, ["-8388608"] * number),
        (8, ["8388607"] * number),
        (80, ["HP: DC; LP: 104 Hz"] * (number - 1) + ["No filtering"]),
        (8, [str(FS)] * number),
        (32, ["Reserved"] * number),
    ]
    head = [(80, "subject"), (80, "recording"), (8, "01.01.10"), (8, "12.00.00")]
    head += [(8, str(256 * (number + 1))), (44, "24BIT"), (8, str(records)), (8, "1")]
    head += [(4, str(number))]
    text = "".join(value.ljust(width) for width, value in head)
    text += "".join(v.ljust(width) for width, values in fields for v in values)
    file.write(b"\xffBIOSEMI" + text.encode("ascii"))


def _samples(trial: np.ndarray, order: list[int]) -> np.ndarray:
    """47 channels [47, n] in uV: electrodes against nothing, with offsets."""
    x = resample(np.array(trial, dtype=np.float64), MODEL_FS, float(FS))
    x = np.pad(x, ((0, 0), (_BEFORE_S * FS, _AFTER_S * FS)), mode="reflect")
    time = np.arange(x.shape[1]) / FS
    common = 800 + 60 * np.sin(2 * np.pi * 50 * time) + 40 * np.sin(2 * np.pi * 10.3 * time)
    eeg = x[order] + common + 300 * np.sin(np.arange(len(order)))[:, None]
    half = 0.5 * x[32:36]
    electrodes = np.stack([common + half, common - half], axis=1).reshape(8, -1)
    unused = np.zeros((1, len(time)))
    gsr, breath, pulse, temperature = x[36:40, None]
    sensors = [gsr, unused, unused, unused, breath, pulse, _TEMPERATURE * temperature]
    return np.concatenate([eeg, electrodes, *sensors])


def _status(count: int, high_bits: int) -> np.ndarray:
    status = np.full(count, high_bits, dtype="<i4")
    start = (_BEFORE_S + int(BASELINE_S)) * FS
    for code, at in ((3, 0), (4, start), (5, count - _AFTER_S * FS)):
        status[at : at + _HELD] += code
    return status
