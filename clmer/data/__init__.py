"""Recordings, from files to windows: `load("deap", root)`; `DATASETS` are the known data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clmer.data.registry import DATASETS, Dataset
    from clmer.data.store.dataset import load

__all__ = ["DATASETS", "Dataset", "load"]

_LATER = {
    "DATASETS": "clmer.data.registry",
    "Dataset": "clmer.data.registry",
    "load": "clmer.data.store.dataset",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)
