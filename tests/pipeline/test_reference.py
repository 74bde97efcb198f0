import numpy as np
import pytest
import torch

from clmer.pipeline.reference import LEAST, by_person


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
