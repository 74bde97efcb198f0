"""`clmer.load`: a finished run's models say again what the run wrote down."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from support.train_cases import SMALL

import clmer
from clmer.cli import main
from clmer.data.store.store import open_store
from clmer.data.synthetic import write_deap
from clmer.errors import ConfigError, DataError
from clmer.nn.fusion import attention_maps

MODEL = "physio+landmarks+au"


@pytest.fixture(scope="module")
def deap(tmp_path_factory):
    """A generated DEAP of 2 people x 12 trials x 2 s."""
    folder = tmp_path_factory.mktemp("deap")
    write_deap(folder / "data", people=2, trials=12, seconds=2)
    return folder


def train(deap, name, *extra):
    line = ["train", "deap", "--root", str(deap / "data"), "--cache", str(deap / "cache")]
    assert main([*line, "--out", str(deap / name), *SMALL, "--no-permuted", *extra]) == 0
    return deap / name


@pytest.fixture(scope="module")
def run(deap):
    """Two splits, two members."""
    return train(deap, "run", "--repeats", "2", "--members", "2")


@pytest.fixture(scope="module")
def store(deap, run):
    key = json.loads((run / "config.json").read_text())["config"]["data"]
    return open_store(deap / "cache" / f"deap-{key[:16]}")


@pytest.fixture(scope="module")
def windows(store):
    return {name: np.array(store.array(name)) for name in store.modalities}


def written(run, store, split, model=MODEL):
    """Rows [n] of the store and log-probabilities [n, classes] in predictions.csv, of a split."""
    names = json.loads((run / "results.json").read_text())["splits"]
    wanted = names[int(split.removeprefix("split")) - 1]["name"]
    at = zip(store.windows.recording.tolist(), store.windows.start_s.tolist(), strict=True)
    row_of = {key: row for row, key in enumerate(at)}
    with (run / "predictions.csv").open() as file:
        lines = [r for r in csv.DictReader(file) if (r["model"], r["split"]) == (model, wanted)]
    rows = np.array([row_of[line["recording"], float(line["start_s"])] for line in lines])
    logp = [[float(v) for k, v in line.items() if k.startswith("logp_")] for line in lines]
    return rows, np.array(logp), np.array([line["predicted"] for line in lines])


@pytest.mark.parametrize("split", ["split1", "split2"])
def test_a_loaded_split_predicts_what_the_run_wrote(run, store, windows, split):
    trained = clmer.load(run, split)
    rows, logp, predicted = written(run, store, split)
    assert len(rows)
    part = {name: array[rows] for name, array in windows.items()}
    proba = trained.predict_proba(part)
    np.testing.assert_allclose(proba, np.exp(logp), rtol=0, atol=1e-6)
    sure = np.abs(proba - 0.5).min(1) > 1e-5
    assert (trained.predict(part) == predicted)[sure].all()
    assert trained.classes == ("low", "high")


@pytest.mark.parametrize(
    "options",
    [
        ["--tokens", "spectrum", "--no-contrastive"],
        ["--tokens", "time"],
        ["--no-contrastive"],
        ["--reference", "all"],
    ],
    ids=lambda options: "-".join(options).replace("--", ""),
)
def test_every_kind_of_input_is_restored(deap, run, store, windows, options):
    other = train(deap, "-".join(options).replace("--", ""), *options)
    rows, logp, _ = written(other, store, "split1")
    known = "all" if "--reference" in options else None
    proba = clmer.load(other).predict_proba(windows, store.windows.subject, known)
    np.testing.assert_allclose(proba[rows], np.exp(logp), rtol=0, atol=1e-6)


def test_other_models_of_a_run_are_loaded_by_name(deap, run, store, windows):
    models = ["--model", "mult,eeg-conformer,clmer", "--no-contrastive", "--ablation", "single"]
    other = train(deap, "models", *models)
    assert set(clmer.load(other).modalities) == {"physio", "landmarks", "au"}
    for name, modalities in (("mult", MODEL), ("eeg-conformer", "physio"), ("au", "au")):
        trained = clmer.load(other, model=name)
        assert "+".join(trained.modalities) == modalities
        rows, logp, _ = written(other, store, "split1", name)
        part = {n: windows[n][rows] for n in trained.modalities}
        np.testing.assert_allclose(trained.predict_proba(part), np.exp(logp), rtol=0, atol=1e-6)
    with pytest.raises(DataError, match="model: found husformer, expected mult, eeg-conformer, ph"):
        clmer.load(other, model="husformer")
    with pytest.raises(ValueError, match="found MulT, expected CLMER's Fusion"):
        clmer.load(other).attention({n: a[:2] for n, a in windows.items()})


def test_all_splits_together_are_the_mean_of_each(run, windows):
    part = {name: array[:5] for name, array in windows.items()}
    each = [clmer.load(run, split).predict_proba(part) for split in ("split1", "split2")]
    whole = clmer.load(run)
    np.testing.assert_allclose(whole.predict_proba(part), np.mean(each, 0), rtol=1e-12)
    for call in (whole.encode, whole.tokens, whole.attention):
        with pytest.raises(ValueError, match="found the splits split1, split2, expected one"):
            call(part)


def test_as_one_module(deap, run, windows):
    part = {name: array[:5] for name, array in windows.items()}
    tensors = {name: torch.from_numpy(array) for name, array in part.items()}
    whole = clmer.load(train(deap, "fusion alone", "--classifier", "fusion", "--repeats", "2"))
    assert len(whole.splits) == 2
    found = whole.as_module()(tensors).detach().numpy()
    np.testing.assert_allclose(found, whole.predict_proba(part), rtol=1e-4, atol=1e-6)
    one = clmer.load(whole.folder, "split2")
    found = one.as_module()(tensors).detach().numpy()
    np.testing.assert_allclose(found, one.predict_proba(part), rtol=1e-4, atol=1e-6)
    with pytest.raises(ConfigError, match="hand-made features.*train with `classifier=fusion`"):
        clmer.load(run).as_module()


def test_features_tokens_and_attention(run, windows):
    part = {name: array[:5] for name, array in windows.items()}
    trained = clmer.load(run, "split1")
    z = trained.encode(part)
    assert list(z) == list(trained.modalities) == ["physio", "landmarks", "au"]
    assert z["physio"].shape[0] == 5
    assert z["physio"].min() >= 0  # behind a ReLU
    tokens = trained.tokens(part)
    assert trained.fusion(tokens).shape == (5, 2)
    maps = trained.attention(part)
    assert len(maps) == 6
    assert maps["physio", "au"].shape == (1, 5, 2, 20, 20)  # [layers, N, heads, L, L]
    np.testing.assert_allclose(maps["physio", "au"].sum(-1), 1, rtol=1e-5)
    members = [trained.attention(part, member=i)["au", "physio"] for i in (0, 1)]
    assert np.abs(members[0] - members[1]).max() > 1e-4


def test_attention_maps_are_those_of_the_forward_pass(run, windows, monkeypatch):
    trained = clmer.load(run, "split1")
    tokens = trained.tokens({name: array[:3] for name, array in windows.items()})
    seen = []

    def spy(query, key, value, **options):
        seen.append((query @ key.mT / query.shape[-1] ** 0.5).softmax(-1))
        return attend(query, key, value, **options)

    attend = clmer.ops.cross_attention
    monkeypatch.setattr("clmer.nn.fusion.ops.cross_attention", spy)
    maps = attention_maps(trained.fusion, tokens)
    torch.testing.assert_close(maps[:, 0], seen[0].detach(), rtol=1e-5, atol=1e-6)
    assert not any(layer._forward_pre_hooks for layer in trained.fusion.cross)


def test_one_modality_has_no_attention_between_modalities(deap):
    alone = clmer.load(train(deap, "alone", "--no-contrastive", "--modalities", "au"))
    au = {"au": np.zeros((2, 34, 25), np.float32)}
    assert alone.predict_proba(au).shape == (2, 2)
    with pytest.raises(ValueError, match="two modalities or more"):
        alone.attention(au)
    with pytest.raises(DataError, match="contrastive stage: found none"):
        alone.encode(au)


def test_a_run_without_fusion_still_encodes(deap, windows):
    encoders = clmer.load(train(deap, "encoders", "--no-fusion"))
    assert encoders.encode(windows)["au"].shape[0] == len(windows["au"])
    with pytest.raises(DataError, match="fusion stage: found none"):
        encoders.predict_proba(windows)


def test_loading_leaves_the_random_state_alone(run):
    state = torch.get_rng_state()
    clmer.load(run)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("au"), r"found \['physio', 'landmarks'\], expected \['physio'"),
        (lambda w: w.update(y=w["au"]), "expected"),
        (lambda w: w.update(au=w["au"][:, :, 1:]), r"windows\['au'\]: found \(4, 34, 24\), exp"),
        (lambda w: w.update(au=w["au"][1:]), r"found \(3, 34, 25\), expected \(4, 34, 25\)"),
        (lambda w: w.update(au=w["au"] * np.nan), r"windows\['au'\]: found values"),
        (lambda w: w.update({n: a[:0] for n, a in w.items()}), r"found \(0, 40, 128\)"),
    ],
)
def test_windows_that_do_not_fit_are_named(run, windows, change, message):
    part = {name: array[:4] for name, array in windows.items()}
    change(part)
    with pytest.raises(ValueError, match=message):
        clmer.load(run).predict_proba(part)


def test_what_is_missing_is_named(run, tmp_path):
    with pytest.raises(DataError, match=r"nowhere: config.json: found nothing"):
        clmer.load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="`split`: found split9, expected split1, split2"):
        clmer.load(run, "split9")
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    weights = copy / "models" / "split2" / f"{MODEL}-2.safetensors"
    weights.unlink()
    with pytest.raises(DataError, match=r"models/split2/physio.*-2\.safetensors: found nothing"):
        clmer.load(copy)
    (copy / "results.json").unlink()
    message = rf"unfinished run, stopped in split2/{MODEL}-2, .*--resume.* `split=split1`"
    with pytest.raises(DataError, match=message.replace("+", r"\+")):
        clmer.load(copy)
    assert clmer.load(copy, "split1").splits
    (copy / "models" / "split1" / "tokenizer.safetensors").write_bytes(b"no tensors")
    with pytest.raises(DataError, match=r"tokenizer.safetensors: safetensors: found"):
        clmer.load(copy, "split1")


def test_weights_of_other_sizes_are_refused(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    content = json.loads((copy / "config.json").read_text())
    content["config"]["cross_layers"] = 2
    (copy / "config.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="notes.config.cross_layers: found"):
        clmer.load(copy)
    content["config"]["colour"] = "red"
    (copy / "config.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="config.json: colour: found an unknown option"):
        clmer.load(copy)


def test_import_stays_light():
    import subprocess
    import sys

    code = "import clmer, sys; print('sklearn' in sys.modules, 'scipy' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert out.stdout.split() == ["False", "False"]
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        clmer.laod  # noqa: B018
