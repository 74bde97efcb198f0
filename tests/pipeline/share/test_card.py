"""The model card: front matter that the Hub reads, and text that says what the results say."""

import json
from dataclasses import replace

import pytest
from support.results_cases import predictions, results
from support.share_cases import fitted

import clmer
from clmer.errors import ConfigError
from clmer.pipeline.run.scores import scores_in

PEOPLE = [f"s{i}" for i in range(8)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model of two splits, and results in its folder: eeg+ecg, a better baseline, controls."""
    folder = tmp_path_factory.mktemp("run")
    models = [predictions(name, right, seed=number) for number, (name, right) in enumerate([
        ("eeg+ecg", 0.7), ("ecg", 0.6), ("features + LR: eeg+ecg", 0.85), ("majority", 0.5),
        ("permuted labels", 0.5),
    ])]  # fmt: skip
    found = results(models, main=("eeg+ecg", "ecg"))
    found |= {"data": {"filter": {"eeg": "4-45 Hz"}}, "classifier": "fusion", "not_kept": []}
    found["stimuli"] = {"told": 14, "recordings": 16}
    (folder / "results.json").write_text(json.dumps(found))
    options = {"classifier": "fusion", "contrastive": False}
    return fitted(folder, options, options)


@pytest.fixture(scope="module")
def card(trained, tmp_path_factory):
    place = tmp_path_factory.mktemp("saved") / "model"
    trained.save_pretrained(place, license="cc-by-nc-4.0", about_data="Lab study 7, version 2.")
    return (place / "README.md").read_text()


def row(card, name):
    (line,) = [line for line in card.splitlines() if line.startswith(f"| {name}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_front_matter_is_what_the_hub_reads(trained, card):
    yaml = pytest.importorskip("yaml")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "cc-by-nc-4.0"
    assert front["library_name"] == "clmer"
    assert front["tags"] == ["clmer", "emotion-recognition", "biosignals", "ecg", "eeg"]
    assert front["metrics"] == ["balanced_accuracy"]
    hub = pytest.importorskip("huggingface_hub")
    data = hub.ModelCard(card).data
    (found,) = data.eval_results
    value = scores_in(trained.folder)["models"][0]["windows"]["balanced_accuracy"]["value"]
    assert found.metric_value == value
    assert found.metric_type == "balanced_accuracy"
    assert found.dataset_type == "manifest"
    assert found.metric_name.startswith("balanced accuracy per window, protocol subject; 95 % int")
    assert data.model_name == "CLMER: label (calm / tense) from eeg and ecg"


def test_scores_stand_with_their_interval_beside_the_best_simple_baseline(trained, card):
    scores = scores_in(trained.folder)
    by_name = {model["name"]: model for model in scores["models"]}
    for name, role in (
        ("eeg+ecg", "this model"),
        ("features + LR: eeg+ecg", "best simple baseline"),
        ("majority", "knows the training labels alone"),
        ("permuted labels", "a control"),
    ):
        cells = row(card, name)
        assert cells[0] == f"{name} ({role})"
        for cell, level in zip(cells[1:], ("windows", "recordings"), strict=True):
            score = by_name[name][level]["balanced_accuracy"]
            low, high = f"{score['low']:.3f}", f"{score['high']:.3f}"
            assert cell == f"{score['value']:.3f} [{low}, {high}]"
    assert "| ecg (" not in card  # another model of the run
    assert "8 people, 16 recordings, 80 windows" in card
    assert "features + LR: eeg+ecg does better here: use it" in card
    assert "The stimulus alone tells the class of 14 of 16 recordings" in card
    assert "`filter=type` (eeg 4-45 Hz)" in card


def test_what_else_a_reader_has_to_know(card):
    for heading in ("How to load it", "What it takes", "Scores", "Intended use", "Limits", "Data",
                    "Licence of the weights"):  # fmt: skip
        assert f"\n## {heading}\n" in card
    assert 'clmer.load("path/to/this/folder")' in card
    assert "| eeg | 3: eeg0 eeg1 eeg2 | 128 Hz | 128 | uV |" in card
    assert "Lab study 7, version 2." in card
    assert "It is the mean of 2 models" in card
    assert "could not be tested: use it for new people alone" in card
    for person in PEOPLE:
        assert f"{person} " not in card
        assert f"{person}/" not in card


def test_scores_of_all_splits_are_not_stated_as_one_splits(trained, tmp_path):
    one = replace(trained, splits={"split1": trained.splits["split1"]})
    place = one.save_pretrained(tmp_path / "model")
    card = (place / "README.md").read_text()
    assert json.loads((place / "config.json").read_text())["scores"]["splits"] == 2
    assert row(card, "eeg+ecg")[0] == "eeg+ecg"
    assert "(this model)" not in card
    front = card.split("---\n")[1]
    assert "model-index" not in front
    assert "metrics" not in front
    assert "The models of all 2 splits, each tested on people it never saw in training" in card
    assert "The scores are those of all 2 splits' models, not of this one alone" in card
    assert "trained on some of the people or recordings" in card
    again = clmer.load(place).save_pretrained(tmp_path / "again")
    assert (again / "README.md").read_text() == card


def test_the_scores_of_a_single_person_are_not_kept(trained, tmp_path):
    models = [predictions("eeg+ecg", 0.7, people=1), predictions("majority", 0.5, people=1)]
    found = results(models, main=("eeg+ecg",))
    found |= {"data": {"filter": {}}, "classifier": "fusion", "not_kept": []}
    (tmp_path / "results.json").write_text(json.dumps(found))
    place = replace(trained, folder=tmp_path).save_pretrained(tmp_path / "model")
    assert json.loads((place / "config.json").read_text())["scores"] is None
    card = (place / "README.md").read_text()
    assert "only one person was tested, whose own scores they would be" in card
    assert "model-index" not in card
    again = clmer.load(place).save_pretrained(tmp_path / "again")
    assert (again / "README.md").read_text() == card


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ("deap", "end-user licence agreement"),
        ("eegmat", "ODC-By 1.0"),
        ("manifest", "Nothing was stated of where they come from"),
    ],
)
def test_the_licence_of_known_data_is_stated(tmp_path, dataset, said):
    options = {"classifier": "fusion", "contrastive": False, "dataset": dataset}
    one = fitted(tmp_path / "none", options)
    text = (one.save_pretrained(tmp_path / "model") / "README.md").read_text()
    assert said in text
    assert 'license: "other"\n' in text
    assert "None was stated: ask whoever shares them." in text
    assert "It is the model of one split, split1." in text


def test_generated_recordings_say_nothing_of_people(tmp_path):
    options = {"classifier": "fusion", "contrastive": False, "dataset": "deap", "synthetic": {}}
    text = fitted(tmp_path / "none", options).save_pretrained(tmp_path / "model")
    card = (text / "README.md").read_text()
    assert "The recordings are generated: it says nothing of people." in card
    assert "end-user licence agreement" not in card


def test_a_licence_is_an_identifier(trained, tmp_path):
    with pytest.raises(ConfigError, match="`license`: found 'CC BY 4', expected an identifier"):
        trained.save_pretrained(tmp_path / "model", license="CC BY 4")
    assert not (tmp_path / "model").exists()
