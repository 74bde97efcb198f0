"""`sample_weight`, `class_weight` and metadata routing."""

import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from clmer import CLMERClassifier, CLMERRegressor
from clmer.baselines import logistic, ridge
from clmer.pipeline.targets import ClassTarget, RatingTarget, RowWeights

SIZES = {"token_length": 4, "dim": 8, "heads": 2, "single_layers": 1, "width": 4, "batch": 16}
TINY = {**SIZES, "contrastive": False, "epochs_fusion": 3, "random_state": 0}
SHAPE = {"eeg": (2, 32)}


@pytest.fixture
def study():
    """Six people, eight windows each, whose class shows a little: X [48, 64], y, people."""
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 24)
    X = rng.standard_normal((48, 64)) * (1 + 0.3 * y)[:, None]
    return X, y, np.repeat(np.arange(6), 8)


@pytest.mark.parametrize("classifier", ["corrected", "linear", "fusion"])
@pytest.mark.parametrize("kind", [CLMERClassifier, CLMERRegressor])
def test_weight_zero_is_leaving_the_row_out(study, kind, classifier):
    X, y, people = study
    weight = np.random.default_rng(1).choice([0.0, 1.0, 2.0], len(y))
    y = y if kind is CLMERClassifier else y + 0.1 * people
    model = kind(SHAPE, classifier=classifier, **TINY)
    keep = weight > 0
    model.fit(X, y, groups=people, sample_weight=weight)
    whole = model.predict(X) if kind is CLMERRegressor else model.predict_proba(X)
    model.fit(X[keep], y[keep], groups=people[keep], sample_weight=weight[keep])
    again = model.predict(X) if kind is CLMERRegressor else model.predict_proba(X)
    np.testing.assert_array_equal(whole, again)


def test_weights_change_all_that_is_said_to(study):
    X, y, people = study
    weight = np.where(y == 1, 5.0, 1.0)
    for classifier in ("linear", "fusion"):
        options = {**TINY, "epochs_fusion": 20, "validation": 0}
        model = CLMERClassifier(SHAPE, classifier=classifier, class_weight=None, **options)
        plain = model.fit(X, y, groups=people).predict_proba(X)[:, 1].mean()
        model.fit(X, y, groups=people, sample_weight=weight)
        assert model.predict_proba(X)[:, 1].mean() > plain + 0.05
        assert model.model_.target.weights is None  # of training, not of the model


def test_a_weight_for_all_is_none(study):
    X, y, people = study
    model = CLMERRegressor(SHAPE, classifier="linear", **TINY)
    plain = model.fit(X, y, groups=people).predict(X)
    even = model.fit(X, y, groups=people, sample_weight=np.full(len(y), 3.0)).predict(X)
    np.testing.assert_allclose(even, plain, atol=1e-9)


# --- where a weight of 2 is the row twice --------------------------------------------------------
def test_a_batchs_loss_with_weight_two_is_the_row_twice():
    import torch

    rng = np.random.default_rng(0)
    y, train = rng.integers(0, 3, 10), np.arange(10)
    twice = np.repeat(train, np.where(train < 4, 2, 1))
    outputs = torch.from_numpy(rng.standard_normal((10, 3)))
    for balanced in (False, True):
        weights = RowWeights(np.where(train < 4, 2.0, 1.0), balanced)
        even = RowWeights(np.ones(len(twice)), balanced)
        one = ClassTarget(("a", "b", "c"), weights).loss(y, train, torch.device("cpu"))
        many = ClassTarget(("a", "b", "c"), even).loss(
            y[twice], np.arange(len(twice)), torch.device("cpu")
        )
        found = one(outputs, torch.from_numpy(train))
        expected = many(outputs[twice], torch.arange(len(twice)))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    ratings = rng.standard_normal(10)
    one = RatingTarget(0.0, 1.0, RowWeights(np.where(train < 4, 2.0, 1.0), False))
    many = RatingTarget(0.0, 1.0, RowWeights(np.ones(len(twice)), False))
    found = one.loss(ratings, train, torch.device("cpu"))(outputs, torch.from_numpy(train))
    expected = many.loss(ratings[twice], np.arange(len(twice)), torch.device("cpu"))(
        outputs[twice], torch.arange(len(twice))
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_validation_with_weight_two_is_the_row_twice():
    rng = np.random.default_rng(0)
    y, rows = rng.integers(0, 2, 12), np.arange(12)
    outputs, twice = rng.standard_normal((12, 2)), np.repeat(rows, np.where(rows < 5, 2, 1))
    all_twice = np.arange(len(twice))
    for balanced in (False, True):
        one = ClassTarget(("a", "b"), RowWeights(np.where(rows < 5, 2.0, 1.0), balanced))
        many = ClassTarget(("a", "b"), RowWeights(np.ones(len(twice)), balanced))
        found = one.validate(outputs, y, rows, rows)
        expected = many.validate(outputs[twice], y[twice], all_twice, all_twice)
        np.testing.assert_allclose(found, expected)
        losses = one.row_losses(outputs, y, rows, rows)
        assert losses.mean() == pytest.approx(found[1])


def test_the_floors_regressions_with_weight_two_are_those_of_the_row_twice():
    """Of one group, from which nothing is held out; features whose statistics a copy leaves."""
    rng = np.random.default_rng(0)
    half = rng.standard_normal((20, 3))
    x, y = np.vstack([half, -half]), np.tile([0, 1, 0, 1, 1], 8)
    whole, weight = np.zeros(40), np.tile(np.where(np.arange(20) < 8, 2.0, 1.0), 2)
    twice = np.repeat(np.arange(40), weight.astype(int))
    z = x / x.std(0)
    path = logistic._Path(z, y, 2, weight).fit(1.0)
    copies = LogisticRegression(max_iter=500, tol=1e-3).fit(z[twice], y[twice])
    np.testing.assert_allclose(path.weights[1] - path.weights[0], copies.coef_[0], atol=2e-3)
    rating = x[:, 0] + 0.1 * rng.standard_normal(40)
    one = ridge._ridge(z, rating, 0.1, weight)
    many = ridge._ridge(z[twice], rating[twice], 0.1, np.ones(len(twice)))
    np.testing.assert_allclose(one.coef_, many.coef_, rtol=1e-10)
    assert ridge.fit({"a": x}, rating, whole, weights=weight).floor.bias.shape == (1,)


# --- classes -------------------------------------------------------------------------------------
def test_class_weights_are_sample_weights_by_class(study):
    X, y, people = study
    labels = np.where(y == 1, "tense", "calm")
    model = CLMERClassifier(SHAPE, class_weight={"tense": 4}, **TINY)
    by_class = model.fit(X, labels, groups=people).predict_proba(X)
    model.set_params(class_weight=None)
    weight = np.where(y == 1, 4.0, 1.0)
    by_row = model.fit(X, labels, groups=people, sample_weight=weight).predict_proba(X)
    np.testing.assert_array_equal(by_class, by_row)


def test_balanced_is_what_it_was_and_none_follows_the_frequencies(study):
    X, y, people = study
    rare = np.flatnonzero((y == 0) | (np.arange(48) % 6 == 1))
    X, y, people = X[rare], y[rare], people[rare]
    shares = {}
    for given in ("balanced", None):
        model = CLMERClassifier(SHAPE, class_weight=given, classifier="linear", **TINY)
        shares[given] = model.fit(X, y, groups=people).predict_proba(X)[:, 1].mean()
    assert abs(shares[None] - y.mean()) < abs(shares["balanced"] - y.mean())
    even = CLMERClassifier(SHAPE, classifier="linear", **TINY)
    even.fit(X, y, groups=people, sample_weight=np.ones(len(y)))
    assert even.predict_proba(X)[:, 1].mean() == pytest.approx(shares["balanced"], abs=0.02)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("even", "class_weight: found 'even', expected \"balanced\", None, or numbers by label"),
        ([1, 2], r'class_weight: found \[1, 2\], expected "balanced"'),
        ({2: 1.0}, "class_weight: found 2, expected labels of y: 0, 1"),
        ({1: 0}, r"class_weight\[1\]: found 0, expected above 0"),
        ({1: "x"}, r"class_weight\[1\]: found 'x', expected above 0"),
    ],
)
def test_class_weights_that_are_none_are_named(study, given, message):
    X, y, _ = study
    with pytest.raises(ValueError, match=message):
        CLMERClassifier(SHAPE, class_weight=given, **TINY).fit(X, y)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(3), "sample_weight"),
        (-np.ones(48), "[Nn]egative"),
        (np.full(48, np.nan), "NaN"),
        (np.zeros(48), "zero|0 everywhere"),
    ],
)
def test_weights_that_are_none_are_named(study, weight, message):
    X, y, _ = study
    with pytest.raises(ValueError, match=message):
        CLMERClassifier(SHAPE, **TINY).fit(X, y, sample_weight=weight)


# --- through scikit-learn ------------------------------------------------------------------------
def test_weights_and_groups_are_routed_through_a_pipeline_and_a_search(study):
    X, y, people = study
    weight = np.where(people == 0, 3.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        model = CLMERClassifier(SHAPE, **TINY).set_fit_request(sample_weight=True, groups=True)
        model.set_score_request(sample_weight=True)
        pipeline = make_pipeline(FunctionTransformer(np.abs), model)
        search = GridSearchCV(pipeline, {"clmerclassifier__dim": [4, 8]}, cv=GroupKFold(2))
        search.fit(X, y, groups=people, sample_weight=weight)
    best = search.best_params_["clmerclassifier__dim"]
    own = CLMERClassifier(SHAPE, **{**TINY, "dim": best})
    own.fit(np.abs(X), y, groups=people, sample_weight=weight)
    np.testing.assert_array_equal(search.predict_proba(X), own.predict_proba(np.abs(X)))


def test_weights_go_to_a_pipelines_step_without_routing(study):
    X, y, people = study
    weight = np.where(people == 0, 3.0, 1.0)
    pipeline = make_pipeline(FunctionTransformer(np.abs), CLMERClassifier(SHAPE, **TINY))
    pipeline.fit(X, y, clmerclassifier__sample_weight=weight)
    own = CLMERClassifier(SHAPE, **TINY).fit(np.abs(X), y, sample_weight=weight)
    np.testing.assert_array_equal(pipeline.predict_proba(X), own.predict_proba(np.abs(X)))


def test_one_person_is_left_out_at_a_time(study):
    X, y, people = study
    model = CLMERClassifier(SHAPE, classifier="linear", **TINY)
    scores = cross_val_score(model, X, y, groups=people, cv=LeaveOneGroupOut())
    assert scores.shape == (6,)


def test_fewer_groups_than_parts_hold_one_back(study):
    X, y, people = study
    model = CLMERClassifier(SHAPE, classifier="linear", **TINY)
    few = people < 3
    assert model.fit(X[few], y[few], groups=people[few]).predict(X).shape == (48,)
    with pytest.raises(ValueError, match="groups: found one group, .* expected two or more"):
        model.fit(X, y, groups=np.zeros(48))
