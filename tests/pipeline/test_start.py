"""`init`: stage 1 starts from the encoders of another study, matched by channels' names."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.share_cases import fitted, train_study, windows, write_study
from support.train_cases import SMALL

import clmer
from clmer.cli import main
from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.errors import ConfigError, DataError
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.fit import fit_split
from clmer.pipeline.models import build_encoder
from clmer.pipeline.run.start import read_start
from clmer.pipeline.stages import contrastive
from clmer.pipeline.stages.start import Start, start_lines
from clmer.pipeline.tokenizer import WindowArrays

CONFIG = ModelConfig(width=4, dim=8, heads=2, epochs_contrastive=1, epochs_fusion=1)


def modality(*channels, name="eeg", kind="eeg", fs=128.0):
    return Modality(name, len(channels), fs, channels, (kind,) * len(channels))


def encoder(known, seed, length=128, config=CONFIG):
    """Of random weights and running statistics."""
    torch.manual_seed(seed)
    made = build_encoder(config, known, length)
    for part in made.modules():
        if isinstance(part, torch.nn.BatchNorm1d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return made.eval()


KNOWN = modality("Fp1", "T7", "Cz", "Oz")
START = Start({"eeg": KNOWN}, {"eeg": encoder(KNOWN, 0)})


def test_the_same_channels_in_any_order_and_spelling_give_the_same_features():
    own = modality("EEG oz-REF", "T3", "FP1", "CZ")
    new = encoder(own, 1)
    copied = START.fill(new, own)
    assert copied == (own.channels, (), 16, 16)
    x = torch.randn(3, 4, 128)
    order = [3, 1, 0, 2]  # where each of the new study's channels is in the old one
    old = torch.empty_like(x)
    old[:, order] = x
    torch.testing.assert_close(new(x), START.encoders["eeg"](old))


def test_log_power_moves_with_its_channels_statistics_too():
    config = replace(CONFIG, objective="spectral")
    start = Start({"eeg": KNOWN}, {"eeg": encoder(KNOWN, 0, config=config)})
    own = modality("Oz", "Cz", "T7", "Fp1")
    new = encoder(own, 1, config=config)
    start.fill(new, own)
    x = torch.randn(3, 4, 128)
    torch.testing.assert_close(new(x), start.encoders["eeg"](x.flip(1)))


def test_what_is_not_known_starts_anew():
    own = modality("Cz", "Pz", "Fp1", "O1", "O2")  # 20 features, of which the other has 16
    plain, new = encoder(own, 1), encoder(own, 1)
    copied = START.fill(new, own)
    assert copied == (("Cz", "Fp1"), ("Pz", "O1", "O2"), 16, 20)
    old = START.encoders["eeg"].state_dict()
    found, drawn = new.state_dict(), plain.state_dict()
    first = "blocks.0.0.weight"
    assert torch.equal(found[first][:, [0, 2]], old[first][:, [2, 0]])
    assert torch.equal(found[first][:, [1, 3, 4]], drawn[first][:, [1, 3, 4]])
    for key in found:
        if key.startswith("blocks.2.") and found[key].ndim:
            assert torch.equal(found[key][:16], old[key])
            assert torch.equal(found[key][16:], drawn[key][16:])
        elif key != first:
            assert torch.equal(found[key], old[key])
    fewer = modality("Cz", "Oz")
    assert START.fill(encoder(fewer, 1), fewer) == (("Cz", "Oz"), (), 16, 16)
    ecg = modality("ECG", name="ecg", kind="ecg")
    copied = START.copied(CONFIG, {"eeg": own, "ecg": ecg}, {"eeg": 128, "ecg": 128})
    assert copied["ecg"].channels == ()
    assert start_lines(copied, "ab" * 32) == [
        "init: eeg starts from encoders of another study (SHA-256 abababababab...): 2 of 5 "
        "channels; anew: Pz O1 O2; 4 of 20 features anew.",
        "init: ecg starts anew; nothing of it is in the encoders given.",
    ]


@pytest.mark.parametrize(
    ("own", "length", "options", "message"),
    [
        (modality("Cz", fs=100.0), 128, {}, "eeg: found a rate of 128 Hz, expected 100 Hz"),
        (modality("Cz"), 128, {"width": 8}, "eeg: found a width of 4, expected 8; choose the same"),
        (
            modality("Cz"),
            128,
            {"objective": "spectral"},
            "found an encoder of samples, expected log power; choose the same `objective`",
        ),
        (modality("Cz"), 640, {}, "first kernels of 8 samples, every 1, expected of 25 samples"),
        (modality("Cz", kind="acc"), 128, {}, "found Cz of type eeg, expected acc, as Cz is here"),
        (modality("Pz", "O1"), 128, {}, "encoders of eeg: Fp1 T7 Cz Oz, expected .*eeg: Pz O1"),
        (modality("Cz", name="brain"), 128, {}, "expected some of these .*: brain: Cz"),
    ],
)
def test_what_cannot_be_compared_is_named(own, length, options, message):
    config = replace(CONFIG, **options)
    with pytest.raises(ConfigError, match=f"`init`: .*{message}"):
        START.copied(config, {own.name: own}, {own.name: length})


def test_windows_of_another_length_are_fine():
    own = modality("Fp1", "T7", "Cz", "Oz")
    new = encoder(own, 1, length=200)
    START.fill(new, own)
    assert new(torch.randn(2, 4, 200)).shape == (2, 16, new.steps)


def fit(start, config=CONFIG, known=KNOWN):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((24, len(known.channels), 128)).astype(np.float32)
    arrays = WindowArrays({"eeg": known}, {"eeg": x}, np.repeat(np.arange(4), 6))
    rows = np.arange(24)
    split = Split("s", rows[:12], rows[12:18], rows[18:], 0, "")
    return fit_split(config, arrays, rows % 2, split, classes=("a", "b"), start=start)


def test_stage_1_trains_on_from_there(monkeypatch):
    before = {}

    def spy(recorder, stage, model, *given, **options):
        encoder = model["eeg"].encoder
        before.update({key: value.clone() for key, value in encoder.state_dict().items()})
        return train(recorder, stage, model, *given, **options)

    train = contrastive.fit
    monkeypatch.setattr(contrastive, "fit", spy)
    found = fit(START).encoders["eeg"].state_dict()
    start = START.encoders["eeg"].state_dict()
    for key, value in start.items():
        assert torch.equal(before[key], value)
    assert not torch.equal(found["blocks.0.0.weight"], before["blocks.0.0.weight"])
    fit(None)
    assert not torch.equal(before["blocks.0.0.weight"], start["blocks.0.0.weight"])


def test_a_start_needs_stage_1():
    with pytest.raises(ConfigError, match="`init`: found encoders, expected none: stage 1 does"):
        fit(START, replace(CONFIG, contrastive=False))
    with pytest.raises(ConfigError, match="`init` with `select=inner`, which chooses stage 1"):
        fit(START, replace(CONFIG, select="inner"))


# --- folders -------------------------------------------------------------------------------------
def test_encoders_are_saved_alone(tmp_path):
    for number, options in enumerate(({}, {"target": "rating"}, {"encoders": "finetune"})):
        trained = fitted(tmp_path / "none", options)
        place = trained.save_encoders(tmp_path / str(number))
        loaded = clmer.load(place)
        assert loaded.classes == ()  # no label's name
        for name, z in trained.encode(windows()).items():
            np.testing.assert_array_equal(loaded.encode(windows())[name], z)
        start = read_start(place)
        assert start.digest == Start(trained.modalities, trained.splits["split1"].encoders).digest
        text = (place / "config.json").read_text() + (place / "README.md").read_text()
        assert "calm" not in text
        with pytest.raises(DataError, match="fusion stage: found none"):
            loaded.predict_proba(windows())


def test_what_holds_no_encoders_of_one_split_is_named(tmp_path):
    two = fitted(tmp_path / "none", {}, {})
    place = two.save_pretrained(tmp_path / "two")
    with pytest.raises(DataError, match="found the encoders of 2 splits.*split=.split1"):
        read_start(place)
    with pytest.raises(ValueError, match="save_encoders: found the splits split1, split2"):
        two.save_encoders(tmp_path / "one")
    none = fitted(tmp_path / "none", {"contrastive": False})
    place = none.save_pretrained(tmp_path / "raw")
    with pytest.raises(DataError, match="`init`: found no encoders of stage 1"):
        read_start(place)
    with pytest.raises(DataError, match="contrastive stage: found none"):
        none.save_encoders(tmp_path / "one")


@pytest.mark.slow
def test_a_run_states_what_it_started_from(tmp_path, capsys):
    write_study(tmp_path)
    run = train_study(tmp_path, "--no-permuted", "--repeats", "1")
    place = clmer.load(run, "split1").save_encoders(tmp_path / "encoders")
    line = ["train", "manifest", "--root", str(tmp_path), "--cache", str(tmp_path / "cache")]
    line += ["--task", "label", "--window", "1", *SMALL, "--folds", "4", "--no-permuted"]
    line += ["--init", str(place), "--out", str(tmp_path / "second")]
    assert main([*line, "--modalities", "eeg"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("init: eeg starts from encoders of another study (SHA-256") == 2
    digest = read_start(place).digest
    config = json.loads((tmp_path / "second" / "config.json").read_text())["config"]
    assert config["init_sha256"] == digest
    results = json.loads((tmp_path / "second" / "results.json").read_text())
    assert results["init"]["sha256"] == digest
    assert results["init"]["copied"]["eeg"]["anew"] == []
    assert any(note.startswith("init: eeg starts from") for note in results["notes"])
    saved = clmer.load(tmp_path / "second").save_pretrained(tmp_path / "saved")
    assert "Stage 1 started from encoders of another study" in (saved / "README.md").read_text()
    assert str(place) not in (saved / "config.json").read_text()
    # other weights in the same folder are another configuration
    fitted(tmp_path / "none", {}).save_encoders(place, overwrite=True)
    capsys.readouterr()
    assert main([*line, "--modalities", "eeg", "--resume"]) == 2
    assert "init_sha256: this folder has" in " ".join(capsys.readouterr().err.split())


def test_scikit_learn_starts_from_them_too(tmp_path):
    place = fitted(tmp_path / "none", {}).save_encoders(tmp_path / "encoders")
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((24, 2 * 128)), np.arange(24) % 2
    sizes = {"width": 4, "dim": 8, "heads": 2, "cross_layers": 1, "single_layers": 1}
    sizes |= {"epochs_contrastive": 1, "epochs_fusion": 1, "token_length": 4, "random_state": 0}
    named = {"eeg": (["EEG2", "Pz"], 128)}
    model = clmer.CLMERClassifier(named, init=place, **sizes).fit(X, y)
    assert model.init_["eeg"].channels == ("EEG2",)
    assert model.init_["eeg"].anew == ("Pz",)
    other = clmer.CLMERClassifier(named, **sizes).fit(X, y)
    one, two = (each.model_.encoders["eeg"].state_dict() for each in (model, other))
    assert not torch.equal(one["blocks.1.0.weight"], two["blocks.1.0.weight"])
    with pytest.raises(ValueError, match="^init: found channels without names, expected"):
        clmer.CLMERClassifier({"eeg": (2, 128)}, init=place, **sizes).fit(X, y)
    with pytest.raises(ValueError, match="modalities: found"):
        clmer.CLMERClassifier({"eeg": (["Cz", "Cz"], 128)}, **sizes).fit(X, y)
