"""LabRecorder's XDF per person: EEG, skin conductance, and markers of what was shown when."""

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from recordings import FS, SENSORS, STATES, eeg
from walk import walk

GSR_FS = 16
#: Seconds of the recorder's clock at the first sample.
START_S = 4000.0


def write(folder: Path) -> None:
    """Three people, each calm, happy and sad in turn."""
    for person in range(1, 4):
        order = STATES if person % 2 else STATES[::-1]
        parts = [eeg(state, 12, 10 * person + i) for i, state in enumerate(order)]
        level = np.repeat([2.0 if state == "happy" else 1.0 for state in order], 12 * GSR_FS)
        noise = np.random.default_rng(person).normal(0, 0.05, len(level))
        skin = (level + noise)[:, None]
        onsets = START_S + 12.0 * np.arange(len(order))
        path = folder / f"sub-P{person:03d}" / f"sub-P{person:03d}_task-Emotion_eeg.xdf"
        path.parent.mkdir(parents=True)
        path.write_bytes(
            b"XDF:"
            + chunk(1, b"<?xml version='1.0'?><info><version>1.0</version></info>")
            + stream(1, "EEG", np.concatenate(parts, axis=1).T, FS, SENSORS, "microvolts")
            + stream(2, "GSR", skin, GSR_FS, ("GSR",), "microsiemens")
            + markers(3, onsets, order)
        )


def stream(
    number: int, kind: str, data: np.ndarray, fs: float, names: Iterable[str], unit: str
) -> bytes:
    """A stream of numbers [T, C] from `START_S` on."""
    rows = "".join(
        f"<channel><label>{name}</label><unit>{unit}</unit><type>{kind}</type></channel>"
        for name in names
    )
    head = f"<desc><channels>{rows}</channels></desc>"
    cells = np.ascontiguousarray(data, "<f4")
    stamps = (START_S + np.arange(len(cells)) / fs).tolist()
    samples = [
        b"\x08" + struct.pack("<d", time) + row.tobytes()
        for time, row in zip(stamps, cells, strict=True)
    ]
    return whole(number, kind, cells.shape[1], fs, "float32", head, samples)


def markers(number: int, onsets: np.ndarray, texts: Iterable[str]) -> bytes:
    """A stream of words."""
    samples = [
        b"\x08" + struct.pack("<d", time) + length(len(text)) + text.encode()
        for time, text in zip(onsets.tolist(), texts, strict=True)
    ]
    return whole(number, "Markers", 1, 0, "string", "<desc />", samples)


def whole(
    number: int, kind: str, count: int, fs: float, form: str, head: str, samples: list[bytes]
) -> bytes:
    """A stream's header, samples and footer."""
    about = (
        f"<?xml version='1.0'?><info><name>{kind} device</name><type>{kind}</type>"
        f"<channel_count>{count}</channel_count><nominal_srate>{fs}</nominal_srate>"
        f"<channel_format>{form}</channel_format>{head}</info>"
    )
    foot = f"<?xml version='1.0'?><info><sample_count>{len(samples)}</sample_count></info>"
    ident = struct.pack("<I", number)
    return (
        chunk(2, ident + about.encode())
        + chunk(3, ident + length(len(samples)) + b"".join(samples))
        + chunk(6, ident + foot.encode())
    )


def chunk(tag: int, content: bytes) -> bytes:
    """A chunk of the file: https://github.com/sccn/xdf/wiki/Specifications."""
    return length(len(content) + 2) + struct.pack("<H", tag) + content


def length(number: int) -> bytes:
    """A length as four bytes."""
    return b"\x04" + struct.pack("<I", number)


def main() -> None:
    """From the folder to predictions."""
    walk(write)


if __name__ == "__main__":
    main()
