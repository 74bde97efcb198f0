"""`--model`: what is trained, under which names, and what is refused."""

import json

import pytest
from test_train import run

from clmer.data.synthetic import write_deap
from clmer.errors import ConfigError
from clmer.pipeline.presets import build

NETWORKS = ["mult", "husformer", "eeg-conformer", "fetcheeg", "eegnet", "shallow-convnet"]
BASELINES = [*NETWORKS, "svm", "forest", "boosting", "tangent"]


@pytest.fixture(scope="module")
def deap(tmp_path_factory):
    """A generated DEAP of 2 people x 12 trials x 2 s, and a cache for its store."""
    folder = tmp_path_factory.mktemp("models")
    write_deap(folder / "data", people=2, trials=12, seconds=2)
    return folder


def results(out):
    return json.loads((out / "results.json").read_text())


def stages(out):
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return list(dict.fromkeys(json.loads(line)["stage"] for line in lines))


@pytest.fixture(scope="module")
def all_of_them(deap):
    out = deap / "all"
    options = ["--model", ",".join(BASELINES), "--no-contrastive", "--no-permuted"]
    assert run(deap, out, *options) == 0
    return out, options


def test_each_model_has_its_stage_and_its_row(all_of_them):
    out, _ = all_of_them
    found = results(out)
    assert found["main"] == BASELINES
    rows = {model["name"]: model for model in found["models"]}
    assert list(rows)[: len(BASELINES)] == BASELINES
    read = ("physio+landmarks+au", "physio")
    beside = [
        "majority",
        *(f"{kind} + LR: {m}" for m in read for kind in ("band power", "features")),
    ]
    assert sorted(list(rows)[len(BASELINES) :]) == sorted(beside)
    assert all(rows[name]["windows"].keys() == rows["majority"]["windows"].keys() for name in rows)
    assert stages(out) == [f"split1/{name}" for name in NETWORKS]
    assert json.loads((out / "config.json").read_text())["config"]["models"] == BASELINES
    said = {(pair["a"], pair["b"]) for pair in found["comparisons"]}
    assert ("mult", "svm") in said


def test_a_lost_model_is_trained_again_to_the_same_bytes(deap, all_of_them):
    out, options = all_of_them
    wanted = (out / "results.json").read_bytes()
    (out / "models" / "split1" / "husformer.safetensors").unlink()
    (out / "results.json").unlink()
    assert run(deap, out, *options, "--resume") == 0
    assert (out / "results.json").read_bytes() == wanted


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_the_expected_time_counts_every_model(deap, monkeypatch, capsys):
    from clmer.train import job
    from clmer.train import steps as train_steps

    timed = []

    def seconds(watch):
        timed.extend(watch.ends)
        return dict.fromkeys(watch.ends, 60.0)

    monkeypatch.setattr(train_steps.Stopwatch, "seconds", seconds)
    monkeypatch.setattr(job, "train_split", interrupted)
    options = ["--model", "eeg-conformer,mult,svm", "--no-contrastive"]
    assert run(deap, deap / "timed", *options) == 130
    assert timed == ["split1/eeg-conformer", "split1/mult"]
    # The first model is the one that permuted labels are given to: three fits of 3 epochs.
    windows = 2 * 12 * 2
    steps = -(-(windows // 3) // 64)
    said = capsys.readouterr().out
    assert f"expected training time: {3 * 3 * steps} min at most" in said
    assert ("--classifier linear --no-contrastive" in said) == (3 * 3 * steps >= 10)


def test_raw_models_alone_leave_the_contrastive_stage_out(deap):
    out = deap / "raw"
    assert run(deap, out, "--model", "eeg-conformer") == 0
    assert stages(out) == ["split1/eeg-conformer", "split1/permuted"]
    assert "permuted labels" in {model["name"] for model in results(out)["models"]}
    given = {"device": "cpu", "models": ["fetcheeg", "svm"]}
    assert not build("deap", given).contrastive
    assert build("deap", {**given, "contrastive": True}).contrastive
    assert build("deap", {**given, "fusion": False}).contrastive
    assert build("deap", {**given, "models": ["fetcheeg", "mult"]}).contrastive


def test_the_svm_needs_no_loop(deap, capsys):
    out = deap / "svm"
    assert run(deap, out, "--model", "svm", "--modalities", "au") == 0
    names = [model["name"] for model in results(out)["models"]]
    assert names == ["svm", "majority", "band power + LR: au", "features + LR: au"]
    assert not (out / "metrics.jsonl").exists()
    assert "permuted labels" not in capsys.readouterr().out


def test_clmer_keeps_its_names_beside_others(deap):
    out = deap / "ablation"
    options = ["--model", "husformer,clmer", "--ablation", "single", "--modalities", "physio,au"]
    assert run(deap, out, *options, "--no-contrastive", "--no-permuted") == 0
    wanted = ["husformer", "physio+au", "physio", "au"]
    assert results(out)["main"] == wanted
    assert stages(out) == [f"split1/{name}" for name in wanted]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--model", "mult,bert"], "--model: found mult, bert, expected some of clmer, mult,"),
        (["--model", "mult,mult"], "--model: found ['mult', 'mult'], expected each once"),
        (["--model", ","], "--model: found none, expected some of"),
        (["--model", "mult", "--modalities", "au"], "expected at least 2 modalities"),
        (["--model", "eeg-conformer", "--modalities", "au"], "found au, expected eeg or physio"),
        (["--model", "eeg-conformer", "--window", "0.25"], "physio has 32 samples a window"),
    ],
)
def test_models_that_cannot_be_trained_exit_2_and_leave_no_folder(deap, extra, message, capsys):
    out = deap / "refused"
    assert run(deap, out, *extra) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_build_names_the_option():
    with pytest.raises(ConfigError, match="`models`: found bert"):
        build("deap", {"device": "cpu", "models": ["bert"]})
