"""`clmer report --attribution`: each split's model on its own people, no map of one at chance."""

from __future__ import annotations

import copy
import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from support.report_cases import Page, section

from clmer import cli
from clmer.data.synthetic import write_deap
from clmer.errors import EXIT_INTERRUPTED, DataError
from clmer.evaluation.rows import Rows
from clmer.pipeline.split.model import SplitModel
from clmer.report.attribution import runs
from clmer.report.attribution.measure import Drop, SplitDrops, occlude
from clmer.report.attribution.parts import Part
from clmer.report.attribution.runs import (
    MOST_WINDOWS,
    Attribution,
    attribute,
    chosen_windows,
    not_above_chance,
)
from clmer.report.attribution.section import TITLE, as_csv
from clmer.report.attribution.section import section as drawn
from clmer.report.reading import RunFiles, read_predictions, read_run
from clmer.report.sample import HeldOutWindows, Sample

LINEAR = ["--classifier", "linear", "--no-contrastive", "--no-permuted", "--threads", "1"]
LINEAR += ["--protocol", "subject", "--folds", "3", "--repeats", "3", "--modalities", "eeg,au"]
#: Electrodes and units that the generator writes valence into, and its band.
FRONTAL = {"Fp1", "AF3", "F3", "F7", "FC5", "FC1", "Fp2", "AF4", "F4", "F8", "FC6", "FC2"}
UNITS = {"AU12", "AU06", "AU15", "AU04"}


def test_windows_in_turn_keep_every_class() -> None:
    y = np.arange(200) % 2  # a class per trial, one window each
    y[:80] = 0
    y[7] = 1
    subject = np.where(np.arange(200) < 80, "a", "b")
    column = np.array(["split1"] * 200)
    rows = Rows("eeg", column, subject, np.arange(200), np.zeros(200), y)
    run = SimpleNamespace(scored={"splits": [{"name": "split1"}]})
    tested = HeldOutWindows(cast(Any, run), cast(Any, None), rows, np.arange(200))
    chosen, alone = chosen_windows(tested, 0)
    assert alone == []
    of_a, of_b = (chosen[subject[chosen] == person] for person in "ab")
    assert (len(of_a), len(of_b)) == (MOST_WINDOWS, MOST_WINDOWS)
    assert y[of_a].sum() == 1
    assert y[of_b].sum() == MOST_WINDOWS // 2


def linear_run(folder: Path, name: str, control: str, seed: int = 0) -> None:
    """A run of six generated people and a linear model, in runs/."""
    data = folder / name
    write_deap(data, people=6, trials=10, seconds=2, control=control, seed=seed)
    words = ["train", "deap", "--root", str(data), "--cache", str(folder / "cache")]
    assert cli.main([*words, *LINEAR, "--out", str(folder / "runs" / name)]) == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/carried, whose EEG and action units tell valence."""
    folder = tmp_path_factory.mktemp("attribution")
    linear_run(folder, "carried", "none")
    return folder


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """One draw, which is enough where the carrier is strong."""
    monkeypatch.setattr(runs, "occlude", partial(occlude, rounds=1))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def costs_of(rows: list[dict[str, str]], kind: str) -> list[str]:
    """The parts of a kind, the largest cost first."""
    own = [row for row in rows if row["kind"] == kind]
    return [row["part"] for row in sorted(own, key=lambda row: -float(row["log_loss_rise"]))]


def test_what_carries_the_class_is_first_in_page_and_table(trained: Path) -> None:
    words = [str(trained / "runs"), "--cache", str(trained / "cache"), "--attribution"]
    assert cli.main(["report", *words, "--out", str(trained / "page.html")]) == 0
    page = (trained / "page.html").read_text()
    Page(page)  # tags nest
    own = section(page, "carried")
    assert TITLE in own
    assert own.count('<img class="head"') == 1
    rows = rows_of(trained / "page-attribution.csv")
    assert {row["run"] for row in rows} == {"carried"}
    assert set(costs_of(rows, "electrode")[:4]) <= FRONTAL
    assert costs_of(rows, "band")[0] == "alpha, 8-13 Hz"
    assert costs_of(rows, "action unit")[0] in UNITS
    assert {row["part"] for row in rows if row["seen"] == "yes"} >= {"eeg", "au"}
    for row in rows:
        assert float(row["log_loss_rise_low"]) <= float(row["log_loss_rise"])
        assert row["rmse_rise"] == ""
        assert int(row["people"]) == 6
        assert row["part"].split(",")[0] in own


@pytest.mark.slow
def test_a_model_of_labels_that_say_nothing_has_a_sentence_and_no_map(tmp_path: Path) -> None:
    linear_run(tmp_path, "chance", "fingerprint", seed=1)  # one seed in forty is above chance
    words = [str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"), "--attribution"]
    assert cli.main(["report", *words, "--out", str(tmp_path / "page.html")]) == 0
    own = section((tmp_path / "page.html").read_text(), "chance")
    assert "Not drawn: the model is not above chance." in own
    assert "A map of a model that does not tell the classes would show noise." in own
    assert '<img class="head"' not in own
    assert "By electrode" not in own
    assert rows_of(tmp_path / "page-attribution.csv") == []


def test_each_splits_model_is_asked_about_its_own_people(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trained / "runs" / "carried"
    asked: list[tuple[object, set[str]]] = []

    def watched(model: SplitModel, sample: Sample, **options: Any) -> SplitDrops:
        asked.append((model, set(sample.person.tolist())))
        return occlude(model, sample, rounds=1, **options)

    monkeypatch.setattr(runs, "occlude", watched)
    found = attribute([path], trained / "cache")[path]
    assert isinstance(found, Attribution)
    results = json.loads((path / "results.json").read_text())
    said = read_predictions(path / "predictions.csv", results["classes"])[0]
    expected = [set(said.subject[said.split == s["name"]].tolist()) for s in results["splits"]]
    assert [people for _, people in asked] == expected
    assert len({id(model) for model, _ in asked}) == 3
    people = results["models"][0]["people"]  # all windows are asked about: the scores are the run's
    assert found.windows == sum(person["windows"] for person in people)
    np.testing.assert_allclose(found.scores, [p["balanced_accuracy"] for p in people], atol=1e-6)


def test_only_a_score_above_chance_is_attributed(trained: Path) -> None:
    run = read_run(trained / "runs" / "carried")
    assert not_above_chance(run) == ""
    assert "no scored test windows" in not_above_chance(replace(run, results=None))
    shuffled = replace(run, config={**run.config, "protocol": "shuffled"})
    assert "recognising recordings" in not_above_chance(shuffled)

    def with_score(**ends: float | None) -> str:
        results = copy.deepcopy(run.results)
        assert results is not None
        results["models"][0]["windows"]["balanced_accuracy"] |= ends
        return not_above_chance(replace(run, results=results))

    assert "two people or more" in with_score(low=None, high=None)
    assert "interval 0.400 to 0.600) where chance is 0.500" in with_score(low=0.4, high=0.6)
    assert with_score(low=0.501, high=0.6) == ""


def test_people_of_one_class_are_left_out_and_named(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trained / "runs" / "carried"
    real = runs.read_test_windows

    def one_class(run: RunFiles, cache: Path, people: set[str]) -> HeldOutWindows:
        found = real(run, cache)
        y = np.where(np.isin(found.rows.subject, [*people]), 0, found.rows.y)
        return replace(found, rows=replace(found.rows, y=y))

    monkeypatch.setattr(
        runs, "read_test_windows", lambda run, cache: one_class(run, cache, {"s02"})
    )
    found = attribute([path], trained / "cache")[path]
    assert isinstance(found, Attribution)
    assert list(found.left_out) == ["s02"]
    assert "s02" not in found.people
    assert "Left out, since their windows have one class: s02." in drawn(found, "subject")
    everyone = {f"s{n:02d}" for n in range(1, 7)}
    monkeypatch.setattr(
        runs, "read_test_windows", lambda run, cache: one_class(run, cache, everyone)
    )
    found = attribute([path], trained / "cache")[path]
    assert "every person's windows have one class" in str(found)


def test_without_store_or_weights_the_page_says_so(trained: Path, tmp_path: Path) -> None:
    path = trained / "runs" / "carried"
    found = attribute([path], tmp_path)
    assert "Not drawn" in str(found[path])
    assert "prepared store: found no such folder" in str(found[path])
    assert as_csv(found).decode().count("\n") == 1
    with pytest.raises(DataError, match="no such folder"):
        attribute([tmp_path / "none"], tmp_path)


def test_ctrl_c_leaves_nothing_half_written(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object, **__: object) -> SplitDrops:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "occlude", interrupted)
    words = ["report", str(trained / "runs"), "--cache", str(trained / "cache"), "--attribution"]
    assert cli.main([*words, "--out", str(tmp_path / "page.html")]) == EXIT_INTERRUPTED
    assert "no page was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_of_ratings_the_error_is_told(tmp_path: Path) -> None:
    part = Part("modality", "eeg", "eeg", (0,))
    rises = np.array([0.2, 0.3, 0.25, 0.22])
    drop = Drop(part, rises, np.full(4, np.nan))
    found = Attribution("r", "eeg", list("abcd"), [], 100, -np.ones(4), [drop])
    shown = drawn(found, "subject")
    assert "rise of RMSE" in shown
    assert "mean RMSE is 1.000" in shown
    assert "log loss" not in shown
    assert "balanced" not in shown
    line = next(iter(csv.DictReader(as_csv({tmp_path: found}).decode().splitlines())))
    assert float(line["rmse_rise"]) == pytest.approx(rises.mean(), abs=1e-6)
    assert line["log_loss_rise"] == line["balanced_accuracy_drop"] == ""
    assert line["seen"] == "yes"
