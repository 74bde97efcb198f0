"""Protocols beside each other."""

from __future__ import annotations

import pytest
from support.experiment_cases import generated, setup, small, train, well_formed

from clmer.errors import DataError
from clmer.experiments import leakage
from clmer.experiments.cells import plan
from clmer.experiments.output import write
from clmer.experiments.runner import REFUSED
from clmer.experiments.scores import collect
from clmer.experiments.specs import EXPERIMENTS


@pytest.fixture(scope="module")
def deap(tmp_path_factory):
    return generated(tmp_path_factory)


def test_protocols_side_by_side(deap, tmp_path):
    each = plan(EXPERIMENTS["leakage"], "deap", small(deap, contrastive=False), leakage.PROTOCOLS)
    outcomes = leakage.refusals(each.cells.values())
    refused = {cell.protocol for name, cell in each.cells.items() if name in outcomes}
    assert refused == {"block"}  # recordings of two windows have no three blocks
    assert {o.status for o in outcomes.values()} == {REFUSED}
    first = {
        line.cell.name: line.cell
        for line in each.lines
        if line.row.key == "clmer" and line.cell.name not in outcomes
    }
    train(first, deap / "cells")
    sheet = leakage.sheet(each, collect(each, deap / "cells", outcomes))
    shown = {(row["model"], row["protocol"]) for row in sheet.records}
    for model in ("physio+au", "band power + LR: physio+au", "permuted labels", "majority"):
        assert {p for m, p in shown if m == model} == {"shuffled", "trial", "subject"}
    scores, between, against = sheet.tables
    assert scores.header == ("model", "shuffled", "trial", "subject")
    assert [row[1] for row in between.rows[:3]] == [
        "shuffled - trial", "shuffled - subject", "trial - subject",
    ]  # fmt: skip
    assert not any("majority" in row[1] for row in against.rows)
    assert any("block: refused: found 2 windows" in note for note in sheet.notes)
    assert any("INFLATED" in note for note in sheet.notes)
    permuted = next(r for r in sheet.records if r["model"] == "permuted labels")
    worth = f"it scores {100 * permuted['balanced_accuracy_pooled']:.1f} under shuffled"
    assert permuted["protocol"] == "shuffled"
    assert any(worth in note for note in sheet.notes)
    files = {path.suffix: path for path in write(sheet, tmp_path, "")}
    well_formed(files[".html"])
    assert files[".png"].exists()


def test_other_damage_than_the_protocol_is_left_to_the_run(tmp_path, monkeypatch):
    def damaged(config, cache):
        raise DataError(tmp_path, "s01.dat", "nothing", "arrays")

    monkeypatch.setattr("clmer.train.job.load", damaged)
    each = plan(EXPERIMENTS["leakage"], "deap", setup(tmp_path), leakage.PROTOCOLS)
    assert leakage.refusals(each.cells.values()) == {}


def test_a_protocol_that_the_data_set_refuses_is_refused(tmp_path):
    each = plan(EXPERIMENTS["leakage"], "amigos-long", setup(tmp_path), leakage.PROTOCOLS)
    first = [line.cell for line in each.lines if line.row.key == "clmer"]
    outcomes = leakage.refusals(cell for cell in first if cell.protocol in ("trial", "block"))
    assert {outcome.status for outcome in outcomes.values()} == {REFUSED}
    assert any("both sides" in outcome.message for outcome in outcomes.values())
    assert len(outcomes) == 2
