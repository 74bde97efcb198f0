"""`CLMERClassifier` under scikit-learn's own checks, and what those do not ask."""

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from clmer import CLMERClassifier

#: Small enough for some hundred fits.
SIZES = {"token_length": 4, "dim": 16, "heads": 2, "single_layers": 1, "batch": 16}
TINY = {**SIZES, "width": 4, "cross_layers": 1, "memory_layers": 0, "random_state": 0}
SHORT = {**TINY, "epochs_contrastive": 2, "epochs_fusion": 4}
MODALITIES = {"eeg": (2, 32), "face": (3, 5)}

QUICK = CLMERClassifier(
    contrastive=False, epochs_fusion=12, embedding_dropout=0.0, random_state=0, **SIZES
)


#: A weight of 2 counts in losses and not in statistics, and batches are drawn by number of rows.
NOT_EQUIVALENT = {"check_sample_weight_equivalence_on_dense_data": "weights stand in losses alone"}


@parametrize_with_checks([QUICK], expected_failed_checks=lambda estimator: NOT_EQUIVALENT)
def test_scikit_learns_checks(estimator, check):
    """All others apply; pandas and the array API are scikit-learn's own to skip."""
    check(estimator)


@pytest.fixture
def study():
    """Twelve people, whose class shows in one channel of the EEG: X [72, 79], y, people."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(12), 6)
    y = np.tile(["calm", "angry"], 36)
    eeg = rng.standard_normal((72, 2, 32))
    eeg[:, 1] *= np.where(y == "angry", 3, 1)[:, None]
    face = rng.standard_normal((72, 3, 5))
    return np.hstack([eeg.reshape(72, -1), face.reshape(72, -1)]), y, people


def test_unseen_people_are_told_apart(study):
    X, y, people = study
    model = CLMERClassifier(
        {"eeg": (2, 32), "face": (3, 5)}, tokens="spectrum", contrastive=False, fs=32.0,
        **{**TINY, "epochs_fusion": 20},
    )  # fmt: skip
    scores = cross_val_score(model, X, y, groups=people, cv=GroupKFold(3))
    assert scores.mean() > 0.8
    other = np.random.default_rng(0).permutation(y)
    assert cross_val_score(model, X, other, groups=people, cv=GroupKFold(3)).mean() < 0.8


def test_both_stages_train_and_probabilities_are_in_the_order_of_classes(study):
    X, y, _ = study
    model = CLMERClassifier(MODALITIES, members=2, **SHORT).fit(X, y)
    assert model.classes_.tolist() == ["angry", "calm"]
    assert set(model.model_.encoders) == {"eeg", "face"}
    assert len(model.model_.models["eeg+face"].members) == 2
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(1), 1)
    assert (model.predict(X) == model.classes_[proba.argmax(1)]).all()


def test_a_modality_keeps_its_rows(study):
    X, y, _ = study
    options = {**SHORT, "contrastive": False, "classifier": "fusion", "validation": 0}
    model = CLMERClassifier(MODALITIES, **options).fit(X, y)
    windows = model._windows(X)
    np.testing.assert_array_equal(windows["eeg"][:, 1], X[:, 32:64].astype(np.float32))
    np.testing.assert_array_equal(windows["face"][3, 2], X[3, 74:79].astype(np.float32))
    mean = model.model_.tokenizer.windows["eeg"].mean[:, 0]
    np.testing.assert_allclose(mean, X[:, :64].reshape(72, 2, 32).mean((0, 2)), atol=1e-6)


def test_windows_of_one_modality_need_no_flattening(study):
    X, y, _ = study
    eeg = X[:, :64]
    options = {**SHORT, "contrastive": False}
    flat = CLMERClassifier({"x": (2, 32)}, **options).fit(eeg, y)
    model = CLMERClassifier(**options).fit(eeg.reshape(72, 2, 32), y)
    assert model.n_features_in_ == 2
    proba = model.predict_proba(eeg.reshape(72, 2, 32))
    np.testing.assert_array_equal(proba, flat.predict_proba(eeg))


@pytest.mark.slow
def test_one_seed_gives_one_model_and_the_callers_random_state_stays(study):
    X, y, _ = study
    model = CLMERClassifier(MODALITIES, **SHORT)
    state = torch.get_rng_state()
    first = model.fit(X, y).predict_proba(X)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(clone(model).fit(X, y).predict_proba(X), first)
    other = clone(model).set_params(random_state=1).fit(X, y).predict_proba(X)
    assert np.abs(other - first).max() > 1e-3


def _small(**options):
    return CLMERClassifier(MODALITIES, **{**SHORT, "contrastive": False, **options})


@pytest.mark.parametrize("contrastive", [False, True])
def test_fits_in_threads_are_those_of_one_alone(study, contrastive):
    X, y, _ = study
    alone = _small(contrastive=contrastive).fit(X, y).predict_proba(X)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    fit = joblib.delayed(lambda: _small(contrastive=contrastive).fit(X, y).predict_proba(X))
    together = joblib.Parallel(3, "threading")(fit() for _ in range(3))
    assert torch.equal(torch.get_rng_state(), state)
    for proba in together:
        np.testing.assert_array_equal(proba, alone)


def test_a_search_in_threads_finds_what_one_in_turn_does(study):
    X, y, people = study
    scores = []
    for jobs in (1, 3):
        search = GridSearchCV(_small(), {"dim": [8, 16]}, cv=GroupKFold(2), n_jobs=jobs)
        with joblib.parallel_backend("threading"):
            search.fit(X, y, groups=people)
        scores.append(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*scores)


def test_log_probabilities(study):
    X, y, _ = study
    model = _small().fit(X, y)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    assert np.isfinite(model.predict_log_proba(1e6 * X)).all()
    assert make_pipeline(FunctionTransformer(np.abs), model).predict_log_proba(X).shape == (72, 2)


@pytest.mark.parametrize("validation", [0.0, 0.25])
def test_groups_have_one_entry_a_sample(study, validation):
    X, y, people = study
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        _small(validation=validation).fit(X, y, groups=people[:-1])


def test_numpy_s_whole_numbers_are_whole_numbers(study):
    X, y, _ = study
    model = _small(dim=np.int64(16), epochs_fusion=np.int32(1), device=torch.device("cpu"))
    assert model.fit(X, y).predict(X).shape == (72,)


def test_validation_keeps_groups_whole_and_classes_in_proportion(study):
    X, y, people = study
    model = CLMERClassifier(MODALITIES, validation=0.25, **SHORT)
    labels = (y == "calm").astype(int)
    rows = np.arange(72)
    split = model._split(labels, people, 0, rows)
    assert 0.15 < len(split.val) / len(y) < 0.35
    assert not set(people[split.train]) & set(people[split.val])
    assert len(model._split(labels, None, 0, rows).val) == 18
    assert len(CLMERClassifier(validation=0)._split(labels, None, 0, rows).val) == 0
    assert len(model.fit(X, y, groups=people).predict(X)) == 72


def test_patience_ends_training_early(study, monkeypatch):
    X, y, _ = study
    lines = []
    monkeypatch.setattr(
        "clmer.pipeline.stages.loop.Unrecorded.log", lambda self, line: lines.append(line)
    )
    rng = np.random.default_rng(1)
    options = {**SHORT, "contrastive": False, "epochs_fusion": 40}
    model = CLMERClassifier(MODALITIES, validation=0.25, patience=2, **options)
    model.fit(X, rng.permutation(y))
    assert len(lines) < 40
    best = min(line["val_loss"] for line in lines)
    assert best in [line["val_loss"] for line in lines[-4:-1]] or len(lines) <= 4


def test_it_goes_into_a_pipeline(study):
    X, y, people = study
    options = {**SHORT, "contrastive": False}
    model = make_pipeline(FunctionTransformer(np.abs), CLMERClassifier(MODALITIES, **options))
    assert cross_val_score(model, X, y, groups=people, cv=GroupKFold(2)).shape == (2,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": {"eeg": (2, 32)}}, r"X: found \(72, 79\), expected \(n_samples, 64\)"),
        ({"validation": 0.7}, "validation: found 0.7, expected 0 to 0.5"),
        ({"dim": 15}, "^dim: found 15, expected a multiple of heads 2"),
        ({"batch": 1, "contrastive": True}, r"^batch: found 1, .* \(or contrastive=False\)"),
        ({"epochs_fusion": 0}, "^epochs_fusion: found 0, expected at least 1"),
        ({"epochs_contrastive": 2.5}, "^epochs_contrastive: found 2.5, expected a whole number"),
        ({"width": "8"}, "^width: found '8', expected a whole number"),
        ({"members": True}, "^members: found True, expected a whole number"),
        ({"patience": None}, "^patience: found None, expected a whole number"),
        (
            {"embedding_dropout": 1.5},
            "^embedding_dropout: found 1.5, expected at least 0",
        ),
        ({"embedding_dropout": "x"}, "^embedding_dropout: found 'x', expected a number"),
        ({"fs": 0}, "^fs: found 0, expected samples a second above 0"),
        ({"validation": float("nan")}, "^validation: found nan, expected a number"),
        ({"device": "tpu0"}, "^device: found 'tpu0', expected auto, cpu or cuda"),
        ({"device": 3.5}, "^device: found 3.5, expected auto, cpu or cuda"),
        ({"device": "meta"}, "^device: found 'meta', expected auto, cpu or cuda"),
        ({"device": "cuda:99"}, "^device=cuda:99: torch .* CUDA device.*; use device=cpu"),
        (
            {"modalities": {"eeg": 79}},
            r"^modalities: found \{'eeg': 79\}, expected \(channels, sam",
        ),
        ({"modalities": {}}, r"^modalities: found \{\}, expected \(channels"),
        ({"tokens": "time", "contrastive": False}, "needs the contrastive stage"),
        ({"tokens": "chanel"}, "^tokens: found 'chanel', expected channel or time or spectrum"),
        ({"modalities": {"keys": (2, 20)}}, "`modalities`: found 'keys', expected letters"),
    ],
)
def test_what_cannot_be_met_is_named(study, options, message):
    X, y, _ = study
    with pytest.raises(ValueError, match=message):
        CLMERClassifier(**{"modalities": MODALITIES, **SHORT, **options}).fit(X, y)


def test_one_class_is_not_enough(study):
    X, y, _ = study
    with pytest.raises(ValueError, match="found one class, calm, expected at least two"):
        CLMERClassifier(MODALITIES, **SHORT).fit(X[y == "calm"], y[y == "calm"])


def test_people_are_read_against_their_reference(study):
    """What a person adds and multiplies plays no part, nor does the y of a reference."""
    X, y, people = study
    X, y = np.vstack([X, X]), np.concatenate([y, y])
    people = np.concatenate([people, people])
    known = np.arange(144) >= 72
    rng = np.random.default_rng(0)
    X[known] = rng.standard_normal((72, X.shape[1]))
    other = X * 10.0 ** rng.uniform(-1, 1, 12)[people, None] + rng.normal(0, 30, 12)[people, None]
    options = {"tokens": "spectrum", "contrastive": False, "fs": 32.0, "validation": 0.25}
    probas = []
    for data, labels in ((X, y), (other, np.where(known, "unknown", y))):
        model = CLMERClassifier(MODALITIES, **options, **SHORT)
        model.fit(data, labels, groups=people, reference=known)
        assert model.classes_.tolist() == ["angry", "calm"]
        probas.append(model.predict_proba(data, people, known))
    np.testing.assert_allclose(*probas, atol=1e-3)
    own = people == 3
    alone = model.predict_proba(other[own & ~known], reference=other[own & known])
    np.testing.assert_allclose(alone, probas[1][own & ~known], atol=1e-5)
    assert model.predict(other, people, known).shape == (144,)
    with pytest.raises(ValueError, match="reference: found none, expected a known stretch"):
        model.predict(other)


def test_a_reference_that_cannot_be_used_is_refused(study):
    X, y, people = study
    model = _small()
    with pytest.raises(ValueError, match="found 0 windows of 1"):
        model.fit(X, y, groups=people, reference=people == 0)
    for mask in (people, np.ones(72, bool), "some", people[:3] == 0):
        with pytest.raises(ValueError, match=r"expected \[72\] bool"):
            model.fit(X, y, groups=people, reference=mask)
    model.fit(X, y, groups=people, reference="all")
    assert model.predict(X, people, "all").shape == (72,)
    with pytest.raises(ValueError, match="expected none"):
        model.fit(X, y).predict(X, people, "all")
