"""A live session's cost: 32 channels of EEG at 512 Hz and a face at 30 frames per second.

    pytest benchmarks/bench_live.py --benchmark-only
    CLMER_LIVE_MINUTES=30 pytest benchmarks/bench_live.py --benchmark-only

`clmer.Live` alone, as `clmer live` calls it: chunks of 16 samples and single frames in the order of
their times, as fast as it takes them, one thread; windows of 1 s, the six splits' models of a run
of `--classifier corrected` on generated signals. Latency is from the push that completes a window
to its probabilities. Share of a core is this process's time per second of signals. Memory is the
process's resident size after the first tenth and at the end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from _measure import table

import clmer
from clmer.cli import main
from clmer.cli.train import set_threads
from clmer.data.face import NEEDED_COLUMNS
from clmer.live import Live, StreamFormat

FS, FPS, CHANNELS, CHUNK = 512.0, 30.0, 32, 16
MINUTES = float(os.environ.get("CLMER_LIVE_MINUTES", "2"))
PEOPLE, SECONDS = 6, 30
COLUMNS = ("confidence", "success", *NEEDED_COLUMNS)
TRAIN = ["--filter", "causal", "--window", "1", "--protocol", "subject", "--folds", "6"]
TRAIN += ["--epochs-contrastive", "1", "--epochs-fusion", "1", "--no-permuted", "--threads", "1"]


def signals(rng: np.random.Generator, count: int) -> np.ndarray:
    """[32, count] uV with offsets of thousands."""
    x = rng.standard_normal((CHANNELS, count))
    return 20 * x + 5 * np.cumsum(x, 1) / 10 + 100.0 * np.arange(CHANNELS)[:, None]


def faces(rng: np.random.Generator, count: int) -> np.ndarray:
    """[columns, count], always seen."""
    frames = rng.standard_normal((len(COLUMNS), count))
    frames[:2] = 1.0
    return frames


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six splits."""
    root = tmp_path_factory.mktemp("live")
    rng = np.random.default_rng(0)
    lines = ["subject,trial,label,modality,path,rate"]
    names = [f"E{i:02d}" for i in range(CHANNELS)]
    for person in range(PEOPLE):
        for label in ("calm", "angry"):
            name = f"p{person}{label}"
            header = ",".join(f"{each} [uV]" for each in names)
            x = signals(rng, round(SECONDS * FS)).T
            np.savetxt(root / f"{name}.csv", x, "%.3f", ",", header=header, comments="")
            frames = faces(rng, round(SECONDS * FPS)).T
            times = np.arange(len(frames)) / FPS
            columns = "timestamp," + ",".join(COLUMNS)
            timed = np.column_stack([times, frames])
            np.savetxt(root / f"{name}-face.csv", timed, "%.4f", ",", header=columns, comments="")
            lines += [f"p{person},{label},{label},eeg,{name}.csv,{FS:g}"]
            lines += [f"p{person},{label},{label},face,{name}-face.csv,"]
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    line = ["train", "manifest", "--root", str(root), "--cache", str(root / "cache")]
    assert main([*line, "--task", "label", "--out", str(root / "run"), *TRAIN]) == 0
    return root / "run"


def stream(seconds: float) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Chunks in the order in which their last sample is there; a second of them is repeated."""
    rng = np.random.default_rng(1)
    x, frames = signals(rng, 64 * CHUNK), faces(rng, 30)
    frame = 0
    for number in range(int(seconds * FS / CHUNK)):
        first = number * CHUNK
        part = slice(first % x.shape[1], first % x.shape[1] + CHUNK)
        yield "eeg", x[:, part], (first + np.arange(CHUNK)) / FS
        while frame / FPS <= (first + CHUNK) / FS:
            yield "face", frames[:, [frame % 30]], np.array([frame / FPS])
            frame += 1


def resident_mib() -> float:
    """This process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def session(run: Path, seconds: float) -> dict[str, float]:
    """What a session of so many seconds took."""
    trained = clmer.load(run)
    names = tuple(trained.modalities["eeg"].channels)
    live = Live(trained, {"eeg": StreamFormat(names, FS), "face": StreamFormat(COLUMNS, FPS)})
    latencies: list[float] = []
    early_mib, began = 0.0, time.process_time()
    for name, samples, times in stream(seconds):
        for window in live.push(samples, times, name):
            assert window.status == "ok"
            latencies.append(1e3 * window.latency_s)
        if not early_mib and times[-1] > seconds / 10:
            early_mib = resident_mib()
    share = (time.process_time() - began) / seconds
    assert len(latencies) >= seconds - 2
    late = np.array(latencies[3:])
    return {
        "p50": float(np.median(late)),
        "p99": float(np.percentile(late, 99)),
        "share": share,
        "grown": resident_mib() - early_mib,
        "windows": len(latencies),
    }


def test_session(benchmark, run: Path) -> None:
    threads = torch.get_num_threads()
    set_threads(1)
    try:
        found = benchmark.pedantic(session, (run, 60 * MINUTES), rounds=1)
    finally:
        set_threads(threads)
    row = {
        "session": f"{MINUTES:g} min, {found['windows']:g} windows",
        "latency p50": f"{found['p50']:.1f} ms",
        "latency p99": f"{found['p99']:.1f} ms",
        "share of a core": f"{100 * found['share']:.0f} %",
        "memory, grown by": f"{found['grown']:+.1f} MiB",
    }
    table("A live session: 32 channels at 512 Hz, a face at 30 per second, six splits").rows.append(
        row
    )
    benchmark.extra_info.update(found)
