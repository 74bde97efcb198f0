"""Draws the model for README: signal and face in, tokens, cross-modal attention, emotion out.

    python tools/draw_model.py

writes docs/model.svg; a test compares it.
"""

from __future__ import annotations

from math import sin
from pathlib import Path

from drawing import Drawing, Point

FILE = Path(__file__).resolve().parents[1] / "docs" / "model.svg"
#: A modality's row: its middle, its colour, what it is.
ROWS = (
    (104, "blue", "EEG, ECG, GSR, ..."),
    (194, "orange", "face: 68 landmarks"),
    (284, "green", "face: action units"),
)
#: Points of a face, in units of its radius.
FACE = (
    *((-0.9, -0.3), (-0.85, 0.1), (-0.7, 0.5), (-0.4, 0.85), (0.0, 1.0)),
    *((0.4, 0.85), (0.7, 0.5), (0.85, 0.1), (0.9, -0.3)),
    *((-0.65, -0.6), (-0.4, -0.7), (-0.2, -0.6), (0.2, -0.6), (0.4, -0.7), (0.65, -0.6)),
    *((-0.5, -0.3), (-0.3, -0.3), (0.3, -0.3), (0.5, -0.3)),
    *((0.0, -0.25), (0.0, 0.0), (-0.12, 0.2), (0.12, 0.2)),
    *((-0.35, 0.5), (-0.15, 0.45), (0.15, 0.45), (0.35, 0.5), (0.0, 0.62)),
)


def draw() -> str:
    """The figure as SVG."""
    d = Drawing(
        1000,
        372,
        "A window of signals and of the face becomes tokens, one encoder per modality; cross-modal "
        "attention joins all pairs of modalities; a classifier gives the emotion",
    )
    for x, words in ((103, "windows"), (287, "encoders"), (446, "tokens"), (621, "cross-modal"),
                     (808, "classifier"), (931, "emotion")):  # fmt: skip
        d.text(x, 34, words, anchor="middle", size=14, bold=True)
    d.text(621, 52, "attention", anchor="middle", size=14, bold=True)
    for middle, colour, name in ROWS:
        inputs(d, middle, colour, name)
        encoder(d, middle, colour)
        tokens(d, middle, colour)
    attention(d)
    classifier(d)
    for left, right, words in (
        (226, 348, "stage 1: contrastive, no labels"),
        (392, 873, "stage 2: fusion, with labels"),
    ):
        d.line([(left, 334), (left, 340), (right, 340), (right, 334)], "soft")
        d.text((left + right) / 2, 358, words, "soft", anchor="middle")
    return d.svg()


def inputs(d: Drawing, middle: float, colour: str, name: str) -> None:
    """A window of one modality."""
    d.text(103, middle - 34, name, colour, anchor="middle")
    d.rect(28, middle - 28, 150, 56, colour, radius=4, opacity=0.1)
    if colour == "blue":
        for row, rate in enumerate((0.55, 0.32, 0.12)):
            points = [
                (32 + x, middle - 17 + 17 * row + 6 * wave(x, rate)) for x in range(0, 143, 2)
            ]
            d.line(points, colour, width=1.3)
    elif colour == "orange":
        for left in (56, 103, 150):
            for x, y in FACE:
                d.circle((left + 19 * x, middle + 22 * y), 1.3, colour)
    else:
        for row in range(3):
            heights = [8 * ((5 * row + 3 * step) % 7) / 7 for step in range(9)]
            steps: list[Point] = []
            for step, height in enumerate(heights):
                y = middle - 12 + 17 * row - height
                steps += [(32 + 16 * step, y), (32 + 16 * (step + 1) - 2, y)]
            d.line(steps, colour, width=1.3)
    d.line([(182, middle), (220, middle)], colour, arrow=True)


def wave(x: float, rate: float) -> float:
    """Something like a signal, within -1 and 1."""
    return 0.7 * sin(rate * x) * sin(0.045 * x + rate) + 0.3 * sin(0.9 * rate * x + 1)


def encoder(d: Drawing, middle: float, colour: str) -> None:
    """A contrastive encoder and the arrow behind it."""
    corners = [(226, middle - 27), (348, middle - 17), (348, middle + 17), (226, middle + 27)]
    d.polygon(corners, "page", edge=colour)
    d.text(287, middle - 1, "convolutions", anchor="middle", size=11)
    d.text(287, middle + 13, "two views agree", "soft", anchor="middle", size=11)
    d.line([(352, middle), (386, middle)], colour, arrow=True)


def tokens(d: Drawing, middle: float, colour: str) -> None:
    """L tokens of d features."""
    for column in range(6):
        for row in range(3):
            opacity = (0.25, 0.5, 0.75, 0.9)[(3 * column + 5 * row + column * row) % 4]
            d.rect(398 + 16 * column, middle - 20 + 14 * row, 13, 11, colour, opacity=opacity)
    if middle == ROWS[-1][0]:
        d.text(446, middle + 38, "L tokens per modality", "soft", anchor="middle", size=11)


def attention(d: Drawing) -> None:
    """Three modalities, each asking both others."""
    places = {"blue": (621.0, 112.0), "orange": (553.0, 248.0), "green": (689.0, 248.0)}
    for middle, colour, _ in ROWS:
        end = places[colour]
        if colour == "green":
            d.line([(500, middle), (676, middle), (684, 273)], colour, arrow=True)
        else:
            d.line([(500, middle), (end[0] - (27 if colour == "blue" else 17),
                                    end[1] + (0 if colour == "blue" else -20))],
                   colour, arrow=True)  # fmt: skip
    names = list(places)
    for asking in names:
        for answering in names:
            if asking != answering:
                d.line(_beside(places[answering], places[asking]), answering, arrow=True)
    for colour, word in (("blue", "signals"), ("orange", "face"), ("green", "AUs")):
        d.circle(places[colour], 24, "page", edge=colour)
        x, y = places[colour]
        d.text(x, y + 4, word, anchor="middle", size=11)
    d.text(621, 204, "6 pairs", anchor="middle", size=12)
    d.text(621, 220, "in one call", "soft", anchor="middle", size=11)
    d.line([(724, 194), (746, 194)], "soft", arrow=True)


def _beside(start: Point, end: Point) -> list[Point]:
    """From one disc to another, to the right of the straight line."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = (dx * dx + dy * dy) ** 0.5
    ux, uy = dx / length, dy / length
    along, aside = 28, 6
    return [
        (start[0] + along * ux - aside * uy, start[1] + along * uy + aside * ux),
        (end[0] - along * ux - aside * uy, end[1] - along * uy + aside * ux),
    ]


def classifier(d: Drawing) -> None:
    """What follows the attention, and the classes."""
    for middle, words in (
        (134, "self-attention"),
        (194, "mean over tokens"),
        (254, "MLP, softmax"),
    ):
        d.rect(752, middle - 20, 121, 40, "page", edge="soft", radius=4)
        d.text(812, middle + 4, words, anchor="middle", size=12)
    for middle in (154, 214):
        d.line([(812, middle), (812, middle + 20)], "soft", arrow=True)
    d.line([(873, 254), (889, 254), (889, 194), (897, 194)], "soft", arrow=True)
    for middle, words, share in ((174, "low", 0.25), (214, "high", 0.75)):
        d.text(904, middle - 10, f"valence {words}", size=11)
        d.rect(904, middle - 5, 72, 10, "soft", opacity=0.2)
        d.rect(904, middle - 5, 72 * share, 10, "blue")


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
    print(FILE)
