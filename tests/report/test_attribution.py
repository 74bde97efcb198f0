"""Attribution finds the part that carries the class, and what is exchanged is that part alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clmer.data.face.rows import AU_NAMES, LANDMARK_COLUMNS
from clmer.data.face.windows import FACE_ROWS
from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.data.synthetic.signals import neutral_face
from clmer.features.bands import BANDS
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.fit import fit_split
from clmer.pipeline.tokenizer import WindowArrays
from clmer.report.attribution.measure import (
    Drop,
    Scores,
    SplitDrops,
    draw_windows,
    drops,
    occlude,
    questions,
    scores_by_person,
)
from clmer.report.attribution.parts import REGIONS, Part, parts_of
from clmer.report.sample import Sample

ELECTRODES = ("Fp1", "Fp2", "C3", "C4", "O1", "O2")
PEOPLE, EACH, FS, SAMPLES, FRAMES = 10, 24, 64.0, 128, 6
#: What carries the class in `study`.
CARRIERS = {
    "physio": {"electrode": "O1", "band": "alpha, 8-13 Hz"},
    "au": {"action unit": "AU12"},
    "landmarks": {"landmark region": "mouth"},
}
MODALITIES = {
    "physio": Modality("physio", 7, FS, (*ELECTRODES, "GSR"), ("eeg",) * 6 + ("gsr",)),
    "landmarks": Modality("landmarks", 3, 6.0, LANDMARK_COLUMNS),
    "au": Modality("au", 2, 6.0, FACE_ROWS["au"]),
}
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
    "epochs_fusion": 30,
}
#: (modality, options): a linear model of each, and networks.
MODELS: list[tuple[str, dict[str, Any]]] = [(name, {"classifier": "linear"}) for name in CARRIERS]
MODELS += [("landmarks", {"classifier": "fusion"})]
MODELS += [("physio", {"classifier": "fusion", "tokens": "spectrum"})]


def study(seed: int = 0) -> tuple[WindowArrays, np.ndarray, Split]:
    """People whose class is in one electrode's alpha, in AU12 and in the mouth, each for itself."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(PEOPLE), EACH)
    y = np.tile([0, 1], PEOPLE * EACH // 2)
    count = len(y)

    def latent() -> np.ndarray:
        """The class with noise of its own, about 0 or 1."""
        return y + 0.5 * rng.standard_normal(count)

    physio = rng.standard_normal((count, 7, SAMPLES))
    phase = rng.uniform(0, 2 * np.pi, (count, 7, 1))
    wave = np.sin(2 * np.pi * 10 * np.arange(SAMPLES) / FS + phase)
    amplitude = np.ones((count, 7))
    amplitude[:, ELECTRODES.index("O1")] = np.exp(0.9 * latent())
    physio += amplitude[:, :, None] * wave
    physio[:, 6] += 5
    face = neutral_face() + rng.standard_normal((PEOPLE, 68, 3))
    points = face[person] + 4 * rng.standard_normal((count, 1, 3))  # people's shapes, heads' places
    points[:, REGIONS["mouth"], 1] -= 2.0 * latent()[:, None]
    series = np.repeat(points.transpose(0, 2, 1).reshape(count, 204, 1), FRAMES, 2)
    series += 0.1 * rng.standard_normal(series.shape)
    au = 1 + 0.3 * rng.standard_normal((count, 34, 1))
    au = au + 0.1 * rng.standard_normal((count, 34, FRAMES))
    au[:, AU_NAMES.index("AU12")] += latent()[:, None]
    arrays = {"physio": physio, "landmarks": series, "au": au}
    rows = np.arange(count)
    parts = [rows[person < 5], rows[person == 5], rows[person > 5]]
    windows = WindowArrays(
        MODALITIES,
        {name: array.astype(np.float32) for name, array in arrays.items()},
        np.array([f"p{each}" for each in person]),
        recordings=np.array([f"p{each}/{k}" for each, k in zip(person, y, strict=True)]),
    )
    return windows, y, Split("subject 1/1", *parts, shared_groups=0, note="")


def sample_of(windows: WindowArrays, y: np.ndarray, rows: np.ndarray) -> Sample:
    assert windows.people is not None
    assert windows.recordings is not None
    arrays = {name: array[rows] for name, array in windows.arrays.items()}
    own = windows.people[rows], None, y[rows], windows.recordings[rows]
    return Sample(arrays, *own, ("calm", "angry"), len(rows))


def measured(names: Sequence[str], **options: Any) -> list[Drop]:
    """The drops of a model that reads these modalities of `study`."""
    windows, y, split = study()
    windows = replace(
        windows,
        modalities={name: MODALITIES[name] for name in names},
        arrays={name: windows.arrays[name] for name in names},
    )
    config = ModelConfig(**{**SIZES, **options})
    model = fit_split(config, windows, y, split, classes=("calm", "angry"))
    return drops([occlude(model, sample_of(windows, y, split.test), rounds=2)])


@pytest.mark.parametrize(("name", "options"), MODELS)
def test_the_carrier_is_first_of_its_kind(name: str, options: dict[str, Any]) -> None:
    found = measured([name], **options)
    for kind, carrier in CARRIERS[name].items():
        own = [drop for drop in found if drop.part.kind == kind]
        assert len(own) > 3
        factor = 3 if options["classifier"] == "linear" else 1  # networks overfit the other parts
        for values in ([d.loss.mean() for d in own], [d.score.mean() for d in own]):
            costs = {d.part.name: float(value) for d, value in zip(own, values, strict=True)}
            assert max(costs, key=costs.__getitem__) == carrier, costs
            others = [value for part, value in costs.items() if part != carrier]
            assert costs[carrier] > factor * max(others), costs
        assert carrier in [d.part.name for d in own if d.is_seen(len(own))]


def test_parts_are_all_that_there_is_once() -> None:
    parts = parts_of(MODALITIES, {"physio": SAMPLES, "landmarks": FRAMES, "au": FRAMES})
    names = [(part.kind, part.name) for part in parts]
    assert len(set(names)) == len(names)
    counts = Counter(part.kind for part in parts)
    assert counts == {
        "modality": 3,
        "electrode": 6,
        "band": 4,  # gamma ends above half the rate
        "signal": 1,
        "action unit": 17,
        "landmark region": 5,
    }
    regions = sorted(row for part in parts if part.kind == "landmark region" for row in part.rows)
    assert regions == list(range(204))
    units = sorted(row for part in parts if part.kind == "action unit" for row in part.rows)
    assert units == list(range(34))


def test_a_band_is_exchanged_and_nothing_else() -> None:
    time = np.arange(SAMPLES) / FS
    own, given = np.zeros((2, 1, 7, SAMPLES))
    own[:] = np.sin(2 * np.pi * 6 * time) + np.sin(2 * np.pi * 10 * time)
    given[:] = 3 * np.sin(2 * np.pi * 10 * time + 1) + 7 * np.sin(2 * np.pi * 20 * time)
    alpha = Part("band", "alpha", "physio", (0, 2), BANDS["alpha"])
    found = alpha.exchanged(own, given, MODALITIES["physio"])
    expected = np.sin(2 * np.pi * 6 * time) + 3 * np.sin(2 * np.pi * 10 * time + 1)
    np.testing.assert_allclose(found[0, [0, 2]], [expected] * 2, atol=1e-9)
    np.testing.assert_array_equal(found[0, [1, 3, 4, 5, 6]], own[0, [1, 3, 4, 5, 6]])
    assert found.dtype == own.dtype


def test_a_landmark_region_comes_to_where_the_face_is() -> None:
    mouth = Part("landmark region", "mouth", "landmarks", tuple(range(48, 68)))  # x alone
    rng = np.random.default_rng(0)
    own, moved = rng.standard_normal((2, 1, 204, FRAMES))
    found = mouth.exchanged(own, own + 5.0, MODALITIES["landmarks"])
    np.testing.assert_allclose(found, own, atol=1e-12)  # the same face elsewhere
    found = mouth.exchanged(own, moved, MODALITIES["landmarks"])
    np.testing.assert_array_equal(found[:, :48], own[:, :48])
    shift = (own - moved)[:, :48].mean(1, keepdims=True)
    np.testing.assert_allclose(found[:, 48:68], moved[:, 48:68] + shift)


def test_nothing_is_exchanged_with_a_window_that_lacks_the_signal() -> None:
    eeg = Modality("eeg", 2, FS, ("C3", "C4"), ("eeg", "eeg"))
    own, given = np.random.default_rng(0).standard_normal((2, 3, 2, SAMPLES))
    own[0], given[1] = 0, 0
    found = Part("electrode", "C3", "eeg", (0,)).exchanged(own, given, eeg)
    np.testing.assert_array_equal(found[:2], own[:2])
    np.testing.assert_array_equal(found[2], [given[2, 0], own[2, 1]])


def test_windows_are_drawn_within_people_whatever_their_class() -> None:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(40), 50)
    y = np.where(np.arange(2000) % 5 == 0, 1, 0)  # one in five
    given = draw_windows(rng, person, y)
    assert (person[given] == person).all()
    for each in (0, 1):
        assert y[given][y == each].mean() == pytest.approx(0.5, abs=0.07)
    ratings = draw_windows(rng, person, y + 0.25)
    assert (person[ratings] == person).all()
    assert y[ratings].mean() == pytest.approx(0.2, abs=0.04)
    with pytest.raises(ValueError, match="found class 1 alone of person 0, expected two"):
        draw_windows(rng, person, np.ones(2000, dtype=int))


def test_costs_are_each_persons_whatever_split_tested_them() -> None:
    part = Part("modality", "eeg", "eeg", (0,))

    def split(people: list[str], whole: list[float], without: list[float]) -> SplitDrops:
        one, other = np.array(whole), np.array(without)[:, None]
        return SplitDrops(np.array(people), [part], Scores(one, -one), Scores(other, -other))

    found = drops([split(["b", "a"], [0.9, 0.8], [0.5, 0.7]), split(["b"], [0.7], [0.5])])
    np.testing.assert_allclose(found[0].score, [0.1, 0.3])
    np.testing.assert_allclose(found[0].loss, [0.1, 0.3])
    assert not found[0].is_seen(1)  # t of two people


def test_each_question_is_counted_and_a_reference_is_read_against() -> None:
    windows, y, split = study()
    reference = np.arange(len(y)) % EACH < 6
    split = replace(
        split,
        **{p: getattr(split, p)[~reference[getattr(split, p)]] for p in ("train", "val", "test")},
    )
    windows = replace(windows, reference=reference)
    config = ModelConfig(**{**SIZES, "classifier": "linear", "reference": "rest:6"})
    model = fit_split(config, windows, np.where(reference, -1, y), split, classes=("calm", "angry"))
    tested = split.test
    people = np.asarray(windows.people)
    known = np.flatnonzero(reference & np.isin(people, people[tested]))
    rows = np.concatenate([tested, known])
    sample = replace(
        sample_of(windows, y, tested),
        windows={name: array[rows] for name, array in windows.arrays.items()},
        people=people[rows],
        reference=np.arange(len(rows)) >= len(tested),
    )
    ticks: list[int] = []
    found = occlude(model, sample, rounds=1, tick=lambda: ticks.append(1))
    assert len(ticks) == questions(model, rounds=1)
    said = model.predictions(sample.windows, sample.people, reference=sample.reference)
    expected = scores_by_person(said[: len(tested)], sample)
    np.testing.assert_array_equal(found.whole.score, expected.score)
    assert found.whole.score.mean() > 0.8
    assert found.without.score.shape == (4, len(found.parts))
    again = occlude(model, sample, rounds=1)
    np.testing.assert_array_equal(found.without.loss, again.without.loss)
