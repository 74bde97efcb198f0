"""The Python part of tools/gpu_check.sh: runs a benchmark's rows(), and writes the report.

    python tools/gpu_report.py rows benchmarks/bench_bandpass_gpu.py FILE.json
    python tools/gpu_report.py write FOLDER [--check NAME=passed|failed|skipped] [--rows FILE]

A row is {op, case, dtype, ours_ms, contenders {name: ms}, floor_ms, floor_kind, ratio, extra}:
contenders may be empty, and ratio is then None; floor_kind is "bytes" (over the measured rate of a
copy) or "flops" (over that of a matrix product). rows() may be a generator: what it gave before it
ran out of time counts.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
_KEYS = {
    "op": str,
    "case": str,
    "dtype": str,
    "ours_ms": float,
    "contenders": dict,
    "floor_ms": float,
    "floor_kind": str,
    "ratio": (float, type(None)),
    "extra": dict,
}
_OUTCOMES = ("passed", "failed", "skipped")


def check_row(row: dict[str, Any], source: str) -> None:
    """Raises ValueError, naming source and field, unless the row has the schema above."""
    where = f"{source}: row {row.get('op')!r} {row.get('case')!r}"
    if set(row) != set(_KEYS):
        raise ValueError(f"{where}: found keys {sorted(row)}, expected {sorted(_KEYS)}")
    for key, kind in _KEYS.items():
        if not isinstance(row[key], kind):
            raise ValueError(f"{where}: {key}: found {row[key]!r}, expected {kind}")
    times = {"ours_ms": row["ours_ms"], "floor_ms": row["floor_ms"], **row["contenders"]}
    for name, value in times.items():
        if not (isinstance(value, float) and math.isfinite(value) and value > 0):
            raise ValueError(f"{where}: {name}: found {value!r}, expected milliseconds above 0")
    if row["floor_kind"] not in ("bytes", "flops"):
        raise ValueError(f"{where}: floor_kind: found {row['floor_kind']!r}")
    if (row["ratio"] is None) != (not row["contenders"]):
        raise ValueError(f"{where}: ratio: expected None without contenders, and only then")


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """What the benchmark's rows() gives, checked, one by one."""
    sys.path.insert(0, str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for row in module.rows():
        check_row(row, path.name)
        yield row


def git_commit() -> str:
    """The commit, marked where the tree differs from it; without git, what $COMMIT says."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    if not commit:
        return os.environ.get("COMMIT", "unknown")
    return commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def machine() -> dict[str, Any]:
    """Device and versions, and the rates that floors are reckoned with: measured now.

    A module that was not built has no version, and a device that a kernel has left broken no rates.
    """
    import torch

    sys.path.insert(0, str(BENCHMARKS))
    from _measure_gpu import copy_rate, product_rate

    versions: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda}
    versions["python"] = sys.version.split()[0]
    try:
        import clmer

        versions["clmer"] = clmer.build_info()["cuda"]
    except ImportError as error:
        versions["clmer"] = f"not built ({str(error).splitlines()[0]})"
    if importlib.util.find_spec("triton"):
        import triton

        versions["triton"] = triton.__version__
    found = {"device": torch.cuda.get_device_name(), "versions": versions}
    try:
        products = {n: product_rate(getattr(torch, n)) / 1e12 for n in ("float32", "bfloat16")}
        return {**found, "copy_gb_s": copy_rate() / 1e9, "product_tflop_s": products}
    except RuntimeError as error:
        print(f"rates not measured: {error}", file=sys.stderr)
        return {**found, "copy_gb_s": None, "product_tflop_s": {}}


def report(
    found: dict[str, Any], commit: str, checks: dict[str, str], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """One run: machine and commit, outcome of each check, rows."""
    for name, outcome in checks.items():
        if outcome.split(":")[0] not in _OUTCOMES:
            raise ValueError(f"{name}: found {outcome!r}, expected one of {_OUTCOMES}")
    now = datetime.datetime.now(datetime.timezone.utc)
    date = now.strftime("%Y-%m-%dT%H%MZ")
    return {"date": date, "commit": commit, **found, "checks": checks, "rows": rows}


def markdown(run: dict[str, Any]) -> str:
    """The same as a page."""
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    products = ", ".join(f"{name} {rate:.0f}" for name, rate in run["product_tflop_s"].items())
    rates = "Its rates could not be measured."
    if products:
        rates = f"Copy {run['copy_gb_s']:.0f} GB/s; matrix product, TFLOP/s: {products}."
    lines = [
        f"# {run['device']}, {run['date']}",
        "",
        f"Commit {run['commit']}; {versions}. {rates}",
        "",
        "| check | outcome |",
        "|---|---|",
        *(f"| {name} | {outcome} |" for name, outcome in run["checks"].items()),
        "",
        "| op | case | dtype | ours, ms | others, ms | ratio | floor, ms | over the floor |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in run["rows"]:
        others = ", ".join(f"{name} {ms:.4g}" for name, ms in row["contenders"].items()) or "none"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(
            f"| {row['op']} | {row['case']} | {row['dtype']} | {row['ours_ms']:.4g} | {others} | "
            f"{ratio} | {row['floor_ms']:.4g} ({row['floor_kind']}) | "
            f"{row['ours_ms'] / row['floor_ms']:.2f} |"
        )
    if not run["rows"]:
        lines.append("| | not measured | | | | | | |")
    return "\n".join(lines) + "\n"


def write(run: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """<gpu>-<date>.json and .md in the folder."""
    name = re.sub(r"[^a-z0-9]+", "-", run["device"].lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}-{run['date']}{suffix}" for suffix in (".json", ".md")]
    paths[0].write_text(json.dumps(run, indent=1) + "\n")
    paths[1].write_text(markdown(run))
    return paths[0], paths[1]


def main(arguments: list[str] | None = None) -> None:
    """The two commands above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("rows")
    one.add_argument("benchmark", type=Path)
    one.add_argument("target", type=Path)
    whole = commands.add_parser("write")
    whole.add_argument("folder", type=Path)
    whole.add_argument("--rows", type=Path, action="append", default=[])
    whole.add_argument("--check", action="append", default=[], metavar="NAME=OUTCOME")
    given = parser.parse_args(arguments)
    if given.command == "rows":
        rows = []
        for row in rows_of(given.benchmark):
            rows.append(row)
            part = given.target.with_suffix(".part")
            part.write_text(json.dumps(rows))  # each: the next one may run out of time
            part.replace(given.target)
            case = f"{row['op']}, {row['case']}, {row['dtype']}"
            print(f"{case}: {row['ours_ms']:.4g} ms", flush=True)
        return
    rows = [row for path in given.rows for row in json.loads(path.read_text())]
    checks = dict(check.split("=", 1) for check in given.check)
    for path in write(report(machine(), git_commit(), checks, rows), given.folder):
        print(path)


if __name__ == "__main__":
    main()
