"""SciPy's own tests of sosfilt and sosfiltfilt, run against ours."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal.tests import test_signaltools as theirs

from clmer import signal

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnknownMarkWarning")


@pytest.fixture
def xp():
    """Their tests run on several array libraries; ours takes NumPy."""
    return np


CALLED = []


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """Their module calls the two by name."""
    for function in (signal.sosfilt, signal.sosfiltfilt):

        def counted(*args, function=function, **kwargs):
            CALLED.append(function.__name__)
            return function(*args, **kwargs)

        monkeypatch.setattr(theirs, function.__name__, counted)


class TestSOSFilt(theirs.TestSOSFilt):
    pass


class TestSOSFiltFilt(theirs.TestSOSFiltFilt):
    pass


def test_it_was_ours_that_they_called():
    """Of 43 tests some are about other functions (filtfilt's method "gust") or skip NumPy."""
    assert CALLED.count("sosfilt") > 50
    assert CALLED.count("sosfiltfilt") > 10
