"""`CLMERRegressor` under scikit-learn's own checks, and what those do not ask."""

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone, is_regressor
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from clmer import CLMERRegressor
from clmer.evaluation.ratings import concordance

#: Small enough for some hundred fits.
SIZES = {"token_length": 4, "dim": 16, "heads": 2, "single_layers": 1, "batch": 16}
TINY = {**SIZES, "width": 4, "cross_layers": 1, "memory_layers": 0, "random_state": 0}
SHORT = {**TINY, "epochs_contrastive": 2, "epochs_fusion": 4}
MODALITIES = {"eeg": (2, 32), "face": (3, 5)}

QUICK = CLMERRegressor(
    contrastive=False, epochs_fusion=20, embedding_dropout=0.0, random_state=0, **SIZES
)


#: A weight of 2 counts in losses and not in statistics, and batches are drawn by number of rows.
NOT_EQUIVALENT = {"check_sample_weight_equivalence_on_dense_data": "weights stand in losses alone"}


@parametrize_with_checks([QUICK], expected_failed_checks=lambda estimator: NOT_EQUIVALENT)
def test_scikit_learns_checks(estimator, check):
    """All others apply; pandas and the array API are scikit-learn's own to skip."""
    check(estimator)


@pytest.fixture
def study():
    """Twelve people, whose rating shows in one channel of the EEG: X [72, 79], y, people."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(12), 6)
    y = rng.uniform(1, 9, 72)
    eeg = rng.standard_normal((72, 2, 32))
    eeg[:, 1] *= np.exp(y / 4)[:, None]
    face = rng.standard_normal((72, 3, 5))
    return np.hstack([eeg.reshape(72, -1), face.reshape(72, -1)]), y, people


def _small(**options):
    return CLMERRegressor(MODALITIES, **{**SHORT, "contrastive": False, **options})


def test_unseen_people_are_rated(study):
    X, y, people = study
    model = _small(fs=32.0, tokens="spectrum", epochs_fusion=40)
    scores = cross_val_score(model, X, y, groups=people, cv=GroupKFold(3))
    assert scores.mean() > 0.5
    other = np.random.default_rng(0).permutation(y)
    assert cross_val_score(model, X, other, groups=people, cv=GroupKFold(3)).mean() < 0.1


def test_score_is_r2_and_concordance_is_lins(study):
    X, y, _ = study
    model = _small().fit(X, y)
    said = model.predict(X)
    assert said.shape == (72,)
    assert model.score(X, y) == pytest.approx(r2_score(y, said))
    assert model.concordance(X, y) == pytest.approx(concordance(y, said))
    assert is_regressor(model)
    assert not hasattr(model, "predict_proba")


def test_both_stages_train(study):
    X, y, _ = study
    model = CLMERRegressor(MODALITIES, members=2, **SHORT).fit(X, y)
    assert set(model.model_.encoders) == {"eeg", "face"}
    assert len(model.model_.models["eeg+face"].members) == 2
    assert np.isfinite(model.predict(X)).all()
    with pytest.raises(TypeError, match="predict_proba: found a model of ratings"):
        model.model_.predict_proba(model._windows(X))


def test_one_seed_gives_one_model_and_the_callers_random_state_stays(study):
    X, y, _ = study
    state = torch.get_rng_state()
    first = _small().fit(X, y).predict(X)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(clone(_small()).fit(X, y).predict(X), first)


def test_fits_in_threads_are_those_of_one_alone(study):
    X, y, _ = study
    alone = _small().fit(X, y).predict(X)
    together = joblib.Parallel(3, "threading")(
        joblib.delayed(lambda: _small().fit(X, y).predict(X))() for _ in range(3)
    )
    for said in together:
        np.testing.assert_array_equal(said, alone)


def test_a_scale_does_not_matter(study):
    X, y, _ = study
    said = _small().fit(X, y).predict(X)
    np.testing.assert_allclose(_small().fit(X, 1000 * y - 5e4).predict(X), 1000 * said - 5e4,
                               rtol=1e-3, atol=1.0)  # fmt: skip


def test_validation_keeps_groups_whole_and_quarters_in_proportion(study):
    X, y, people = study
    model = _small(validation=0.25)
    split = model._split(model._strata(y), people, 0, np.arange(72))
    assert 0.15 < len(split.val) / len(y) < 0.35
    assert not set(people[split.train]) & set(people[split.val])
    assert len(model.fit(X, y, groups=people).predict(X)) == 72


def test_it_goes_into_a_pipeline_and_a_search(study):
    X, y, people = study
    model = make_pipeline(FunctionTransformer(np.abs), _small())
    assert cross_val_score(model, X, y, groups=people, cv=GroupKFold(2)).shape == (2,)
    search = GridSearchCV(_small(), {"dim": [8, 16]}, cv=GroupKFold(2)).fit(X, y, groups=people)
    assert search.best_params_["dim"] in (8, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 0.7}, "validation: found 0.7, expected 0 to 0.5"),
        ({"dim": 15}, "^dim: found 15, expected a multiple of heads 2"),
        ({"fs": 0}, "^fs: found 0, expected samples a second above 0"),
    ],
)
def test_what_cannot_be_met_is_named(study, options, message):
    X, y, _ = study
    with pytest.raises(ValueError, match=message):
        _small(**options).fit(X, y)


def test_people_are_read_against_their_reference(study):
    X, y, _ = study
    people = np.repeat(np.arange(6), 12)
    known = np.tile(np.arange(12) < 4, 6)
    model = _small().fit(X, y, groups=people, reference=known)
    assert np.array_equal(np.isnan(model._encode(y, ~known)[0]), known)
    said = model.predict(X, groups=people, reference=known)
    assert np.isfinite(said).all()
    with pytest.raises(ValueError, match="reference"):
        model.predict(X)
    with pytest.raises(ValueError, match="expected at least 4"):
        model.predict(X, groups=people, reference=np.tile(np.arange(12) < 1, 6))


def test_words_are_no_ratings(study):
    X, y, _ = study
    with pytest.raises(ValueError, match="could not convert string to float"):
        _small().fit(X, np.where(y > 5, "high", "low"))
