"""Predictions that the tests of this folder share."""

from __future__ import annotations

import pytest
from support.results_cases import predictions

from clmer.evaluation.metrics import Predictions


@pytest.fixture
def models() -> list[Predictions]:
    """Two models under study, a control and a baseline."""
    return [
        predictions("eeg", 0.9, seed=1),
        predictions("ecg", 0.6, seed=2),
        predictions("majority", 0.5, seed=3),
        predictions("band power", 0.7, seed=4),
    ]
