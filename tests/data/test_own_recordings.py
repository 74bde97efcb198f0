"""Bringing one's own recordings as docs/data.md says: its manifest, on files of those names."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from support.places import ROOT

from clmer.cli import main
from clmer.data.face import GAZE_COLUMNS, NEEDED_COLUMNS
from clmer.data.synthetic.man2 import write_emotiv_edf

SECONDS, FPS = 82, 10
TINY = (
    "--threads 1 --no-permuted --no-contrastive --dim 8 --heads 2 --token-length 5 "
    "--cross-layers 1 --memory-layers 1 --epochs-fusion 1 --repeats 1"
).split()


def documented() -> tuple[str, list[str]]:
    """The page's manifest, and the command under it."""
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    found = re.search(r"((?:    .*\n)+)\n    python -m clmer\.(train manifest .*)\n", page)
    assert found is not None
    return re.sub("^    ", "", found[1], flags=re.M), found[2].split()


def write_face(path: Path, rng: np.random.Generator) -> None:
    """OpenFace's CSV with gaze, and its HOG file."""
    count = SECONDS * FPS
    names = ("frame", "timestamp", "confidence", "success", *GAZE_COLUMNS, *NEEDED_COLUMNS)
    values = rng.standard_normal((count, len(names)))
    values[:, 0], values[:, 1], values[:, 2:4] = range(1, count + 1), np.arange(count) / FPS, 1
    np.savetxt(path, values, fmt="%.3f", delimiter=", ", header=", ".join(names), comments="")
    record = np.dtype([("size", "<i4", 3), ("good", "<f4"), ("cells", "<f4", (12, 12, 31))])
    hog = np.ones(count, dtype=record)
    hog["size"], hog["cells"] = (12, 12, 31), rng.random((count, 12, 12, 31))
    hog.tofile(path.with_suffix(".hog"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own") / "my-study"
    root.mkdir()
    table, _ = documented()
    (root / "manifest.csv").write_text(table)
    rng = np.random.default_rng(0)
    for name in sorted({row["path"] for row in csv.DictReader(io.StringIO(table))}):
        if name.endswith(".edf"):
            write_emotiv_edf(root / name, 4200 + 20 * rng.standard_normal((14, 128 * SECONDS)))
        else:
            write_face(root / name, rng)
    return root


@pytest.mark.parametrize(
    ("more", "modalities"),
    [
        ([], ["eeg", "landmarks", "au"]),
        (["--modalities", "eeg,gaze,hog"], ["eeg", "gaze", "hog"]),
    ],
)
def test_the_documented_manifest_trains(
    study: Path, tmp_path: Path, more: list[str], modalities: list[str]
) -> None:
    command = [str(study) if word == "my-study" else word for word in documented()[1]]
    own = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run")]
    assert main([*command, *more, *TINY, *own]) == 0
    with (tmp_path / "run" / "predictions.csv").open() as file:
        tested = list(csv.DictReader(file))
    assert {row["subject"] for row in tested} == {"p01", "p02"}
    assert "+".join(modalities) in {row["model"] for row in tested}
