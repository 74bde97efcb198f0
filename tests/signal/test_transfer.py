"""`lfilter` and `filtfilt` against SciPy's and against long double; other people's pipelines."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray

from clmer import signal
from clmer.signal import transfer

Array = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)
BANDS = {
    "4-45 at 128": ([4, 45], "bandpass", 128),
    "0.5-40 at 500": ([0.5, 40], "bandpass", 500),
    "40 at 500": (40, "lowpass", 500),
    "0.5 at 500": (0.5, "highpass", 500),
    "8-13 at 250": ([8, 13], "bandpass", 250),
}


def designs() -> Iterator[tuple[str, Array, Array]]:
    for order in range(2, 11):
        for name, (edges, kind, fs) in BANDS.items():
            yield f"butter {order} {name}", *scipy.signal.butter(order, edges, kind, fs=fs)
    yield "notch", *scipy.signal.iirnotch(50, 30, 500)
    yield "comb", *scipy.signal.iircomb(50, 30, fs=500)
    yield "cheby1", *scipy.signal.cheby1(4, 0.5, [1, 40], "bandpass", fs=250)
    yield "ellip", *scipy.signal.ellip(4, 0.5, 40, [1, 40], "bandpass", fs=250)
    yield "first order", np.array([0.2]), np.array([2.0, -1.6])
    yield "two taps", np.array([1.0, -1.0]), np.array([1.0])
    yield "FIR", scipy.signal.firwin(101, 30, fs=500), np.array([1.0])
    yield "unstable, order 2", np.array([1.0]), np.array([1.0, -1.9, 1.0001])
    yield "unstable, order 3", np.array([1.0]), np.poly([1.001, 0.5, 0.2])
    yield "integrator", np.array([1.0]), np.array([1.0, -1.0])


FILTERS = list(designs())


def signal_of(count: int, seed: int = 0) -> Array:
    """Noise of 50 uV on an offset of 4200 uV."""
    return np.random.default_rng(seed).standard_normal(count) * 50 + 4200


@pytest.mark.parametrize(("name", "b", "a"), FILTERS, ids=[name for name, _, _ in FILTERS])
@pytest.mark.parametrize("count", [5000, transfer._WORTH])
def test_as_near_to_long_double_as_scipy(count: int, name: str, b: Array, a: Array) -> None:
    """Where sections are not taken the bits are SciPy's; else the error is bounded by its own."""
    x = signal_of(count)
    y, theirs = signal.lfilter(b, a, x), scipy.signal.lfilter(b, a, x)
    assert y.dtype == theirs.dtype  # type: ignore[union-attr]
    found = transfer._as_sections(b, a, x, -1, None)
    if found is None:
        np.testing.assert_array_equal(y, theirs)
        return
    wide = [each.astype(np.longdouble) for each in (b, a, x)]
    with np.errstate(all="ignore"):
        exact = scipy.signal.lfilter(*wide)
        ours, scipys = (np.abs(each - exact).max() for each in (y, theirs))
        h = np.abs(scipy.signal.lfilter(*wide[:2], np.eye(1, min(count, 20000))[0])).sum()
    if len(found) == 1:  # the same recursion: within a few of its own roundings
        assert ours <= max(4 * scipys, 64 * EPS * np.abs(exact).max()) or np.isnan(ours)
    else:
        assert ours <= max(4 * scipys, 64 * EPS * h * np.abs(x).max())


def test_which_filters_get_sections() -> None:
    """Those that are well behaved as b, a; none whose rounded coefficients are unstable."""
    x = np.empty(transfer._WORTH)
    taken = {name for name, b, a in FILTERS if transfer._as_sections(b, a, x, -1, None) is not None}
    assert {f"butter {order} 40 at 500" for order in range(2, 11)} <= taken
    assert {f"butter {order} 8-13 at 250" for order in range(2, 6)} <= taken
    assert {"butter 4 4-45 at 128", "notch", "comb", "ellip", "first order"} <= taken
    assert not taken & {"FIR", "unstable, order 3", "butter 10 0.5-40 at 500"}
    for name, _, a in FILTERS:
        if len(a) > 3 and np.abs(np.roots(a)).max() >= 1:
            assert name not in taken
    b, a = scipy.signal.butter(4, [8, 13], "bandpass", fs=250)
    assert transfer._as_sections(b, a, np.empty(100), -1, None) is None  # not worth it


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "c8", "c16"])
@pytest.mark.parametrize("coefficients", ["f4", "f8"])
def test_axes_and_dtypes(axis: int, dtype: str, coefficients: str) -> None:
    b, a = (each.astype(coefficients) for each in scipy.signal.iirnotch(50, 30, 500))
    x = np.random.default_rng(0).standard_normal((40, 50, 30))
    x = ((x * 100).astype(dtype) * (1 + 1j if dtype[0] == "c" else 1)).astype(dtype)
    for name, arguments in (("lfilter", ()), ("filtfilt", ("even", 11)), ("filtfilt", (None,))):
        ours = getattr(signal, name)(b, a, x, axis, *arguments)
        theirs = getattr(scipy.signal, name)(b, a, x, axis, *arguments)
        assert ours.dtype == theirs.dtype
        digits = 2e-4 if "f4" in (coefficients, ours.dtype.str[1:]) else 1e-10
        np.testing.assert_allclose(ours, theirs, rtol=digits, atol=digits * 100)


@pytest.mark.parametrize("coefficients", [([1.0, -1.0], [1.0]), ([0.2], [2.0, -1.6]), "notch"])
def test_states(coefficients: tuple[list[float], list[float]] | str) -> None:
    b, a = scipy.signal.iirnotch(50, 30, 500) if coefficients == "notch" else coefficients
    order = max(len(b), len(a)) - 1
    x = np.random.default_rng(0).standard_normal((3, 200))
    zi = signal.lfilter_zi(b, a) * x[:, :1] if order else np.zeros((3, 0))
    ours, theirs = (f.lfilter(b, a, x, zi=zi) for f in (signal, scipy.signal))
    for mine, want in zip(ours, theirs, strict=True):
        assert mine.shape == want.shape
        np.testing.assert_allclose(mine, want, rtol=1e-12, atol=1e-12)
    first, state = signal.lfilter(b, a, x[:, :77], zi=zi)
    second, state = signal.lfilter(b, a, x[:, 77:], zi=state)
    np.testing.assert_array_equal(np.concatenate((first, second), -1), ours[0])
    np.testing.assert_array_equal(state, ours[1])
    # SciPy expands an axis of one.
    shared = zi[:1]
    for mine, want in zip(
        signal.lfilter(b, a, x, zi=shared), scipy.signal.lfilter(b, a, x, zi=shared), strict=True
    ):
        np.testing.assert_array_equal(mine, want)


@pytest.mark.parametrize("padtype", ["odd", "even", "constant", None])
@pytest.mark.parametrize("kind", ["notch", "band", "low-pass"])
def test_zero_phase(kind: str, padtype: str | None) -> None:
    b, a = {
        "notch": scipy.signal.iirnotch(50, 30, 500),
        "band": scipy.signal.butter(2, [4, 45], "bandpass", fs=128),
        "low-pass": scipy.signal.butter(6, 40, fs=500),
    }[kind]
    for x in (signal_of(transfer._WORTH), signal_of(3000).reshape(3, 1000)):
        for padlen in (None, 0, 57):
            ours = signal.filtfilt(b, a, x, padtype=padtype, padlen=padlen)
            theirs = scipy.signal.filtfilt(b, a, x, padtype=padtype, padlen=padlen)
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8)
    x = signal_of(500)
    for irlen in (None, 60):
        np.testing.assert_array_equal(
            signal.filtfilt(b, a, x, method="gust", irlen=irlen),
            scipy.signal.filtfilt(b, a, x, method="gust", irlen=irlen),
        )


NOTCH = scipy.signal.iirnotch(50, 30, 500)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("lfilter", ([], [1.0], np.ones(5))),
        ("lfilter", ([1.0], [], np.ones(5))),
        ("lfilter", ([[1.0]], [1.0, 0.5], np.ones(5))),
        ("lfilter", ([1.0], [0.0, 0.5], np.ones(5))),
        ("lfilter", ([1], [1, 2], np.ones(5, int))),
        ("lfilter", ([1.0], [1.0, 0.5], 3.0)),
        ("lfilter", ([1.0], [1.0, 0.5], np.ones((2, 5)), 2)),
        ("lfilter", ([1.0], [1.0, 0.5], np.array(["a", "b"]))),
        ("lfilter", (*NOTCH, np.ones(5), -1, np.ones(3))),
        ("lfilter", (*NOTCH, np.ones((2, 5)), -1, np.ones((3, 2)))),
        ("filtfilt", (*NOTCH, np.ones(9))),
        ("filtfilt", (*NOTCH, np.ones(50), -1, "odd", 50)),
        ("filtfilt", (*NOTCH, np.ones(50), -1, "wrap")),
        ("filtfilt", (*NOTCH, np.ones(50), -1, "odd", None, "none")),
        ("filtfilt", ([1.0], [1.0, -1.0], np.ones(50))),
        ("filtfilt", ([1.0], [0.0, -1.0], np.ones(50))),
    ],
)
def test_errors_are_scipys(name: str, arguments: tuple[object, ...]) -> None:
    theirs = error_of(getattr(scipy.signal, name), arguments)
    ours = error_of(getattr(signal, name), arguments)
    assert type(ours) is type(theirs)
    if isinstance(theirs, np.ndarray):
        np.testing.assert_allclose(ours, theirs)
    elif not isinstance(theirs, np.linalg.LinAlgError):  # ours says where the pole is
        assert str(ours) == str(theirs)


def error_of(function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    try:
        return function(*arguments)
    except (ValueError, TypeError, NotImplementedError, np.linalg.LinAlgError) as error:
        return error


def test_nothing_and_what_is_not_finite() -> None:
    for x in (np.empty((0, 5)), np.empty((3, 0)), np.array([1.0, np.nan, 2.0, 3.0])):
        ours, theirs = (f.lfilter(*NOTCH, x) for f in (signal, scipy.signal))
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)


@pytest.mark.parametrize("name", ["lfilter", "filtfilt", "sosfilt", "sosfiltfilt"])
def test_replacing_scipy_takes_all_of_scipys_arguments(name: str) -> None:
    theirs = inspect.signature(getattr(scipy.signal, name)).parameters
    ours = inspect.signature(getattr(signal, name)).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    assert [ours[key].default for key in theirs] == [each.default for each in theirs.values()]


def test_replacing_scipy_and_back() -> None:
    sos, x = scipy.signal.butter(4, 0.2, output="sos"), signal_of(1000)
    before = [getattr(scipy.signal, name) for name in ("lfilter", "filtfilt", "sosfilt")]
    with signal.replacing_scipy() as calls:
        scipy.signal.lfilter(*NOTCH, x)
        scipy.signal.filtfilt(*NOTCH, x, method="gust")
        np.testing.assert_array_equal(scipy.signal.sosfilt(sos, x), signal.sosfilt(sos, x))
        # What ours leaves to SciPy must not come back to ours.
        scipy.signal.sosfilt(sos.astype(np.longdouble), x.astype(np.longdouble))
        scipy.signal.sosfiltfilt(sos.astype(complex), x)
        scipy.signal.lfilter(np.ones(20), 1.0, x)
    assert calls == {"lfilter": 2, "filtfilt": 1, "sosfilt": 2, "sosfiltfilt": 1}
    with pytest.raises(KeyError), signal.replacing_scipy():
        raise KeyError
    assert before == [getattr(scipy.signal, name) for name in ("lfilter", "filtfilt", "sosfilt")]


def test_neurokit() -> None:
    neurokit2 = pytest.importorskip("neurokit2")
    ecg = neurokit2.ecg_simulate(duration=20, sampling_rate=500, random_state=0)
    want, beats = neurokit2.ecg_process(ecg, sampling_rate=500)
    with signal.replacing_scipy() as calls:
        found, ours = neurokit2.ecg_process(ecg, sampling_rate=500)
    assert calls["sosfiltfilt"] + calls["filtfilt"] + calls["lfilter"] > 0
    np.testing.assert_allclose(found["ECG_Clean"], want["ECG_Clean"], atol=1e-9)
    np.testing.assert_array_equal(ours["ECG_R_Peaks"], beats["ECG_R_Peaks"])
    eda = neurokit2.eda_simulate(duration=20, sampling_rate=250, random_state=0)
    want, _ = neurokit2.eda_process(eda, sampling_rate=250)
    with signal.replacing_scipy() as calls:
        found, _ = neurokit2.eda_process(eda, sampling_rate=250)
    assert calls
    np.testing.assert_allclose(found["EDA_Phasic"], want["EDA_Phasic"], atol=1e-8)


def test_biosppy() -> None:
    tools = pytest.importorskip("biosppy.signals.tools")
    x = signal_of(20000)
    for ftype, order, band in (("butter", 4, [1, 40]), ("FIR", 101, [3, 45]), ("butter", 2, 20)):
        options = {
            "ftype": ftype,
            "band": "lowpass" if band == 20 else "bandpass",
            "order": order,
            "frequency": band,
            "sampling_rate": 500,
        }
        want = tools.filter_signal(x, **options)["signal"]
        with signal.replacing_scipy() as calls:
            found = tools.filter_signal(x, **options)["signal"]
        assert calls["filtfilt"] == 1
        np.testing.assert_allclose(found, want, atol=1e-8)


def test_mne() -> None:
    mne = pytest.importorskip("mne")
    x = signal_of(20000).reshape(2, 10000)
    for params in (
        {"order": 4, "ftype": "butter", "output": "sos"},
        {"order": 2, "ftype": "butter", "output": "ba"},
    ):
        options = {"method": "iir", "iir_params": params, "verbose": "error"}
        want = mne.filter.filter_data(x, 500.0, 4.0, 40.0, **options)
        with signal.replacing_scipy() as calls:
            found = mne.filter.filter_data(x, 500.0, 4.0, 40.0, **options)
        assert sum(calls.values()) > 0
        np.testing.assert_allclose(found, want, atol=1e-8)
