"""Who is trained on, who is validated on, who is tested: the protocols.

| protocol | groups kept whole |
|---|---|
| `subject`, `loso` | people (those who watched together count as one); `loso` tests one at a time |
| `trial` | recordings, every person on both sides |
| `stimulus` | videos or tasks: all viewers of one are on one side |
| `block` | contiguous time blocks of every recording, a gap of one window between parts |
| `shuffled` | nothing: the literature's random windows, whose scores are inflated |

Every choice is drawn from the seed alone, so that any process draws the same splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from clmer.data.store.store import Windows
from clmer.errors import DataError

PROTOCOLS = ("subject", "loso", "trial", "stimulus", "block", "shuffled")

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


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of one training run.

    Args:
        name: "subject 1/6".
        train, val, test: int64 rows of `Windows`, ascending, disjoint.
        shared_groups: groups with windows in more than one part; 0 unless `shuffled`.
        note: what scores under this protocol mean, which class a part lacks, what is left out.
    """

    name: str
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    shared_groups: int
    note: str


def make_splits(
    windows: Windows,
    y: np.ndarray,
    protocol: str,
    *,
    folds: int = 6,
    repeats: int | None = None,
    seed: int = 0,
    source: Path | str = "prepared windows",
    shared: Sequence[tuple[str, str]] = (),
    classes: Sequence[str] = (),
) -> list[Split]:
    """Split windows under a protocol.

    Split r tests fold r mod `folds` and validates on the next one, so that after `folds` splits
    everyone was tested once; every further round of `folds` splits draws the folds anew.

    Args:
        windows: N windows.
        y: [N] int class of each; windows of class -1 have none and are in no part.
        protocol: one of `PROTOCOLS`.
        folds: parts that the groups are dealt into, at least 3; under `loso` one of `folds` parts
            of the other people is for validation.
        repeats: number of splits; None for everyone once (5 under `shuffled`).
        seed: of every draw.
        source: named in errors.
        shared: pairs of recordings that hold the same samples (`clmer.data.duplicates`): they
            stay on one side, with all that the protocol keeps together with them.
        classes: their names, for messages.

    Returns:
        `repeats` splits.

    Raises:
        DataError: the data cannot carry the protocol.
    """
    if protocol not in PROTOCOLS:
        raise DataError(source, "--protocol", protocol, f"one of {', '.join(PROTOCOLS)}")
    if folds < PARTS:
        raise DataError(
            source,
            "--folds",
            folds,
            f"at least {PARTS}",
            "Training, validation and test need one each.",
        )
    if repeats is not None and repeats < 1:
        raise DataError(source, "--repeats", repeats, "at least 1")
    y = np.asarray(y, dtype=np.int64)
    if y.shape != (len(windows),):
        raise ValueError(
            f"make_splits: y {y.shape}, expected ({len(windows)},): one class a window"
        )
    known = np.flatnonzero(y >= 0)
    if len(known) < len(y):
        splits = make_splits(
            _taken(windows, known),
            y[known],
            protocol,
            folds=folds,
            repeats=repeats,
            seed=seed,
            source=source,
            shared=shared,
            classes=classes,
        )
        return [
            replace(s, train=known[s.train], val=known[s.val], test=known[s.test]) for s in splits
        ]
    if len(np.unique(y)) < 2:
        raise DataError(
            source, "classes", len(np.unique(y)), "at least 2", "Choose another --task."
        )
    draw = _Draw(protocol, seed, str(source), classes)
    if protocol == "shuffled":
        return _shuffled(windows, y, draw, repeats or 5)
    if protocol == "block":
        if shared:
            raise draw.error(
                f"the same samples in {shared[0][0]} and {shared[0][1]}",
                "recordings that do not overlap",
                "Correct start_s and stop_s, or choose another --protocol: it keeps them together.",
            )
        draw.note += _recordings_tell(windows, y)
        return _block(windows, y, draw, folds, repeats or folds)
    groups = {"trial": windows.recording, "stimulus": windows.stimulus}.get(protocol, windows.group)
    groups, joined = united(groups, windows.recording, shared)
    if joined:
        draw.note += f" {joined} recordings share samples with others and stay on their side."
    if protocol == "trial":
        draw.note += _check_trial(windows, y, draw)
    if protocol == "loso":
        return _loso(groups, y, draw, folds, repeats)
    _check_groups(groups, y, draw, folds)
    return _rotate(groups, y, draw, folds, repeats or folds)


def united(
    groups: np.ndarray, recording: np.ndarray, shared: Sequence[tuple[str, str]]
) -> tuple[np.ndarray, int]:
    """Groups [N], those of recordings that share samples made one; and how many such there are."""
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


def _taken(windows: Windows, rows: np.ndarray) -> Windows:
    """Some of the windows."""
    return replace(
        windows,
        subject=windows.subject[rows],
        group=windows.group[rows],
        recording=windows.recording[rows],
        stimulus=windows.stimulus[rows],
        start_s=windows.start_s[rows],
        labels={name: values[rows] for name, values in windows.labels.items()},
    )


class _Draw:
    """A protocol's name and note, where errors point, and random seeds that follow from one."""

    def __init__(self, protocol: str, seed: int, source: str, classes: Sequence[str] = ()) -> None:
        self.protocol, self.seed, self.source, self.note = protocol, seed, source, _NOTES[protocol]
        self.classes = classes

    def name_of(self, label: int) -> str:
        """What a class is called."""
        return self.classes[label] if len(self.classes) else str(label)

    def state(self, *path: int) -> int:
        """A 32-bit seed for one draw."""
        words = [self.seed, crc32(self.protocol.encode()), *path]
        return int(np.random.SeedSequence(words).generate_state(1)[0])

    def error(self, found: object, expected: object, hint: str) -> DataError:
        return DataError(self.source, f"--protocol {self.protocol}", found, expected, hint)


def _check_groups(groups: np.ndarray, y: np.ndarray, draw: _Draw, need: int) -> None:
    what = {"subject": "people", "loso": "people", "trial": "recordings", "stimulus": "stimuli"}[
        draw.protocol
    ]
    counts = {what: len(np.unique(groups))}
    counts |= {
        f"{what} with class {draw.name_of(k)}": len(np.unique(groups[y == k])) for k in np.unique(y)
    }
    for name, count in counts.items():
        if count < need:
            folds = "Lower --folds, choose" if count >= PARTS else "Choose"
            hint = f"{folds} another --protocol, or record more."
            raise draw.error(f"{count} {name}", f"at least {need}", hint)


def _check_trial(windows: Windows, y: np.ndarray, draw: _Draw) -> str:
    # A person's only recording of a class is tested by a model that knows the person from the other
    # classes alone: recognising people then predicts the opposite class.
    rows = np.stack([np.unique(windows.recording, return_inverse=True)[1], y])
    _, first = np.unique(rows, axis=1, return_index=True)  # one entry a (recording, class)
    people, classes = windows.subject[first], y[first]
    names, person = np.unique(people, return_inverse=True)
    labels, label = np.unique(classes, return_inverse=True)
    table = np.zeros((len(names), len(labels)), dtype=np.int64)  # recordings by person and class
    np.add.at(table, (person, label), 1)
    expected = "at least two recordings of a class a person"
    hint = "Person identity would predict the opposite class: use --protocol block or subject."
    poor = names[table.max(axis=1) < 2]
    if len(poor):
        some = ", ".join(poor[:5]) + (", ..." if len(poor) > 5 else "")
        raise draw.error(f"one recording a class for {some}", expected, hint)
    alone = (table == 1).sum(axis=0)
    for k in np.flatnonzero(2 * alone > table.sum(axis=0)):
        raise draw.error(
            f"one recording of class {draw.name_of(labels[k])} for {alone[k]} of {len(names)} "
            "people",
            expected,
            hint,
        )
    if alone.any():
        return f" {alone.sum()} recordings are their person's only one of a class."
    return ""


def _recordings_tell(windows: Windows, y: np.ndarray) -> str:
    pairs = np.stack([np.unique(windows.recording, return_inverse=True)[1], y])
    count = len(np.unique(windows.recording))
    if len(np.unique(pairs, axis=1).T) > count:
        return ""
    return (
        " Every recording has one class, so a model can score by recognising the recording: "
        "compare with its score on permuted labels."
    )


def _deal(groups: np.ndarray, y: np.ndarray, draw: _Draw, folds: int, turn: int) -> np.ndarray:
    """The fold of every window: groups whole, classes even.

    Of ten deals the first that has every class in every fold, or else the one that lacks least.
    """
    best, most = np.empty(0, dtype=np.int64), -1
    for attempt in range(10):
        dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=draw.state(turn, attempt))
        fold = np.empty(len(y), dtype=np.int64)
        for k, (_, rows) in enumerate(dealer.split(y, y, groups)):
            fold[rows] = k
        filled = len(np.unique(np.stack([fold, y]), axis=1).T)
        if filled > most:
            best, most = fold, filled
        if filled == folds * len(np.unique(y)):
            break
    return best


def _rotate(
    groups: np.ndarray, y: np.ndarray, draw: _Draw, folds: int, repeats: int
) -> list[Split]:
    splits = []
    for r in range(repeats):
        if r % folds == 0:
            fold = _deal(groups, y, draw, folds, r // folds)
        test, val = fold == r % folds, fold == (r + 1) % folds
        splits.append(_split(draw, r, repeats, groups, y, ~(test | val), val, test))
    return splits


def _loso(
    groups: np.ndarray, y: np.ndarray, draw: _Draw, folds: int, repeats: int | None
) -> list[Split]:
    # One person alone would choose epochs by chance: 1/folds of the others validate.
    _check_groups(groups, y, draw, PARTS)
    names = np.unique(groups)
    parts = min(folds, len(names) - 1)
    repeats = repeats or len(names)
    splits = []
    for r in range(repeats):
        test = groups == names[r % len(names)]
        val = np.zeros(len(y), dtype=bool)
        val[~test] = _deal(groups[~test], y[~test], draw, parts, r) == 0
        splits.append(_split(draw, r, repeats, groups, y, ~(test | val), val, test))
    return splits


def _block(windows: Windows, y: np.ndarray, draw: _Draw, folds: int, repeats: int) -> list[Split]:
    start, length = windows.start_s, windows.window_s
    recordings = [np.flatnonzero(windows.recording == r) for r in np.unique(windows.recording)]
    for rows in recordings:
        if len(rows) < folds:
            raise draw.error(
                f"{len(rows)} windows in {windows.recording[rows[0]]}",
                f"at least {folds}, one a fold",
                "Lower --folds, --window or --stride.",
            )
    splits = []
    for r in range(repeats):
        if r % folds == 0:
            rng = np.random.default_rng(draw.state(r // folds))
            fold = np.empty(len(y), dtype=np.int64)
            for rows in recordings:
                order = rows[np.argsort(start[rows], kind="stable")]
                # The first block's fold differs: time within a recording must not tell the part.
                fold[order] = (
                    np.arange(len(rows)) * folds // len(rows) + rng.integers(folds)
                ) % folds
        part = np.select([fold == r % folds, fold == (r + 1) % folds], [0, 1], 2)
        for rows in recordings:
            _open_gaps(part, rows, start, length)
        test, val, train = (part == k for k in range(PARTS))
        cuts = np.char.add(np.char.add(windows.recording.astype(str), "#"), fold.astype(str))
        splits.append(_split(draw, r, repeats, cuts, y, train, val, test))
    return splits


def _open_gaps(part: np.ndarray, rows: np.ndarray, start: np.ndarray, length: float) -> None:
    """Drop (-1) windows less than a window away from a part that counts more (a lower number)."""
    for precious in (0, 1):
        keep = rows[part[rows] == precious]
        for row in rows[part[rows] > precious]:
            # Windows [s, s + w) and [t, t + w) with a gap of w between them: |s - t| >= 2 w.
            if len(keep) and np.abs(start[keep] - start[row]).min() < 2 * length - 1e-9:
                part[row] = -1


def _shuffled(windows: Windows, y: np.ndarray, draw: _Draw, repeats: int) -> list[Split]:
    count = len(y)
    held = round(0.15 * count)
    if held < 1:
        raise draw.error(f"{count} windows", "at least 4", "Lower --window or record more.")
    splits = []
    for r in range(repeats):
        order = np.random.default_rng(draw.state(r)).permutation(count)
        parts = np.zeros((PARTS, count), dtype=bool)
        for mask, rows in zip(
            parts, np.split(order, [count - 2 * held, count - held]), strict=True
        ):
            mask[rows] = True
        splits.append(_split(draw, r, repeats, windows.recording, y, *parts))
    return splits


def _split(
    draw: _Draw,
    r: int,
    repeats: int,
    groups: np.ndarray,
    y: np.ndarray,
    train: np.ndarray,
    val: np.ndarray,
    test: np.ndarray,
) -> Split:
    name, note, labels = f"{draw.protocol} {r + 1}/{repeats}", draw.note, np.unique(y)
    for part, mask in (("training", train), ("validation", val), ("test", test)):
        lacking = np.setdiff1d(labels, y[mask])
        if not mask.any() or (part == "training" and len(lacking)):
            raise draw.error(
                f"class {draw.name_of(lacking[0])} missing from {part} in split {r + 1}",
                "every class there",
                "Another --seed or fewer --folds can help; otherwise choose another --protocol.",
            )
        if len(lacking):
            note += f" The {part} part lacks class {', '.join(map(draw.name_of, lacking))}."
    left_out = len(y) - int((train | val | test).sum())
    if left_out:
        note += f" {left_out} of {len(y)} windows lie in the gaps and are left out."
    sets = [set(groups[mask].tolist()) for mask in (train, val, test)]
    shared = (sets[0] & sets[1]) | (sets[0] & sets[2]) | (sets[1] & sets[2])
    rows = [np.flatnonzero(mask).astype(np.int64) for mask in (train, val, test)]
    return Split(name, rows[0], rows[1], rows[2], len(shared), note)
