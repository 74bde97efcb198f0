"""One block per person, of which one at a time is open: what was recorded, and what it became."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from clmer.data.face.windows import FACE_TOKENS
from clmer.data.recording import FaceSeries, Recording
from clmer.data.registry import Dataset
from clmer.data.store.dataset import WindowDataset
from clmer.report.figures import captioned, legend
from clmer.report.html import Html
from clmer.report.inspection import figures

STYLE = """
details { border: 1px solid var(--faint); border-radius: 4px; margin: .4rem 0; padding: 0 1rem; }
summary { cursor: pointer; padding: .5rem 0; }
summary b { margin-right: .6rem; }
.protocols td:nth-child(n+3) { white-space: nowrap; }
details figcaption { max-width: none; }
img.scalp { background: none; max-width: min(100%, 36rem); }
@media print { details:not([open]) { display: none; } }
"""
_SCALP = (
    "Standard 10-20 positions; colour is log power from 8 to 13 Hz. Names that would overlap are "
    "left out."
)
#: Tracks of a timeline at most, and seconds between two recordings in it.
_MOST_TRACKS, _BETWEEN_S = 4, 1.0


def first_recordings(dataset: WindowDataset) -> dict[str, str]:
    """By person the first recording that has a window."""
    windows = dataset.store.windows
    people, first = np.unique(windows.subject, return_index=True)
    return dict(zip(people.tolist(), windows.recording[first].tolist(), strict=True))


def chooser(
    dataset: WindowDataset, source: Dataset, examples: dict[str, Recording], filter: str
) -> Html:
    """A block per person.

    Args:
        dataset: the prepared windows.
        source: the data set.
        examples: a recording of each person, as far as they were read again.
        filter: as in the preparation.
    """
    blocks: list[str] = [_key(dataset)]
    for number, person in enumerate(np.unique(dataset.store.windows.subject).tolist()):
        rows = np.flatnonzero(dataset.store.windows.subject == person)
        opened = " open" if number == 0 else ""
        example = examples.get(person)
        body: list[str] = [
            _timeline(dataset, rows),
            *([] if example is None else _example(source, example, filter)),
        ]
        name, about = html.escape(person), html.escape(_about(dataset, rows))
        blocks.append(
            f'<details name="person"{opened}><summary><b>{name}</b>{about}</summary>'
            + "\n".join(body)
            + "</details>"
        )
    return Html("\n".join(blocks))


def _key(dataset: WindowDataset) -> Html:
    """Which colour stands for which class."""
    colours = figures.class_colours(len(dataset.classes))
    marks = legend(dataset.classes, colours, "■")
    return Html(f"<p>Label: {marks}</p>") if dataset.classes else Html("")


def _about(dataset: WindowDataset, rows: np.ndarray) -> str:
    """How much there is of a person."""
    windows = dataset.store.windows
    count = len(np.unique(windows.recording[rows]))
    text = f"{count} recording{'s' * (count != 1)}, {len(rows)} windows"
    if dataset.y is None or not dataset.classes:
        return text
    y = dataset.y[rows].numpy()
    counts = np.bincount(y[y >= 0], minlength=len(dataset.classes))
    held = (f"{name} {n}" for name, n in zip(dataset.classes, counts.tolist(), strict=True) if n)
    return f"{text}: {', '.join(held)}"


def _timeline(dataset: WindowDataset, rows: np.ndarray) -> Html:
    windows = dataset.store.windows
    places, names, begin = np.empty(len(rows)), {}, 0.0
    order = np.lexsort((windows.start_s[rows], windows.recording[rows]))
    rows = rows[order]
    for recording in dict.fromkeys(windows.recording[rows].tolist()):
        its = windows.recording[rows] == recording
        starts = windows.start_s[rows][its]
        places[its] = begin + starts - starts[0]
        names[begin] = recording
        begin = places[its][-1] + windows.window_s + _BETWEEN_S
    y = np.full(len(rows), -1) if dataset.y is None else dataset.y[rows].numpy()
    colours = figures.class_colours(len(dataset.classes))
    picture = figures.timeline(
        *(_tracks(dataset, rows), places, windows.window_s, y, colours, names)
    )
    counts = ((name, int((windows.recording[rows] == name).sum())) for name in names.values())
    listed = ", ".join(f"{name.partition('/')[2]} ({count})" for name, count in counts)
    return captioned(picture, f"Recordings and their windows, from the left: {listed}.")


def _tracks(dataset: WindowDataset, rows: np.ndarray) -> list[figures.Track]:
    """A channel of each type, and what there is of the face."""
    tracks = []
    for name, modality in dataset.store.modalities.items():
        array = dataset.store.array(name)
        for kind in dict.fromkeys(modality.kinds):
            at = modality.kinds.index(kind)
            title = f"{name}, {modality.channels[at]} ({kind}), as prepared"
            tracks.append(figures.Track(title, modality.unit, array[rows, at]))
        if name == "au":
            tracks.append(figures.Track("face, mean AU", "0-5", array[rows, :17].mean(axis=1)))
        elif name in FACE_TOKENS and "au" not in dataset.store.modalities:
            title = f"face, {modality.channels[0]} of {name}"
            tracks.append(figures.Track(title, modality.unit, array[rows, 0]))
    signals = [track for track in tracks if not track.name.startswith("face")]
    faces = [track for track in tracks if track.name.startswith("face")][:1]
    return [*signals[: _MOST_TRACKS - len(faces)], *faces]


def _example(source: Dataset, example: Recording, filter: str) -> Sequence[str]:
    """The figures of one recording as it was read."""
    parts = [f"<h3>Recording {html.escape(example.trial)} as recorded</h3>"]
    if example.signals:
        parts.append(f"<figure>{figures.before_and_after(source, example, filter)}</figure>")
        scalp = figures.channel_map(example)
        if scalp is not None:
            parts.append(captioned(scalp, _SCALP))
    if example.face is not None:
        picture = figures.tracking(example.face, f"{example.subject}/{example.trial}")
        parts.append(captioned(picture, lost_text(example.face)))
    return parts


def lost_text(face: FaceSeries) -> str:
    """How much of the face was lost, and the longest time without it."""
    lost = ~face.valid
    text = f"Face: {lost.mean():.1%} of {len(lost)} frames lost"
    if not lost.any():
        return f"{text}."
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lost, [0]])))
    first, stop = edges[::2], edges[1::2]
    longest = int((stop - first).argmax())
    return (
        f"{text} (red), the longest time for {(stop - first)[longest] / face.fps:.2f} s from "
        f"{first[longest] / face.fps:.2f} s on."
    )
