"""What the first split of a run learnt, on its test windows: attention maps, contrastive features.

Both need the trained weights and the prepared store. Where either is missing the page says so
instead; nothing is prepared or trained here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

from clmer.baselines import MODELS
from clmer.baselines.one_thread import one_thread
from clmer.errors import DataError
from clmer.nn.fusion import Fusion, attention_maps
from clmer.pipeline.run.load import load
from clmer.pipeline.run.trained import TrainedRun
from clmer.report import figures
from clmer.report.figures import captioned, heat_map, scatter, side_by_side
from clmer.report.html import Html, escape, table
from clmer.report.reading import RunFiles
from clmer.report.sample import Sample, read_test_windows

#: Windows that are shown; of more, every n-th.
MOST_WINDOWS = 400
_BATCH = 32
#: Neighbours of a window whose class and person are counted.
NEIGHBOURS = 5
#: People with a name in the legend; more make it unreadable.
_NAMED_PEOPLE = 12
_COMPONENTS = 30  # before t-SNE, as its authors do


def learned(run: RunFiles, cache: Path) -> list[tuple[str, Html]]:
    """Headings, each with its figures or the reason why they cannot be drawn.

    Args:
        run: read from its folder.
        cache: folder of the prepared stores.
    """
    draw: dict[str, Callable[[TrainedRun, Sample], Html]] = {}
    if run.config.get("fusion", True) and _has_network(run) and len(run.modalities) > 1:
        draw["Attention between modalities"] = draw_attention
    if run.config.get("contrastive", True) and run.config.get("encoders") != "scratch":
        draw["Contrastive features"] = draw_features
    if run.scored is None:
        why = "the run has no scored test windows to draw it on"
        return [(title, _not_drawn(why)) for title in draw]
    try:
        sample = read_sample(run, cache)
        model = load(run.path, split="split1")
    except DataError as error:
        return [(title, _not_drawn(error)) for title in draw]
    return [(title, _drawn(drawn, model, sample)) for title, drawn in draw.items()]


def _has_network(run: RunFiles) -> bool:
    """Whether the run's first model is one, whose attention there may be."""
    first = (run.config.get("models") or ["clmer"])[0]
    return first in MODELS and (first != "clmer" or run.config.get("classifier") != "linear")


def _drawn(draw: Callable[[TrainedRun, Sample], Html], model: TrainedRun, sample: Sample) -> Html:
    """A figure, or the reason why there is none: windows and weights do not fit each other."""
    try:
        return draw(model, sample)
    except ValueError as error:
        return _not_drawn(error)


def _not_drawn(why: object) -> Html:
    return Html(f"<p>Not drawn: {escape(why)}</p>")


def read_sample(run: RunFiles, cache: Path) -> Sample:
    """Test windows of the first split, at most `MOST_WINDOWS`, from the prepared store.

    Of ratings a class is which half of them a window is in.

    Raises:
        DataError: the store is not in the cache, or holds other windows.
    """
    found = read_test_windows(run, cache)
    tested = found.of_split(0)
    sample = found.sample(tested[:: -(-len(tested) // MOST_WINDOWS)], len(tested))
    if run.scored and run.scored["classes"]:
        return sample
    upper = sample.y > np.median(found.rows.y)
    return replace(sample, y=upper.astype(np.int64))


def _of_windows(sample: Sample) -> str:
    few = f"one in {-(-sample.of // MOST_WINDOWS)} of " if sample.of > len(sample.y) else ""
    return f"{few}{sample.of} test windows of the first split"


# --- attention ----------------------------------------------------------------------------------
def draw_attention(model: TrainedRun, sample: Sample) -> Html:
    """One row of maps per directed pair: each class, and the difference of two classes."""
    if not isinstance(model.fusion, Fusion):
        return _not_drawn(f"{type(model.fusion).__name__} has no pairs of modalities")
    means = class_maps(model, model.fusion, sample)
    many = " of the first of its members" if model.config.members > 1 else ""
    text = (
        f"Weights on {_of_windows(sample)}, averaged over windows of a class, layers and "
        f"heads{many}. Rows are tokens of the modality that attends (queries), columns tokens of "
        "the one attended to (keys). A token is a learned mixture of a modality's channels, not a "
        "channel. 1 is uniform attention. Where a model looks is not why it decides."
    )
    two = [f"{sample.classes[1]} - {sample.classes[0]}"] if len(sample.classes) == 2 else []
    names = list(model.modalities)
    rows = [
        [f"{names[query]} attends to {names[key]}", *_map_cells(maps, sample.classes)]
        for (query, key), maps in means.items()
    ]
    counts = np.bincount(sample.y, minlength=len(sample.classes))
    heads = [f"{name} ({n} windows)" for name, n in zip(sample.classes, counts, strict=True)]
    drawn = table(("pair", *heads, *two), rows, row_headers=True)
    return Html(f"<p>{escape(text)}</p>\n{drawn}")


def class_maps(
    model: TrainedRun, fusion: Fusion, sample: Sample
) -> dict[tuple[int, int], np.ndarray]:
    """Mean weights by directed pair, in units of uniform attention, [classes, Lq, Lk].

    A class without a window has NaN.
    """
    tokens = model.tokens(sample.windows, sample.people, sample.reference)
    count = len(sample.classes)
    total: Tensor | None = None
    for rows in torch.arange(len(sample.y)).split(_BATCH):
        maps = attention_maps(fusion, {name: part[rows] for name, part in tokens.items()})
        flat = maps.mean((1, 3)).cpu()  # [P, batch, Lq, Lk]
        member = torch.nn.functional.one_hot(torch.from_numpy(sample.y[rows.numpy()]), count).to(
            flat
        )
        added = torch.einsum("pnqk,nc->pcqk", flat, member)
        total = added if total is None else total + added
    if total is None:
        raise ValueError("class_maps: expected one window or more, found none")
    windows = torch.from_numpy(np.bincount(sample.y, minlength=count))
    uniform = (total / windows[None, :, None, None]).numpy() * total.shape[-1]
    return dict(zip(fusion.pairs, uniform, strict=True))


def _map_cells(maps: np.ndarray, classes: Sequence[str]) -> list[Html]:
    """Maps of one pair on one scale, and the difference on its own."""
    low, high = float(np.nanmin(maps)), float(np.nanmax(maps))
    cells = []
    for name, values in zip(classes, maps, strict=True):
        drawn = heat_map(values, low, high, "viridis", f"Mean attention, {name}")
        cells.append(captioned(drawn, f"{low:.2f} (dark) to {high:.2f} (bright)"))
    if len(classes) == 2:
        difference = maps[1] - maps[0]
        most = float(np.nan_to_num(np.abs(difference)).max()) or 1.0
        drawn = heat_map(difference, -most, most, "RdBu_r", "Difference of the classes")
        cells.append(captioned(drawn, f"-{most:.2f} (blue) to +{most:.2f} (red)"))
    return cells


# --- features -----------------------------------------------------------------------------------
def draw_features(model: TrainedRun, sample: Sample) -> Html:
    """t-SNE of each modality's features, by class and by person, and whose windows are near."""
    people, person = np.unique(sample.person, return_inverse=True)
    text = (
        f"Encoder outputs of {_of_windows(sample)}, averaged over time and standardised, by t-SNE. "
        "Only neighbourhood has a meaning in such a picture: not distance, size or density."
    )
    blocks, rows = [f"<p>{escape(text)}</p>"], []
    hues = figures.hues(len(people))
    classes = figures.legend(sample.classes, figures.COLOURS, figures.MARKER_SIGNS)
    names = figures.legend(people.tolist(), hues, "●")
    if len(people) > _NAMED_PEOPLE:
        names = Html(f"{len(people)} people, one hue each")
    for name, z in model.encode(sample.windows, sample.people, sample.reference).items():
        features = standardised(z[: len(sample.y)].mean(2))
        xy = tsne(features)
        by_class = scatter(xy, sample.y, figures.COLOURS, f"t-SNE of {name} by class", marks=True)
        by_person = scatter(xy, person, hues, f"t-SNE of {name} by person", marks=False)
        drawn = [
            captioned(by_class, Html(f"{classes}<br>by class")),
            captioned(by_person, Html(f"{names}<br>by person")),
        ]
        blocks.append(f"<h4>{escape(name)}</h4>{side_by_side(drawn)}")
        near = [neighbours(features, group, sample.recording) for group in (sample.y, person)]
        rows.append([name, *(f"{share:.2f}" for pair in near for share in pair)])
    header = ("modality", "same class", "by chance", "same person", "by chance")
    caption = (
        f"Of a window's {NEIGHBOURS} nearest in feature space (not in the picture), taken from "
        "other recordings, the share with its class and its person"
    )
    blocks.append(table(header, rows, caption=caption, row_headers=True, css="numbers"))
    return Html("\n".join(blocks))


def standardised(features: np.ndarray) -> np.ndarray:
    """Features [N, F] standardised to mean 0 and standard deviation 1, without constant ones."""
    spread = features.std(0)
    kept = spread > 1e-6 * max(float(spread.max()), 1e-12)
    return np.asarray((features[:, kept] - features[:, kept].mean(0)) / spread[kept])


def tsne(features: np.ndarray) -> np.ndarray:
    """Positions [N, 2] of features [N, F] by t-SNE, the same every time, the widest way across."""
    if len(features) == 1:
        return np.zeros((1, 2))
    count = min(_COMPONENTS, *features.shape)
    reduced = PCA(count, random_state=0).fit_transform(features)
    if len(features) < 5 or count < 2:  # too few for neighbourhoods: the plane of most variance
        return np.pad(reduced, ((0, 0), (0, max(0, 2 - count))))[:, :2]
    perplexity = min(30.0, (len(features) - 1) / 3)
    with one_thread():
        places = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced)
    return np.asarray(PCA(2, random_state=0).fit_transform(places))  # a turn, maybe a reflection


def neighbours(
    features: np.ndarray, group: np.ndarray, recording: np.ndarray
) -> tuple[float, float]:
    """How often near windows share a group, and how often any do; NaN where none can.

    Windows of one recording are near-duplicates: neighbours come from other recordings only.

    Args:
        features: [N, F].
        group: [N] class or person.
        recording: [N] recording.

    Returns:
        Mean share of the `NEIGHBOURS` nearest that have the window's group; the mean share of all
        windows of other recordings that do.
    """
    square = (features**2).sum(1)
    distance = square[:, None] + square - 2 * features @ features.T
    other = recording[:, None] != recording
    alike = (group[:, None] == group) & other
    possible = other.sum(1) > 0
    if not possible.any():
        return float("nan"), float("nan")
    order = np.where(other, distance, np.inf).argsort(1, kind="stable")[possible, :NEIGHBOURS]
    near = np.take_along_axis(alike[possible], order, 1)
    counted = np.take_along_axis(other[possible], order, 1)
    by_chance = alike[possible].sum(1) / other[possible].sum(1)
    return float((near.sum(1) / counted.sum(1)).mean()), float(by_chance.mean())
