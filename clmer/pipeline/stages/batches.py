"""Which windows stand together in a batch of stage 1, and which window is another's neighbour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: One epoch's batches of rows, drawn from a generator on the rows' device.
Batches = Callable[[torch.Generator], Iterator[Tensor]]
#: People in a batch by person; a batch of 64 has 16 windows of each.
PEOPLE = 4


@dataclass(frozen=True, eq=False)
class Shuffled:
    """All rows in random order, `size` at a time.

    Args:
        rows: [N].
        size: of a batch; the last one may be smaller.
    """

    rows: Tensor
    size: int

    def __call__(self, generator: torch.Generator) -> Iterator[Tensor]:
        """One epoch."""
        rows = self.rows
        yield from rows[torch.randperm(len(rows), generator=generator, device=rows.device)].split(
            self.size
        )


@dataclass(frozen=True, eq=False)
class ByPerson:
    """Batches made of groups of `group` windows of one person each.

    In each epoch a person's windows are drawn without replacement; what is left of them after whole
    groups waits for another epoch's draw. People with fewer windows than a group share theirs.

    Args:
        rows: [N].
        people: [N] a number for whose row each is.
        size: rows of a batch, several groups.
        group: rows of a group.
    """

    rows: Tensor
    people: Tensor
    size: int
    group: int

    def __call__(self, generator: torch.Generator) -> Iterator[Tensor]:
        """One epoch: [groups x group] rows at a time, a group's rows side by side."""
        rows = self.rows
        order = torch.randperm(len(rows), generator=generator, device=rows.device)
        shuffled, people = rows[order], self.people[order]
        counts = torch.bincount(people)
        few = counts[people] < self.group
        people = people.masked_fill(few, len(counts))  # they share one number
        parts = [shuffled[people == person] for person in people.unique()]
        groups = [part for each in parts for part in each.split(self.group)]
        whole = torch.stack([part for part in groups if len(part) == self.group])
        drawn = torch.randperm(len(whole), generator=generator, device=rows.device)
        for part in whole[drawn].split(self.size // self.group):
            yield part.flatten()


def by_person(
    rows: np.ndarray, people: np.ndarray | None, size: int, device: torch.device
) -> ByPerson | None:
    """Batches of `PEOPLE` people's windows, drawn from the rows.

    Args:
        rows: [N] to draw from.
        people: [all windows] whose each is; None where nobody knows.
        size: of a batch.
        device: where the rows go.

    Returns:
        None where negatives can only come from all windows: people are not known or there is one,
        a batch is too small for `PEOPLE` groups of two, or fewer than two people have a group's
        windows.
    """
    group = size // PEOPLE
    if people is None or group < 2:
        return None
    _, numbers, counts = np.unique(people[rows], return_inverse=True, return_counts=True)
    if (counts >= group).sum() < 2:
        return None
    own = torch.from_numpy(rows).to(device), torch.from_numpy(numbers).to(device)
    return ByPerson(*own, group * PEOPLE, group)


def neighbours(recordings: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The window before and the one after each, of the same recording and among `rows`.

    Args:
        recordings: [all windows] whose window each is, in the order of time within a recording.
        rows: [N] those that count.

    Returns:
        [all windows, 2] row numbers; where one is missing the other stands for it, and where both
        are the window itself.
    """
    own = np.arange(len(recordings))
    counts = np.zeros(len(recordings) + 1, dtype=bool)
    counts[rows] = True  # the last one stands for what lies past both ends
    found = np.empty((len(recordings), 2), dtype=np.int64)
    for column, step in enumerate((-1, 1)):
        near = own + step
        inside = (near >= 0) & (near < len(recordings))
        near = np.where(inside, near, own)
        fits = inside & counts[near] & (recordings[near] == recordings)
        found[:, column] = np.where(fits, near, own)
    alone = found == own[:, None]
    return np.where(alone, found[:, ::-1], found)
