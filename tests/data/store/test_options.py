"""`PrepareOptions`: the options of every caller, and the plan that a data set makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import clmer.data
from clmer.data.registry import DATASETS
from clmer.data.store.options import FILTERS, PrepareOptions
from clmer.data.store.plan import resolve
from clmer.errors import ConfigError
from clmer.options import flags, specs

ROOT = Path("/nowhere")


def test_every_option_says_its_flag_and_help() -> None:
    known = specs(PrepareOptions)
    assert set(known) == set(PrepareOptions.__dataclass_fields__)
    assert all(spec.help and not spec.help.endswith(".") for spec in known.values())
    assert flags([PrepareOptions])["window_s"] == "--window"
    assert "fps" not in flags([PrepareOptions])
    assert known["filter"].words == FILTERS


def test_what_is_left_open_is_the_data_set_s() -> None:
    plan = resolve(DATASETS["eegmat"], ROOT, PrepareOptions())
    assert (plan.modalities, plan.window_s, plan.stride_s) == (("eeg", "ecg"), 5.0, 5.0)
    assert (plan.length, plan.step, plan.frames) == (640, 640, 125)
    assert not plan.has_face
    assert plan.band("eeg") == (1.0, 45.0)
    stated = PrepareOptions(["eeg", "au"], window_s=2.0, filter="paper")  # type: ignore[arg-type]
    plan = resolve(DATASETS["deap"], ROOT, stated)
    assert (plan.modalities, plan.stride_s, plan.face_names) == (("eeg", "au"), 2.0, ("au",))
    assert plan.band("gsr") == (4.0, 45.0)


def test_parameters_are_those_that_decide_the_windows() -> None:
    one = resolve(DATASETS["deap"], ROOT, PrepareOptions())
    other = resolve(DATASETS["deap"], ROOT, PrepareOptions(stride_s=0.5))
    assert one.parameters() == resolve(DATASETS["deap"], ROOT, PrepareOptions()).parameters()
    assert one.parameters() != other.parameters()


@pytest.mark.parametrize("name", ["windows", "window"])
def test_load_knows_these_options_and_no_others(name: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=name):
        clmer.data.load("deap", tmp_path, **{name: 1.0})
    with pytest.raises(ConfigError, match="`window_s`: found 0.0, expected above 0"):
        clmer.data.load("deap", tmp_path, window_s=0.0)
