"""What is in a data set, as one page to look at: signals, labels, faces, losses, protocols.

    clmer inspect deap --root /data/DEAP --out deap.html

The page holds everything itself, pictures included, and opens without a server. It can show faces'
outlines and licence-bound data: it says so at the top, and the default name is git-ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clmer.data.face.windows import FACE_TOKENS
from clmer.data.recording import SYNTHETIC_MARKER, Recording
from clmer.data.registry import DATASETS
from clmer.data.splits import PROTOCOLS, make_splits
from clmer.data.store.dataset import WindowDataset, load, root_of
from clmer.data.store.summary import report_lines
from clmer.errors import DataError
from clmer.report import inspection_figures as inspect_figures
from clmer.report.html import Section, page, picture, table

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
    modalities: Sequence[str] = (),
    window_s: float | None = None,
    stride_s: float | None = None,
    filter: str = "type",
    face: str = "raw",
    labels: str = "",
    scale: tuple[float, float] | None = None,
    threshold: float | None = None,
    cache: Path | None = None,
    progress: bool = False,
) -> str:
    """The page of one data set.

    Args:
        name: one of `clmer.data.registry.DATASETS`.
        root: its folder; None for `$CLMER_DATA/<name>`.
        task: whose classes the protocols are balanced for; None for the default.
        modalities: as in `clmer.data.store.prepare.prepare`.
        window_s: length of the windows in seconds; None for the data set's own.
        stride_s: their step in seconds; None for the length.
        filter: "type" or "paper".
        face: "raw" or "aligned".
        labels: whose labels, where a data set has several; "" for its default.
        scale: least and largest rating of a manifest, as in `clmer.data.load`, like threshold.
        threshold: the largest rating that is low.
        cache: folder of the prepared stores; None for the default.
        progress: show a bar while preparing, and print what was read.

    Returns:
        HTML.

    Raises:
        DataError: files that cannot be used.
    """
    root = root_of(name, root)
    dataset = load(
        name,
        root,
        task=task,
        modalities=modalities,
        window_s=window_s,
        stride_s=stride_s,
        filter=filter,
        face=face,
        labels=labels,
        scale=scale,
        threshold=threshold,
        cache=cache,
        progress=progress,
    )
    if progress:
        print("\n".join(report_lines(dataset.store.report)))
    source = DATASETS[name]
    has_face = any(each in FACE_TOKENS for each in dataset.store.modalities)
    used = dataset.store.windows.recording[0]  # the first one of which windows were cut
    recordings = source.read(root, face=has_face, **source.options(root, labels))
    example = next(each for each in recordings if f"{each.subject}/{each.trial}" == used)
    sections = [
        _overview(dataset),
        *_signals(name, example, filter),
        *_face(example),
        _labels(dataset),
        _losses(dataset),
        _protocols(dataset, source.refused),
    ]
    warning = GENERATED if (root / SYNTHETIC_MARKER).exists() else PRIVATE
    return page(f"{name}: what is in it", str(root), warning, sections)


def _overview(dataset: WindowDataset) -> Section:
    store, report = dataset.store, dataset.store.report
    rows = [
        ("people", report["people"]),
        ("recordings", f"{report['recordings_used']} used of {report['recordings']}"),
        ("windows", f"{len(store.windows)} of {store.windows.window_s:g} s"),
        ("stimuli", len(np.unique(store.windows.stimulus))),
    ]
    rows += [("read", line) for line in report["signals"]]
    if dataset.task is not None:
        split = dataset.task.describe()
        classes = ", ".join(dataset.task.classes)
        rows.append((f"task {dataset.task.name}", f"{classes} ({split})" if split else classes))
    rows += [(f"filter of {kind}", text) for kind, text in report["filter"].items()]
    rows += [("note", note) for note in report["notes"]]
    return Section("Overview", "After filtering, resampling and cutting.", table((), rows))


def _signals(name: str, example: Recording, filter: str) -> list[Section]:
    if not example.signals:
        return []
    where = f"{example.subject}, recording {example.trial}"
    before_after = inspect_figures.before_and_after(DATASETS[name], example, filter)
    sections = [
        Section(
            "Signals and spectra",
            f"One channel a type, before and after the filter: {where}.",
            picture(before_after, "Signals and power spectra before and after filtering"),
        )
    ]
    topomap = inspect_figures.channel_map(example)
    if topomap is not None:
        text = f"Standard 10-20 positions; colour is log power from 8 to 13 Hz: {where}."
        sections.append(
            Section("Channel map", text, picture(topomap, "Alpha power over the scalp"))
        )
    return sections


def _face(example: Recording) -> list[Section]:
    if example.face is None:
        return []
    drawn = inspect_figures.tracking(example.face)
    text = f"{example.subject}, recording {example.trial}: {(~example.face.valid).mean():.1%} lost."
    return [Section("Face tracking", text, picture(drawn, "Face tracking over time"))]


def _labels(dataset: WindowDataset) -> Section:
    windows = dataset.store.windows
    _, first = np.unique(windows.recording, return_index=True)
    labels = {name: values[first] for name, values in windows.labels.items()}
    task = dataset.task
    drawn = inspect_figures.labels(labels, dict.fromkeys(task.columns, task.edges) if task else {})
    return Section("Labels", "One count a recording.", picture(drawn, "Histograms of labels"))


def _losses(dataset: WindowDataset) -> Section:
    report = dataset.store.report
    rows = [(f"windows: {why}", n) for why, n in report["windows_dropped"].items()]
    rows += [(f"recording {name}", why) for name, why in report["recordings_skipped"].items()]
    if dataset.task is not None and dataset.y is not None:
        unlabelled = int((dataset.y < 0).sum())
        columns = " or ".join(dataset.task.columns)
        rows += [(f"windows: no value in {columns}", unlabelled)] if unlabelled else []
    text = "Windows dropped and recordings skipped, and why." if rows else "Nothing was left out."
    return Section("What was left out", text, table((), rows))


def _protocols(dataset: WindowDataset, refused: Mapping[str, str]) -> Section:
    if dataset.task is None or dataset.y is None:
        raise ValueError("protocols need a task")
    y, classes = dataset.y.numpy(), dataset.task.classes
    rows: list[tuple[object, ...]] = []
    pairs = dataset.store.report["shared_samples"]
    shared = [(pair["one"], pair["other"]) for pair in pairs]
    for protocol in PROTOCOLS:
        if protocol in refused:
            rows.append((protocol, f"refused: {refused[protocol]}"))
            continue
        try:
            splits = make_splits(dataset.store.windows, y, protocol, shared=shared, classes=classes)
        except DataError as error:
            rows.append((protocol, f"refused: found {error.found}, expected {error.expected}"))
            continue
        split = splits[0]
        counts = [np.bincount(y[getattr(split, part)], minlength=len(classes)) for part in _PARTS]
        cells = [" / ".join(map(str, each)) for each in counts]
        rows.append((protocol, *cells, len(splits), max(s.shared_groups for s in splits)))
    header = ("protocol", *_PARTS, "splits", "groups in two parts")
    text = (
        f"Task {dataset.task.name}: windows of {' / '.join(classes)} in the first split's parts. "
        "A group in two parts means that scores are inflated."
    )
    return Section("Class balance by protocol", text, table(header, rows))
