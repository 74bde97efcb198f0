"""bandpower: features of known sinusoids and beats; training-only fitting; choice of C."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from clmer.baselines import bandpower
from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.train.training_run import power_features

FS = 128.0


def three(train: np.ndarray, val: np.ndarray, test: np.ndarray) -> Split:
    return Split("subject 1/1", train, val, test, shared_groups=0, note="")


def tone(frequency: float, seconds: float = 4.0, amplitude: float = 1.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * FS)) / FS + 0.3)


def beats(rate: float, seconds: float = 5.0, flip: bool = False) -> np.ndarray:
    """An ECG-like train of narrow R waves with slow T waves, `rate` beats a minute."""
    t = np.arange(round(seconds * FS)) / FS
    x = np.zeros_like(t)
    for at in np.arange(0.4, seconds, 60 / rate):
        x += np.exp(-0.5 * ((t - at) / 0.012) ** 2)
        x += 0.25 * np.exp(-0.5 * ((t - at - 0.25) / 0.05) ** 2)
    return -x if flip else x


def test_band_power_finds_the_band_and_its_power() -> None:
    tones = (2, 6, 10, 20, 37)
    x = np.stack([tone(f, amplitude=3.0) for f in tones])[:, None]  # [5, 1, T]
    f = bandpower.features(x, FS, "eeg")
    assert f.shape == (5, 5)
    assert f.argmax(axis=1).tolist() == [0, 1, 2, 3, 4]
    # A sine of amplitude A holds A^2 / 2.
    np.testing.assert_allclose(10 ** np.diag(f), 4.5, rtol=0.05)


def test_bands_are_clipped_to_what_preparation_kept() -> None:
    x = np.random.default_rng(0).normal(size=(3, 2, 512))
    full = bandpower.features(x, FS, "eeg").reshape(3, 2, 5)
    kept = bandpower.features(x, FS, "eeg", band=(4.0, 45.0)).reshape(3, 2, 4)
    np.testing.assert_allclose(kept, full[:, :, 1:], rtol=1e-12)
    # 1-s windows resolve 1 Hz; a silent channel stays finite.
    short = bandpower.features(np.zeros((2, 3, 128)), FS, "eeg", band=(1.0, 45.0))
    assert short.shape == (2, 15)
    assert np.isfinite(short).all()


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(7, 2, 256)).astype(np.float32)
    whole = bandpower.features(x, FS, "eeg")
    monkeypatch.setattr(bandpower, "CHUNK", 3)
    np.testing.assert_allclose(bandpower.features(x, FS, "eeg"), whole, rtol=1e-12)


@pytest.mark.parametrize("rate", [50, 72, 110, 150])
@pytest.mark.parametrize("flip", [False, True])
def test_heart_rate_of_known_beats(rate: float, flip: bool) -> None:
    x = beats(rate, flip=flip) + 0.02 * np.random.default_rng(0).normal(size=640)
    mean, sd, bpm, flag = bandpower.features(x[None, None], FS, "ecg")[0]
    assert bpm == pytest.approx(rate, rel=0.02)
    assert mean == pytest.approx(60 / rate, rel=0.02)
    assert sd < 0.005  # less than a sample
    assert flag == 0


def test_windows_without_beats_are_flagged() -> None:
    x = np.stack([np.zeros(640), beats(6.0)])[:, None]  # nothing; one beat
    f = bandpower.features(x, FS, "ecg")
    assert (f[:, 3] == 1).all()
    assert np.isnan(f[:, :3]).all()
    short = bandpower.features(np.zeros((2, 1, 32)), FS, "ecg")
    assert (short[:, 3] == 1).all()


def test_faces_get_mean_and_sd_of_each_row() -> None:
    x = np.random.default_rng(0).normal(size=(4, 204, 25))
    f = bandpower.features(x, 25.0, "landmarks")
    assert f.shape == (4, 408)
    np.testing.assert_allclose(f[2, 5], x[2, 5].mean())
    np.testing.assert_allclose(f[2, 204 + 5], x[2, 5].std())


def test_physio_treats_each_channel_by_its_kind() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 640))
    kinds = ("eeg", "gsr", "eeg", "ecg")
    f = bandpower.features(x, FS, "physio", kinds=kinds)
    assert f.shape == (3, 2 * 5 + 2 + 4)
    np.testing.assert_array_equal(f[:, :10], bandpower.features(x[:, [0, 2]], FS, "eeg"))
    assert bandpower.features(x, FS, "physio").shape == (3, 4 * 7)
    with pytest.raises(ValueError, match="2 kinds for 4 channels"):
        bandpower.features(x, FS, "physio", kinds=("eeg", "ecg"))


def test_a_modality_of_any_name_is_read_by_its_kinds() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 640)).astype(np.float32)

    def powers(name: str, *kinds: str) -> np.ndarray:
        modality = Modality(name, 4, FS, tuple("abcd"), kinds)
        store = SimpleNamespace(array=lambda _: x, modalities={name: modality})
        config = SimpleNamespace(dataset="manifest", filter="type")
        return power_features(SimpleNamespace(store=store, config=config), name)  # type: ignore[arg-type]

    eeg = powers("eeg", *["eeg"] * 4)
    assert eeg.shape == (3, 4 * 4)  # 4 to 45 Hz
    np.testing.assert_array_equal(powers("headset", *["eeg"] * 4), eeg)
    assert powers("headset", "eeg", "ecg", "gsr", "eeg").shape == (3, 2 * 4 + 4 + 2)
    assert powers("physio", *["eeg"] * 4).shape == (3, 4 * 6)
    assert powers("landmarks").shape == (3, 8)


def test_a_window_of_a_sample_has_no_bands_but_zero_power() -> None:
    assert bandpower.band_power(np.ones((2, 3, 1)), FS).shape == (2, 15)


def problem(n: int = 300) -> tuple[np.ndarray, np.ndarray, Split]:
    """Two classes, the second one rare, told apart by the first of four features."""
    rng = np.random.default_rng(0)
    y = (rng.random(n) < 0.25).astype(int)
    x = rng.normal(size=(n, 4))
    x[:, 0] += 2.0 * y
    parts = np.array_split(rng.permutation(n), 3)
    return x, y, three(*parts)


def test_fit_predict_learns_and_adds_up() -> None:
    x, y, split = problem()
    logp = bandpower.fit_predict({"a": x[:, :1], "b": x[:, 1:]}, y, split)
    assert logp.shape == (len(split.test), 2)
    np.testing.assert_allclose(np.exp(logp).sum(axis=1), 1.0)
    said = logp.argmax(axis=1)
    recall = [(said[y[split.test] == k] == k).mean() for k in (0, 1)]
    assert min(recall) > 0.7  # balanced weights: the rare class is not given up


def test_test_rows_do_not_reach_the_fit() -> None:
    x, y, split = problem()
    before = bandpower.fit_predict({"a": x}, y, split)
    outside = x.copy()
    outside[split.test[1:]] = 1e6
    flipped = y.copy()
    flipped[split.test] = 1 - flipped[split.test]
    after = bandpower.fit_predict({"a": outside}, flipped, split)
    np.testing.assert_array_equal(after[0], before[0])


def test_missing_values_take_the_training_median() -> None:
    x, y, split = problem()
    holes, filled = x.copy(), x.copy()
    holes[split.test[0], 0] = np.nan
    filled[split.test[0], 0] = np.median(x[split.train, 0])
    a = bandpower.fit_predict({"a": holes}, y, split)
    b = bandpower.fit_predict({"a": filled}, y, split)
    np.testing.assert_allclose(a, b)


def test_regularisation_is_chosen_on_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    # The label is in the small difference of two large features: strong regularisation misses it.
    rng = np.random.default_rng(3)
    n = 600
    y = np.arange(n) % 2
    common = 10 * rng.normal(size=n)
    x = np.stack([common + y + 0.2 * rng.normal(size=n), common], axis=1)
    split = three(np.arange(200), np.arange(200, 400), np.arange(400, n))

    def accuracy() -> float:
        said = bandpower.fit_predict({"a": x}, y, split).argmax(axis=1)
        return float((said == y[split.test]).mean())

    assert accuracy() > 0.9
    monkeypatch.setattr(bandpower, "STRENGTHS", bandpower.STRENGTHS[:1])
    assert accuracy() < 0.7


def test_fit_predict_refuses_what_it_cannot_fit() -> None:
    x, y, split = problem()
    with pytest.raises(ValueError, match="single class"):
        bandpower.fit_predict({"a": x}, np.zeros_like(y), split)
    with pytest.raises(ValueError, match="features of 300 windows"):
        bandpower.fit_predict({"a": x[:5]}, y, split)
    wide = bandpower.fit_predict({"a": x}, y, split, classes=3)
    assert wide.shape[1] == 3
    assert (wide[:, 2] < -20).all()
