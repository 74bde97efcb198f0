"""Fixtures of experiments."""

from __future__ import annotations

import pytest

from clmer.data.synthetic import write_deap


@pytest.fixture(scope="session")
def deap(tmp_path_factory):
    """A generated DEAP of 3 people x 12 trials x 2 s, and a cache for its stores."""
    folder = tmp_path_factory.mktemp("deap")
    write_deap(folder / "data", people=3, trials=12, seconds=2)
    return folder
