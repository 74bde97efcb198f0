"""`save_pretrained` and `clmer.load`: bit for bit, nothing of a person, damage named."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from support.share_cases import PERSONAL, fitted, train_study, windows, write_study

import clmer
from clmer.cli import main
from clmer.errors import ConfigError, DataError
from clmer.pipeline.run.folder import read_config
from clmer.pipeline.run.load import kept_models
from clmer.predict import plan_of
from clmer.predict.model import choose_model

WHOLE = "eeg+ecg"
FILES = ["README.md", "config.json", "model.safetensors"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("secretplace")
    write_study(root)
    return train_study(root, "--no-permuted")


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    """The run's first model, saved."""
    return clmer.load(run).save_pretrained(tmp_path_factory.mktemp("saved") / "model")


def said(trained, x):
    return (trained.predict_proba if trained.classes else trained.predict)(x)


@pytest.mark.parametrize("split", [None, "split2"])
def test_every_model_that_a_run_keeps_says_the_same_after_loading(run, tmp_path, split):
    names = kept_models(run)
    assert names == [WHOLE, f"band power + LR: {WHOLE}", f"features + LR: {WHOLE}"]
    for name in names:
        trained = clmer.load(run, split, model=name)
        place = trained.save_pretrained(tmp_path / f"{name} saved")
        assert sorted(path.name for path in place.iterdir()) == FILES
        loaded = clmer.load(place)
        np.testing.assert_array_equal(said(loaded, windows()), said(trained, windows()))
        assert [*loaded.splits] == [*trained.splits]
        assert kept_models(place) == [name]
        again = clmer.load(place).save_pretrained(tmp_path / f"{name} again")
        for file in FILES:
            assert (again / file).read_bytes() == (place / file).read_bytes()


@pytest.mark.parametrize(
    ("options", "modalities"),
    [
        ({"classifier": "fusion", "tokens": "time"}, ("eeg", "ecg")),
        ({"classifier": "linear", "contrastive": False}, ("eeg", "ecg")),
        ({"tokens": "spectrum", "contrastive": False}, ("eeg",)),
        ({"target": "rating"}, ("eeg", "ecg")),
        ({"target": "rating", "classifier": "fusion", "contrastive": False}, ("ecg",)),
        ({"models": ("mult",), "contrastive": False, "members": 2}, ("eeg", "ecg")),
        ({"encoders": "finetune"}, ("eeg", "ecg")),
        ({"objective": "spectral"}, ("eeg", "ecg")),
    ],
    ids=lambda value: "-".join(map(str, value.values() if isinstance(value, dict) else value)),
)
def test_every_kind_of_model_says_the_same_after_loading(tmp_path, options, modalities):
    trained = fitted(tmp_path / "none", options, modalities=modalities)
    loaded = clmer.load(trained.save_pretrained(tmp_path / "model"))
    x = {name: array for name, array in windows().items() if name in modalities}
    np.testing.assert_array_equal(said(loaded, x), said(trained, x))
    assert loaded.config.models == trained.config.models
    assert loaded.modalities == trained.modalities
    text = (loaded.folder / "README.md").read_text()
    assert "None: nothing was tested with it, its training was not finished, or only one" in text


def test_a_model_with_a_reference_keeps_nobodys(tmp_path):
    trained = fitted(tmp_path / "none", {"reference": "marked", "contrastive": False})
    loaded = clmer.load(trained.save_pretrained(tmp_path / "model"))
    rest, x = windows(6, seed=2), windows()
    found = loaded.predict_proba(x, reference=rest)
    np.testing.assert_array_equal(found, trained.predict_proba(x, reference=rest))
    with pytest.raises(ConfigError, match="found none, expected a known stretch"):
        loaded.predict_proba(x)
    assert not [key for key in load_file(loaded.folder / "model.safetensors") if "windows/" in key]
    assert "reference=rest" in (loaded.folder / "README.md").read_text()


def test_splits_that_chose_their_own_options_keep_them(tmp_path):
    options = {"classifier": "fusion", "contrastive": False}
    trained = fitted(tmp_path / "none", {**options, "dim": 16}, options)
    loaded = clmer.load(trained.save_pretrained(tmp_path / "model"))
    assert [split.config.dim for split in loaded.splits.values()] == [16, 8]
    np.testing.assert_array_equal(said(loaded, windows()), said(trained, windows()))
    own = json.loads((loaded.folder / "config.json").read_text())["splits"]
    assert [each["options"] for each in own.values()] == [{"dim": 16}, {}]


def test_encoders_alone_encode(tmp_path):
    trained = fitted(tmp_path / "none", {"fusion": False})
    loaded = clmer.load(trained.save_pretrained(tmp_path / "model"))
    for name, z in trained.encode(windows()).items():
        np.testing.assert_array_equal(loaded.encode(windows())[name], z)
    with pytest.raises(DataError, match="fusion stage: found none"):
        loaded.predict_proba(windows())
    with pytest.raises(DataError, match="model: found eeg, expected none: it holds encoders alone"):
        clmer.load(loaded.folder, model="eeg")
    assert "Encoders trained without labels" in (loaded.folder / "README.md").read_text()


def test_nothing_of_a_person_is_in_it(run, folder):
    for path in folder.iterdir():
        content = path.read_bytes()
        for word in (*PERSONAL, "secretplace", str(run), str(run.parent)):
            assert word.encode() not in content, (path.name, word)
    # the run itself names them: the search finds what is there
    kept = b"".join(path.read_bytes() for path in run.glob("*.*") if path.is_file())
    for word in ("Zebulon-17", "morningwalk", "2024-05-17", "secretplace"):
        assert word.encode() in kept, word
    options = json.loads((folder / "config.json").read_text())["options"]
    assert (options["root"], options["splits"], options["device"]) == ("", "", "cpu")


def test_a_table_of_own_splits_is_not_named(tmp_path):
    trained = fitted(tmp_path / "none", {"splits": "/home/Zebulon-17/splits.csv"})
    loaded = clmer.load(trained.save_pretrained(tmp_path / "model"))
    assert loaded.config.protocol_name == "own"
    for path in loaded.folder.iterdir():
        assert b"Zebulon" not in path.read_bytes()


def test_commands_take_it_where_they_take_a_run(run, folder, tmp_path, capsys):
    files = [f"{name}={next(run.parent.glob(f'*Theda*{name}.npy'))}" for name in ("eeg", "ecg")]
    tables = []
    for place in (run, folder):
        out = tmp_path / f"{place.name}.csv"
        line = ["predict", str(place), *files, "--rate", "128", "--model", WHOLE]
        assert main([*line, "--out", str(out)]) == 0
        tables.append(out.read_text())
    assert tables[0] == tables[1]
    capsys.readouterr()
    name, lines = choose_model(folder, None)
    assert name == WHOLE
    assert lines[0].startswith("model: eeg+ecg: balanced accuracy ")
    assert lines[0] == choose_model(run, WHOLE)[1][0].split(" (")[0]
    plans = [plan_of(clmer.load(place), place) for place in (run, folder)]
    assert plans[0].window_s == plans[1].window_s == 1.0
    assert (plans[0].stride_s, plans[0].filter) == (plans[1].stride_s, plans[1].filter)


def test_one_split_of_it_is_loaded_by_name(run, folder):
    one = clmer.load(folder, split="split2")
    np.testing.assert_array_equal(
        one.predict_proba(windows()), clmer.load(run, split="split2").predict_proba(windows())
    )
    with pytest.raises(DataError, match="`split`: found split3, expected split1, split2"):
        clmer.load(folder, split="split3")
    with pytest.raises(DataError, match=r"model: found mult, expected eeg\+ecg"):
        clmer.load(folder, model="mult")


def test_a_folder_with_something_in_it_is_left_alone(run, folder, tmp_path):
    trained = clmer.load(run)
    with pytest.raises(DataError, match="found a folder with .*predictions.csv.*, expected a new"):
        trained.save_pretrained(run, overwrite=True)
    with pytest.raises(DataError, match="found a saved model, .* say `overwrite=True`"):
        trained.save_pretrained(folder)
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / ".git").mkdir()
    one = clmer.load(run, "split1")
    assert one.save_pretrained(copy, overwrite=True) == copy
    assert [*clmer.load(copy).splits] == ["split1"]
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="`folder`: found a file, expected a folder"):
        trained.save_pretrained(tmp_path / "file")


def test_what_cannot_be_kept_is_refused(run):
    trained = clmer.load(run)
    with pytest.raises(ConfigError, match="`license`: found 'CC BY', expected an identifier"):
        trained.save_pretrained("unused", license="CC BY")


def test_weights_of_another_network_cannot_be_kept(tmp_path, monkeypatch):
    trained = fitted(tmp_path / "none", {"mobilevit": "weights", "contrastive": False})
    split = trained.splits["split1"]
    modalities = {"mobilevit": split.tokenizer.modalities["ecg"], **split.tokenizer.modalities}
    monkeypatch.setattr(type(split.tokenizer), "modalities", modalities, raising=False)
    object.__setattr__(split.tokenizer, "modalities", modalities)
    with pytest.raises(ConfigError, match="`mobilevit`: found weights in a folder of their own"):
        trained.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_run_is_needed_where_a_run_is_needed(folder):
    with pytest.raises(DataError, match="found clmer, a model that save_pretrained saved, expec"):
        read_config(folder)


def changed(folder, change):
    """config.json with a change."""
    path = folder / "config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def without(name):
    """Weights without a tensor; config.json knows their digest."""

    def change(folder):
        path = folder / "model.safetensors"
        kept = {k: v for k, v in load_file(path).items() if not k.startswith(name)}
        save_file(kept, path, {"format": "pt"})
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        changed(folder, lambda c: c.update(model_sha256=digest))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), r"config.json: file: found nothing, expected wh"),
        (lambda f: (f / "model.safetensors").unlink(), r"model.safetensors: file: found nothing"),
        (lambda f: (f / "config.json").write_text("{"), r"config.json: JSON: found "),
        (cut_weights, r"model.safetensors: SHA-256: found \w{64}, expected \w{64}, as config.json"),
        (without("split2/eeg+ecg-2/"), r"model.safetensors: split2/eeg\+ecg-2: found nothing"),
        (without("split1/linear/eeg+ecg/bias"), r"model.safetensors: contents: .*bias: nothing"),
        (
            without("split1/contrastive/ecg.encoder.blocks.0"),
            r"model.safetensors: contents: .*absent, not \[4, 1, 8\], expected the tensors that co",
        ),
        (
            lambda f: changed(f, lambda c: c["modalities"][0].pop("fs")),
            r"config.json: modalities\[0\].fs: found nothing",
        ),
        (
            lambda f: changed(f, lambda c: c.update(format=9)),
            "config.json: model_type: found clmer, format 9, expected clmer, format 1",
        ),
        (
            lambda f: changed(f, lambda c: c["options"].update(dim=9)),
            "config.json: options: found `dim`: found 9, expected a multiple of `heads` 2",
        ),
        (
            lambda f: changed(f, lambda c: c["options"].update(width="wide")),
            'config.json: options.width: found "wide", expected a whole number',
        ),
        (
            lambda f: changed(f, lambda c: c["options"].update(colour="red")),
            "config.json: colour: found an unknown option",
        ),
        (
            lambda f: changed(f, lambda c: c["options"].update(cross_layers=2)),
            r"model.safetensors: contents: found .*absent, not ",
        ),
        (
            lambda f: changed(f, lambda c: c["classes"].append("third")),
            r"model.safetensors: contents: found .*\[2, \d+\], not \[3, \d+\]",
        ),
        (
            lambda f: changed(f, lambda c: c.update(splits={})),
            "config.json: splits, modalities: found none of them",
        ),
        (
            lambda f: changed(f, lambda c: c["scores"].update(people="two")),
            'config.json: scores.people: found "two", expected a whole number',
        ),
        (
            lambda f: changed(f, lambda c: c["scores"].pop("splits")),
            "config.json: scores.splits: found nothing",
        ),
    ],
)
def test_damage_is_named_with_the_way_out(folder, tmp_path, damage, message):
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy)
    with pytest.raises(DataError, match=message) as caught:
        clmer.load(copy)
    said = str(caught.value)
    if "config.json: JSON" not in said:
        assert said.endswith("Save it again (save_pretrained), or download it anew.")
    assert "train again" not in said.lower()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["scores"].update(main=["x"]), "scores.main: found x, expected some of eeg"),
        (lambda c: c["scores"].update(target="mood"), "scores.target: found mood, expected class"),
        (
            lambda c: c["scores"]["models"][0]["windows"].pop("balanced_accuracy"),
            r"scores.models\[0\].windows.balanced_accuracy: found nothing",
        ),
    ],
)
def test_scores_that_no_card_can_state_are_named(folder, tmp_path, change, message):
    copy = shutil.copytree(folder, tmp_path / "copy")
    changed(copy, change)
    trained = clmer.load(copy)
    with pytest.raises(DataError, match=f"config.json: {message}"):
        trained.save_pretrained(tmp_path / "again")
    with pytest.raises(DataError, match=message):
        choose_model(copy, None)
