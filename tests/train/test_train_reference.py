"""`--reference` from the command line: who is known by what, what is said of it, and its use."""

import csv
import json
import shutil

import numpy as np
import pytest
from support.train_cases import SMALL

import clmer
from clmer.cli import main
from clmer.report.page import report

PEOPLE = [f"p{i}" for i in range(6)]
EPOCHS = ["--no-contrastive", "--protocol", "subject", "--window", "1", "--epochs-fusion", "2"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Six people with 16 s of rest and 10 s of work each, and heads and amplifiers of their own."""
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    lines = ["reference,subject,trial,label,modality,path,rate,kind"]
    for person in PEOPLE:
        head, gain = rng.standard_normal((3, 3)), 10 ** rng.uniform(0.5, 1.5)
        for trial, seconds in (("rest", 16), ("work", 10)):
            sources = rng.standard_normal((3, 128 * seconds))
            sources[0] *= 3 if trial == "work" else 1
            np.save(root / f"{person}-{trial}.npy", gain * (head @ sources))
            mark = "yes" if trial == "rest" else "no"
            lines.append(f"{mark},{person},{trial},{trial},eeg,{person}-{trial}.npy,128,eeg")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def train(root, name, *options):
    line = ["train", "manifest", "--root", str(root), "--cache", str(root / "cache")]
    line += ["--task", "label", "--out", str(root / name), *SMALL, *EPOCHS, *options]
    assert main(line) == 0
    return root / name


def results_of(run):
    return json.loads((run / "results.json").read_text())


@pytest.fixture(scope="module")
def run(study):
    return train(study, "rest6", "--reference", "rest:6")


def test_the_reference_is_in_no_part_and_in_everything_that_is_said(run):
    config = json.loads((run / "config.json").read_text())["config"]
    results = results_of(run)
    assert config["reference"] == results["reference"]["kind"] == "rest:6"
    assert (results["reference"]["windows"], results["reference"]["least"]) == (36, 6)
    assert results["reference"]["beside"] == {"rest": 1, "work": 0}
    assert any(line.startswith("reference rest:6: ") for line in results["notes"])
    assert any("windows of one recording: rest 100 %, work 0 %" in n for n in results["notes"])
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    own = [row for row in rows if row["model"] == "eeg"]
    rest = [float(row["start_s"]) for row in own if row["true"] == "rest"]
    assert min(rest) == 6
    split = results["splits"][0]
    assert split["train"] + split["val"] + split["test"] == 6 * 20


def test_a_run_without_says_what_would_be_a_reference(study, capsys):
    plain = train(study, "none")
    said = "reference none: everyone has 16 s of rest or more; --reference rest:8 would"
    assert said in capsys.readouterr().out
    results = results_of(plain)
    assert results["reference"] == {"kind": "none"}
    library = said.replace("--reference rest:8", "`reference=rest:8`")
    assert any(line.startswith(library) for line in results["notes"])


def test_marked_recordings_and_all_windows(study, capsys):
    marked = train(study, "all", "--reference", "all")
    assert results_of(marked)["reference"] == {"kind": "all"}
    assert "reference all (transductive)" in capsys.readouterr().out
    assert any("transductive" in line for line in results_of(marked)["notes"])
    line = ["train", "manifest", "--root", str(study), "--cache", str(study / "cache")]
    line += ["--task", "label", "--out", str(study / "no"), *SMALL, *EPOCHS, "--reference"]
    for kind, said in {
        "marked": "--reference marked: found all windows of rest, expected some that are left",
        "rest": "--reference rest: found all windows of rest, expected some that are left",
        "calm:5": "--reference calm: found no such label, expected one of rest, work",
        "rest:2": "--reference rest:2: found too few reference windows of p0 (2), p1 (2)",
        "rest:x:": "--reference rest:x:: found no such label",
        ":5": "--reference: found ':5', expected none, all, marked, or LABEL[:SECONDS]",
    }.items():
        assert main([*line, kind]) == 2
        assert said in capsys.readouterr().err


def test_scores_of_different_kinds_are_in_tables_of_their_own(study, run, tmp_path):
    plain = study / "none" if (study / "none").is_dir() else train(study, "none")
    for folder in (plain, run):
        shutil.copytree(folder, tmp_path / folder.name)
    page = report([tmp_path], cache=study / "cache")
    for kind in ("none", "rest:6"):
        assert f"Per window, reference {kind}</caption>" in page
    assert "None: no two runs tested the same people" in page
    assert "Attention" in page or "Not drawn" not in page


def test_in_use_a_reference_is_asked_for(study, run, capsys):
    file = str(study / "p1-work.npy")
    line = ["predict", str(run), file, "--rate", "128", "--split", "split1"]
    assert main(line) == 2
    said = "record 6 s of rest of this person and give it as --reference"
    assert said in capsys.readouterr().err
    known = str(study / "p1-rest.npy")
    assert main([*line, "--reference", f"{known}:0-6"]) == 0
    captured = capsys.readouterr()
    assert f"read against 6 windows of {known}:0-6" in " ".join(captured.err.split())
    rows = list(csv.DictReader(captured.out.splitlines()))
    assert len(rows) == 10
    assert main([*line, "--reference", f"{file}:0-6"]) == 0
    assert "note: 6 windows of the table overlap the reference" in capsys.readouterr().err
    for word, said in {
        "all": "found --reference all, expected a known stretch of this person",
        f"{known}:0-2": "found 2 windows of 1 s, expected at least 4",
        f"{known}:5-5": "expected START before STOP",
    }.items():
        assert main([*line, "--reference", word]) == 2
        assert said in capsys.readouterr().err


def test_the_command_says_what_the_run_said_of_its_test_part(study, run, capsys):
    """Windows of a tested person, predicted from their files, are those of predictions.csv."""
    with (run / "predictions.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["model"] == "eeg"]
    person = rows[0]["subject"]
    wanted = [r for r in rows if r["subject"] == person and r["true"] == "work"]
    line = ["predict", str(run), str(study / f"{person}-work.npy"), "--rate", "128"]
    line += ["--reference", f"{study / person}-rest.npy:0-6", "--split", "split1"]
    assert main(line) == 0
    found = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    expected = [np.exp(float(row["logp_work"])) for row in wanted]
    np.testing.assert_allclose([float(r["p_work"]) for r in found], expected, atol=1e-4)
    assert clmer.load(run, "split1").config.reference == "rest:6"


def test_a_recording_without_label_is_a_reference(study, tmp_path, capsys):
    """Marked by the column, whose task is another: it needs no class."""
    lines = (study / "manifest.csv").read_text().splitlines()
    rows = [line.replace("yes,", "no,").replace(".npy", "").split(",") for line in lines[1:]]
    for row in rows:
        row[5] = f"{study / row[5]}.npy"
    marked = [["yes", row[1], "base", "", *row[4:]] for row in rows if row[2] == "rest"]
    rng = np.random.default_rng(1)
    for row in marked:
        row[5] = str(tmp_path / f"{row[1]}.npy")
        np.save(row[5], rng.standard_normal((3, 128 * 6)))
    table = [lines[0], *(",".join(row) for row in [*rows, *marked])]
    (tmp_path / "manifest.csv").write_text("\n".join(table) + "\n")
    results = results_of(train(tmp_path, "run", "--reference", "marked"))
    facts = results["reference"]
    assert (facts["kind"], facts["windows"], facts["least"]) == ("marked", 36, 6)
    assert facts["beside"] == {"rest": 0, "work": 0}
    assert results["splits"][0]["train"] + results["splits"][0]["val"] > 70
    said = " ".join(capsys.readouterr().out.split())
    assert "left out nothing" in said
    data = ["predict", str(tmp_path / "run"), rows[0][5], "--rate", "128"]
    assert main(data) == 2
    said = "record this person in the state that was marked as the reference in training"
    assert said in capsys.readouterr().err
