"""Peak memory of preparing full-size DEAP, measured on two generated people.

    python benchmarks/prepare_memory.py [--people 2] [--seconds 60] [--fps 50] [--keep FOLDER]

Writes people in DEAP's true sizes (40 trials of 3 + 60 s, 40 channels, face video at 50 frames a
second), prepares physio, landmarks and au in a process of its own, and prints that process's peak
resident memory after every person. Extrapolation to the 22 people with video: the last peak, plus
the mean growth from one person to the next for each person more; what stays behind a person is the
window table, everything else is given back. Target: under 4 GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from clmer.data.synthetic import write_deap

PEOPLE_WITH_VIDEO = 22
TARGET_MIB = 4096

CHILD = """
import json, resource, sys, time
from dataclasses import replace
from pathlib import Path
from clmer.data import DATASETS
from clmer.data.store.prepare import prepare

def peak():  # MiB; ru_maxrss is in KiB on Linux, in bytes on macOS
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

peaks, deap = [peak()], DATASETS["deap"]

def watched(root, *, face=True):
    subject = None
    for recording in deap.read(root, face=face):
        if subject not in (None, recording.subject):
            peaks.append(peak())
        subject = recording.subject
        yield recording

start = time.perf_counter()
store = prepare(replace(deap, read=watched), Path(sys.argv[1]), cache=Path(sys.argv[2]))
peaks.append(peak())
size = sum(file.stat().st_size for file in store.path.iterdir())
print(json.dumps({"peaks": peaks, "seconds": time.perf_counter() - start, "windows":
    len(store.windows), "bytes": size, "dropped": store.report["windows_dropped"]}))
"""


def measure(root: Path, cache: Path) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(root), str(cache)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def report(result: dict[str, Any]) -> None:
    imports, *peaks = result["peaks"]
    print(
        f"prepared {result['windows']} windows, {result['bytes'] / 2**20:.0f} MiB, "
        f"in {result['seconds']:.0f} s; dropped {result['dropped'] or 'none'}"
    )
    print(f"peak after the imports: {imports:.0f} MiB")
    for number, value in enumerate(peaks, 1):
        print(f"peak after person {number}: {value:.0f} MiB")
    growth = (peaks[-1] - peaks[0]) / (len(peaks) - 1)
    more = PEOPLE_WITH_VIDEO - len(peaks)
    total = peaks[-1] + more * growth
    print(
        f"{PEOPLE_WITH_VIDEO} people: {peaks[-1]:.0f} + {more} x {growth:.1f} = {total:.0f} MiB, "
        f"{'under' if total < TARGET_MIB else 'OVER'} the target of {TARGET_MIB}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory of preparing full-size DEAP.")
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--fps", type=float, default=50.0)
    parser.add_argument("--keep", type=Path, help="folder to leave the generated data in")
    options = parser.parse_args()
    if not 2 <= options.people <= PEOPLE_WITH_VIDEO:
        parser.error("--people: 2 or more are needed to see the growth, and at most 22")

    with tempfile.TemporaryDirectory() as scratch:
        root = (options.keep or Path(scratch)) / "deap"
        start = time.perf_counter()
        write_deap(root, people=options.people, seconds=options.seconds, fps=options.fps)
        written = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
        print(f"generated {written / 2**20:.0f} MiB in {time.perf_counter() - start:.0f} s")
        report(measure(root, Path(scratch) / "cache"))


if __name__ == "__main__":
    main()
