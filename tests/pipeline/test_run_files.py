"""Damaged run folders: the file and the field are named, with the way out; one is lost, no page."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import clmer
from clmer import cli
from clmer.data.store.store import open_store
from clmer.data.synthetic import write_deap
from clmer.errors import ConfigError, DataError
from clmer.pipeline.presets import build
from clmer.pipeline.run import folder as run_folder
from clmer.pipeline.run.folder import Run
from clmer.pipeline.run_files import read_described, read_json, read_log
from clmer.pipeline.stages import loop as fit
from clmer.pipeline.stages.loop import Unrecorded
from clmer.report.learned import Sample, class_maps
from clmer.report.page import report
from clmer.report.reading import read_run

SMALL = "--no-contrastive --repeats 1 --threads 1 --width 4 --dim 8 --heads 2 --cross-layers 1 "
SMALL += "--memory-layers 1 --single-layers 1 --token-length 2 --epochs-fusion 1 --no-permuted"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of generated DEAP, and its store."""
    folder = tmp_path_factory.mktemp("run-files")
    write_deap(folder / "data", people=3, trials=4, seconds=2, fps=5)
    options = ["--root", str(folder / "data"), "--cache", str(folder / "cache"), *SMALL.split()]
    options += ["--out", str(folder / "run"), "--modalities", "eeg,landmarks", "--folds", "3"]
    assert cli.main(["train", "deap", *options, "--protocol", "shuffled"]) == 0
    return folder


@pytest.fixture
def run(place: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(place / "run", tmp_path / "run"))


def change(path: Path, edit: Callable[[Any], Any]) -> None:
    """Edit a JSON file in place."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("results.json", "5", r"results\.json: content: found 5.*--resume writes it anew"),
        ("results.json", "[" * 100_000, r"results\.json: JSON: found .*--resume"),
        ("results.json", "[" * 80 + "]" * 80, r"JSON: found objects more than 64 deep"),
        ("results.json", '{"models": 1e999}', r"found 1e999, no finite number"),
        ("config.json", "[" * 100_000, r"config\.json: JSON.*Delete the folder.*train again"),
        ("config.json", '{"config": {}}', r"found nothing, expected a field that every run"),
        (
            "metrics.jsonl",
            '{"stage": "a", "epoch": 0, "loss": 1' + "0" * 400 + "}\n",
            r"metrics\.jsonl: line 1: found a whole number of 401 digits.*curves are lost",
        ),
        ("metrics.jsonl", "[1]\n", r"line 1: found \[1\], expected an object"),
        ("metrics.jsonl", '{"stage": "a", "epoch": -1, "loss": 1}\n', r"line 1\.epoch: found -1"),
        ("metrics.jsonl", '{"stage": "a", "epoch": 1}\n', r"line 1\.loss: found nothing"),
        ("metrics.jsonl", "\udcff\n", r"metrics\.jsonl: line 1: found .*utf-8"),
    ],
)
def test_a_damaged_file_is_named(run: Path, name: str, content: str, message: str) -> None:
    (run / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=message):
        read_run(run)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(models=[1]), r"config\.models\[0\]: found 1, expected text"),
        (lambda c: c.update(width="16"), r'config\.width: found "16", expected a whole number'),
        (lambda c: c.update(contrastive=1), r"config\.contrastive: found 1, expected true or fal"),
        (lambda c: c.update(window_s=None), r"config\.window_s: found null, expected a number"),
        (lambda c: c.update(window_s=float("nan")), r"config\.json: JSON: found NaN, no finite"),
        (lambda c: c.update(scale=[1, 2, 3]), r"config\.scale: found"),
        (lambda c: c.update(synthetic={"seed": 0}), r"config\.synthetic\.control: found nothing"),
        (
            lambda c: c.update(members=10**9),
            r"`members`: found 1000000000, expected .* at most 1000",
        ),
        (lambda c: c.update(dim=40, heads=10), r"notes\.config\.dim: found \d+, expected 40, as"),
    ],
)
def test_a_configuration_of_other_types_and_sizes(
    run: Path, edit: Callable[[Any], Any], message: str
) -> None:
    change(run / "config.json", lambda content: edit(content["config"]))
    with pytest.raises(DataError, match=message):
        clmer.load(run)


def test_what_a_fingerprint_is_of_is_read_where_it_is_needed(run: Path) -> None:
    (run / "data.json").write_text('{"format": 4}')
    assert read_run(run).modalities == ("eeg", "landmarks")
    change(run / "config.json", lambda content: content["config"].update(modalities=[]))
    with pytest.raises(DataError, match=r"data\.json: parameters: found nothing.*Delete the folde"):
        read_run(run)


@pytest.mark.parametrize("line", ["[1]", '{"a":1}', "nonsense", "\xff"])
def test_an_unfinished_run_with_a_damaged_log(run: Path, line: str) -> None:
    (run / "results.json").unlink()
    (run / "metrics.jsonl").write_bytes(line.encode("latin-1") + b"\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl: line 1"):
        clmer.load(run)


def test_a_preset_of_another_version_is_no_error_of_the_report(run: Path, place: Path) -> None:
    change(run / "config.json", lambda content: content["config"].update(preset="tiny"))
    page = report([run], cache=place / "cache")
    assert "cannot repeat it: `preset`: found &#x27;tiny&#x27;" in page
    with pytest.raises(ConfigError, match="`preset`: found 'tiny', expected auto, paper or cpu"):
        build("deap", {"preset": "tiny", "device": "cpu"})


def test_one_run_is_lost_and_never_the_page(
    run: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, run.parent / "whole")
    (run / "results.json").write_text("{")
    out = run.parent / "page.html"
    cache = ["--cache", str(place / "cache")]
    assert cli.main(["report", str(run.parent), "--out", str(out), *cache]) == 0
    page = out.read_text()
    assert "Left out" in page
    assert f"{run / 'results.json'}: JSON" in page
    assert 'id="run-whole"' in page
    assert "left out of the page: " in capsys.readouterr().err
    assert cli.main(["report", str(run), "--out", str(out), *cache]) == 2


def test_a_name_that_is_no_unicode_can_be_shown(run: Path, place: Path) -> None:
    change(run / "config.json", lambda content: content["config"].update(root="/data/\udcff"))
    out = run.parent / "page.html"
    assert cli.main(["report", str(run), "--out", str(out), "--cache", str(place / "cache")]) == 0
    assert "\\udcff" in out.read_text()


def test_a_manifest_s_run_shows_the_modalities_it_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["subject,trial,label,modality,path,rate"]
    for person in "abcdef":
        for trial, label in enumerate(("calm", "tense")):
            for modality, channels in (("eeg", 3), ("ecg", 1)):
                name = f"{person}{trial}{modality}.npy"
                np.save(tmp_path / name, rng.normal(0, 20, (channels, 128 * 6)))
                rows.append(f"{person},{trial},{label},{modality},{name},128")
    (tmp_path / "manifest.csv").write_text("\n".join([*rows, ""]))
    options = ["--root", str(tmp_path), "--cache", str(tmp_path / "cache")]
    options += ["--out", str(tmp_path / "run"), "--folds", "3", *SMALL.split()]
    assert cli.main(["train", "manifest", *options]) == 0
    read = read_run(tmp_path / "run")
    assert read.config["modalities"] == []
    assert read.modalities == ("eeg", "ecg")
    page = report([tmp_path / "run"], cache=tmp_path / "cache")
    assert "<td>eeg, ecg</td>" in page
    assert "Attention between modalities" in page
    assert "Not drawn" not in page


def test_a_lone_last_window_is_drawn(place: Path) -> None:
    model = clmer.load(place / "run", split="split1")
    (folder,) = (place / "cache").glob("deap-*")
    store = open_store(folder)
    count = 33  # a batch of 32, and one
    rows = np.arange(count) % len(store.windows)
    sample = Sample(
        windows={name: store.array(name)[rows] for name in store.modalities},
        y=rows % 2,
        people=store.windows.subject[rows],
        reference=None,
        recording=store.windows.recording[rows],
        classes=model.classes,
        of=count,
    )
    maps = class_maps(model, model.fusion, sample)  # type: ignore[arg-type]
    assert all(np.isfinite(part).all() for part in maps.values())


def test_weights_of_another_run_are_named_and_not_believed(run: Path) -> None:
    (weights,) = (run / "models" / "split1").glob("*landmarks*.safetensors")
    kept = weights.read_bytes()
    tokenizer = run / "models" / "split1" / "tokenizer.safetensors"
    for damage in (b"", kept[: len(kept) // 2], tokenizer.read_bytes()):
        weights.write_bytes(damage)
        with pytest.raises(DataError, match=r"safetensors: .*--resume repeats what it held"):
            clmer.load(run)
    weights.write_bytes(kept)
    tokenizer.write_bytes(kept)
    with pytest.raises(DataError, match=r"tokenizer\.safetensors: notes\.modalities: found no"):
        clmer.load(run)


def _train(run: Run) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())

    def losses(batch: torch.Tensor, _: torch.Generator) -> dict[str, torch.Tensor]:
        return {"loss": model(torch.ones(len(batch), 2)).square().mean()}

    schedule = fit.Schedule(epochs=2, batch=2)
    fit.fit(run, "split1/x", model, optimizer, losses, torch.arange(4), schedule, 0)


@pytest.mark.parametrize(
    ("notes", "tensors", "message"),
    [
        ({}, {}, r"notes\.stage: found nothing.*--resume"),
        ({"stage": "split1/x", "lr": "a"}, {}, r'notes\.lr: found "a"'),
        (None, {"model.bias": torch.zeros(9)}, r"contents: found .*size mismatch"),
        (None, {"nothing": torch.zeros(9)}, r"contents: found .*this run wrote"),
    ],
)
def test_a_checkpoint_that_does_not_fit(
    tmp_path: Path, notes: dict[str, Any] | None, tensors: dict[str, torch.Tensor], message: str
) -> None:
    run = Run(tmp_path / "run", {}, {}, {})
    whole = {"stage": "split1/x", "lr": 0.1, "plateau": {}, "epoch": 1}
    whole |= {"best_epoch": 0, "best_score": float("-inf"), "best_loss": float("inf")}
    run.save_checkpoint("split1/x", tensors, whole if notes is None else notes)
    with pytest.raises(DataError, match=f"(?s){message}"):
        _train(run)
    run.close()


def test_the_log_forgets_what_is_trained_again_and_keeps_the_rest(tmp_path: Path) -> None:
    run, log = Run(tmp_path / "run", {}, {}, {}), tmp_path / "run" / "metrics.jsonl"
    for split, epoch in ((1, 0), (2, 0), (1, 1), (2, 1)):
        run.log({"stage": f"split{split}/x", "epoch": epoch, "loss": 1.0})
    with log.open("a") as file:
        file.write('{"stage": "split1/x", "epo')  # killed meanwhile
    run.forget("split1/x", 1)
    left = [(line["stage"], line["epoch"]) for line in read_log(log)]
    assert left == [("split1/x", 0), ("split2/x", 0), ("split2/x", 1)]
    assert log.read_bytes().endswith(b"}\n")
    run.log({"stage": "split1/x", "epoch": 1, "loss": 1.0})
    run.tidy(["split1", "split2"])
    assert [line["stage"][:6] for line in read_log(log)] == ["split1"] * 2 + ["split2"] * 2
    log.unlink()
    run.forget("split1/x", 0)
    assert not log.exists()
    run.close()


def test_one_rank_ends_its_split_while_another_begins_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run", {}, {}, {})
    write = run_folder.write_tensors

    def late(*args: Any) -> None:
        run.end_checkpoint("split1/x")  # by another process, in between
        write(*args)

    run.save_checkpoint("split1/x", {}, {"stage": "split1/x"})
    monkeypatch.setattr(run_folder, "write_tensors", late)
    run.save_checkpoint("split2/x", {}, {"stage": "split2/x"})
    run.tidy(["split1", "split2"])
    assert run.load_checkpoint("split1/x") is None
    loaded = run.load_checkpoint("split2/x")
    assert loaded
    assert loaded[1]["stage"] == "split2/x"
    run.end_checkpoint("split2/x")
    run.tidy(["split1", "split2"])
    assert not (tmp_path / "run" / "checkpoint").exists()
    run.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write and read everything")
def test_a_folder_that_may_not_be_written_or_read(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    Run(folder, {}, {}, {}).close()
    folder.chmod(0o500)
    try:
        with pytest.raises(DataError, match=r"\.lock: writing: found Permission denied"):
            Run(folder, {}, {}, {}, resume=True)
        folder.chmod(0)
        with pytest.raises(DataError, match=r"Permission denied.*Allow reading"):
            Run(folder, {}, {}, {}, resume=True)
    finally:
        folder.chmod(0o700)


def _refuse(monkeypatch: pytest.MonkeyPatch, name: str, modes: str) -> None:
    """Have the system refuse to open a file."""
    whole = Path.open

    def refuse(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if path.name == name and mode[0] in modes:
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path, mode, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)


@pytest.mark.parametrize("name", ["config.json", "results.json", "metrics.jsonl", "data.json"])
def test_a_file_that_may_not_be_read(run: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "data.json":
        change(run / "config.json", lambda content: content["config"].update(modalities=[]))
    _refuse(monkeypatch, name, "r")
    with pytest.raises(DataError, match=r"found Permission denied.*Allow reading"):
        read_run(run)


def test_a_lock_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Run(tmp_path / "run", {}, {}, {}).close()
    whole = os.open

    def refuse(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if str(path).endswith(".lock"):
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DataError, match=r"\.lock: writing: found Permission denied"):
        Run(tmp_path / "run", {}, {}, {}, resume=True)


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    for read, name in ((read_json, "results.json"), (read_log, "metrics.jsonl")):
        (tmp_path / name).mkdir()
        with pytest.raises(DataError, match="no plain file"):
            read(tmp_path / name)
    with pytest.raises(DataError, match=r"config\.json"):
        read_described(tmp_path / "config.json")


def test_nothing_is_kept_of_a_fit_in_memory() -> None:
    recorder = Unrecorded()
    recorder.forget("split1/x", 0)
    recorder.end_checkpoint("split1/x")
    assert recorder.load_tensors("split1/x") is recorder.load_checkpoint("split1/x") is None
