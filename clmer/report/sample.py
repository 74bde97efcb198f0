"""A run's test windows, taken from the prepared store that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clmer.data.store.store import Store, open_store
from clmer.errors import DataError
from clmer.evaluation.rows import Rows
from clmer.pipeline.options.reference import NONE
from clmer.pipeline.reference import GivenReference
from clmer.pipeline.reference_rows import find_reference
from clmer.pipeline.run_files import damaged
from clmer.report.reading import RunFiles, read_predictions, read_ratings
from clmer.text import stored

#: Classes of a run that predicts ratings.
HALVES = ("lower half", "upper half")


@dataclass(frozen=True, eq=False)
class Sample:
    """Test windows of a split.

    Args:
        windows: [M, C, T] by modality, as prepared: these N, then their people's reference.
        people: [M] whose each is.
        reference: [M] bool, which are the reference; "all"; None without one.
        y: [N] class, or rating.
        recording: [N] names.
        classes: names.
        of: number of test windows that they were taken from.
    """

    windows: dict[str, np.ndarray]
    people: np.ndarray
    reference: GivenReference | None
    y: np.ndarray
    recording: np.ndarray
    classes: Sequence[str]
    of: int

    @property
    def person(self) -> np.ndarray:
        """[N] whose each test window is."""
        return self.people[: len(self.y)]


@dataclass(frozen=True, eq=False)
class HeldOutWindows:
    """The test windows of all splits, of the run's first model.

    Args:
        run: whose.
        store: has them.
        rows: what the model said of them.
        places: [N] the store's row of each.
    """

    run: RunFiles
    store: Store
    rows: Rows
    places: np.ndarray

    def of_split(self, number: int) -> np.ndarray:
        """Which of `rows` a split tested; splits count from 0.

        Raises:
            DataError: predictions.csv has none of it.
        """
        scored = self.run.scored or {}
        split = scored["splits"][number]["name"]
        tested = np.flatnonzero(self.rows.split == split)
        if not len(tested):
            found = f"none of {self.rows.model} in {split}"
            raise damaged(self.run.path / "predictions.csv", "rows", found)
        return tested

    def sample(self, chosen: np.ndarray, of: int) -> Sample:
        """Some of `rows`, with what is known of their people.

        Raises:
            DataError: the reference of the run is not in the store.
        """
        config, store, rows = self.run.config, self.store, self.places[chosen]
        kind = config.get("reference", NONE)
        found = find_reference(kind, store.windows, config["task"], store.path)
        reference: GivenReference | None = None
        if found is not None:
            # Under "all" everything that people have counts, not what is chosen of it alone.
            people = np.isin(store.windows.subject, store.windows.subject[rows])
            known = np.flatnonzero(people & found.known)
            reference = np.arange(len(rows) + len(known)) >= len(rows)
            rows = np.concatenate([rows, known])
        return Sample(
            windows={name: store.array(name)[rows] for name in store.modalities},
            people=store.windows.subject[rows],
            reference=reference,
            y=self.rows.y[chosen],
            recording=self.rows.recording[chosen],
            classes=(self.run.scored or {})["classes"] or HALVES,
            of=of,
        )


def read_test_windows(run: RunFiles, cache: Path) -> HeldOutWindows:
    """The test windows of a run with scores.

    Args:
        run: read from its folder.
        cache: folder of the prepared stores.

    Raises:
        DataError: the store is not in the cache, or holds other windows; predictions.csv is damaged
            or has no rows of the run's first model.
    """
    path = cache / f"{run.config['dataset']}-{run.config['data'][:16]}"
    if not path.is_dir():
        hint = "Give its folder as `cache`; the training command prepares it again."
        raise DataError(path, "prepared store", "no such folder", "that of the run", hint)
    results, file = run.scored or {}, run.path / "predictions.csv"
    classes = results["classes"]
    read: Sequence[Rows] = read_predictions(file, classes) if classes else read_ratings(file)
    model = results["main"][0]
    rows = next((each for each in read if each.model == model), None)
    if rows is None:
        raise damaged(file, "rows", f"none of {model}")
    store = open_store(path)
    starts = [stored(start) for start in store.windows.start_s.tolist()]
    pairs = zip(store.windows.recording.tolist(), starts, strict=True)
    row_of = {pair: i for i, pair in enumerate(pairs)}
    wanted = zip(rows.recording.tolist(), rows.start_s.tolist(), strict=True)
    try:
        places = np.array([row_of[pair] for pair in wanted])
    except KeyError as error:
        raise DataError(path, "windows", f"none at {error}", "those of predictions.csv") from error
    return HeldOutWindows(run, store, rows, places)
