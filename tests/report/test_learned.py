"""Attention maps and features: of the right windows, in the right units, the same each time."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.report_cases import WHOLE, results_of

from clmer.pipeline.run.load import load
from clmer.report import learned
from clmer.report.page import report
from clmer.report.reading import read_predictions, read_run


def test_attention_maps_are_in_units_of_uniform_attention(place: Path) -> None:
    run = read_run(place / "runs" / "trial")
    sample = learned.read_sample(run, place / "cache")
    model = load(run.path, split="split1")
    maps = learned.class_maps(model, model.fusion, sample)
    assert len(maps) == 6
    weights = model.attention(sample.windows)
    names = list(model.modalities)
    for (query, key), found in maps.items():
        assert found.shape == (2, 5, 5)
        np.testing.assert_allclose(found.mean(2), 1, rtol=1e-5)
        each = weights[names[query], names[key]].mean((0, 2))  # [N, Lq, Lk]
        expected = [each[sample.y == c].mean(0) * 5 for c in (0, 1)]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_sample_is_the_first_splits_test_part(place: Path) -> None:
    run = read_run(place / "runs" / "shuffled")
    sample = learned.read_sample(run, place / "cache")
    results = results_of(place, "shuffled")
    assert len(sample.y) == sample.of == results["splits"][0]["test"]
    assert sample.windows["physio"].shape == (len(sample.y), 40, 128)
    predictions = read_predictions(run.path / "predictions.csv", results["classes"])
    first = predictions[0]
    assert first.model == WHOLE
    np.testing.assert_array_equal(sample.y, first.y[first.split == results["splits"][0]["name"]])


def test_neighbours_come_from_other_recordings() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 30)
    recording = np.repeat(np.arange(12), 5)
    apart = rng.standard_normal((60, 4)) + 50 * group[:, None]
    near, chance = learned.neighbours(apart, group, recording)
    assert near == 1
    assert chance == pytest.approx(25 / 55)
    copies = rng.standard_normal((12, 4))[recording] + 1e-3 * rng.standard_normal((60, 4))
    near, _ = learned.neighbours(copies, recording, recording)
    assert near == 0  # a window's copies are its own recording
    assert np.isnan(learned.neighbours(apart[:5], group[:5], recording[:5])).all()


def test_features_are_embedded_the_same_every_time_whatever_their_number() -> None:
    rng = np.random.default_rng(0)
    features = learned.standardised(np.c_[rng.standard_normal((40, 6)), np.ones(40)])
    assert features.shape == (40, 6)
    np.testing.assert_array_equal(learned.tsne(features), learned.tsne(features))
    for few in (1, 2, 4):
        assert learned.tsne(features[:few]).shape == (few, 2)


def test_without_store_or_weights_the_page_says_so(place: Path, tmp_path: Path) -> None:
    run = place / "runs" / "trial"
    page = report([run], cache=tmp_path)
    assert page.count("Not drawn") == 2
    assert "prepared store: found no such folder" in page
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("models"))
    page = report([copy], cache=place / "cache")
    assert page.count("Not drawn") == 2
    assert "Not drawn" not in report([run], cache=tmp_path, shows_learned=False)
