"""A run's folder: what it refuses to go on with, and why."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from clmer.errors import ConfigError, DataError
from clmer.pipeline.presets import build
from clmer.pipeline.run.folder import DATA, Run, check_folder, read_config, unfinished_stage

ORIGIN = {
    "format": 2,
    "parameters": {"window_s": 1.0},
    "sources": [["s01.dat", 100, 10**18, "s01"], ["s02.dat", 100, 10**18, "s02"]],
}
CONFIG = {"seed": 0, "data": "a" * 64}


def test_a_touched_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    Run(folder, CONFIG, {}, ORIGIN)
    Run(folder, CONFIG, {}, ORIGIN, resume=True)
    touched = ORIGIN | {
        "sources": [["s01.dat", 100, 10**18, "s01"], ["s02.dat", 100, 10**18 + 10**9, "s02"]]
    }
    with pytest.raises(ConfigError, match=r"resume.*the data: s02\.dat has the same size") as e:
        Run(folder, CONFIG | {"data": "b" * 64}, {}, touched, resume=True)
    assert "s01" not in str(e.value)
    many = ORIGIN | {"sources": [[f"{i}.dat", 1, 1, ""] for i in range(10)]}
    with pytest.raises(ConfigError, match=r"seed: this folder has 0, now 1; the data: .*7 more"):
        Run(folder, {"seed": 1, "data": "b" * 64}, {}, many, resume=True)


def test_a_folder_killed_while_it_was_made_is_taken(tmp_path: Path) -> None:
    (tmp_path / DATA).write_text("{}")
    check_folder(tmp_path, resume=False)
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="other files in it"):
        check_folder(tmp_path, resume=False)


def test_a_log_line_cut_short_by_a_kill_is_no_line(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"stage": "split1/eeg", "ep')
    assert unfinished_stage(tmp_path) == "its first stage"
    log.write_text('{"stage": "split1/eeg", "epoch": 1}\n{"stage": "split1/permuted", "ep')
    assert unfinished_stage(tmp_path) == "split1/eeg"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda config: config.pop("task"), r"config\.json: task: found nothing"),
        (lambda config: config.update(batch=0), r"config\.json: config: found `batch`: found"),
        (
            lambda config: config.update(modalities=None),
            r"config\.json: config\.modalities: found null",
        ),
        (lambda config: config.update(depth=3), r"config\.json: depth: found an unknown option"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_the_folder_s_fault(
    tmp_path: Path, damage: Callable[[dict[str, Any]], object], message: str
) -> None:
    config = json.loads(json.dumps(asdict(build("deap", {"device": "cpu"}))))
    described = tmp_path / "config.json"
    described.write_text(json.dumps({"config": config}))
    assert asdict(read_config(tmp_path))["batch"] == 64
    damage(config)
    described.write_text(json.dumps({"config": config}))
    with pytest.raises(DataError, match=message):
        read_config(tmp_path)


def test_a_run_has_one_process_at_a_time(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", {}, {}, {})
    with pytest.raises(ConfigError, match="another process trains this run"):
        Run(tmp_path / "run", {}, {}, {}, resume=True)
    Run(tmp_path / "run", {}, {}, {}, resume=True, leads=False).close()  # another rank
    run.close()
    Run(tmp_path / "run", {}, {}, {}, resume=True).close()


def test_a_closed_run_keeps_its_events_and_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    run = Run(tmp_path / "run", {}, {}, {})
    run.log({"stage": "split1/fusion", "epoch": 1, "loss": 0.5})
    assert threading.active_count() == before + 1
    run.close()
    run.close()
    assert threading.active_count() == before
    (path,) = (tmp_path / "run" / "events").iterdir()
    events = [e for e in EventFileLoader(str(path)).Load() if e.HasField("summary")]
    assert [e.summary.value[0].tag for e in events] == ["split1/fusion/loss"]


@pytest.mark.parametrize("text", ["{", "[]", '{"config": []}', "{}", "\xff"])
def test_a_damaged_configuration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"config\.json: \w+: found .*Delete the folder.*again"):
        read_config(tmp_path)
