"""`load`: a prepared data set as a torch Dataset, for any `DataLoader` and in whole slices.

    import clmer.data

    dataset = clmer.data.load("deap", "/data/DEAP", task="valence")
    dataset  # people, recordings, windows, classes, modalities, at a glance
    for split in dataset.split("subject"):
        for batch in split.train.loader(64, shuffle=True):
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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler
from torch.utils.data import Dataset as TorchDataset

from clmer.data.choices import NO_LEVELS
from clmer.data.ratings import AnyTask
from clmer.data.registry import DATASETS
from clmer.data.registry import task_of as task_of
from clmer.data.splits import PROTOCOLS, Split, make_splits, note_of, splits_of_file
from clmer.data.store.options import PrepareOptions
from clmer.data.store.prepare import prepare
from clmer.data.store.store import Store
from clmer.data.store.summary import left_out, overview
from clmer.data.store.writer import stores_folder
from clmer.data.tasks import is_known
from clmer.errors import ConfigError, DataError
from clmer.storage import near_folder

Batch = dict[str, Tensor]
_DEFAULTS = PrepareOptions()


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

    def __repr__(self) -> str:
        default, refused = self._protocols
        possible = dict.fromkeys((default, *PROTOCOLS))
        protocols = {each: note_of(each) for each in possible if each not in refused}
        return overview(self.store, self.task, self.rows, self.targets, protocols)

    @property
    def _protocols(self) -> tuple[str, Mapping[str, str]]:
        """The data set's default protocol, and why some are refused."""
        source = DATASETS.get(self.store.parameters["dataset"])
        return (source.protocol, source.refused) if source else (PROTOCOLS[0], {})

    @property
    def people(self) -> tuple[str, ...]:
        """Whose windows there are, sorted."""
        return tuple(np.unique(self._used(self.store.windows.subject)).tolist())

    @property
    def recordings(self) -> tuple[str, ...]:
        """The recordings that have a window, "person/trial", sorted."""
        return tuple(np.unique(self._used(self.store.windows.recording)).tolist())

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, `classes[y]` that of a window; none without a task of classes."""
        return () if self.task is None else tuple(self.task.classes)

    @property
    def targets(self) -> Tensor | None:
        """[len(self)] y of each window in order; None without a task."""
        return None if self.y is None else torch.as_tensor(self._used(self.y.numpy()))

    def _used(self, column: np.ndarray) -> np.ndarray:
        """A column of the store, as far as its windows are used."""
        return column if self.rows is None else column[self.rows]

    def split(
        self,
        protocol: str | Path = "",
        *,
        folds: int = 6,
        repeats: int | None = None,
        seed: int = 0,
    ) -> list[DatasetSplit]:
        """Training, validation and test windows under a protocol, as `clmer train` divides them.

        Args:
            protocol: one of `clmer.data.splits.PROTOCOLS`; "" for the data set's default; a path
                for the splits of a table (columns split, subject, part).
            folds: folds that the groups are assigned to, at least 3.
            repeats: number of splits; None for everyone tested once.
            seed: of every draw.

        Raises:
            ConfigError: an unknown protocol, or no task.
            DataError: the windows cannot carry the protocol.
        """
        if self.task is None or self.y is None:
            raise ConfigError(
                "`task`: found none, expected one: splits are balanced by its classes"
            )
        default, refused = self._protocols
        chosen = protocol or default
        strata, classes = self.task.strata(self.y.numpy())
        y = np.full(len(strata), -1, dtype=np.int64)
        used = slice(None) if self.rows is None else self.rows
        y[used] = strata[used]
        pairs = [(pair["one"], pair["other"]) for pair in self.store.report["shared_samples"]]
        common: dict[str, Any] = {"folds": folds, "seed": seed, "shared": pairs, "classes": classes}
        windows = self.store.windows
        if isinstance(chosen, Path):
            splits = splits_of_file(windows, y, chosen, default, **common)
        elif chosen not in PROTOCOLS:
            known = ", ".join(PROTOCOLS)
            raise ConfigError(f"`protocol`: found {chosen!r}, expected one of {known}, or a Path")
        elif chosen in refused:
            raise ConfigError(f"`protocol={chosen}`: refused, {refused[chosen]}")
        else:
            splits = make_splits(windows, y, chosen, repeats=repeats, **common)
        return [self._divided(each) for each in splits]

    def _divided(self, split: Split) -> DatasetSplit:
        parts = (split.train, split.val, split.test)
        train, val, test = (WindowDataset(self.store, self.task, rows) for rows in parts)
        return DatasetSplit(split.name, train, val, test, split.note)

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


@dataclass(frozen=True, eq=False)
class DatasetSplit:
    """One division of the windows.

    Args:
        name: "subject 1/6".
        train, val, test: their windows; no window is in two of them.
        note: what scores on `test` mean.
    """

    name: str
    train: WindowDataset
    val: WindowDataset
    test: WindowDataset
    note: str

    def __repr__(self) -> str:
        parts = (f"{name} {len(getattr(self, name))}" for name in ("train", "val", "test"))
        return f"{self.name}: {', '.join(parts)} windows"


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
        hint = "Give `root` or set CLMER_DATA."
        raise DataError(name, "`root`", "no CLMER_DATA", "a folder", hint)
    folder = Path(data or "") / name if root is None else Path(root)
    if not folder.is_dir():
        raise DataError(folder, "`root`", "no folder", "the data's", near_folder(folder))
    return folder


def explained(error: DataError, store: Store) -> DataError:
    """An error about labels or splits, with the recordings that were left out: often the cause."""
    lost = "; ".join(left_out(store.report))
    hint = f"{error.hint} Left out were {lost}.".strip() if lost else error.hint
    return DataError(error.path, error.field, error.found, error.expected, hint)


def load(
    name: str,
    root: Path | str | None = None,
    *,
    task: str | None = None,
    scale: tuple[float, float] | None = None,
    threshold: float | None = None,
    levels: str = NO_LEVELS,
    target: str = "class",
    rows: np.ndarray | None = None,
    modalities: Sequence[str] = (),
    window_s: float | None = None,
    stride_s: float | None = None,
    filter: str = _DEFAULTS.filter,
    bridge_s: float = _DEFAULTS.bridge_s,
    fps: float = _DEFAULTS.fps,
    face: str = _DEFAULTS.face,
    labels: str = "",
    mobilevit: str = "",
    cache: Path | str | None = None,
    progress: bool = False,
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
        modalities: names of signals and of the face's series; empty for the data set's default.
        window_s: length of a window in seconds; None for the data set's default.
        stride_s: seconds from window to window; None for the window, without overlap.
        filter: "type" filters by signal type, "paper" puts one band on every channel, "causal"
            filters by type from past samples alone.
        bridge_s: seconds of lost samples at most that are interpolated; 0 for none.
        fps: frames per second that the face is resampled to.
        face: "raw" keeps landmarks in the camera's frame, "aligned" removes the head's motion.
        labels: whose labels, out of the data set's `labels`; "" for its default.
        mobilevit: folder of MobileViT-S's weights; "" for random ones.
        cache: folder of the stores; None for `$CLMER_CACHE` or ~/.cache/clmer.
        progress: show a bar while preparing.

    Returns:
        The windows; `clmer.data.store.options.PrepareOptions` has more on how they are made.

    Raises:
        ValueError: an unknown data set.
        ConfigError: an option out of range.
        DataError: files that cannot be used, an unknown task.
    """
    if name not in DATASETS:
        raise ValueError(f"load: found {name!r}, expected one of {', '.join(DATASETS)}")
    dataset, root = DATASETS[name], root_of(name, root)
    chosen = PrepareOptions(
        modalities=cast(tuple[str, ...], modalities),  # which are made a tuple there
        window_s=window_s,
        stride_s=stride_s,
        filter=filter,
        bridge_s=bridge_s,
        fps=fps,
        face=face,
        labels=labels,
        mobilevit=mobilevit,
    )
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
