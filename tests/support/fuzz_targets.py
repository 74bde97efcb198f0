"""What the fuzz tests feed with damaged files: a whole file of each format, and its reader.

Beside the formats of recordings, the files of our own stores and runs.

Every outcome must be a result or a `DataError`: no other exception, no hang, no gigabyte.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from support.xdf_files import Stream, write_xdf

import clmer
from clmer import cli
from clmer.data.face import read_face
from clmer.data.formats.biosignal import open_biosignal
from clmer.data.formats.matfile import load_cells
from clmer.data.manifest import reader as manifest
from clmer.data.readers import deap
from clmer.data.recording import SYNTHETIC_MARKER
from clmer.data.store.store import open_store
from clmer.data.synthetic import write_deap
from clmer.data.synthetic.man2 import write_emotiv_csv
from clmer.errors import DataError
from clmer.pipeline.run.folder import unfinished_stage
from clmer.report.page import report


@dataclass(frozen=True)
class Target:
    """One format.

    Args:
        whole: the bytes of a whole file.
        read: reads a file of that format to its end.
        suffix: of the file.
    """

    whole: bytes
    read: Callable[[Path], object]
    suffix: str

    def run(self, data: bytes) -> bool:
        """Whether `data` could be read; a `DataError` is no."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"s01{self.suffix}"
            path.write_bytes(data)
            try:
                self.read(path)
            except DataError:
                return False
        return True


def targets(scratch: Path) -> dict[str, Target]:
    """By name; `scratch` keeps what a single file needs beside it."""
    root = write_deap(scratch / "deap", people=1, trials=2, seconds=1, fps=5)
    marker = (root / SYNTHETIC_MARKER).read_bytes()
    recording = scratch / "x.npy"
    np.save(recording, np.zeros((2, 300)))
    table = f"subject,trial,label,modality,path,rate\np,1,a,eeg,{recording},100\n"
    table += f"q,1,b,eeg,{recording},100\n"

    def read_dat(path: Path) -> object:
        (path.parent / SYNTHETIC_MARKER).write_bytes(marker)
        return list(deap.read(path.parent, face=False))

    def read_ratings(path: Path) -> object:
        for source in (root / "data_preprocessed_python").iterdir():
            (path.parent / source.name).write_bytes(source.read_bytes())
        (path.parent / SYNTHETIC_MARKER).write_bytes(marker)
        path.rename(path.with_name("participant_ratings.csv"))
        return list(deap.read(path.parent, face=False))

    def read_manifest(path: Path) -> object:
        return list(manifest.read(path))

    def read_signals(path: Path) -> object:
        file = open_biosignal(path)
        return file.signal(file.channels, 0.0, file.duration_s)

    def read_mat(path: Path) -> object:
        return load_cells(path, ("joined_data", "VideoIDs"), max_bytes=2**24)

    def read_pyfeat(path: Path) -> object:
        return read_face(path, fps=25.0)

    def read_hog(path: Path) -> object:
        path.with_suffix(".csv").write_bytes(face)
        series = read_face(path.with_suffix(".csv"))
        assert series.hog is not None
        return series.hog.regions(np.arange(len(series.valid)))

    streams = scratch / "streams.xdf"
    times = 50 + np.arange(200) / 100
    device = Stream("Muse", "EEG", times, np.ones((200, 2)), 100.0, ["C3", "C4"], ["uV", "uV"])
    task = Stream("Task", "Markers", times[:2], ["a", "b"], form="string")
    write_xdf(streams, device, task)
    headset = scratch / "headset.csv"
    write_emotiv_csv(headset, np.random.default_rng(0).normal(4200, 20, (14, 300)))
    face = next(iter((root / "face" / "s01").iterdir())).read_bytes()
    dat = (root / "data_preprocessed_python" / "s01.dat").read_bytes()
    ratings = (root / "metadata_csv" / "participant_ratings.csv").read_bytes()
    return {
        "dat": Target(dat, read_dat, ".dat"),
        "ratings": Target(ratings, read_ratings, ".csv"),
        "face": Target(face, read_face, ".csv"),
        "pyfeat": Target(pyfeat(), read_pyfeat, ".csv"),
        "hog": Target(hog(face.count(b"\n") - 1), read_hog, ".hog"),
        "mat": Target(mat(), read_mat, ".mat"),
        "emotiv": Target(headset.read_bytes(), read_signals, ".csv"),
        "table": Target(openbci(), read_signals, ".txt"),
        "matrix": Target(matrix(), read_signals, ".mat"),
        "manifest": Target(table.encode(), read_manifest, ".csv"),
        "edf": Target(edf(), read_signals, ".edf"),
        "bdf": Target(edf(bits=24), read_signals, ".bdf"),
        "xdf": Target(streams.read_bytes(), read_signals, ".xdf"),
        **own_files(scratch / "own"),
    }


def own_files(scratch: Path) -> dict[str, Target]:
    """A file of a prepared store each, and of a run: the report draws it, and it is loaded."""
    data, cache, run = scratch / "data", scratch / "cache", scratch / "run"
    write_deap(data, people=3, trials=4, seconds=2, fps=5)
    small = "--no-contrastive --repeats 1 --folds 3 --threads 1 --width 4 --dim 8 --heads 2 "
    small += "--cross-layers 1 --memory-layers 1 --single-layers 1 --token-length 2 "
    small += "--epochs-fusion 1 --modalities eeg,landmarks --protocol shuffled --no-permuted"
    options = ["--root", str(data), "--cache", str(cache), "--out", str(run), *small.split()]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert cli.main(["train", "deap", *options]) == 0
    (store,) = cache.glob("deap-*")

    def read_store(folder: Path) -> object:
        opened = open_store(folder)
        return [float(np.nan_to_num(opened.array(name)).sum()) for name in opened.modalities]

    def read_run(folder: Path) -> object:
        page = report([folder], cache=cache, shows_learned=False)
        with contextlib.suppress(DataError):  # the report does not need what a model needs
            clmer.load(folder, split="split1")
        return page

    def load_run(folder: Path) -> object:
        return clmer.load(folder)

    def unfinished(folder: Path) -> object:
        (folder / "results.json").unlink()
        return unfinished_stage(folder), report([folder], cache=cache, shows_learned=False)

    def drawn(folder: Path) -> object:
        return report([folder], cache=cache)

    inputs = "models/split1/tokenizer.safetensors"
    return {
        "store-json": _in_folder(store, "store.json", read_store),
        "store-table": _in_folder(store, "windows.npz", read_store),
        "store-array": _in_folder(store, "eeg.npy", read_store),
        "run-config": _in_folder(run, "config.json", read_run),
        "run-data": _in_folder(run, "data.json", read_run),
        "run-results": _in_folder(run, "results.json", read_run),
        "run-log": _in_folder(run, "metrics.jsonl", read_run),
        "run-unfinished": _in_folder(run, "metrics.jsonl", unfinished),
        "run-inputs": _in_folder(run, inputs, load_run),
        "run-predictions": _in_folder(run, "predictions.csv", drawn),
    }


def _in_folder(whole: Path, name: str, read: Callable[[Path], object]) -> Target:
    """A folder of which one file is given, the others as they are."""

    def run(path: Path) -> object:
        folder = path.parent / whole.name
        for source in whole.rglob("*"):
            if source.is_file() and source.relative_to(whole) != Path(name):
                placed = folder / source.relative_to(whole)
                placed.parent.mkdir(parents=True, exist_ok=True)
                placed.symlink_to(source)
        path.rename(folder / name)
        return read(folder)

    return Target((whole / name).read_bytes(), run, Path(name).suffix)


def openbci(rows: int = 300) -> bytes:
    """A small table with comments, a counter, times and text."""
    head = "%OpenBCI Raw EXG Data\n%Sample Rate = 250 Hz\n"
    head += "Sample Index, EXG Channel 0, EXG Channel 1, Timestamp, Timestamp (Formatted)\n"
    lines = (
        f"{i % 256}.0, {i * i % 89}.5, {i * i % 97}.25, {1.7e9 + i / 250}, 2024-01-01 10:00:00.000"
        for i in range(rows)
    )
    return (head + "\n".join(lines) + "\n").encode()


def matrix() -> bytes:
    """A small MATLAB 5 file of a matrix, its rate and its channels' names."""
    file, x = io.BytesIO(), np.random.default_rng(0).normal(0, 20, (3, 200))
    names = np.array(["Fp1", "Fp2", "ECG"], object)
    scipy.io.savemat(file, {"eeg": x, "fs": 100.0, "channels": names})
    return file.getvalue()


def mat() -> bytes:
    """A small MATLAB 5 file of cells, as AMIGOS is."""
    data, names = np.empty((1, 3), object), np.empty((1, 3), object)
    for i in range(3):
        data[0, i], names[0, i] = np.arange(34.0).reshape(2, 17) + i, f"v{i}"
    file = io.BytesIO()
    scipy.io.savemat(file, {"joined_data": data, "VideoIDs": names}, do_compression=True)
    return file.getvalue()


def pyfeat(frames: int = 4) -> bytes:
    """A small CSV of Py-Feat 2: two faces in the last frame, and a frame without any."""
    names = ["frame", "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
    names += [f"{axis}_{i}" for axis in "xy" for i in range(68)]
    names += [f"AU{name}" for name in "01 02 04 05 06 07 09 10 12 14 15 17 20 23 25 26 43".split()]
    names += ["gaze_pitch", "gaze_yaw"]
    rng = np.random.default_rng(0)
    lines = [",".join(names), f"0{',' * (len(names) - 1)}"]
    for frame in (*range(1, frames), frames - 1):
        cells = [*rng.integers(50, 300, 4), 0.9, *rng.integers(0, 640, 136), *rng.random(19)]
        lines.append(f"{frame}," + ",".join(f"{cell:.4g}" for cell in cells))
    return "\n".join([*lines, ""]).encode()


def hog(frames: int) -> bytes:
    """OpenFace's HOG file of so many frames, small ones: 4 x 4 cells."""
    record = np.dtype([("size", "<i4", 3), ("good", "<f4"), ("cells", "<f4", (4, 4, 31))])
    records = np.ones(frames, dtype=record)
    records["size"] = 4, 4, 31
    return records.tobytes()


def edf(bits: int = 16, channels: int = 2, rate: int = 100, seconds: int = 3) -> bytes:
    """A small EDF or, of 24 bits, BDF."""
    most = 2 ** (bits - 1)
    columns = [
        [f"EEG C{n + 3}".ljust(16) for n in range(channels)],
        ["AgCl".ljust(80)] * channels,
        ["uV".ljust(8)] * channels,
        ["-3200".ljust(8)] * channels,
        ["3200".ljust(8)] * channels,
        [str(-most).ljust(8)] * channels,
        [str(most - 1).ljust(8)] * channels,
        ["HP:0.1Hz".ljust(80)] * channels,
        [str(rate).ljust(8)] * channels,
        ["".ljust(32)] * channels,
    ]
    version = b"\xffBIOSEMI" if bits == 24 else b"0".ljust(8)
    header = f"{'X X X X':80}{'Startdate 02-MAR-2020 X X X':80}02.03.2012.00.00"
    header += f"{256 * (channels + 1):<8}{'24BIT' if bits == 24 else '':44}{seconds:<8}{1:<8}"
    header += f"{channels:<4}" + "".join("".join(column) for column in columns)
    samples = np.random.default_rng(0).integers(-1000, 1000, seconds * channels * rate)
    body = samples.astype("<i4").view(np.uint8).reshape(-1, 4)[:, : bits // 8]
    return version + header.encode("ascii") + body.tobytes()
