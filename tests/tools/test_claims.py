"""What README and docs say of the code, where a test can hold it."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.places import ROOT

from clmer import cli
from clmer.data.registry import DATASETS
from clmer.data.synthetic import write_deap
from clmer.experiments import output
from clmer.experiments.sheets import Sheet
from clmer.pipeline.presets import PRESETS, build
from clmer.pipeline.run.folder import GENERATED_NOTICE, NOTICE, Run

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
pytestmark = pytest.mark.skipif(
    not (ROOT / "docs").is_dir(), reason="docs/ is not beside the tests"
)
_FOLDERS = "clmer|benchmarks|tests|tools|csrc|kernels|docs|examples|\\.ci"


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def row(page: str, first: str) -> str:
    """The line of a table with this first cell."""
    (found,) = re.findall(rf"^\| {re.escape(first)} \|(.*)\|$", text(page), re.M)
    return str(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_and_headings_that_are_named_exist(page: Path) -> None:
    written = page.read_text(encoding="utf-8")
    for name in re.findall(rf"`((?:{_FOLDERS})/[\w./*-]+)`", written):
        assert list(ROOT.glob(name.rstrip("/"))), name
    for target, anchor in re.findall(r"\]\(([\w./-]*\.md)?(#[\w-]+)?\)", written):
        other = page.parent / target if target else page
        assert other.is_file(), target
        lines = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.M)
        kept = (re.sub(r"[^\w\- ]", "", line.lower()).strip() for line in lines)
        assert not anchor or anchor[1:] in {line.replace(" ", "-") for line in kept}, anchor


def test_names_stand_in_the_file_that_is_said_to_have_them() -> None:
    for page in PAGES:
        written = " ".join(page.read_text(encoding="utf-8").split())
        for name, file in re.findall(r"`(\w+)` in `(clmer/[\w/]+\.py)`", written):
            assert re.search(rf"^(def|class) {name}\b|^{name}\b", text(file), re.M), (page, name)


def test_windows_are_those_of_the_data_sets() -> None:
    said = row("docs/model.md", "window")
    for name, dataset in DATASETS.items():
        if dataset.window_s != 1:
            assert f"{name} {dataset.window_s:g} s" in said
    assert said.count("5 s") == sum(dataset.window_s == 5 for dataset in DATASETS.values())
    cut = re.search(r"`--window` seconds \(1; ([\w, -]+) 5\)", text("docs/data.md"))
    assert cut is not None
    others = {name for name, dataset in DATASETS.items() if dataset.window_s == 5}
    assert set(re.split(", | and ", cut[1])) == others


def test_protocols_are_those_of_the_data_sets() -> None:
    for name, dataset in DATASETS.items():
        assert row("docs/training.md", f"`{name}`").endswith(f" `{dataset.protocol}` ")


def test_sizes_of_the_presets() -> None:
    paper = build("deap", {"preset": "paper", "device": "cpu"})
    assert (paper.cross_layers, paper.memory_layers, paper.token_length) == (5, 5, 50)
    assert "`paper` has\n5 + 5 layers (first row)" in text("docs/results.md")
    cpu = PRESETS["cpu"]
    said = f"L {cpu['token_length']}, d {cpu['dim']}, {cpu['heads']} heads,\n"
    said += f"{cpu['cross_layers']} pair layers and {cpu['memory_layers']} memory layer "
    said += f"({cpu['single_layers']} for a single modality)"
    assert said in text("docs/model.md")


def test_the_filters_whose_error_is_given_are_counted() -> None:
    path = ROOT / "benchmarks" / "bandpass_accuracy.py"
    spec = importlib.util.spec_from_file_location("bandpass_accuracy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert len(module.FILTERS) == 8
    said = " ".join(text("docs/bandpass.md").split())
    assert "over the eight filters of `python benchmarks/bandpass_accuracy.py`" in said


def test_no_page_of_generated_data_speaks_of_people(tmp_path: Path) -> None:
    sheet = Sheet("s", "t", (), (), ())
    output.write(sheet, tmp_path, "command")
    assert "Scores of people" in (tmp_path / "s.html").read_text()
    output.write(replace(sheet, stem="g"), tmp_path, "command", generated=True)
    page = (tmp_path / "g.html").read_text()
    assert "Scores of people" not in page
    assert "generated recordings" in page


def test_a_run_s_folder_says_what_it_may_hold(tmp_path: Path) -> None:
    for name, synthetic, notice in (("real", None, NOTICE), ("made", {}, GENERATED_NOTICE)):
        Run(tmp_path / name, {"synthetic": synthetic}, {}, {}).close()
        assert (tmp_path / name / "NOTICE").read_text() == notice
        assert (tmp_path / name / ".gitignore").read_text() == "*\n"


def test_a_run_s_folder_has_the_files_that_are_documented(tmp_path: Path) -> None:
    write_deap(tmp_path / "data", people=3, trials=4, seconds=2, fps=5)
    options = "--no-contrastive --repeats 1 --folds 3 --threads 1 --dim 8 --heads 2 "
    options += "--single-layers 1 --epochs-fusion 1 --protocol shuffled --modalities eeg"
    places = ["--root", str(tmp_path / "data"), "--cache", str(tmp_path / "cache")]
    run = tmp_path / "run"
    assert cli.main(["train", "deap", *places, "--out", str(run), *options.split()]) == 0
    table = text("docs/training.md").split("## A run's folder")[1].split("\n\n")[2]
    firsts = [line.split("|")[1] for line in table.splitlines()]
    named = {name for first in firsts for name in re.findall(r"`([\w./]+)`", first)}
    found = {path.name + "/" * path.is_dir() for path in run.iterdir()}
    assert found == named - {"checkpoint/"} | {".lock"}
    table = text("docs/architecture.md").split("## A run's folder")[1].split("\n\n")[1]
    firsts = [line.split("|")[1] for line in table.splitlines()]
    paths = {name for first in firsts for name in re.findall(r"`([\w./-]+)`", first)}
    assert found <= {name.split("/")[0] + "/" * ("/" in name) for name in paths}
