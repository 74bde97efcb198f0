"""The page that `inspect` makes of a data set; it holds everything itself, pictures included."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clmer.data.choices import NO_LEVELS
from clmer.data.face.windows import FACE_TOKENS
from clmer.data.recording import SYNTHETIC_MARKER
from clmer.data.registry import DATASETS, Dataset
from clmer.data.splits import PROTOCOLS, make_splits
from clmer.data.store.dataset import WindowDataset, load, root_of
from clmer.data.store.options import PrepareOptions
from clmer.data.store.summary import report_lines
from clmer.data.synthetic import WRITERS
from clmer.data.tasks import is_known
from clmer.errors import ConfigError, DataError
from clmer.options import flags, in_flags
from clmer.pipeline.config import Config
from clmer.report.figures import STYLE
from clmer.report.html import Section, page, table
from clmer.report.inspection import figures
from clmer.report.inspection.people import STYLE as people_style
from clmer.report.inspection.people import chooser, first_recordings
from clmer.text import wrapped

PRIVATE = (
    "This page was made from recordings of people. It can show the outlines of faces, or data that "
    "a data set's agreement (DEAP, AMIGOS, ...) forbids to pass on. Keep it private: do not "
    "commit, upload or publish it."
)
GENERATED = "This page was made from generated recordings: it shows no people."
_PARTS = ("train", "val", "test")


def inspect(
    name: str,
    root: Path | None = None,
    *,
    task: str | None = None,
    scale: tuple[float, float] | None = None,
    threshold: float | None = None,
    levels: str = NO_LEVELS,
    target: str = "class",
    cache: Path | None = None,
    progress: bool = False,
    **options: Any,
) -> str:
    """The page of one data set.

    Args:
        name: one of `clmer.data.registry.DATASETS`.
        root: its folder; None for `$CLMER_DATA/<name>`.
        task: whose classes the protocols are balanced for; None for the default.
        scale: least and largest rating of a manifest, as in `clmer.data.load`, like threshold.
        threshold: the largest rating that is low.
        levels: where a manifest's ratings are cut instead.
        target: "class", or "rating" for a column of numbers itself.
        cache: folder of the prepared stores; None for `$CLMER_CACHE` or ~/.cache/clmer.
        progress: show a bar while preparing, and print what was read.
        **options: fields of `clmer.data.store.options.PrepareOptions`: modalities, window_s, ...

    Returns:
        HTML.

    Raises:
        ConfigError: an option out of range, or "" for the task.
        DataError: files that cannot be used.
    """
    if task == "":
        raise ConfigError("`task`: found nothing, expected a task: the protocols need one")
    chosen, root = PrepareOptions(**options), root_of(name, root)
    dataset = load(
        name,
        root,
        task=task,
        scale=scale,
        threshold=threshold,
        levels=levels,
        target=target,
        cache=cache,
        progress=progress,
        **options,
    )
    if progress:
        for line in report_lines(dataset.store.report):
            print(wrapped(_in_words(line), rest="  "))
    source = DATASETS[name]
    sections = [
        _overview(dataset),
        _labels(dataset),
        _losses(dataset),
        _protocols(dataset, source.refused),
        _people(dataset, source, root, chosen, cache),
    ]
    style = STYLE + people_style
    return page(f"{name}: what is in it", str(root), privacy(root), sections, style)


def inspect_synthetic(name: str, *, cache: Path | None = None, **arguments: Any) -> str:
    """The page of generated recordings; they and, without `cache`, their store are deleted again.

    Args:
        name: one of `clmer.data.synthetic.WRITERS`.
        cache: folder of the prepared stores.
        **arguments: as in `inspect`.
    """
    if name not in WRITERS:
        raise ConfigError(f"`synthetic`: generates {', '.join(WRITERS)}, not {name}")
    write, people = WRITERS[name]
    with tempfile.TemporaryDirectory() as scratch:
        root = write(Path(scratch) / name, people=people)
        return inspect(name, root, cache=cache or Path(scratch), **arguments)


def _in_words(text: str) -> str:
    """A text of the library in the command line's words."""
    return in_flags(text, flags([Config]))


def privacy(root: Path | None) -> str:
    """Who may see the page of the recordings in a folder."""
    return GENERATED if root and (root / SYNTHETIC_MARKER).exists() else PRIVATE


def _overview(dataset: WindowDataset) -> Section:
    store, report = dataset.store, dataset.store.report
    rows = [
        ("people", report["people"]),
        ("recordings", f"{report['recordings_used']} used of {report['recordings']}"),
        ("windows", f"{len(store.windows)} of {store.windows.window_s:g} s"),
        ("stimuli", len(np.unique(store.windows.stimulus))),
    ]
    rows += [("read", _in_words(line)) for line in report["signals"]]
    if dataset.task is not None:
        split = dataset.task.describe()
        classes = ", ".join(dataset.task.classes)
        both = f"{classes} ({split})" if classes and split else classes or split
        rows.append((f"task {dataset.task.name}", _in_words(both)))
    rows += [(f"filter of {kind}", text) for kind, text in report["filter"].items()]
    rows += [("note", _in_words(note)) for note in report["notes"]]
    return Section(
        "Overview", "After filtering, resampling and cutting into windows.", table((), rows)
    )


def _people(
    dataset: WindowDataset, source: Dataset, root: Path, chosen: PrepareOptions, cache: Path | None
) -> Section:
    """A block for each person, with a recording that is read again."""
    has_face = any(each in FACE_TOKENS for each in dataset.store.modalities)
    wanted = first_recordings(dataset)
    text = "A name opens the person's recordings; what was left out is empty."
    if has_face and not source.keeps:  # whose readers read every face on the way
        wanted = dict(list(wanted.items())[:1])
        text += " A recording as it was recorded is shown of the first person."
    recordings = source.recordings(
        *(root, tuple(wanted.values())), face=has_face, labels=chosen.labels, cache=cache
    )
    examples = {each.subject: each for each in recordings}
    return Section("People", text, chooser(dataset, source, examples, chosen.filter))


def _labels(dataset: WindowDataset) -> Section:
    windows, task = dataset.store.windows, dataset.task
    _, first = np.unique(windows.recording, return_index=True)
    labels = {name: values[first] for name, values in windows.labels.items()}
    edges = dict.fromkeys(task.columns, task.edges) if task else {}
    return Section("Labels", "Each recording counts once.", figures.labels(labels, edges))


def _losses(dataset: WindowDataset) -> Section:
    report = dataset.store.report
    dropped = report["windows_dropped"].items()
    rows: list[tuple[str, object]] = [(_in_words(f"windows: {why}"), n) for why, n in dropped]
    skipped = report["recordings_skipped"].items()
    rows += [(f"recording {name}", _in_words(why)) for name, why in skipped]
    if dataset.task is not None and dataset.y is not None:
        unlabelled = int((~is_known(dataset.y.numpy())).sum())
        columns = " or ".join(dataset.task.columns)
        rows += [(f"windows: no value in {columns}", unlabelled)] if unlabelled else []
    text = "Windows dropped and recordings skipped, and why." if rows else "Nothing was left out."
    return Section("What was left out", text, table((), rows))


def _protocols(dataset: WindowDataset, refused: Mapping[str, str]) -> Section:
    if dataset.task is None or dataset.y is None:
        raise ValueError("protocols need a task")
    y, classes = dataset.task.strata(dataset.y.numpy())
    rows: list[tuple[object, ...]] = []
    pairs = dataset.store.report["shared_samples"]
    shared = [(pair["one"], pair["other"]) for pair in pairs]
    for protocol in PROTOCOLS:
        if protocol in refused:
            rows.append((protocol, _in_words(f"refused: {refused[protocol]}")))
            continue
        try:
            splits = make_splits(dataset.store.windows, y, protocol, shared=shared, classes=classes)
        except DataError as error:
            said = f"refused: found {error.found}, expected {error.expected}. {error.hint}"
            rows.append((protocol, _in_words(said.rstrip())))
            continue
        split = splits[0]
        counts = [np.bincount(y[getattr(split, part)], minlength=len(classes)) for part in _PARTS]
        cells = [" / ".join(map(str, each)) for each in counts]
        rows.append((protocol, *cells, len(splits), max(s.shared_groups for s in splits)))
    header = ("protocol", *_PARTS, "splits", "shared groups")
    text = (
        f"Task {dataset.task.name}: windows of {' / '.join(classes)} in training, validation and "
        "test of the first split. A group that two of them share means that scores are inflated."
    )
    return Section("Class balance by protocol", text, table(header, rows, css="protocols"))
