"""The scores that a folder states, of a run or of a saved model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clmer.pipeline.run.folder import RESULTS
from clmer.pipeline.run_files import read_json, readable
from clmer.pipeline.share.saved import CONFIG, describe, is_saved
from clmer.pipeline.share.scores import SCORES, check_main, scores_of


def scores_in(folder: Path) -> dict[str, Any] | None:
    """What of a folder's results goes with a model; None where nothing was tested.

    Raises:
        DataError: its files are damaged.
    """
    if is_saved(folder):
        found: dict[str, Any] | None = describe(folder).get(SCORES)
        if found is not None:
            check_main(found, folder / CONFIG)
        return found
    path = folder / RESULTS
    return scores_of(read_json(path), path) if readable(path, path.is_file) else None


def results_in(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """A run's results.json, or a saved model's scores, and the file; empty where there are none.

    Raises:
        DataError: the file is damaged.
    """
    if is_saved(folder):
        return folder / CONFIG, scores_in(folder) or {}
    path = folder / RESULTS
    return path, read_json(path) if readable(path, path.is_file) else {}
