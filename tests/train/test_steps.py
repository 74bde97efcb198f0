"""The line that says where a run is, and what the time left is made of."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from clmer.streams import StatusLine
from clmer.train import steps
from clmer.train.steps import Progress, Step, clock

STEPS = [Step("contrastive", "learning features", 40, 2.0), Step("eeg", "learning classes", 10, 1)]


class Terminal(io.TextIOWrapper):
    """A terminal of an encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return True

    def shown(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still."""
    found = SimpleNamespace(s=100.0)
    monkeypatch.setattr("time.monotonic", lambda: found.s)
    return found


def progress(splits: int = 6) -> Progress:
    plan: Any = SimpleNamespace(splits=[None] * splits, split_numbers=lambda: range(splits))
    return Progress(plan, STEPS)


def test_a_terminal_has_one_line_of_at_most_80_columns(
    monkeypatch: pytest.MonkeyPatch, now: SimpleNamespace
) -> None:
    terminal = Terminal("utf-8")
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    watch = progress()
    watch.show("split2/contrastive", 13, 40)
    left = 27 * 2 + 10 + 4 * 90  # of this step, of this split, of the four after it
    wanted = f"step 1 of 2, learning features · split 2 of 6 · epoch 14 of 40 · {clock(left)} left"
    assert terminal.shown() == f"\r{wanted}"
    assert len(wanted) < 80
    watch.show("split2/contrastive", 14, 40)  # too soon to be read
    assert terminal.shown() == f"\r{wanted}"
    watch.clear()
    assert terminal.shown().endswith(" " * len(wanted) + "\r")
    assert "\n" not in terminal.shown()


def test_the_time_left_follows_the_speed(
    monkeypatch: pytest.MonkeyPatch, now: SimpleNamespace
) -> None:
    terminal = Terminal("utf-8")
    monkeypatch.setattr(sys, "stderr", terminal)
    watch = progress(splits=1)
    watch.show("split1/contrastive", 0, 40)
    now.s += 30  # ten epochs of 2 s took 30
    watch.show("split1/contrastive", 10, 40)
    assert terminal.shown().split("\r")[-1].endswith(f"{clock(1.5 * (30 * 2 + 10))} left")


def test_a_name_that_is_too_long_is_cut_and_no_letter_crashes(
    monkeypatch: pytest.MonkeyPatch, now: SimpleNamespace
) -> None:
    terminal = Terminal("ascii")
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    progress().show("split2/contrastive", 13, 40)
    assert (
        terminal.shown() == "\rstep 1 of 2, learning features - split 2 of 6 - epoch 14 of 4"[:60]
    )


def test_a_file_has_a_line_per_split(
    monkeypatch: pytest.MonkeyPatch, now: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = progress(splits=2)
    watch.show("split1/contrastive", 0, 40)
    now.s += 5
    watch.end_split(0)
    watch.end_split(1)
    assert capsys.readouterr().err.splitlines() == [
        "split 1 of 2 trained: 0:05 so far, 1:30 left",
        "split 2 of 2 trained: 0:05 so far, 0:00 left",
    ]


def test_a_choice_among_configurations_has_steps_of_its_own(
    monkeypatch: pytest.MonkeyPatch, now: SimpleNamespace
) -> None:
    terminal = Terminal("utf-8")
    monkeypatch.setattr(sys, "stderr", terminal)
    progress().show("split1/select", 2, 6)
    assert terminal.shown() == "\rchoosing a configuration · split 1 of 6 · 3 of 6"


def test_nothing_is_shown_in_a_file() -> None:
    line = StatusLine()
    line.show("step 1")
    line.clear()


def test_a_clock_and_words() -> None:
    assert [clock(s) for s in (0.4, 42, 61, 3762)] == ["0:00", "0:42", "1:01", "1:02:42"]
    assert [steps.spell_time(s) for s in (40, 720, 27000, 180000)] == [
        "40 s",
        "12 min",
        "7.5 h",
        "2.1 days",
    ]
