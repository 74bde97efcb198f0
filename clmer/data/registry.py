"""The data sets: `DATASETS` is what the command line and `clmer.data.load` know."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from clmer.data.choices import NO_LEVELS
from clmer.data.levels import choose_levels
from clmer.data.manifest import bids
from clmer.data.manifest import reader as manifest
from clmer.data.manifest import table as manifest_table
from clmer.data.ratings import AnyTask, choose_rating
from clmer.data.readers import amigos, amigos_labels, deap, deap_raw, eegmat, man2
from clmer.data.recording import Recording, SharedSamples, Signal
from clmer.data.task_choice import choose_task
from clmer.data.tasks import RATING_SCALE, RATING_TASKS
from clmer.errors import DataError

#: Edges in Hz, None leaving a side open; None for no filter.
Band = tuple[float | None, float | None] | None


@dataclass(frozen=True)
class Dataset:
    """One data set and its defaults.

    Args:
        name: on the command line, and in `$CLMER_DATA/<name>`.
        read: `(root, face=...)` -> recordings, person by person.
        sources: root -> the files that recordings depend on, sorted.
        found: root -> every modality it has.
        modalities: the default ones; empty for all that are found.
        window_s: default window in seconds.
        protocol: default protocol, out of `splits.PROTOCOLS`.
        tasks: label columns and rating tasks, the default first; empty for the label columns found.
        band: pass band by signal type; a type that is absent keeps all it has.
        paper_band: the one band that `filter="paper"` puts on every channel.
        obtain: how to get the data.
        notes: what a user should know about every preparation.
        fs: rate in Hz that signals are resampled to.
        gaps: whether recordings may have samples that are not finite, and are then left out; a file
            of any other data set that holds one is refused.
        labels: whose labels `read(..., labels=)` can give, the default first; empty for one kind.
        describe: `(root, labels=...)` -> what a user should know about these recordings.
        shared: `(root)` -> recordings that share samples, as far as the files' names tell.
        rated: least and largest rating; None where each study has a scale of its own.
        refused: protocols that would mislead here, and why.
        open_file: path -> the channels of one file, where the reader derives them; None where they
            are the file's own.
        keeps: whether `read` takes `cache=`, where it keeps what it made of the files, and `only=`,
            the recordings that are wanted.
        title: what it is called, its version and where it is; "" for recordings of the user's own.
        terms: what its licence or agreement says of use, a sentence or two.
    """

    name: str
    read: Callable[..., Iterator[Recording]]
    sources: Callable[[Path], list[Path]]
    found: Callable[[Path], tuple[str, ...]]
    modalities: tuple[str, ...]
    window_s: float
    protocol: str
    tasks: tuple[str, ...]
    band: Mapping[str, Band]
    paper_band: tuple[float, float]
    obtain: str
    notes: tuple[str, ...] = ()
    fs: float = 128.0
    gaps: bool = False
    labels: tuple[str, ...] = ()
    describe: Callable[..., Sequence[str]] = lambda root, **options: ()
    shared: Callable[[Path], Sequence[SharedSamples]] = lambda root: ()
    rated: tuple[float, float] | None = RATING_SCALE
    refused: Mapping[str, str] = field(default_factory=dict)
    open_file: Callable[[Path], Signal] | None = None
    keeps: bool = False
    title: str = ""
    terms: str = ""

    @property
    def task(self) -> str:
        """The default task: the first one; "label" where the files decide."""
        return self.tasks[0] if self.tasks else "label"

    def recordings(
        self,
        root: Path,
        only: Collection[str] = (),
        *,
        face: bool,
        labels: str = "",
        cache: Path | None = None,
    ) -> Iterator[Recording]:
        """`read`, with what it takes beside the folder.

        Args:
            root: the folder.
            only: "person/trial" of those that are wanted; empty for all.
            face: read faces too.
            labels: whose labels; "" for the default.
            cache: folder beside whose stores is kept what is made of the files.

        Raises:
            DataError: files that cannot be used; no such labels.
        """
        more = {"cache": cache, "only": only} if self.keeps else {}
        found = self.read(root, face=face, **self.options(root, labels), **more)
        if not only:
            return found
        wanted = (each for each in found if f"{each.subject}/{each.trial}" in only)
        return islice(wanted, len(set(only)))  # the others need not be read

    def options(self, root: Path, labels: str = "") -> dict[str, str]:
        """What `read` and `describe` take beside the folder.

        Raises:
            DataError: the data set has no such labels.
        """
        if not labels and not self.labels:
            return {}
        chosen = labels or self.labels[0]
        if chosen not in self.labels:
            kinds = ", ".join(self.labels) or f"no `labels`: {self.name} has one kind"
            raise DataError(root, "`labels`", chosen, kinds)
        return {"labels": chosen}


DEAP_TASKS = tuple(RATING_TASKS)

DATASETS = {
    d.name: d
    for d in (
        Dataset(
            name="amigos-short",
            read=amigos.read_short,
            sources=amigos.sources,
            found=lambda root: ("physio", "eeg", "ecg", "gsr", "landmarks", "au"),
            modalities=("physio", "landmarks", "au"),
            window_s=1.0,
            protocol="trial",
            tasks=("valence", "arousal", "va4"),
            band=amigos.BAND,
            paper_band=(4.0, 45.0),
            obtain=amigos.OBTAIN,
            title=amigos.TITLE,
            terms=amigos.TERMS,
            gaps=True,
            labels=amigos_labels.LABELS,
            describe=amigos.describe_short,
        ),
        Dataset(
            name="amigos-long",
            read=amigos.read_long,
            sources=amigos.sources,
            found=lambda root: ("physio", "eeg", "ecg", "gsr", "landmarks", "au"),
            modalities=("physio", "landmarks", "au"),
            window_s=amigos.PIECE_S,
            protocol="subject",
            tasks=("va4", "valence", "arousal"),
            band=amigos.BAND,
            paper_band=(4.0, 45.0),
            obtain=amigos.OBTAIN,
            title=amigos.TITLE,
            terms=amigos.TERMS,
            gaps=True,
            labels=amigos_labels.LABELS,
            describe=amigos.describe_long,
            refused={
                "trial": "pieces of one viewing of a video would be on both sides",
                "block": "a recording is one piece of 5 s",
            },
        ),
        Dataset(
            name="deap",
            read=deap.read,
            sources=deap.sources,
            found=lambda root: ("physio", "eeg", "landmarks", "au"),
            modalities=("physio", "landmarks", "au"),
            window_s=1.0,
            protocol="trial",
            tasks=DEAP_TASKS,
            band=deap.BAND,
            paper_band=(4.0, 45.0),
            obtain=deap.OBTAIN,
            title=deap.TITLE,
            terms=deap.TERMS,
        ),
        Dataset(
            name="deap-raw",
            read=deap_raw.read,
            sources=deap_raw.sources,
            found=lambda root: ("physio", "eeg", "landmarks", "au"),
            modalities=("physio", "landmarks", "au"),
            window_s=1.0,
            protocol="trial",
            tasks=DEAP_TASKS,
            band=deap_raw.BAND,
            paper_band=(4.0, 45.0),
            obtain=deap_raw.OBTAIN,
            title=deap_raw.TITLE,
            terms=deap.TERMS,
            notes=deap_raw.NOTES,
            open_file=deap_raw.open_file,
        ),
        Dataset(
            name="eegmat",
            read=eegmat.read,
            sources=eegmat.sources,
            found=lambda root: ("eeg", "ecg"),
            modalities=("eeg", "ecg"),
            window_s=5.0,
            protocol="subject",
            tasks=("label",),
            band=eegmat.BAND,
            paper_band=(4.0, 45.0),
            obtain=eegmat.OBTAIN,
            title=eegmat.TITLE,
            terms=eegmat.TERMS,
            notes=eegmat.NOTES,
        ),
        Dataset(
            name="man2",
            read=man2.read,
            sources=man2.sources,
            found=lambda root: ("physio", "eeg", "landmarks", "au", "gaze"),
            modalities=("physio", "landmarks", "au"),
            window_s=1.0,
            protocol="subject",
            tasks=("label",),
            band=man2.BAND,
            paper_band=(1.0, 50.0),
            obtain=man2.OBTAIN,
            title=man2.TITLE,
            terms=man2.TERMS,
            notes=man2.NOTES,
        ),
        Dataset(
            name="manifest",
            read=manifest.read,
            sources=manifest.sources,
            found=manifest.found,
            modalities=(),
            window_s=1.0,
            protocol="subject",
            tasks=(),
            band=manifest.BAND,
            paper_band=(4.0, 45.0),
            obtain=manifest_table.OBTAIN,
            describe=manifest.describe,
            shared=manifest.shared,
            rated=None,
            keeps=True,
        ),
    )
}
#: A BIDS tree is a manifest by other means.
DATASETS["bids"] = replace(DATASETS["manifest"], name="bids", obtain=bids.OBTAIN)


def task_of(
    dataset: Dataset,
    root: Path,
    name: str,
    columns: Mapping[str, np.ndarray] | None = None,
    *,
    scale: tuple[float, float] | None = None,
    threshold: float | None = None,
    levels: str = NO_LEVELS,
    target: str = "class",
) -> AnyTask:
    """A data set's task: classes are those of the prepared windows, a scale that of all recordings.

    Args:
        dataset: one of `DATASETS`.
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
    if levels != NO_LEVELS and dataset.rated is not None:
        expected = f"none: ratings of {dataset.name} are split on their scale"
        raise DataError(root, "`levels`", levels, expected, "`threshold` changes where.")
    if levels != NO_LEVELS:
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
