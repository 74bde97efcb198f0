"""Draws what a split lets models score for README, from the table in docs/experiments.md.

    python tools/draw_leakage.py

writes docs/leakage.svg; a test compares it.
"""

from __future__ import annotations

import re
from pathlib import Path

from drawing import Drawing

DOCS = Path(__file__).resolve().parents[1] / "docs"
FILE, TABLE = DOCS / "leakage.svg", DOCS / "experiments.md"
#: A protocol's colour, and what it tests.
PROTOCOLS = {
    "shuffled": ("orange", "windows assigned at random, as in the paper"),
    "block": ("green", "other stretches of the same recordings"),
    "subject": ("blue", "new people"),
}
LEFT, RIGHT, TOP, ROW = 380, 970, 82, 40
LOW, HIGH = 30.0, 100.0


def scores() -> dict[str, list[tuple[float, float, float]]]:
    """Balanced accuracy in percent, low and high end of its interval, by model and protocol."""
    head = "| | " + " | ".join(f"`{name}`" for name in PROTOCOLS) + " |\n"
    lines = TABLE.read_text(encoding="utf-8").split(head)[1].split("\n\n")[0].splitlines()[1:]
    found = {}
    for line in lines:
        name, *cells = (cell.strip(" *") for cell in line.strip("|").split("|"))
        numbers = [[float(x) for x in re.findall(r"\d+\.\d", cell)] for cell in cells]
        found[name] = [(n[0], n[-2], n[-1]) if len(n) == 3 else (n[0],) * 3 for n in numbers]
    return found


def place(score: float) -> float:
    """Where a score in percent is drawn."""
    return LEFT + (RIGHT - LEFT) * (score - LOW) / (HIGH - LOW)


def draw() -> str:
    """The figure as SVG."""
    rows = scores()
    bottom = TOP + ROW * len(rows)
    d = Drawing(
        1000,
        bottom + 52,
        "Balanced accuracy of each model on eegmat by protocol: a model trained on permuted labels "
        "scores as high as one trained on true labels, unless it is tested on new people",
    )
    x = 24.0
    for name, (colour, meaning) in PROTOCOLS.items():
        d.circle((x + 6, 30), 5, colour)
        d.text(x + 18, 34, name, size=13, bold=True)
        d.text(x + 26 + 8 * len(name), 34, meaning, "soft", size=13)
        x += 44 + 8 * len(name) + 6.9 * len(meaning)
    for tick in range(int(LOW), int(HIGH) + 1, 10):
        chance = tick == 50
        d.line([(place(tick), TOP - 20), (place(tick), bottom)], "soft" if chance else "edge",
               width=1.5 if chance else 0.8, dashed=chance)  # fmt: skip
        d.text(place(tick), bottom + 18, f"{tick} %", "soft", anchor="middle")
    d.text(place(50), TOP - 26, "chance", "soft", anchor="middle")
    axis = "balanced accuracy per window, 95 % interval over people"
    d.text((LEFT + RIGHT) / 2, bottom + 38, axis, anchor="middle")
    for number, (name, values) in enumerate(rows.items()):
        middle = TOP + ROW * number + ROW / 2
        if number % 2 == 0:
            d.rect(12, middle - ROW / 2, 976, ROW, "soft", opacity=0.08)
        d.text(24, middle + 4, name, size=13, bold="permuted" in name)
        for aside, (colour, _), (score, low, high) in zip(
            (-10, 0, 10), PROTOCOLS.values(), values, strict=True
        ):
            d.line([(place(low), middle + aside), (place(high), middle + aside)], colour, width=2)
            d.circle((place(score), middle + aside), 4.5, colour, edge="page")
    return d.svg()


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
    print(FILE)
