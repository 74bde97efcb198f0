"""`clmer train --splits FILE`, from the table to the page, and its refusals."""

from __future__ import annotations

import json

import pytest
from support.train_cases import SMALL

import clmer
from clmer.cli import main
from clmer.data.synthetic import write_deap

TABLE = "split,subject,part\n"
TABLE += "mine,s01,train\nmine,s02,train\nmine,s03,validation\nmine,s04,test\n"
TABLE += "back,s01,test\nback,s02,train\nback,s03,train\nback,s04,train\n"
OPTIONS = ["--no-contrastive", "--modalities", "physio", "--epochs-fusion", "2", "--no-permuted"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A generated DEAP of 4 people, a table of splits, and a run on it."""
    place = tmp_path_factory.mktemp("own")
    write_deap(place / "data", people=4, trials=8, seconds=2)
    (place / "mine.csv").write_text(TABLE)
    assert train(place, "run") == 0
    return place


def train(place, out, *more):
    given = SMALL[2:]  # without --repeats: the table says how many
    data = ["deap", "--root", str(place / "data"), "--cache", str(place / "cache")]
    table = ["--splits", str(place / "mine.csv"), "--protocol", "subject"]
    return main(["train", *data, "--out", str(place / out), *given, *OPTIONS, *table, *more])


def test_the_results_are_of_the_table(folder, capsys):
    results = json.loads((folder / "run" / "results.json").read_text())
    assert results["protocol"] == "own"
    assert [split["name"] for split in results["splits"]] == ["mine", "back"]
    assert results["protocol_note"].startswith(f"Splits of your own: {folder / 'mine.csv'}.")
    people = {row["subject"] for row in results["models"][0]["people"]}
    assert people == {"s01", "s04"}
    assert clmer.load(folder / "run").splits.keys() == {"split1", "split2"}


def test_the_page_says_whose_splits_they_are(folder):
    page = folder / "page.html"
    assert main(["report", str(folder / "run"), "--out", str(page)]) == 0
    assert "own. Splits of your own:" in page.read_text()
    assert "--splits" in page.read_text()


def test_a_run_goes_on_with_its_own_table_alone(folder, capsys):
    assert train(folder, "run", "--resume") == 0
    (folder / "mine.csv").write_text(TABLE.replace("back", "away"))
    try:
        assert train(folder, "run", "--resume") == 2
    finally:
        (folder / "mine.csv").write_text(TABLE)
    assert "splits_sha256: this folder has" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--repeats", "2"], "--repeats: found 2 with --splits"),
        (["--protocol", "block"], "--splits with --protocol block: found a protocol that keeps"),
        (["--splits", "none.csv"], "--splits: found no such file"),
    ],
)
def test_refusals_name_the_flag(folder, capsys, more, message):
    assert train(folder, "other", *more) == 2
    assert message in capsys.readouterr().err


def test_experiments_take_a_table_but_to_compare_protocols(folder, capsys):
    words = ["experiments", "leakage", "--dataset", "deap", "--root", str(folder / "data")]
    assert main([*words, "--list", "--splits", str(folder / "mine.csv")]) == 2
    assert "--splits: found" in capsys.readouterr().err
