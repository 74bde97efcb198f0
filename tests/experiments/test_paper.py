"""The paper's figures, and what they may stand beside."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.experiment_cases import setup

from clmer.data.recording import SYNTHETIC_MARKER
from clmer.experiments import paper
from clmer.experiments.cells import Setup, plan
from clmer.experiments.output import write
from clmer.experiments.scores import collect
from clmer.experiments.sheets import VIEWS
from clmer.experiments.specs import EXPERIMENTS


def test_the_papers_figures_read_as_numbers():
    assert list(paper.TABLES) == "I II III IV V VI VII VIII IX XI XII".split()
    for table, printed in paper.TABLES.items():
        keys = [(f.key, f.task) for f in printed if f.key]
        assert len(keys) == len(set(keys)), table
        for figure in printed:
            for value in (figure.acc, figure.f1):
                assert value == "–" or re.fullmatch(r"\d\d\.\d{1,2}(±\d+(\.\d\d)?)?", value)


@pytest.mark.parametrize(("dataset", "table"), [("deap", "VIII"), ("amigos-short", "IX")])
def test_table_10_averages_tables_8_and_9(dataset, table):
    for key, cost in paper.COSTS[dataset].items():
        scores = [float(f.acc.split("±")[0]) for f in paper.TABLES[table] if f.key == key]
        assert cost.accuracy == pytest.approx(np.mean(scores), abs=0.006)


def test_both_figures_of_a_contradiction_are_kept():
    assert paper.figure("II", paper.CLMER, "va4")[0] == "81.42±1.19"
    assert paper.figure("V", paper.CLMER, "va4")[0] == "81.96±1.57"
    assert paper.figure("V", "", "") == ("", "")
    assert paper.figure("IV", "eeg", "va9") == ("", "")


def test_the_papers_figures_stand_beside_its_own_recordings_only(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    sheets = {}
    for name, dataset, source in (
        ("real", "deap", {"root": str(real)}),
        ("generated", "deap", {"synthetic": True}),
        ("other", "deap-raw", {"root": str(real)}),
    ):
        for experiment in ("table1", "table4", "table10", "fig7"):
            each = plan(EXPERIMENTS[experiment], dataset, Setup(source=source), ("",))
            sheet = VIEWS[each.experiment.view](each, collect(each, tmp_path, {}))
            out = tmp_path / name
            out.mkdir(exist_ok=True)
            text = "".join(p.read_text() for p in write(sheet, out, "") if p.suffix != ".png")
            sheets[name, experiment] = text
    assert "96.09±0.55" in sheets["real", "table4"]
    assert "paper, shuffled: accuracy" in sheets["real", "table4"]
    assert "answer another question" in sheets["real", "table4"]  # it ran under trial
    assert "97.59±0.22" in sheets["real", "table1"]
    assert "15226" in sheets["real", "table10"]
    for (name, _), text in sheets.items():
        if name != "real":
            assert not re.search(r"paper.*shuffled|96\.09|97\.59|15226", text), name


@pytest.mark.parametrize(
    ("dataset", "name", "options", "fields"),
    [
        ("deap", "table11", {}, {"modalities": ("physio",)}),
        ("deap", "table4", {}, {"modalities": ("eeg", "landmarks", "au")}),
        ("deap", "table11", {"window_s": 2.0}, {}),
        ("deap", "table10", {"stride_s": 0.5}, {}),
        ("amigos-short", "table12", {"labels": "self"}, {}),
    ],
)
def test_the_papers_figures_stand_beside_its_own_settings_only(
    dataset, name, options, fields, tmp_path
):
    def shown(asked):
        each = plan(EXPERIMENTS[name], dataset, asked, ("",))
        sheet = VIEWS[each.experiment.view](each, collect(each, tmp_path, {}))
        names = [*sheet.tables[0].header, *(key for row in sheet.records for key in row)]
        return [title for title in names if "paper" in title]

    assert shown(setup(tmp_path))
    assert not shown(setup(tmp_path, options, **fields))


def test_a_generated_folder_is_known_by_its_marker(tmp_path):
    def printed():
        return plan(EXPERIMENTS["table4"], "deap", setup(tmp_path), ("",)).printed

    assert printed() == "IV"
    (tmp_path / SYNTHETIC_MARKER).write_text("{}")
    assert printed() == ""
