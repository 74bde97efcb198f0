"""The paper's tables and figures: what they are made of, and what may stand beside them."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from clmer.cli.options import parser

from clmer import cli
from clmer.data.recording import SYNTHETIC_MARKER
from clmer.data.synthetic import write_deap
from clmer.errors import ConfigError, DataError
from clmer.experiments import command, figures, leakage, paper, runner
from clmer.experiments.cells import Setup, plan
from clmer.experiments.output import write
from clmer.experiments.runner import FAILED, MISSING, REFUSED, Shard
from clmer.experiments.scores import SHOWN, best_validation, collect, mean_curve, validation_curves
from clmer.experiments.sheets import VIEWS, two_classes
from clmer.experiments.specs import EXPERIMENTS

SMALL = ("--folds", "3", "--threads", "1", "--width", "4", "--dim", "8", "--heads", "2")
SMALL += ("--cross-layers", "1", "--memory-layers", "1", "--single-layers", "1")
SMALL += ("--epochs-contrastive", "1", "--epochs-fusion", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def deap(tmp_path_factory):
    """A generated DEAP of 3 people x 12 trials x 2 s, and a cache for its stores."""
    folder = tmp_path_factory.mktemp("deap")
    write_deap(folder / "data", people=3, trials=12, seconds=2)
    return folder


def setup(root, *options, **fields):
    return Setup(source=("--root", str(root)), options=(*SMALL, *options), **fields)


def small(deap, *options):
    """The setup of the runs that this module makes: two modalities, one task, two splits."""
    fields = {"tasks": ("valence",), "modalities": ("physio", "au"), "lengths": (5, 20)}
    return setup(deap / "data", "--cache", str(deap / "cache"), *options, **fields, repeats=2)


def train(cells, folder):
    """Make cells in this process, which imports once."""
    for name, cell in cells.items():
        if not (folder / name / "results.json").exists():
            assert cli.main(["train", *cell.argv, "--out", str(folder / name)]) == 0


def show(deap, name, made, tmp_path):
    """Make what an experiment needs of `made`'s rows, and write its sheet."""
    each = plan(EXPERIMENTS[name], "deap", small(deap), ("",))
    wanted = {line.cell.name: line.cell for line in each.lines if line.row.key in made}
    train(wanted, deap / "cells")
    sheet = VIEWS[each.experiment.view](each, collect(each, deap / "cells", {}))
    files = {path.suffix: path for path in write(sheet, tmp_path, "the command")}
    return sheet, files


def well_formed(path):
    text = path.read_text()
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
    assert text.count("<table") == text.count("</table>") > 0
    return text


# --- the specifications -------------------------------------------------------------------------
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


@pytest.mark.parametrize("given", [("--cache", "here"), ("--cache=here",), ("--cac", "here")])
def test_options_reach_every_run_however_they_are_written(tmp_path, given):
    each = plan(EXPERIMENTS["table4"], "deap", setup(tmp_path, *given), ("trial",))
    assert {cell.cache for cell in each.cells.values()} == {Path("here")}


def test_the_users_threads_come_last(tmp_path):
    each = plan(EXPERIMENTS["fig4"], "deap", setup(tmp_path, "--threads=8"), ("trial",))
    (cell,) = each.cells.values()
    line = runner.command(cell, tmp_path, 1)
    argv = ["train", *line[line.index("clmer.train") + 1 :]]
    assert parser().parse_args(argv).threads == 8


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
    assert command._wanted(["all"], "eegmat") == list(command.ELSEWHERE)
    amigos = command._wanted(["all"], "amigos-long")
    assert amigos == ["table6", "fig5", "leakage"]
    assert "leakage" not in command._wanted(["all"], None)
    own = command._wanted(["table4", "all"], "deap")
    assert own[0] == "table4"
    assert {"table1", "table8", "table10", "fig7", "fig9", "leakage"} < set(own)
    assert "table5" not in own


# --- the paper's figures ------------------------------------------------------------------------
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
        ("real", "deap", ("--root", str(real))),
        ("generated", "deap", ("--synthetic",)),
        ("other", "deap-raw", ("--root", str(real))),
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
        ("deap", "table11", (), {"modalities": ("physio",)}),
        ("deap", "table4", (), {"modalities": ("eeg", "landmarks", "au")}),
        ("deap", "table11", ("--window", "2"), {}),
        ("deap", "table10", ("--stride", "0.5"), {}),
        ("amigos-short", "table12", ("--labels", "self"), {}),
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
    assert not shown(setup(tmp_path, *options, **fields))


def test_a_generated_folder_is_known_by_its_marker(tmp_path):
    def printed():
        return plan(EXPERIMENTS["table4"], "deap", setup(tmp_path), ("",)).printed

    assert printed() == "IV"
    (tmp_path / SYNTHETIC_MARKER).write_text("{}")
    assert printed() == ""


# --- what is drawn and chosen -------------------------------------------------------------------
def test_the_radar_chart_has_the_papers_normalisation():
    cost = {
        key: (c.seconds, c.memory_mib, c.accuracy) for key, c in paper.COSTS["deap"].items()
    }  # fmt: skip
    made = figures.capabilities(cost)
    # By hand: mean time 13710 s, memory 9035.3 MiB, accuracy 87.933 with population sd 6.3264.
    expected = {
        "downsampling": (13710 / 19084, 9035.333 / 21728, 2 - 7.99333 / 6.32644),
        "mobilevit": (13710 / 6820, 9035.333 / 2534, 2 + 0.51667 / 6.32644),
        paper.SERIALIZATION: (13710 / 15226, 9035.333 / 2844, 2 + 7.47667 / 6.32644),
    }
    for key, values in expected.items():
        np.testing.assert_allclose(made[key], values, rtol=1e-4)
    equal = figures.capabilities({"a": (1, 1, 0.5), "b": (1, 1, 0.5)})
    np.testing.assert_array_equal(equal["a"], [1, 1, 2])


def test_curves_are_read_as_a_report_reads_them(tmp_path):
    log = tmp_path / "metrics.jsonl"
    epoch = {"stage": "split1/au", "epoch": 0, "loss": 1.0, "val_score": 0.5}
    lines = [epoch, {**epoch, "stage": "split1/au-2"}, {**epoch, "stage": "split1/other"}]
    whole = "".join(json.dumps(line) + "\n" for line in lines)
    log.write_text(whole + '{"stage": "split2/au", "ep')  # cut short by a kill
    assert validation_curves(tmp_path, "au") == [[0.5], [0.5]]
    with pytest.raises(DataError, match="no epoch of physio"):
        validation_curves(tmp_path, "physio")
    for damage, message in (
        (b'{"stage": "split2/au"}\n', "line 4: epoch|line 4.epoch"),
        (b'{"stage": "split2/au", "epoch": 0, "loss": 1}\n', "split2/au"),
        (b"\xff\n", "line 4.*utf-8"),
    ):
        log.write_bytes(whole.encode() + damage)
        with pytest.raises(DataError, match=message):
            validation_curves(tmp_path, "au")


def test_curves_end_where_every_split_has_an_epoch():
    curves = [[0.5, 0.7, 0.6], [0.6, 0.5]]
    np.testing.assert_allclose(mean_curve(curves), [0.55, 0.6])
    assert best_validation(curves) == pytest.approx(0.65)


def test_a_figure_is_the_same_bytes_each_time():
    for kind in ("png", "svg"):
        drawn = [
            figures.render(figures.curves({"va9": {"L = 5": np.array([0.1, 0.2])}}, {}), kind)
            for _ in range(2)
        ]
        assert drawn[0] == drawn[1]


# --- shards -------------------------------------------------------------------------------------
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_shards_are_disjoint_and_complete(count):
    parts = [Shard.parse(f"{i + 1}/{count}", {}).take(range(7)) for i in range(count)]
    assert sorted(cell for part in parts for cell in part) == list(range(7))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_shard_can_follow_from_the_launcher():
    assert Shard.parse("auto", {"RANK": "2", "WORLD_SIZE": "4"}) == Shard(3, 4)
    array = {"SLURM_ARRAY_TASK_ID": "14", "SLURM_ARRAY_TASK_MIN": "10"}
    array |= {"SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_STEP": "2"}
    assert Shard.parse("auto", array) == Shard(3, 3)
    for text in ("auto", "0/2", "3/2", "2", "a/b", "1/2/3"):
        with pytest.raises(ConfigError, match="--shard"):
            Shard.parse(text, {})


# --- sheets of finished runs --------------------------------------------------------------------
ABLATION = ("physio", "au", "physio+au", "physio+au with CL", "power", "majority")


def test_the_ablation_as_a_table(deap, tmp_path):
    sheet, files = show(deap, "table4", ABLATION, tmp_path)
    rows = list(csv.DictReader(files[".csv"].open()))
    assert [row["method"] for row in rows] == [
        "single", "single", "fusion without CL", "fusion with CL", "band power + LR",
        "majority class",
    ]  # fmt: skip
    assert {row["status"] for row in rows} == {"done"}
    assert rows[0]["model"] == "physio"
    assert rows[4]["model"] == "band power + LR: physio+au"
    for row in rows:
        assert float(row["accuracy_low"]) <= float(row["accuracy_pooled"])
        assert float(row["accuracy_pooled"]) <= float(row["accuracy_high"])
        assert (row["people"], row["splits"], row["protocol"]) == ("3", "2", "trial")
        assert row["generated"] == "True"
    text = well_formed(files[".html"])
    assert "protocol trial" in text
    assert "Generated recordings" in text
    assert "3 / 48" in text
    markdown = files[".md"].read_text()
    assert "| fusion with CL | physio+au | valence |" in markdown
    accuracy = 100 * float(rows[3]["accuracy_mean"])
    assert f"{accuracy:.1f} ± " in markdown
    assert sheet.figure is None


def test_a_confusion_matrix(deap, tmp_path):
    sheet, files = show(deap, "fig4", ABLATION, tmp_path)
    assert files[".png"].read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in files[".svg"].read_text()
    assert sheet.alt == "Confusion matrix of physio+au over low, high"
    assert 'alt="Confusion matrix' in well_formed(files[".html"])


def test_the_length_is_chosen_on_the_validation_part(deap, tmp_path):
    sheet, files = show(deap, "fig9", ("5", "20"), tmp_path)
    rows = list(csv.DictReader(files[".csv"].open()))
    score = {row["method"]: float(row["validation_balanced_accuracy"]) for row in rows}
    chosen = [row["method"] for row in rows if row["chosen"] == "True"]
    assert chosen == [max(score, key=score.get)]
    assert files[".png"].exists()
    assert any("the test part chooses nothing" in note for note in sheet.notes)
    table, _ = show(deap, "table11", ("5", "20"), tmp_path)
    assert [row["cell"] for row in table.records] == [row["cell"] for row in rows]


@pytest.mark.parametrize(
    ("name", "key", "file", "content"),
    [
        ("fig9", "5", "{run}/metrics.jsonl", "nonsense\n"),
        ("fig4", "physio+au with CL", "{run}/predictions.csv", "subject,recording\n"),
        ("table10", "physio+au", "{run}.usage.json", '{"seconds": "long"}'),
    ],
)
def test_a_damaged_file_is_its_runs_failure(deap, name, key, file, content, tmp_path):
    show(deap, "fig9", ("5", "20"), tmp_path)
    show(deap, "table4", ("physio+au", "physio+au with CL"), tmp_path)
    each = plan(EXPERIMENTS[name], "deap", small(deap), ("",))
    cells = tmp_path / "cells"
    for run in each.cells:
        if (deap / "cells" / run).exists():
            shutil.copytree(deap / "cells" / run, cells / run)
    damaged = next(line.cell.name for line in each.lines if line.row.key == key)
    (cells / file.format(run=damaged)).write_text(content)
    found = collect(each, cells, {})
    assert {run for run, cell in found.items() if cell.outcome.status == FAILED} == {damaged}
    sheet = VIEWS[each.experiment.view](each, found)
    said = [note for note in sheet.notes if "failed: " in note]
    assert len(said) == 1
    assert file.format(run=damaged) in said[0]


def test_the_mean_of_valence_and_arousal_is_a_line_of_its_own():
    same = {"method": "CLMER", "status": "done"}
    rows = [
        {**same, "task": task, **{f"{score}_mean": value for score in SHOWN}}
        for task, value in (("valence", 0.6), ("arousal", 0.9), ("va4", 0.1))
    ]
    [mean] = two_classes([*rows, {**rows[0], "method": "majority class"}], "I")
    assert (mean["task"], mean["accuracy_mean"]) == (paper.TWO, 0.75)
    assert mean["paper_accuracy"] == "97.65±0.71"
    assert "paper_accuracy" not in two_classes(rows, "")[0]
    assert two_classes([rows[0], {**rows[1], "status": "failed"}], "I") == []


def test_what_is_not_there_is_said_and_the_rest_is_shown(deap, tmp_path):
    sheet, files = show(deap, "table8", ("physio+au",), tmp_path)
    by_method = {row["method"]: row["status"] for row in sheet.records}
    assert by_method["serialization"] == "done"
    assert by_method["MobileViT-S features"] == MISSING
    assert "Not run yet: 3 of 4 runs." in files[".md"].read_text()
    costs, _ = show(deap, "fig7", ("physio+au",), tmp_path)
    assert costs.figure is None
    assert any("No chart" in note for note in costs.notes)


def test_protocols_side_by_side(deap, tmp_path):
    each = plan(EXPERIMENTS["leakage"], "deap", small(deap, "--no-contrastive"), leakage.PROTOCOLS)
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
