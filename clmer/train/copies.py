"""Recordings that share samples: on one side of every split, or refused where two people do."""

from __future__ import annotations

from pathlib import Path

from clmer.data.store.store import Store
from clmer.errors import DataError


def shared_recordings(store: Store, root: Path, protocol: str) -> list[tuple[str, str]]:
    """Pairs of recordings that hold the same samples; none where the protocol keeps no group.

    Raises:
        DataError: they are of two people, one of whom did not give them; or one file has separate
            parts for two people who are not in one group.
    """
    if protocol == "shuffled":
        return []
    windows = store.windows
    pairs = [(pair["one"], pair["other"]) for pair in store.report["shared_samples"]]
    people = dict(zip(windows.recording.tolist(), windows.subject.tolist(), strict=True))
    groups = dict(zip(windows.recording.tolist(), windows.group.tolist(), strict=True))
    for pair in store.report["shared_samples"]:
        one, other = pair["one"], pair["other"]
        if one in people and other in people and people[one] != people[other]:
            raise DataError(
                root,
                "recordings",
                f"the same samples in {one} and {other} ({pair['modality']})",
                "recordings of their own for two people",
                "One file stands under two people, or was copied: correct the table. Otherwise a "
                "model would be tested on what it was trained on.",
            )
    for pair in store.report["shared_files"]:
        one, other = pair["one"], pair["other"]
        if one in groups and other in groups and groups[one] != groups[other]:
            raise DataError(
                root,
                "path",
                f"{pair['file']} in {one} and {other} ({pair['modality']})",
                "files of their own for two people",
                "Is it one person under two names, or a path that was not changed? Where one file "
                "holds two people after each other, give both the same name in the column group.",
            )
    return pairs
