"""The floor in a split: corrected starts there, linear is it, files keep it; held together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from clmer.baselines.logistic import LinearFloor
from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.errors import ConfigError, DataError
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.fit import fit_ablation, fit_split
from clmer.pipeline.floor import (
    encoder_blocks,
    fit_floor,
    floor_features,
    floor_tensors,
    held_together,
)
from clmer.pipeline.reference import Known, ReferenceRows, by_person
from clmer.pipeline.run_files import read_tensors, write_tensors
from clmer.pipeline.split.model import SplitModel
from clmer.pipeline.stages.classifiers import upper_bound
from clmer.pipeline.stages.loop import Unrecorded
from clmer.pipeline.targets import ClassTarget
from clmer.pipeline.tokenizer import WindowArrays
from clmer.pipeline.window_features import block_features

CLASSES = ("calm", "angry")
SIZES: dict[str, Any] = {
    "width": 4,
    "token_length": 3,
    "dim": 8,
    "heads": 2,
    "cross_layers": 1,
    "memory_layers": 1,
    "single_layers": 1,
    "batch": 16,
    "contrastive": False,
    "epochs_fusion": 3,
}


def study(people: int = 6, windows: int = 12) -> tuple[WindowArrays, np.ndarray, Split]:
    """Two modalities whose variance (and so their log power) tells the classes apart."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(people), windows)
    y = np.arange(len(owner)) % 2
    shapes = {"eeg": (3, 64), "body": (2, 64)}
    arrays = {
        name: (rng.standard_normal((len(y), *shape)) * (1 + y[:, None, None])).astype(np.float32)
        for name, shape in shapes.items()
    }
    modalities = {
        name: Modality(name, count, 32.0, tuple(f"c{i}" for i in range(count)))
        for name, (count, _) in shapes.items()
    }
    rows = np.arange(len(y))
    parts = [rows[owner < people - 2], rows[owner == people - 2], rows[owner == people - 1]]
    split = Split("subject 1/1", *parts, shared_groups=0, note="")
    return WindowArrays(modalities, arrays, owner, recordings=owner * 2 + y), y, split


def fitted(**options: Any) -> tuple[SplitModel, WindowArrays, np.ndarray, Split]:
    windows, y, split = study()
    config = ModelConfig(**{**SIZES, **options})
    return fit_split(config, windows, y, split, classes=CLASSES), windows, y, split


@pytest.mark.parametrize("contrastive", [False, True])
@pytest.mark.parametrize("classifier", ["corrected", "linear", "fusion"])
def test_what_is_saved_predicts_the_same(
    classifier: str, contrastive: bool, tmp_path: Path
) -> None:
    more = {"contrastive": contrastive, "epochs_contrastive": 1}
    model, windows, y, split = fitted(classifier=classifier, members=2, ablation="single", **more)
    assert len(model.floors) == (0 if classifier == "fusion" else 3)
    assert [len(m.members) for m in model.models.values()] == [
        0 if classifier == "linear" else 2
    ] * 3
    model.save(tmp_path)
    for name in model.models:
        loaded = SplitModel.load(tmp_path, name)
        some = {key: windows.arrays[key] for key in loaded.tokenizer.modalities}
        expected = model.predict_proba(windows.arrays, windows.people, name)
        np.testing.assert_array_equal(loaded.predict_proba(some, windows.people), expected)
    if classifier != "fusion":
        p = model.predict_proba(windows.arrays)[split.test]
        assert (p.argmax(1) == y[split.test]).mean() > 0.9


def test_linear_is_the_floor_and_corrected_begins_there() -> None:
    linear, windows, y, split = fitted(classifier="linear")
    floor = linear.floors["eeg+body"]
    expected = log_softmax(floor.log_odds(windows.features_of(["eeg", "body"])), axis=1)
    np.testing.assert_allclose(linear.log_probabilities(windows.arrays), expected, atol=1e-6)

    class Watched(Unrecorded):
        lines: list[Any] = []

        def log(self, line: Any) -> None:
            self.lines.append(line)

    config = ModelConfig(**{**SIZES, "classifier": "corrected"})
    wrong = y.copy()  # what the network learns of training does not hold in validation
    wrong[split.val] = 1 - y[split.val]
    features = windows.features_of([*windows.modalities])
    start = fit_floor(features, windows, wrong, split, ClassTarget(CLASSES), config.seed)
    model = fit_split(config, windows, wrong, split, classes=CLASSES, recorder=Watched())
    losses = [line["val_loss"] for line in Watched.lines]
    if min(losses) > _loss(start.log_odds[split.val], wrong[split.val]):
        classifier = next(iter(model.models.values())).members[0].classifier
        assert not any(p.any() for p in classifier.parameters())  # epoch 0 was kept
    else:
        pytest.fail("an epoch was better than the floor: the test shows nothing")


def _loss(logits: np.ndarray, y: np.ndarray) -> float:
    return -float(log_softmax(logits, axis=1)[np.arange(len(y)), y].mean())


def test_training_rows_get_log_odds_of_fits_without_their_people() -> None:
    windows, y, split = study()
    features = windows.features_of(["eeg"])
    offsets = fit_floor(features, windows, y, split, ClassTarget(CLASSES), 0)
    assert [*offsets.floor.weights] == ["eeg/eeg", "eeg/eeg covariance"]
    rows = np.concatenate([split.train, split.val])
    whole = offsets.floor.log_odds(windows.features_of(["eeg"]))
    np.testing.assert_array_equal(offsets.log_odds[split.test], whole[split.test])
    assert np.abs(offsets.log_odds[rows] - whole[rows]).min() > 0
    changed = y.copy()
    changed[split.test] = 1 - y[split.test]  # its labels are not looked at
    again = fit_floor(features, windows, changed, split, ClassTarget(CLASSES), 0)
    np.testing.assert_array_equal(again.log_odds, offsets.log_odds)


def test_a_missing_modality_adds_nothing() -> None:
    model, windows, *_ = fitted(classifier="linear")
    floor = model.floors["eeg+body"]
    without = {**windows.arrays, "eeg": np.zeros_like(windows.arrays["eeg"])}
    expected = floor.bias
    for block in ("body/other", "body/other covariance"):
        z = (windows.features_of(["eeg", "body"])[block] - floor.mean[block]) / floor.scale[block]
        expected = expected + np.clip(z, -8, 8) @ floor.weights[block].T
    expected = log_softmax(expected, axis=1)
    np.testing.assert_allclose(model.log_probabilities(without), expected, atol=1e-9)


def test_stage_1_gives_the_floor_a_block_for_each_modality() -> None:
    stage_1 = {"classifier": "linear", "contrastive": True, "epochs_contrastive": 1}
    model, windows, *_ = fitted(**stage_1, ablation="single")
    blocks = {name: {key for key in floor.weights if "encoder" in key}
              for name, floor in model.floors.items()}  # fmt: skip
    both = {"eeg/encoder", "body/encoder"}
    assert blocks == {"eeg+body": both, "eeg": {"eeg/encoder"}, "body": {"body/encoder"}}
    known = model.known(windows.arrays)
    encoded = encoder_blocks(model.encoders, known)
    z = model.encoders["eeg"](known.arrays["eeg"]).detach().numpy()
    expected = np.hstack([z.mean(2), np.sqrt(z.var(2) + 1e-6)])
    np.testing.assert_allclose(encoded["eeg/encoder"], expected, rtol=1e-4, atol=1e-5)
    features = floor_features(windows, ["eeg", "body"], encoded)
    expected = log_softmax(model.floors["eeg+body"].log_odds(features), axis=1)
    np.testing.assert_allclose(model.log_probabilities(windows.arrays), expected, atol=1e-6)
    without = {**windows.arrays, "eeg": np.zeros_like(windows.arrays["eeg"])}
    lost = encoder_blocks(model.encoders, model.known(without))
    assert np.isnan(lost["eeg/encoder"]).all()
    np.testing.assert_array_equal(lost["body/encoder"], encoded["body/encoder"])


def test_what_encoders_see_is_read_against_a_reference() -> None:
    model, windows, *_ = fitted(contrastive=True, epochs_contrastive=1)
    x = model.known(windows.arrays).arrays
    reference = np.arange(len(windows)) % 3 > 0
    plain = encoder_blocks(model.encoders, Known(x))["eeg/encoder"]
    assert windows.people is not None
    rows = ReferenceRows(windows.people, reference)
    found = encoder_blocks(model.encoders, Known(x, rows))["eeg/encoder"]
    np.testing.assert_array_equal(found, by_person(plain, windows.people, reference))


def test_the_ablation_changes_the_floor_as_well() -> None:
    stage_1 = {"classifier": "linear", "contrastive": True, "epochs_contrastive": 1}
    model, windows, y, split = fitted(**stage_1, ablation="stages")
    x = model.known(windows.arrays).arrays
    rows = fit_ablation(model, windows, x, y, split, Unrecorded(), "split1")
    random, none = (rows[f"{name} encoders"][0].floor for name in ("random", "no"))
    assert random is not None
    assert none is not None
    own = model.floors["eeg+body"].weights
    assert [*random.weights] == [*own]
    assert np.abs(random.weights["eeg/encoder"] - own["eeg/encoder"]).max() > 1e-3
    without = fitted(classifier="linear")[0].floors["eeg+body"]
    np.testing.assert_array_equal(none.bias, without.bias)
    assert [*none.weights] == [*without.weights]


def test_a_floor_of_an_earlier_version_reads_no_encoders(tmp_path: Path) -> None:
    stage_1 = {"classifier": "linear", "contrastive": True, "epochs_contrastive": 1}
    model, windows, *_ = fitted(**stage_1)
    model.save(tmp_path)
    path = tmp_path / "linear.safetensors"
    tensors, notes = read_tensors(path)
    earlier = {key: each for key, each in tensors.items() if "/encoder/" not in key}
    write_tensors(path, earlier, notes)
    floor = model.floors["eeg+body"]
    own = {key: part for key, part in floor.weights.items() if not key.endswith("/encoder")}
    hand = replace(floor, weights=own).log_odds(windows.features_of(["eeg", "body"]))
    found = SplitModel.load(tmp_path).log_probabilities(windows.arrays)
    np.testing.assert_allclose(found, log_softmax(hand, axis=1), atol=1e-6)
    part = {key: each for key, each in tensors.items() if "eeg/encoder/" not in key}
    write_tensors(path, part, notes)
    with pytest.raises(DataError, match=r"contents: found eeg\+body/eeg/encoder/mean: nothing"):
        SplitModel.load(tmp_path)


def test_what_is_held_out_together() -> None:
    windows, _, split = study()
    rows = np.sort(np.concatenate([split.train, split.val]))
    people, recordings = windows.people, windows.recordings
    assert people is not None
    assert recordings is not None
    np.testing.assert_array_equal(held_together(windows, split), people[rows])
    one = replace(windows, people=np.zeros_like(people))
    np.testing.assert_array_equal(held_together(one, split), recordings[rows])
    by_trial = replace(
        split, train=rows[recordings[rows] % 2 == 0], val=rows[recordings[rows] % 2 == 1]
    )
    np.testing.assert_array_equal(held_together(windows, by_trial), recordings[rows])
    shuffled = replace(split, train=rows[::3], val=np.setdiff1d(rows, rows[::3]))
    np.testing.assert_array_equal(held_together(windows, shuffled), np.arange(len(rows)))


def test_a_damaged_floor_is_refused(tmp_path: Path) -> None:
    fitted(classifier="linear")[0].save(tmp_path)
    path = tmp_path / "linear.safetensors"
    tensors, notes = read_tensors(path)
    write_tensors(path, {**tensors, "eeg+body/bias": torch.zeros(5)}, notes)
    with pytest.raises(DataError, match=r"contents: found eeg\+body/bias: \[5\], not \[2\]"):
        SplitModel.load(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"linear"):
        SplitModel.load(tmp_path)


def test_the_bound_counts_people_not_windows() -> None:
    groups = np.repeat([0, 1, 2], 50)
    same = np.full(150, -0.1)
    assert upper_bound(same, groups) == pytest.approx(-0.1)
    one_gains = np.where(groups == 0, -0.6, 0.1)  # mean -0.133, standard error 0.233
    assert upper_bound(one_gains, groups) == pytest.approx(-0.4 / 3 + 0.7 / 3)
    assert upper_bound(one_gains, np.zeros(150)) < 0  # one person: windows are all there is


def test_features_are_read_against_a_reference_and_gaps_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    people, features = np.repeat(["a", "b"], 10), rng.normal(size=(20, 2))
    known = np.tile(np.arange(10) < 5, 2)
    moved = features * 3 + np.where(people == "a", 7.0, -2.0)[:, None]
    found = by_person(moved, people, known)
    np.testing.assert_allclose(found, by_person(features, people, known))
    moved[[0, 9], 1] = np.nan
    gaps = by_person(moved, people, known)
    assert np.isnan(gaps[[0, 9], 1]).all()
    assert np.isfinite(gaps).sum() == 38
    np.testing.assert_allclose(gaps[:, 0], found[:, 0])


def test_motion_of_several_modalities_varies_together() -> None:
    rng = np.random.default_rng(0)
    windows = {name: rng.normal(size=(4, 3, 128)) for name in ("acc", "gyro", "eeg")}
    windows["gyro"][2] = 0
    modalities = {name: Modality(name, 3, 50.0, tuple("xyz")) for name in windows}
    found = block_features(modalities, windows)
    assert found["*/covariance"].shape == (4, 6 * 7 // 2)
    assert np.isnan(found["*/covariance"]).all(1).tolist() == [False, False, True, False]
    assert "*/covariance" not in block_features({"acc": modalities["acc"]}, windows)
    modalities["gyro"] = replace(modalities["gyro"], fs=25.0)
    assert "*/covariance" not in block_features(modalities, windows)


def test_a_correction_needs_validation_rows() -> None:
    windows, y, split = study()
    without = replace(split, val=split.val[:0])
    with pytest.raises(ConfigError, match=r"`classifier=corrected`: found no validation windows"):
        fit_split(ModelConfig(**SIZES), windows, y, without, classes=CLASSES)
    config = ModelConfig(**SIZES, classifier="linear")
    assert fit_split(config, windows, y, without, classes=CLASSES).floors


def test_floors_that_share_arrays_go_into_one_file(tmp_path):
    """Blocks that were fitted once belong to several floors."""
    one = {"eeg/eeg": np.ones(3)}
    floor = LinearFloor(one, one, {"eeg/eeg": np.ones((2, 3))}, np.zeros(2))
    path = tmp_path / "linear.safetensors"
    write_tensors(path, floor_tensors({"eeg": floor, "eeg+ecg": floor}), {})
    tensors, _ = read_tensors(path)
    assert len(tensors) == 8
    np.testing.assert_array_equal(tensors["eeg+ecg/eeg/eeg/weights"], np.ones((2, 3)))
