"""From a folder to predictions: the commands that each example types, one after the other."""

from __future__ import annotations

import argparse
import csv
import os
import shlex
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from clmer.cli import main as clmer

#: So that an example takes seconds; leave these out for a model that is trained to its end.
QUICK = "--epochs-contrastive 2 --epochs-fusion 3 --folds 3 --no-permuted".split()


def walk(
    write: Callable[[Path], None],
    task: Sequence[str] = (),
    train: Sequence[str] = (),
    manifest: Sequence[str] = (),
    dataset: str = "manifest",
    argv: Sequence[str] | None = None,
) -> None:
    """Write recordings into a folder and take them from there to predictions.

    Args:
        write: makes the recordings.
        task: what `clmer inspect` and `clmer train` are told beside the folder.
        train: the same of `clmer train` alone.
        manifest: the same of `clmer manifest`.
        dataset: "bids" for a tree that is read without a manifest; that is then written beside the
            results.
        argv: words of the command line; None for sys.argv's.
    """
    parser = argparse.ArgumentParser(description=write.__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="a new one (default: a temporary one)")
    folder = parser.parse_args(argv).folder or Path(tempfile.mkdtemp()) / "study"
    write(folder)
    out = folder.parent / f"{folder.name}-results"
    out.mkdir(exist_ok=True)
    os.environ["CLMER_CACHE"] = str(out / "cache")
    print(f"$ export CLMER_CACHE={shlex.quote(str(out / 'cache'))}")
    table = folder / "manifest.csv" if dataset == "manifest" else out / "manifest.csv"
    elsewhere = () if dataset == "manifest" else ("--out", table)
    data = [dataset, "--root", folder, *task]
    type_("manifest", folder, *manifest, *elsewhere)
    type_("inspect", *data, "--out", out / "inspect.html")
    type_("train", *data, *train, *QUICK, "--out", out / "run")
    type_("report", out / "run", "--out", out / "report.html")
    type_("predict", out / "run", *a_recording(table), "--out", out / "predictions.csv")


def type_(*words: object) -> None:
    """Type a command.

    Raises:
        SystemExit: it failed.
    """
    argv = [str(word) for word in words]
    print(f"\n$ clmer {shlex.join(argv)}", flush=True)
    if code := clmer(argv):
        raise SystemExit(code)


def a_recording(table: Path) -> list[str]:
    """The files of one trial of the manifest, and of its person's reference, for `predict`."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    last, words, known = rows[-1], [], []
    for row in rows:
        part = f":{row['start_s']}-{row['stop_s']}" if row.get("start_s") else ""
        name = row["modality"]
        file_ = os.path.normpath(table.parent / row["path"])
        if (row["subject"], row["trial"]) == (last["subject"], last["trial"]):
            words += ["--face", file_] if name == "face" else [f"{name}={file_}"]
        elif row["subject"] == last["subject"] and row.get("reference"):
            known += ["--reference", f"{name}={file_}{part}"]
    return [*words, *known]
