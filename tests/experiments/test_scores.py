"""What finished runs say, and what is drawn of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from clmer.errors import DataError
from clmer.experiments import figures, paper
from clmer.experiments.scores import best_validation, mean_curve, validation_curves


def test_the_radar_chart_has_the_papers_normalisation():
    cost = {
        key: (c.seconds, c.memory_mib, c.accuracy) for key, c in paper.COSTS["deap"].items()
    }  # fmt: skip
    made = figures.capabilities(cost)
    # By hand: mean time 13710 s, memory 9035.3 MiB, accuracy 87.933 with population sd 6.3264.
    expected = {
        "downsampling": (13710 / 19084, 9035.333 / 21728, 2 - 7.99333 / 6.32644),
        "mobilevit": (13710 / 6820, 9035.333 / 2534, 2 + 0.51667 / 6.32644),
        paper.SERIALIZATION: (13710 / 15226, 9035.333 / 2844, 2 + 7.47667 / 6.32644),
    }
    for key, values in expected.items():
        np.testing.assert_allclose(made[key], values, rtol=1e-4)
    equal = figures.capabilities({"a": (1, 1, 0.5), "b": (1, 1, 0.5)})
    np.testing.assert_array_equal(equal["a"], [1, 1, 2])


def test_curves_are_read_as_a_report_reads_them(tmp_path):
    log = tmp_path / "metrics.jsonl"
    epoch = {"stage": "split1/au", "epoch": 0, "loss": 1.0, "val_score": 0.5}
    lines = [epoch, {**epoch, "stage": "split1/au-2"}, {**epoch, "stage": "split1/other"}]
    whole = "".join(json.dumps(line) + "\n" for line in lines)
    log.write_text(whole + '{"stage": "split2/au", "ep')  # cut short by a kill
    assert validation_curves(tmp_path, "au") == [[0.5], [0.5]]
    with pytest.raises(DataError, match="no epoch of physio"):
        validation_curves(tmp_path, "physio")
    for damage, message in (
        (b'{"stage": "split2/au"}\n', "line 4: epoch|line 4.epoch"),
        (b'{"stage": "split2/au", "epoch": 0, "loss": 1}\n', "split2/au"),
        (b"\xff\n", "line 4.*utf-8"),
    ):
        log.write_bytes(whole.encode() + damage)
        with pytest.raises(DataError, match=message):
            validation_curves(tmp_path, "au")


def test_curves_end_where_every_split_has_an_epoch():
    curves = [[0.5, 0.7, 0.6], [0.6, 0.5]]
    np.testing.assert_allclose(mean_curve(curves), [0.55, 0.6])
    assert best_validation(curves) == pytest.approx(0.65)


def test_a_figure_is_the_same_bytes_each_time():
    for kind in ("png", "svg"):
        drawn = [
            figures.render(figures.curves({"va9": {"L = 5": np.array([0.1, 0.2])}}, {}), kind)
            for _ in range(2)
        ]
        assert drawn[0] == drawn[1]
