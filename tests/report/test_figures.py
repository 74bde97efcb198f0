"""Figures of the pages: the same bytes each time, nothing from outside, safe for any numbers."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from clmer.report import figures
from clmer.report.figures import Curve, curves, heat_map, scatter, score_bar

RNG = np.random.default_rng(0)
XY, GROUP = RNG.standard_normal((400, 2)), RNG.integers(0, 6, 400)
DRAWN: dict[str, Callable[[], str]] = {
    "curves": lambda: curves([Curve(range(9), RNG_LINE, marked_x=3)], "loss <of> a run"),
    "score": lambda: score_bar(0.7, 0.6, 0.8, 0.5),
    "classes": lambda: scatter(XY, GROUP, figures.COLOURS, "a <b>", marks=True),
    "people": lambda: scatter(XY, GROUP, figures.hues(6), "a <b>", marks=False),
    "map": lambda: heat_map(XY[:5], -1, 1, "viridis", "a <b>"),
}
RNG_LINE = RNG.standard_normal(9).tolist()


def tree(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace("xlink:", ""))


def image(drawn: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(re.findall('base64,([^"]*)"', drawn)[0])))


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_repeatable_small_and_whole(name: str) -> None:
    drawn = DRAWN[name]()
    assert drawn == DRAWN[name]()
    assert len(drawn) < 40_000
    outside = re.findall(r"https?:|url\(|<style|<script|<metadata|\bxmlns", drawn)
    assert outside == []


def test_curves_have_text_for_those_who_do_not_see_them_and_take_the_pages_colour() -> None:
    drawn = tree(DRAWN["curves"]())
    assert drawn.get("role") == "img"
    assert drawn.get("aria-label") == "loss <of> a run"
    texts = list(drawn.iter("text"))
    assert {"0", "2", "4"} <= {text.text for text in texts}
    assert not any("fill" in text.get("style", "") for text in texts)
    assert tree(DRAWN["score"]()).get("aria-hidden") == "true"


def test_names_in_one_page_are_told_apart() -> None:
    line = Curve(range(9), RNG_LINE, marked_x=3)
    drawn = curves([line], "one") + curves([line], "other") + score_bar(0.7, 0.6, 0.8, 0.5)
    names = re.findall(r'\bid="([^"]*)"', drawn)
    assert len(names) == len(set(names)) == 2
    assert {f"#{name}" for name in names} == set(re.findall(r'href="([^"]*)"', drawn))


def test_long_lines_are_thinned_and_keep_their_ends() -> None:
    y = np.sin(np.arange(5000))
    drawn = curves([Curve(range(5000), y.tolist(), marked_x=2501)], "long")
    (path,) = (each for each in re.findall(r'<path d="([^"]*)"', drawn) if each.count("L") > 9)
    assert path.count("L") < 170
    assert drawn.count("<use ") == 1  # its point itself may have been left out


@pytest.mark.parametrize(
    "y", [[], [1.0], [2.0, 2.0], [float("nan"), 1.0, float("inf")], [1e30, 1e29], [float("nan")]]
)
def test_odd_losses_are_drawn_or_left_out(y: list[float]) -> None:
    drawn = curves([Curve(range(len(y)), y)], "odd")
    tree(drawn)
    assert "nan" not in drawn
    assert "inf" not in drawn


def test_a_score_without_value_or_interval() -> None:
    assert score_bar(None, None, None, 0.5) == ""
    few, all_ = (DRAWN["score"]().count("<path"), score_bar(0.7, None, None, 0.5).count("<path"))
    assert few == all_ + 1
    bar = tree(score_bar(1.0, 0.0, 1.0, 0.5))
    width = float(bar.get("viewBox", "").split()[2])
    places = [
        float(x) for path in bar.iter("path") for x in re.findall(r"[ML] (\S+)", path.get("d", ""))
    ]
    assert min(places) >= 0
    assert max(places) <= width


def test_points_lie_on_a_transparent_ground() -> None:
    drawn = image(DRAWN["people"]()).convert("RGBA")
    assert drawn.getpixel((20, 20))[3] == 0  # type: ignore[index]
    one = image(scatter(np.zeros((1, 2)), np.zeros(1, int), figures.COLOURS, "one", marks=True))
    width, height = one.size
    assert one.convert("RGBA").getpixel((width // 2, height // 2))[3] > 0  # type: ignore[index]


@pytest.mark.parametrize("spread", [(1.0, 1.0), (2.0, 1.0), (1.0, 1.5), (30.0, 1.0)])
def test_points_fill_their_frame(spread: tuple[float, float]) -> None:
    drawn = image(scatter(XY * spread, GROUP, figures.hues(6), "points", marks=False))
    inked = np.asarray(drawn.convert("RGBA"))[8:-8, 8:-8, 3] > 0  # without the frame
    y, x = (np.flatnonzero(inked.any(axis)) for axis in (1, 0))
    width, height = drawn.size
    assert x[0] < 0.06 * width
    assert width - x[-1] < 0.06 * width + 16
    if spread != (30.0, 1.0):  # a frame is no line
        assert y[0] < 0.06 * height
        assert height - y[-1] < 0.06 * height + 16
    assert 0.39 < height / width < 2.6


def test_hues_are_read_on_light_and_on_dark() -> None:
    found = figures.hues(40)
    assert len(set(found)) == 40

    def luminance(colour: str) -> float:
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05

    for colour in found:
        assert 1.05 / luminance(colour) > 3
        assert luminance(colour) / luminance("#16181c") > 3


def test_a_map_has_a_pixel_per_cell() -> None:
    assert image(DRAWN["map"]()).size == (2, 5)


def test_a_figure_as_png_keeps_its_colours() -> None:
    figure = Figure(figsize=(1, 1))
    figure.add_axes((0, 0, 1, 1)).imshow(np.arange(64).reshape(8, 8), cmap="viridis")
    drawn = image(figures.png(figure, "map", dpi=50)).convert("RGB")
    assert len(drawn.getcolors(256) or ()) > 60
