"""Drawn recordings as files: by edfio, pybv, eeglabio and MNE, patched where they know no pauses.

What each writer gives back is the truth about its file: the samples that the format kept, in our
units, and the pieces on an explicit clock.
"""

from __future__ import annotations

import csv
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import edfio
import eeglabio
import mne
import numpy as np
import pybv
from support.fuzz_recordings_study import RECORDS, VOLTAGES, Face, File, Line, Study

#: Mean and spread of each type, in our unit.
LEVEL = {"eeg": (0, 20), "ecg": (0, 300), "eog": (0, 60), "emg": (0, 15), "gsr": (5, 0.5)}
LEVEL |= {"temp": (33, 0.4), "resp": (0, 1.0), "ppg": (0, 1.0), "acc": (0, 0.4), "none": (0, 40)}
ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)


@dataclass(frozen=True)
class Piece:
    """Samples `first` to `stop` of a channel, and the first one's time on the file's clock in s."""

    start: Fraction
    first: int
    stop: int


@dataclass(frozen=True)
class Written:
    """What a file holds.

    Args:
        path: the file that the manifest names.
        samples: of each line, in our unit.
        pieces: of each line.
        bad: (start, stop) in s of the stretches that it marks.
    """

    path: Path
    samples: list[np.ndarray]
    pieces: list[list[Piece]]
    bad: list[tuple[Fraction, Fraction]]


def samples_of(line: Line, file: File) -> np.ndarray:
    """Numbers [n] in the file's unit: noise, a sine, and an offset."""
    count = round(file.seconds * line.rate)
    rng = np.random.default_rng([file.seed, *line.label.encode()])
    mean, spread = LEVEL[line.kind]
    time = np.arange(count) / float(line.rate)
    x = mean + spread * (0.5 * rng.standard_normal(count) + np.sin(7 * time + rng.uniform(0, 6)))
    if line.kind in VOLTAGES:
        x = x + spread * rng.uniform(-10, 10)
    return np.asarray(x / line.factor)


def write(file: File, folder: Path, name: str) -> Written:
    """A recording in its own format, and what it holds."""
    path = folder / f"{name}_eeg.{file.format}"
    writer = {"vhdr": _brainvision, "set": _eeglab, "fif": _fif}.get(file.format, _edf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = writer(file, path)
    if file.table:
        _channels_tsv(file, path)
    samples = [x * line.factor for x, line in zip(samples, file.lines, strict=True)]
    bad = [(start, stop) for start, stop, _ in file.bad]
    if file.format == "vhdr":  # its markers count samples
        rate = file.lines[0].rate
        bad = [(round(start * rate) / rate, round(stop * rate) / rate) for start, stop in bad]
    return Written(path, samples, [_pieces(file, line) for line in file.lines], bad)


def _pieces(file: File, line: Line) -> list[Piece]:
    """A channel's pieces: breaks in its samples, each with the pauses before it."""
    edges = [Fraction(0), *(at for at, _ in file.pauses), file.seconds]
    gaps = [Fraction(0), *(gap for _, gap in file.pauses)]
    pieces, shift = [], Fraction(0)
    for start, stop, gap in zip(edges, edges[1:], gaps, strict=False):
        shift += gap
        first, last = round(start * line.rate), round(stop * line.rate)
        if first < last:
            pieces.append(Piece(Fraction(first) / line.rate + shift, first, last))
    if file.format not in ("edf", "bdf") or any(gap for _, gap in file.pauses):
        return pieces
    return [Piece(Fraction(0), 0, pieces[-1].stop)]


def _channels_tsv(file: File, path: Path) -> None:
    """BIDS' table of the channels."""
    types = {"gsr": "GSR", "temp": "TEMP", "acc": "ACCEL", "none": "MISC"}
    with path.with_name(path.name.rpartition("_")[0] + "_channels.tsv").open("w") as out:
        table = csv.writer(out, delimiter="\t")
        table.writerow(("name", "type", "units", "status"))
        for line in file.lines:
            kind = types.get(line.kind, line.kind.upper())
            status = "bad" if line.bad else "good"
            table.writerow((line.label, kind, line.unit or "n/a", status))


# --- EDF and BDF


def _edf(file: File, path: Path) -> list[np.ndarray]:
    """By edfio, with the header's odd fields and the records' times written over."""
    step = RECORDS[file.record]
    wide = file.format == "bdf"
    make, container = (edfio.BdfSignal, edfio.Bdf) if wide else (edfio.EdfSignal, edfio.Edf)
    most = 2**23 if wide else 2**15
    signals = []
    for line in file.lines:
        x = samples_of(line, file)
        room = float(np.ptp(x)) or 1.0
        low, high = x.min() - 0.3 * room, x.max() + 2.0 * room
        low, high = low - 0.02 * abs(low), high + 0.02 * abs(high)
        signals.append(
            make(
                x,
                float(line.rate * step),  # as if a record lasted 1 s
                label=line.label,
                physical_range=(low, high),
                digital_range=(-most, most - 1) if file.option % 2 else (-most // 2, most // 2),
            )
        )
    filler = edfio.EdfAnnotation(0, None, "room for the times of records and for annotations " * 2)
    plus = bool(file.pauses or file.bad or file.option % 3 == 0)
    edf = container(signals, data_record_duration=1, annotations=[filler] if plus else None)
    data = bytearray(edf.to_bytes())
    count = len(signals) + plus
    backwards = file.option % 5 == 0
    out = []
    for i, (line, signal) in enumerate(zip(file.lines, signals, strict=True)):
        at = 256 + count * 96 + 8 * i
        data[at : at + 8] = _bytes_of(line.unit, utf8=file.option % 4 == 1).ljust(8)
        least, most_at = (slice(at + count * w, at + count * w + 8) for w in (8, 16))
        low, high = bytes(data[least]), bytes(data[most_at])
        if backwards:
            low, high = high, low
            data[least], data[most_at] = low, high
        gain = (float(high) - float(low)) / (signal.digital_max - signal.digital_min)
        out.append((signal.digital.astype(np.float64) - signal.digital_min) * gain + float(low))
    data[244:252] = file.record.encode().ljust(8)
    if file.option % 7 == 0:
        data[236:244] = b"-1".ljust(8)
    if plus:
        _write_times(file, data, count, 3 if wide else 2)
    path.write_bytes(data)
    return out


def _bytes_of(unit: str, *, utf8: bool) -> bytes:
    return unit.replace("\u03bc", "\u00b5").encode("utf-8" if utf8 else "latin-1")


def _write_times(file: File, data: bytearray, count: int, width: int) -> None:
    """When each record began, and the annotations, in place of edfio's."""
    apart = any(gap for _, gap in file.pauses)
    kind = "BDF" if width == 3 else "EDF"
    data[192:236] = f"{kind}+{'D' if apart else 'C'}".encode().ljust(44)
    step = RECORDS[file.record]
    per_record = [int(data[256 + count * 216 + 8 * i :][:8]) for i in range(count)]
    body, size = 256 * (count + 1), width * sum(per_record)
    room = width * per_record[-1]
    origin = Fraction(file.option % 4, 4)
    notes = sorted(file.bad)
    records = (len(data) - body) // size
    for record in range(records):
        start = record * step
        start += sum(gap for at, gap in file.pauses if at <= start)
        entry = f"+{_decimal(start + origin)}\x14\x14\0"
        last = record == records - 1
        while notes and (notes[0][0] < start + step or last):
            first, stop, text = notes.pop(0)
            length = f"\x15{_decimal(stop - first)}"
            entry += f"+{_decimal(first + origin)}{length}\x14{text}\x14\0"
        at = body + record * size + size - room
        encoded = entry.encode()
        assert len(encoded) <= room, "too little room for annotations"
        data[at : at + room] = encoded.ljust(room, b"\0")


def _decimal(seconds: Fraction) -> str:
    return f"{float(seconds):.6f}".rstrip("0").rstrip(".")


# --- BrainVision


def _brainvision(file: File, path: Path) -> list[np.ndarray]:
    """By pybv; what it does not write (vectors, New Segment, ...) is changed afterwards."""
    x = np.array([samples_of(line, file) for line in file.lines])
    rate = file.lines[0].rate
    whole = file.option % 2 == 1
    size = np.abs(x).max(axis=1) + 1e-12
    resolution = 10.0 ** np.ceil(np.log10(size / 30000)) if whole else np.ones(len(x))
    to_si = {"uV": 1e-6, "\u00b5V": 1e-6, "\u03bcV": 1e-6, "mV": 1e-3, "V": 1.0, "nV": 1e-9}
    plain = [line.unit if line.unit in to_si else "custom" for line in file.lines]
    events = [{"onset": 3, "description": 7}, {"onset": 40, "description": 2, "type": "Response"}]
    marks = []
    for start, stop, text in file.bad:
        first, last = round(start * rate), min(round(stop * rate), x.shape[1])
        if file.option % 3:
            marks.append(f"Bad Interval,Bad,{first + 1},{last - first},0")
        else:
            events.append(
                {"onset": first, "duration": last - first, "type": "Comment", "description": text}
            )
    pybv.write_brainvision(
        data=x * np.array([[to_si.get(unit, 1.0)] for unit in plain]),
        sfreq=float(rate),
        ch_names=[line.label for line in file.lines],
        fname_base=path.stem,
        folder_out=path.parent,
        events=events,
        unit=plain,
        resolution=resolution,
        fmt="binary_int16" if whole else "binary_float32",
    )
    numbers = np.fromfile(path.with_suffix(".eeg"), "<i2" if whole else "<f4")
    numbers = numbers.reshape(-1, len(x)).T
    text = path.read_text(encoding="utf-8")
    for i, line in enumerate(file.lines):
        before = f",{np.format_float_positional(resolution[i], trim='-')},"
        old = next(row for row in text.splitlines() if row.startswith(f"Ch{i + 1}="))
        assert before in old
        text = text.replace(old, old.rpartition(",")[0] + f",{line.unit}")
    if file.option % 4 == 2:
        text = text.replace("=MULTIPLEXED", "=VECTORIZED").replace("MULTIPLEXED=ch1", "ch1")
        np.ascontiguousarray(numbers).tofile(path.with_suffix(".eeg"))
    if file.option % 8 > 5:
        other = f"{path.stem} samples.dat"
        text = text.replace(f"{path.stem}.eeg", other)
        path.with_suffix(".eeg").rename(path.parent / other)
    path.write_text(text, encoding="utf-8")
    marks += [f"New Segment,,{round(at * rate) + 1},1,0" for at, _ in file.pauses]
    with path.with_suffix(".vmrk").open("a", encoding="utf-8") as out:
        out.write("".join(f"Mk{100 + i}={mark}\n" for i, mark in enumerate(marks)))
    return list(numbers.astype(np.float64) * resolution[:, None])


# --- EEGLAB


def _eeglab(file: File, path: Path) -> list[np.ndarray]:
    """By eeglabio; voltages in uV, other numbers as they are."""
    x = np.array([samples_of(line, file) for line in file.lines])
    rate = float(file.lines[0].rate)
    types = {"gsr": "GSR", "temp": "TEMP", "none": "MISC", "acc": "ACC"}
    told = [
        types.get(line.kind, line.kind.upper()) if line.told not in ("", "?") else ""
        for line in file.lines
    ]
    notes = [("boundary", float(at), float(gap)) for at, gap in file.pauses]
    notes += _bad_by_samples(file)
    notes += [("S 1", 0.1, 0.0)]
    notes.sort(key=lambda note: note[1])
    precision = "single" if file.option % 2 else "double"
    eeglabio.raw.export_set(
        str(path),
        x / 1e6,
        rate,
        [line.label for line in file.lines],
        annotations=[
            [note[0] for note in notes],
            np.array([note[1] for note in notes]),
            np.array([note[2] for note in notes]),
        ],
        ch_types=told if any(told) else None,
        precision=precision,
    )
    kept = (x / 1e6) * 1e6
    return list(kept.astype(np.float32).astype(np.float64) if precision == "single" else kept)


def _bad_by_samples(file: File) -> list[tuple[str, float, float]]:
    """The bad stretches as a file has them that counts samples; (text, onset, duration) in s."""
    notes = []
    for start, stop, text in file.bad:
        first, last = (
            t - sum(min(max(t - at - before, 0), gap) for at, gap, before in _gaps(file))
            for t in (start, stop)
        )
        notes.append((text, float(first), float(last - first)))
    return notes


def _gaps(file: File) -> list[tuple[Fraction, Fraction, Fraction]]:
    """Each pause, and the length of those before it."""
    before = [
        sum((gap for _, gap in file.pauses[:i]), Fraction(0)) for i in range(len(file.pauses))
    ]
    return [(at, gap, b) for (at, gap), b in zip(file.pauses, before, strict=True)]


# --- FIF


def _fif(file: File, path: Path) -> list[np.ndarray]:
    """By MNE: typed or all "eeg", cropped, in parts, of single or double precision."""
    typed = file.option % 2 == 1 or any(line.told not in ("", "?") for line in file.lines)
    x, types, factors = [], [], []
    for line in file.lines:
        kind = _fif_type(line, typed)
        factor = 1e-6 if line.kind in (*VOLTAGES, "gsr") else 1.0
        if line.kind == "gsr" and file.option % 3 == 0:
            factor = 1.0  # uS in a place for S, as most people write it
        types.append(kind)
        factors.append(factor)
        x.append(samples_of(line, file) * factor)
    rate = file.lines[0].rate
    labels = [line.label for line in file.lines]
    double = file.option % 4 > 1
    info = mne.create_info(labels, float(rate), types, verbose="ERROR")
    cut = [round(at * rate) for at, _ in file.pauses]
    array = np.array(x)
    ahead = file.option % 50 if file.option % 5 == 2 else 0
    array = np.concatenate([array[:, :1].repeat(ahead, axis=1), array], axis=1)
    edges = [0, *(ahead + at for at in cut), array.shape[1]]
    parts = [
        mne.io.RawArray(array[:, a:b], info, verbose="ERROR")
        for a, b in zip(edges, edges[1:], strict=False)
    ]
    raw = mne.concatenate_raws(parts, verbose="ERROR")
    for start, stop, text in file.bad:
        raw.annotations.append(float(ahead / rate + start), float(stop - start), text)
    if ahead:
        raw.crop(ahead / float(rate))
    raw.info["bads"] = [line.label for line in file.lines if line.bad]
    raw.save(
        path,
        fmt="double" if double else "single",
        buffer_size_sec=1,
        split_size="2MB",  # the least that MNE takes: a few long recordings are split
        overwrite=True,
        verbose="ERROR",
    )
    dtype = np.float64 if double else np.float32
    return [
        row[ahead:].astype(dtype).astype(np.float64) / factor
        for row, factor in zip(array, factors, strict=True)
    ]


def _fif_type(line: Line, typed: bool) -> str:
    """MNE's type of a channel."""
    known = {"eeg", "ecg", "eog", "emg", "gsr", "resp"}
    if line.kind == "none":
        return "stim" if line.label.startswith("STI") else "misc"
    if line.told == "?":  # the manifest states it
        return "misc"
    if not typed:
        return "eeg" if line.kind in (*VOLTAGES, "gsr") else "misc"
    return {"temp": "temperature"}.get(line.kind, line.kind if line.kind in known else "misc")


# --- faces and the manifest


def face_values(face: Face) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Times of the frames [n] in s, and OpenFace's columns."""
    rng = np.random.default_rng(face.seed)
    count = face.fps * face.seconds
    time = np.arange(count) / face.fps
    if face.uneven:
        time[1:] += rng.uniform(-0.4, 0.4, count - 1) / face.fps
    columns = {}
    for names, mean, size in (
        ([f"{axis}_{i}" for axis in "XYZ" for i in range(68)], 50, 20),
        ([f"AU{number:02d}_r" for number in ACTION_UNITS], 2.5, 1.5),
        (["gaze_angle_x", "gaze_angle_y"], 0.0, 0.3),
    ):
        for name in names:
            speed, phase = rng.uniform(0.1, 2.0), rng.uniform(0, 6)
            columns[name] = mean + size * np.sin(speed * time + phase)
    for number in ACTION_UNITS:
        columns[f"AU{number:02d}_c"] = (np.sin(3 * time + rng.uniform(0, 6)) > 0).astype(int)
    return time, columns


def is_lost(face: Face) -> np.ndarray:
    """Which frames [n] have no face."""
    lost = np.zeros(face.fps * face.seconds, bool)
    for first, count in face.lost:
        lost[first : first + count] = True
    return lost


def write_face(face: Face, path: Path) -> None:
    """OpenFace's CSV."""
    time, columns = face_values(face)
    lost = is_lost(face)
    names = ["frame", "face_id", "timestamp", "confidence", "success", *columns]
    separator = ", " if face.seed % 2 else ","
    rows = [separator.join(names)]
    for i in range(len(time)):
        cells = [f"{i + 1}", "0", f"{time[i]:.4f}", "0.10" if lost[i] else "0.97", f"{1 - lost[i]}"]
        cells += ["0" if lost[i] else f"{column[i]:.5g}" for column in columns.values()]
        rows.append(separator.join(cells))
    path.write_text("\n".join(rows) + "\n")


def write_manifest(study: Study, names: dict[str, str], folder: Path) -> None:
    """`manifest.csv`; `names` are those of the files."""
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        header = "subject,trial,label,rating,modality,path,start_s,stop_s,channels,kind,unit"
        table.writerow(header.split(","))
        for row in study.rows:
            cells = [row.subject, row.trial, *study.labels[row.subject, row.trial], row.modality]
            cells += [names[row.file], row.start, row.stop, ";".join(row.channels)]
            table.writerow([*cells, row.kind, row.unit])
