import numpy as np
import pytest
import torch

from clmer.pipeline.reference import (
    LEAST,
    ReferenceFit,
    ReferenceRows,
    WindowScale,
    by_person,
    windows_by_person,
)


@pytest.fixture
def people():
    return np.repeat(["a", "b", "c"], 12)


@pytest.fixture
def reference(people):
    """The first five windows of each."""
    return np.tile(np.arange(12) < 5, 3)


@pytest.fixture
def features():
    x = np.random.default_rng(0).standard_normal((36, 4))
    x[12:24] = 7 + 30 * x[12:24]
    return x


def test_a_persons_reference_has_mean_0_and_standard_deviation_1(features, people, reference):
    z = by_person(features, people, reference)
    for person in "abc":
        own = z[reference & (people == person)]
        np.testing.assert_allclose(own.mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(own.std(0, ddof=1), 1)


def test_offset_and_gain_of_a_person_play_no_part(features, people, reference):
    other = features.copy()
    other[12:24] = 300 + 12 * other[12:24]
    np.testing.assert_allclose(
        by_person(other, people, reference), by_person(features, people, reference), atol=1e-9
    )


def test_others_play_no_part(features, people, reference):
    own = people == "b"
    z = by_person(features, people, reference)
    changed = np.where(own[:, None], features, 99 * features + 1)
    assert (by_person(changed, people, reference)[own] == z[own]).all()
    assert (by_person(features[own], people[own], reference[own]) == z[own]).all()


def test_rows_that_are_no_reference_play_no_part(features, people, reference):
    z = by_person(features, people, reference)
    changed = np.where(reference[:, None], features, 1e6)
    assert (by_person(changed, people, reference)[reference] == z[reference]).all()


def test_what_is_flat_in_a_reference_becomes_zeros(features, people, reference):
    features[reference & (people == "a"), 1] = 4200 + 1e-5 * np.arange(5)
    z = by_person(features, people, reference)
    assert not z[:12, 1].any()
    assert z[12:, 1].any()


def test_windows_are_scaled_by_channel(people, reference):
    x = np.random.default_rng(0).standard_normal((36, 2, 64)).astype(np.float32)
    x[:, 1] = 1e-6 * x[:, 1] + 3e-6
    z = by_person(x, people, reference, over=(0, 2))
    assert z.dtype == np.float32
    np.testing.assert_allclose(z[reference].mean((0, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(z[reference].std((0, 2)), 1, rtol=1e-2)


def test_tensors_and_arrays_give_the_same(features, people, reference):
    z = by_person(torch.from_numpy(features), people, reference)
    assert isinstance(z, torch.Tensor)
    assert (z.numpy() == by_person(features, people, reference)).all()


def test_a_person_without_reference_is_named(features, people, reference):
    reference[24:] = False
    reference[24 : 24 + LEAST - 1] = True
    with pytest.raises(ValueError, match=f"found {LEAST - 1} windows of c, expected at least"):
        by_person(features, people, reference)


def test_shapes_that_do_not_fit_are_refused(features, people, reference):
    with pytest.raises(ValueError, match="expected"):
        by_person(features, people[:3], reference)
    with pytest.raises(ValueError, match="bool"):
        by_person(features, people, reference.astype(int))
    with pytest.raises(ValueError, match="floating"):
        by_person(features.astype(int), people, reference)


@pytest.fixture
def eeg(people):
    """[36, 4, 64], three EEG channels that a person's head mixes, and one that is none."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((36, 4, 64))
    for person in "abc":
        head = np.eye(4)
        head[:3, :3] += 0.5 * rng.standard_normal((3, 3))
        x[people == person] = head @ x[people == person]
    return x.astype(np.float32)


def test_eeg_is_uncorrelated_in_its_reference(eeg, people, reference):
    z = windows_by_person(eeg, people, reference, eeg=[0, 1, 2])
    assert z.dtype == np.float32
    for person in "abc":
        own = z[reference & (people == person)]
        covariance = np.einsum("nct,ndt->cd", own, own) / (len(own) * 64)
        np.testing.assert_allclose(covariance[:3, :3], np.eye(3), atol=0.02)
    plain = windows_by_person(eeg, people, reference)
    assert (z[:, 3] == plain[:, 3]).all()


def test_gains_of_channels_and_dead_channels_play_no_part_in_alignment(eeg, people, reference):
    eeg[:, 1] = 0
    z = windows_by_person(eeg, people, reference, eeg=[0, 1, 2])
    assert np.isfinite(z).all()
    assert not z[:, 1].any()
    other = 5 + eeg * np.array([3, 1, 1e-3, 7], np.float32)[:, None]
    other[:, 1] = 9
    again = windows_by_person(other, people, reference, eeg=[0, 1, 2])
    np.testing.assert_allclose(again, z, atol=1e-2)
    own = people == "b"
    alone = windows_by_person(eeg[own], people[own], reference[own], eeg=[0, 1, 2])
    assert (alone == z[own]).all()


# --- fitted once ----------------------------------------------------------------------------------
def test_a_reference_that_was_fitted_reads_what_follows_as_rows_among_it_are_read(eeg):
    """To the bit: windows with a missing one, values, and hand-made features apart from them."""
    one, known = np.zeros(36), np.arange(36) < 8
    missing = np.isin(np.arange(36), [2, 20])
    eeg[missing], eeg[:, 3] = 0, 5  # the last channel is flat
    values = eeg[:, :, :6] + 3
    rows, fit = ReferenceRows(one, known), ReferenceFit()
    fit.windows("eeg", eeg[:8], [0, 1, 2], missing[:8])
    fit.values("tokens", values[:8], (0, 2))
    fit.for_features("powers").values("tokens", values[:8, 0])
    scales = fit.fitted()
    found = scales.windows("eeg", eeg[8:], [0, 1, 2], missing[8:])
    assert (found == rows.windows("eeg", eeg, [0, 1, 2], missing)[8:]).all()
    assert not found[12].any()
    assert not found[:, 3].any()
    found = scales.values("tokens", values[8:], (0, 2))
    assert (found == rows.values("tokens", values, (0, 2))[8:]).all()
    found = scales.for_features("powers").values("tokens", values[8:, 0])
    assert (found == rows.for_features("powers").values("tokens", values[:, 0])[8:]).all()


def test_scales_that_were_fitted_do_not_follow_the_fit(features):
    fit = ReferenceFit()
    fit.values("x", features[:5])
    scales = fit.fitted()
    before = scales.values("x", features)
    fit.values("x", 9 * features[5:10])
    assert (scales.values("x", features) == before).all()
    assert not (fit.fitted().values("x", features) == before).any()


def test_a_reference_without_a_signal_gives_zeros(eeg):
    none = np.ones(8, bool)
    scale = WindowScale.fit(np.zeros_like(eeg[:8]), [0, 1, 2], none)
    assert not scale.apply(eeg[8:], [0, 1, 2], np.zeros(28, bool)).any()
