"""The protocols: which groups are never split across training, validation and test.

| protocol | groups |
|---|---|
| `subject`, `loso` | people (those who watched together count as one); `loso` tests one at a time |
| `trial` | recordings, every person on both sides |
| `stimulus` | videos or tasks: all viewers of one are on one side |
| `block` | contiguous time blocks of every recording, a gap of one window between parts |
| `shuffled` | none: the literature's random windows, whose scores are inflated |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from clmer.errors import DataError

if TYPE_CHECKING:
    from clmer.data.store.store import Windows

#: Training, validation and test.
PARTS = 3

_NOTES = {
    "subject": "No person is in two parts.",
    "loso": "One person is tested at a time; no person is in two parts.",
    "trial": "No recording is in two parts; people are: scores do not hold for new people.",
    "stimulus": "No stimulus is in two parts; people are: scores do not hold for new people.",
    "block": "Parts are separate stretches of the same recordings, a window apart: "
    "scores do not hold for new recordings, nor for new people.",
    "shuffled": "INFLATED: windows of one recording are in training and in test, so a model scores "
    "by recognising the recording. Only for comparison with papers that did the same.",
}


def note_of(name: str) -> str:
    """What scores under a protocol mean."""
    return _NOTES[name]


class Protocol:
    """A protocol's name and note, where errors point, and the random seeds that follow from a seed.

    Args:
        name: one of `clmer.data.choices.PROTOCOLS`.
        seed: of every draw.
        source: named in errors.
        classes: their names, for messages.
    """

    def __init__(self, name: str, seed: int, source: str, classes: Sequence[str] = ()) -> None:
        self.name, self.seed, self.source, self.note = name, seed, source, _NOTES[name]
        self.classes = classes

    def class_name(self, label: int) -> str:
        """What a class is called."""
        return self.classes[label] if len(self.classes) else str(label)

    def random_seed(self, *path: int) -> int:
        """A 32-bit seed for one draw."""
        words = [self.seed, crc32(self.name.encode()), *path]
        return int(np.random.SeedSequence(words).generate_state(1)[0])

    def error(self, found: object, expected: object, hint: str) -> DataError:
        """What to say where the data cannot carry the protocol."""
        return DataError(self.source, f"`protocol={self.name}`", found, expected, hint)


def joined_groups(
    groups: np.ndarray, recording: np.ndarray, shared: Sequence[tuple[str, str]]
) -> tuple[np.ndarray, int]:
    """Groups [N], those of recordings that share samples joined; and how many such there are."""
    if not shared:
        return groups, 0
    leader: dict[str, str] = {}

    def lead(group: str) -> str:
        while group in leader:
            group = leader[group]
        return group

    of_recording: dict[str, str] = dict(zip(recording.tolist(), groups.tolist(), strict=True))
    pairs = [pair for pair in shared if pair[0] in of_recording and pair[1] in of_recording]
    for one, other in pairs:
        first, second = sorted((lead(of_recording[one]), lead(of_recording[other])))
        if first != second:
            leader[second] = first
    return np.array([lead(group) for group in groups.tolist()]), len({r for p in pairs for r in p})


def check_groups(groups: np.ndarray, y: np.ndarray, protocol: Protocol, need: int) -> None:
    """Refuse data with fewer groups than the protocol needs, in all or of a class.

    Raises:
        DataError: there are fewer.
    """
    words = {"trial": "recordings", "stimulus": "stimuli"}
    what = words.get(protocol.name, "people")
    counts = {what: len(np.unique(groups))}
    counts |= {
        f"{what} with class {protocol.class_name(k)}": len(np.unique(groups[y == k]))
        for k in np.unique(y)
    }
    for name, count in counts.items():
        if count < need:
            hint = "Choose another `protocol`, or record more."
            raise protocol.error(f"{count} {name}", f"at least {need}", hint)


def check_trial(windows: Windows, y: np.ndarray, protocol: Protocol) -> str:
    """Refuse people with a single recording per class; what to say of those that are left.

    Raises:
        DataError: a person has no class with two recordings, or most have one of some class.
    """
    # A person's only recording of a class is tested by a model that knows the person from the other
    # classes alone: recognising people then predicts the opposite class.
    rows = np.stack([np.unique(windows.recording, return_inverse=True)[1], y])
    _, first = np.unique(rows, axis=1, return_index=True)  # one entry per (recording, class)
    people, classes = windows.subject[first], y[first]
    names, person = np.unique(people, return_inverse=True)
    labels, label = np.unique(classes, return_inverse=True)
    table = np.zeros((len(names), len(labels)), dtype=np.int64)  # recordings by person and class
    np.add.at(table, (person, label), 1)
    expected = "at least two recordings of a class per person"
    hint = (
        "Person identity would predict the opposite class: use `protocol=block` or "
        "`protocol=subject`."
    )
    poor = names[table.max(axis=1) < 2]
    if len(poor):
        some = ", ".join(poor[:5]) + (", ..." if len(poor) > 5 else "")
        raise protocol.error(f"one recording per class for {some}", expected, hint)
    alone = (table == 1).sum(axis=0)
    for k in np.flatnonzero(2 * alone > table.sum(axis=0)):
        one = f"one recording of class {protocol.class_name(labels[k])}"
        raise protocol.error(f"{one} for {alone[k]} of {len(names)} people", expected, hint)
    if alone.any():
        return f" {alone.sum()} recordings are their person's only one of a class."
    return ""


def recognition_note(windows: Windows, y: np.ndarray) -> str:
    """What to say where recognising a recording tells its class; "" where it does not."""
    pairs = np.stack([np.unique(windows.recording, return_inverse=True)[1], y])
    count = len(np.unique(windows.recording))
    if len(np.unique(pairs, axis=1).T) > count:
        return ""
    return (
        " Every recording has one class, so a model can score by recognising the recording: "
        "compare with its score on permuted labels."
    )
