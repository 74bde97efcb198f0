"""Units as files spell them."""

from __future__ import annotations

import math

import pytest

from clmer.data.units import parse

UV = [
    *(
        "uV",
        "uv",
        "UV",
        "\u00b5V",
        "\u03bcV",
        "\u00c2\u00b5V",
        "\u00ce\u00bcV",
        "\ufffdV",
        "?V",
        ".V",
    ),
    *("microV", "uVolt", "microvolts", "Microvolt", " uV ", "[uV]", "uV\x00", "\u00e6V"),
]


@pytest.mark.parametrize("text", UV)
def test_microvolts(text: str) -> None:
    unit = parse(text)
    assert unit is not None
    assert (unit.quantity, unit.factor, unit.ours) == ("voltage", 1.0, "uV")


@pytest.mark.parametrize(
    ("text", "quantity", "factor"),
    [
        ("mV", "voltage", 1e3),
        ("MV", "voltage", 1e3),  # capitals, not megavolts
        ("millivolts", "voltage", 1e3),
        ("V", "voltage", 1e6),
        ("volts", "voltage", 1e6),
        ("nV", "voltage", 1e-3),
        ("uS", "conductance", 1.0),
        ("\u00b5S", "conductance", 1.0),
        ("mS", "conductance", 1e3),
        ("S", "conductance", 1e6),
        ("microsiemens", "conductance", 1.0),
        ("kOhm", "resistance", 1.0),
        ("Ohm", "resistance", 1e-3),
        ("\u2126", "resistance", 1e-3),
        ("C", "temperature", 1.0),
        ("\u00b0C", "temperature", 1.0),
        ("degC", "temperature", 1.0),
        ("g", "acceleration", 1.0),
        ("mg", "acceleration", 1e-3),
        ("m/s^2", "acceleration", 1 / 9.80665),
        ("deg/s", "rotation", math.pi / 180),
        ("%", "ratio", 1.0),
        ("none", "none", 1.0),
        ("a.u.", "none", 1.0),
    ],
)
def test_other_units(text: str, quantity: str, factor: float) -> None:
    unit = parse(text)
    assert unit is not None
    assert unit.quantity == quantity
    assert unit.factor == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize("text", ["", " ", "n/a", "abc", "K", "s", "us", "uV2", "uV/bit", "F"])
def test_what_is_not_known(text: str) -> None:
    assert parse(text) is None
