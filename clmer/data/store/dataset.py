"""`load`: a prepared data set as a torch Dataset, for any `DataLoader` and in whole slices.

    import clmer.data

    dataset = clmer.data.load("deap", "/data/DEAP", task="valence")
    for batch in dataset.loader(64, shuffle=True):
        batch["physio"]  # [64, 40, 128] float32
        batch["y"]  # [64] int64

`DataLoader(dataset, batch_size=64)`, `Subset`, `random_split` and `ConcatDataset` work as with any
data set and give the same batches; `loader` copies each window once instead of twice.

Windows stay on disk until they are asked for: arrays are memory maps. A contiguous slice is a view
of the page cache, no copy; a batch is one copy or gather per array, no Python per window.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler
from torch.utils.data import Dataset as TorchDataset

from clmer.data.levels import NONE, choose_levels
from clmer.data.manifest import reader as manifest
from clmer.data.ratings import AnyTask, choose_rating
from clmer.data.registry import DATASETS, Dataset
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare
from clmer.data.store.store import Store
from clmer.data.store.summary import left_out
from clmer.data.store.writer import stores_folder
from clmer.data.task_choice import choose_task
from clmer.data.tasks import is_known
from clmer.errors import DataError

Batch = dict[str, Tensor]


class WindowDataset(TorchDataset[Batch]):
    """Windows of a store, each a dict of its modalities and, with a task, "y".

    Args:
        store: prepared windows.
        task: what to predict; None leaves "y" out. Its classes are int64, its ratings float32.
        rows: window numbers in the store to use, such as a split's `train`; None for all.

    Windows without a label for the task are left out; `rows` says which remain.

    `dataset[i]` is one window ([C, T] by modality, y 0-d); a slice or a sequence of numbers gives a
    batch ([B, C, T], y [B]). Slices of all rows are views of the memory map, which is private to
    the process: writing to them does not reach the file.
    """

    def __init__(
        self, store: Store, task: AnyTask | None = None, rows: np.ndarray | None = None
    ) -> None:
        self.store, self.task = store, task
        self.rows = None if rows is None else _numbers(rows, len(store.windows))
        count = len(store.windows)
        if self.rows is not None and self.rows.size:
            low, high = self.rows.min(), self.rows.max()
            if self.rows.ndim != 1 or low < 0 or high >= count:
                raise ValueError(
                    f"rows: found {low} to {high}, expected [n] within 0 to {count - 1}"
                )
        self.y = None
        if task is not None:
            y = task.encode(store.windows.labels, store.path, store.windows.subject)
            known = is_known(y)
            self.y = torch.from_numpy(y.astype(np.float32) if y.dtype.kind == "f" else y)
            if not known.all():
                used = np.arange(count) if self.rows is None else self.rows
                self.rows = used[known[used]]

    @cached_property
    def arrays(self) -> Batch:
        """[N, C, T] of every modality, opened when first asked for: each worker opens its own."""
        return {name: torch.from_numpy(self.store.array(name)) for name in self.store.modalities}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "arrays"}

    def __len__(self) -> int:
        return len(self.store.windows) if self.rows is None else len(self.rows)

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray | Tensor) -> Batch:
        if isinstance(index, slice) and self.rows is None and (index.step or 1) > 0:
            return self._columns(lambda array: array[index])
        if isinstance(index, Tensor | np.ndarray) and index.ndim == 0:
            index = int(_numbers(index, len(self)))
        if isinstance(index, int | np.integer):
            if not -len(self) <= index < len(self):
                raise IndexError(f"window {index} of {len(self)}")
            row = int(index) if self.rows is None else int(self.rows[index])
            return self._columns(lambda array: array[row])
        if isinstance(index, slice):
            index = range(*index.indices(len(self)))
        numbers = _numbers(index, len(self))
        outside = (numbers < -len(self)) | (numbers >= len(self))
        if outside.any():
            raise IndexError(f"window {numbers[outside][0]} of {len(self)}")
        wanted = torch.from_numpy(numbers % max(len(self), 1))
        if self.rows is not None:
            wanted = torch.from_numpy(self.rows)[wanted]
        return self._columns(lambda array: array.index_select(0, wanted))

    def __getitems__(self, indices: Sequence[int] | np.ndarray | Tensor) -> list[Batch]:
        """The windows one by one, gathered at once: what `DataLoader` and `Subset` ask for.

        Their collate function, `default_collate` or another, gets a list as from any data set.
        """
        batch = self[_numbers(indices, len(self))]
        return [{name: part[i] for name, part in batch.items()} for i in range(len(indices))]

    def _columns(self, take: Callable[[Tensor], Tensor]) -> Batch:
        batch = {name: take(array) for name, array in self.arrays.items()}
        return batch if self.y is None else batch | {"y": take(self.y)}

    def loader(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
        drop_last: bool = False,
        **options: Any,
    ) -> DataLoader[Batch]:
        """A `DataLoader` over whole batches; `options` are its own (num_workers, pin_memory, ...).

        Batches are the caller's own: those in order are copied too, so that what is done to one
        does not come back in the next epoch. `dataset[a:b]` gives views.
        """
        order: SequentialSampler | RandomSampler = (
            RandomSampler(self, generator=generator) if shuffle else SequentialSampler(self)
        )
        batches: Any = BatchSampler(order, batch_size, drop_last)
        if not shuffle:
            stop = len(self) - len(self) % batch_size if drop_last else len(self)
            batches = [slice(at, min(at + batch_size, stop)) for at in range(0, stop, batch_size)]
        # batch_size=None: the sampler's items, whole batches here, are indices as they stand.
        if not shuffle and self.rows is None:
            options.setdefault("collate_fn", _copied)
        return DataLoader(self, batch_size=None, sampler=batches, **options)


def _numbers(index: Any, count: int) -> np.ndarray:
    """Window numbers [n] int64 out of numbers or a mask [count]."""
    array = np.asarray(index)
    if array.dtype == bool:
        if array.shape != (count,):
            raise ValueError(f"mask of windows: found {array.shape}, expected ({count},)")
        return np.flatnonzero(array)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"window numbers: found {array.dtype}, expected integers or a mask")
    return array.astype(np.int64)


def _copied(batch: Batch) -> Batch:
    return {name: part.clone() for name, part in batch.items()}


def root_of(name: str, root: Path | str | None) -> Path:
    """A data set's folder: as given, or `$CLMER_DATA/<name>`.

    Raises:
        DataError: neither is there.
    """
    data = os.environ.get("CLMER_DATA")
    if root is None and not data:
        raise DataError(name, "root", "no CLMER_DATA", "a folder", "Give root or set CLMER_DATA.")
    return Path(data or "") / name if root is None else Path(root)


def explained(error: DataError, store: Store) -> DataError:
    """An error about labels or splits, with the recordings that were left out: often the cause."""
    lost = "; ".join(left_out(store.report))
    hint = f"{error.hint} Left out were {lost}.".strip() if lost else error.hint
    return DataError(error.path, error.field, error.found, error.expected, hint)


def task_of(
    dataset: Dataset,
    root: Path,
    name: str,
    columns: Mapping[str, np.ndarray] | None = None,
    *,
    scale: tuple[float, float] | None = None,
    threshold: float | None = None,
    levels: str = NONE,
    target: str = "class",
) -> AnyTask:
    """A data set's task: classes are those of the prepared windows, a scale that of all recordings.

    Args:
        dataset: one of `clmer.data.registry.DATASETS`.
        root: its folder.
        name: label column or rating task.
        columns: labels of the prepared windows; None where nothing is prepared yet (a manifest).
        scale: least and largest rating, as the user says.
        threshold: the largest rating that is low, as the user says.
        levels: where people's answers cut a manifest's ratings, see `clmer.data.levels`.
        target: "class", or "rating" for the numbers themselves.

    Raises:
        DataError: the labels cannot carry the task.
    """
    if target == "rating":
        seen = manifest.label_values(root) if dataset.rated is None else columns or {}
        rating = choose_rating(
            root, name, seen, dataset=dataset.name, rated=dataset.rated, scale=scale
        )
        if dataset.rated is None:
            manifest.check_scale(root, rating)
        return rating
    if levels != NONE and dataset.rated is not None:
        expected = f"none: ratings of {dataset.name} are split on their scale"
        raise DataError(root, "`levels`", levels, expected, "`threshold` changes where.")
    if levels != NONE:
        return choose_levels(root, name, levels, *manifest.trial_labels(root))
    if dataset.rated is None:
        missing = manifest.missing(root)
        remark = " ".join(text for column, text in missing.items() if name.startswith(column))
        seen = manifest.label_values(root)
        task = choose_task(root, name, seen, dataset=dataset.name, rated=None, scale=scale,
                           threshold=threshold, remark=remark)  # fmt: skip
        if task.edges:
            manifest.check_scale(root, task)
        if task.edges or columns is None:
            return task
    return choose_task(root, name, columns or {}, dataset=dataset.name, rated=dataset.rated,
                       scale=scale, threshold=threshold)  # fmt: skip


def load(
    name: str,
    root: Path | str | None = None,
    *,
    task: str | None = None,
    scale: tuple[float, float] | None = None,
    threshold: float | None = None,
    levels: str = NONE,
    target: str = "class",
    rows: np.ndarray | None = None,
    cache: Path | str | None = None,
    progress: bool = False,
    **options: Any,
) -> WindowDataset:
    """Prepare a data set, or open what was prepared, as a torch Dataset.

    Args:
        name: one of `clmer.data.registry.DATASETS`.
        root: its folder; None for `$CLMER_DATA/<name>`.
        task: label column or rating task; None for the data set's default (a manifest's first
            label column), "" for no labels.
        scale: least and largest rating, of a manifest; None where 1-9 shows in the values.
        threshold: the largest rating that is low, in tasks of two levels; None for the middle.
        levels: of a manifest's ratings, "median", "tercile", or these within people
            ("person-median", "person-tercile").
        target: "class", or "rating" for the numbers of a column themselves.
        rows: window numbers to use; None for all. Windows without a label are left out.
        cache: folder of the stores; None for `$CLMER_CACHE` or ~/.cache/clmer.
        progress: show a bar while preparing.
        **options: fields of `clmer.data.store.options.PrepareOptions`: modalities, window_s, ...

    Raises:
        ValueError: an unknown data set.
        ConfigError: an option out of range.
        DataError: files that cannot be used, an unknown task.
    """
    if name not in DATASETS:
        raise ValueError(f"load: found {name!r}, expected one of {', '.join(DATASETS)}")
    dataset, root, chosen = DATASETS[name], root_of(name, root), PrepareOptions(**options)
    asked: Any = {"scale": scale, "threshold": threshold, "levels": levels, "target": target}
    if task and dataset.rated is None:  # say what is wrong before the data is prepared
        task_of(dataset, root, task, **asked)
    store = prepare(dataset, root, chosen, cache=stores_folder(cache), progress=progress)
    if task == "":
        return WindowDataset(store, None, rows)
    columns = store.windows.labels
    wanted = task or (dataset.task if dataset.tasks else next(iter(columns)))
    try:
        known = task_of(dataset, root, wanted, columns, **asked)
        return WindowDataset(store, known, rows)
    except DataError as error:
        raise explained(error, store) from error
