"""Which runs an experiment is made of."""

from __future__ import annotations

import pytest
from support.experiment_cases import setup

from clmer.experiments import leakage, make, paper
from clmer.experiments.cells import plan
from clmer.experiments.specs import EXPERIMENTS

CASES = [(e.name, dataset) for e in EXPERIMENTS.values() for dataset in e.datasets or ("deap",)]


@pytest.mark.parametrize(("name", "dataset"), CASES)
def test_every_run_is_one_that_train_takes(name, dataset, tmp_path):
    protocols = leakage.PROTOCOLS if name == "leakage" else ("shuffled",)
    each = plan(EXPERIMENTS[name], dataset, setup(tmp_path), protocols)
    assert each.lines
    for line in each.lines:
        config = line.cell.config
        assert config is not None, line.cell.why
        assert (config.task, config.protocol) == (line.task, line.cell.protocol)
        assert config.ablation == "none" or name == "leakage"


def test_one_modality_has_no_pairs_for_mult(tmp_path):
    each = plan(EXPERIMENTS["leakage"], "deap", setup(tmp_path, modalities=("eeg",)), ("trial",))
    assert [line.row.key for line in each.lines] == [
        *("clmer", "svm", "husformer", "eeg-conformer", "fetcheeg")
    ]


def test_the_rows_of_the_ablation_are_the_papers(tmp_path):
    each = plan(EXPERIMENTS["table4"], "deap", setup(tmp_path), ("shuffled",))
    keys = [line.row.key for line in each.lines if not line.row.model]
    assert keys == [figure.key for figure in paper.TABLES["IV"]]
    single = each.lines[0].cell.config
    assert (single.modalities, single.contrastive, single.repeats) == (("physio",), False, 0)
    assert each.lines[7].cell.config.contrastive


def test_every_printed_line_of_ours_has_a_row(tmp_path):
    for experiment in EXPERIMENTS.values():
        plans = [plan(experiment, d, setup(tmp_path), ("shuffled",)) for d in experiment.datasets]
        rows = {(line.row.key, line.task) for each in plans for line in each.lines}
        for figure in paper.TABLES.get(experiment.printed, ()):
            assert not figure.key or figure.task == paper.TWO or (figure.key, figure.task) in rows


def test_tables_share_their_runs(tmp_path):
    def runs(name):
        return plan(EXPERIMENTS[name], "deap", setup(tmp_path), ("shuffled",)).cells.keys()

    assert runs("fig4") < runs("table4")
    assert runs("fig4") < runs("table1")
    assert len(runs("table8") & runs("table4")) == 1  # serialization is fusion without CL
    length = plan(EXPERIMENTS["fig9"], "deap", setup(tmp_path, lengths=(20,)), ("shuffled",))
    assert length.cells.keys() == runs("table1")  # 20 is the preset's own length


def test_another_data_set_has_rows_of_its_own_modalities(tmp_path):
    each = plan(EXPERIMENTS["table4"], "eegmat", setup(tmp_path), ("",))
    assert [line.row.label for line in each.lines[:4]] == [
        ("single", "eeg"),
        ("single", "ecg"),
        ("fusion without CL", "eeg+ecg"),
        ("fusion with CL", "eeg+ecg"),
    ]
    assert {line.task for line in each.lines} == {"label"}
    assert each.protocol == "subject"
    raw = plan(EXPERIMENTS["table1"], "deap-raw", setup(tmp_path), ("",))
    assert {line.task for line in raw.lines} == {"valence", "arousal", "va4", "va9"}


def test_all_is_what_a_data_set_has():
    assert make._wanted(["all"], "eegmat") == list(make.ELSEWHERE)
    amigos = make._wanted(["all"], "amigos-long")
    assert amigos == ["table6", "fig5", "leakage"]
    assert "leakage" not in make._wanted(["all"], None)
    own = make._wanted(["table4", "all"], "deap")
    assert own[0] == "table4"
    assert {"table1", "table8", "table10", "fig7", "fig9", "leakage"} < set(own)
    assert "table5" not in own
