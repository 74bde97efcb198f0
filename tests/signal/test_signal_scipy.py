"""SciPy's own tests of sosfilt, sosfiltfilt, lfilter and filtfilt, run against ours."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from clmer import signal

with warnings.catch_warnings():  # their marks are registered in their own configuration
    warnings.simplefilter("ignore", pytest.PytestUnknownMarkWarning)
    from scipy.signal.tests import test_signaltools as theirs


@pytest.fixture
def xp():
    """Their tests run on several array libraries; ours takes NumPy."""
    return np


CALLED = []


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """Their module calls the four by name."""
    for function in (signal.sosfilt, signal.sosfiltfilt, signal.lfilter, signal.filtfilt):

        def counted(*args, function=function, **kwargs):
            CALLED.append(function.__name__)
            return function(*args, **kwargs)

        monkeypatch.setattr(theirs, function.__name__, counted)


class TestSOSFilt(theirs.TestSOSFilt):
    pass


class TestSOSFiltFilt(theirs.TestSOSFiltFilt):
    pass


class TestLinearFilterFloat32(theirs.TestLinearFilterFloat32):
    pass


class TestLinearFilterFloat64(theirs.TestLinearFilterFloat64):
    pass


class TestLinearFilterComplex64(theirs.TestLinearFilterComplex64):
    pass


class TestFiltFilt(theirs.TestFiltFilt):
    pass


def test_it_was_ours_that_they_called():
    """Two of their tests are about filtfilt's method "gust", which has no such form, and skip."""
    if not CALLED:
        pytest.skip("this looks back on the tests above: run the whole file")
    assert CALLED.count("sosfilt") > 50
    assert CALLED.count("sosfiltfilt") > 10
    assert CALLED.count("lfilter") > 50
    assert CALLED.count("filtfilt") > 10
