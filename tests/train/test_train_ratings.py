"""`clmer train --target rating`, from recordings to the page and to new recordings."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from support.train_cases import SMALL

import clmer
from clmer.cli import main
from clmer.data.synthetic import write_deap
from clmer.pipeline.split.model import SplitModel
from clmer.report.reading import read_ratings

OPTIONS = [
    "--no-contrastive",
    "--modalities",
    "physio",
    "--epochs-fusion",
    "2",
    "--target",
    "rating",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A generated DEAP of 3 people, and a run on its ratings."""
    place = tmp_path_factory.mktemp("ratings")
    write_deap(place / "data", people=3, trials=18, seconds=3)
    assert train(place, "run", "--model", "clmer,svm") == 0
    return place


def train(place, out, *more):
    data = ["deap", "--root", str(place / "data"), "--cache", str(place / "cache")]
    return main(["train", *data, "--out", str(place / out), *SMALL, *OPTIONS, *more])


@pytest.fixture(scope="module")
def results(folder):
    return json.loads((folder / "run" / "results.json").read_text())


def test_a_run_leaves_what_it_promises(folder, results):
    names = [model["name"] for model in results["models"]]
    assert names[:2] == ["physio", "svm"]
    lines = ["permuted labels", "training mean", "band power + ridge: physio"]
    assert set(names[2:]) == {*lines, "features + ridge: physio"}
    assert (results["target"], results["classes"]) == ("rating", [])
    assert (folder / "run" / "ratings.png").read_bytes()[:4] == b"\x89PNG"
    assert not (folder / "run" / "confusion.png").exists()
    scores = results["models"][0]["windows"]
    assert scores["ccc"]["low"] < scores["ccc"]["value"] < scores["ccc"]["high"]
    mean = results["models"][names.index("training mean")]["windows"]
    assert mean["ccc"]["value"] == pytest.approx(0, abs=1e-9)
    assert mean["pearson"]["value"] is None
    tested = {pair["a"] for pair in results["comparisons"]}
    assert tested == {"physio", "svm", "band power + ridge: physio"}


def test_predictions_are_those_that_were_scored(folder, results):
    found = {rows.model: rows for rows in read_ratings(folder / "run" / "predictions.csv")}
    rows = found["physio"]
    error = np.sqrt(np.mean((rows.y - rows.value) ** 2))
    assert error == pytest.approx(results["models"][0]["windows"]["rmse"]["value"], abs=1e-5)
    assert rows.y.min() >= 1
    assert rows.y.max() <= 9
    mean = found["training mean"]
    assert len(np.unique(mean.value)) == 1


def test_the_same_seed_gives_the_same_bytes_and_resume_goes_on(folder):
    assert train(folder, "again", "--model", "clmer,svm") == 0
    (folder / "again" / "models" / "split1" / "physio.safetensors").unlink()
    assert train(folder, "again", "--model", "clmer,svm", "--resume") == 0
    for name in ("results.json", "predictions.csv"):
        wanted = (folder / "run" / name).read_bytes()
        assert (folder / "again" / name).read_bytes() == wanted


def test_a_run_of_classes_does_not_go_on_as_one_of_ratings(folder, capsys):
    assert train(folder, "run", "--model", "clmer,svm", "--target", "class", "--resume") == 2
    assert "target: this folder has 'rating', now 'class'" in capsys.readouterr().err


def test_a_loaded_run_says_ratings(folder, results):
    trained = clmer.load(folder / "run")
    assert trained.classes == ()
    assert "valence rating" in repr(trained)
    store = clmer.data.load("deap", folder / "data", cache=folder / "cache", task="",
                            modalities=("physio",)).store  # fmt: skip
    windows = {"physio": store.array("physio")}
    rows = {r.model: r for r in read_ratings(folder / "run" / "predictions.csv")}["physio"]
    at = [
        int(np.flatnonzero((store.windows.recording == r) & (store.windows.start_s == s))[0])
        for r, s in zip(rows.recording, rows.start_s, strict=True)
    ]
    np.testing.assert_allclose(trained.predict(windows)[at], rows.value, atol=1e-5)
    with pytest.raises(TypeError, match="a rating has no probability; predict gives it"):
        trained.predict_proba(windows)
    split = SplitModel.load(folder / "run" / "models" / "split1")
    with pytest.raises(TypeError, match="predict_proba: found a model of ratings"):
        split.predict_proba(windows)
    split.save(folder / "kept")
    again = SplitModel.load(folder / "kept")
    np.testing.assert_array_equal(again.predict(windows), split.predict(windows))
    assert again.target == split.target


def test_the_page_shows_ratings(folder):
    page = folder / "page.html"
    runs = [str(folder / "run"), "--cache", str(folder / "cache")]
    assert main(["report", *runs, "--out", str(page)]) == 0
    text = page.read_text()
    assert "Predicted against true" in text
    assert "CCC [95 % interval]" in text
    assert "-1 to 1, chance marked" in text
    assert "RMSE per window (lower is better)" in text
    assert "CCC per window, by epoch" in text
    assert "none: ratings" in text
    assert "--target rating" in text
    assert "Not drawn" not in text
    assert "alanced accuracy" not in text


def test_runs_of_both_kinds_on_one_page(folder):
    assert train(folder, "classes", "--target", "class") == 0
    page = folder / "both.html"
    runs = [str(folder / "run"), str(folder / "classes"), "--cache", str(folder / "cache")]
    assert main(["report", *runs, "--out", str(page)]) == 0
    text = page.read_text()
    assert "balanced accuracy [95 % interval]" in text
    assert "CCC [95 % interval]" in text
    assert "None: no two runs tested the same people" in text


@pytest.mark.parametrize(("field", "value"), [("target", 3), ("target", "rank")])
def test_a_damaged_target_is_named(folder, capsys, field, value):
    copy = folder / f"damaged-{value}"
    copy.mkdir()
    for name in ("config.json", "data.json", "results.json", "predictions.csv"):
        (copy / name).write_bytes((folder / "run" / name).read_bytes())
    found = json.loads((copy / "results.json").read_text())
    (copy / "results.json").write_text(json.dumps(found | {field: value}))
    assert main(["report", str(copy), "--out", str(copy / "page.html")]) == 2
    assert "results.json, target: found" in capsys.readouterr().err.replace(": target", ", target")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--threshold", "4"], "--threshold: found 4 with --target rating, which splits nothing"),
        (["--no-fusion", "--contrastive"], "--target rating with --no-fusion"),
        (["--task", "va4"], "--task va4 with --target rating: found classes made of valence and"),
        (["--scale", "1,7"], "--scale: found 1-7, expected none: ratings of deap run from 1-9"),
    ],
)
def test_refusals_name_the_flag(folder, capsys, more, message):
    assert train(folder, "other", *more) == 2
    assert message in capsys.readouterr().err


def test_experiments_say_that_their_tables_are_of_classes(folder, capsys):
    words = ["experiments", "table2", "--dataset", "deap", "--root", str(folder / "data")]
    assert main([*words, "--list", "--target", "rating"]) == 2
    assert "--target rating: tables are made of classifiers" in capsys.readouterr().err


def test_a_manifest_s_numbers_are_predicted_for_a_new_recording(tmp_path, capsys):
    """Ratings linear in the log power of one channel: known to anyone that looks at it."""
    rng = np.random.default_rng(0)
    lines = ["subject,trial,mood,modality,path,rate,unit"]
    for person in range(6):
        for trial in range(6):
            mood = rng.uniform(-20, 80)
            x = rng.normal(size=(2, 128 * 8))
            x[0] *= 10 ** (mood / 50)
            name = f"p{person}t{trial}.npy"
            np.save(tmp_path / name, 10 * x)
            lines.append(f"p{person},t{trial},{mood:.3f},eeg,{name},128,uV")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    options = ["--task", "mood", "--target", "rating", "--window", "2", "--cache"]
    options += [str(tmp_path / "cache"), "--no-contrastive", "--epochs-fusion", "2"]
    small = SMALL[2 : SMALL.index("--epochs-contrastive")]
    out = tmp_path / "run"
    data = ["train", "manifest", "--root", str(tmp_path), "--out", str(out)]
    assert main([*data, *options, *small]) == 0
    shown = capsys.readouterr().out
    assert "mood (ratings), protocol subject" in shown
    results = json.loads((out / "results.json").read_text())
    first = results["models"][0]
    assert first["windows"]["ccc"]["value"] > 0.5
    assert first["windows"]["within_ccc"]["value"] > 0.5
    permuted = next(m for m in results["models"] if m["name"] == "permuted labels")
    assert abs(permuted["windows"]["ccc"]["value"]) < 0.3
    table = tmp_path / "said.csv"
    recording = [str(out), str(tmp_path / "p0t0.npy"), "--rate", "128", "--unit", "uV"]
    assert main(["predict", *recording, "--out", str(table)]) == 0
    rows = list(csv.reader(table.open()))
    assert rows[0] == ["time_s", "value"]
    true = float(lines[1].split(",")[2])
    said = np.mean([float(row[1]) for row in rows[1:]])
    assert abs(said - true) < 15
    page = tmp_path / "inspect.html"
    words = ["inspect", "manifest", "--root", str(tmp_path), "--task", "mood", "--window", "2"]
    more = ["--target", "rating", "--cache", str(tmp_path / "cache"), "--out", str(page)]
    assert main([*words, *more]) == 0
    assert "windows of mood -" in page.read_text()
