"""`clmer.load`: a trained model out of a run's folder, or out of a saved one."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from clmer.errors import DataError
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.run.folder import CONFIG, MODELS, RESULTS, read_config, unfinished_stage
from clmer.pipeline.run.trained import TrainedRun
from clmer.pipeline.run_files import damaged, readable
from clmer.pipeline.share.hub import local_folder
from clmer.pipeline.share.saved import describe, is_saved, read
from clmer.pipeline.split.baselines import kept_names
from clmer.pipeline.split.model import SplitModel
from clmer.pipeline.split.notes import TOKENIZER
from clmer.pipeline.split.parts import SplitFolder
from clmer.pipeline.stages.select import candidates


def load(
    folder: Path | str, split: str | None = None, device: str = "cpu", model: str | None = None
) -> TrainedRun:
    """The trained models of a run's folder, or of one that `TrainedRun.save_pretrained` made.

    Args:
        folder: as `--out` had it; a saved model's folder; or a repository of Hugging Face's Hub,
            "hf://user/name" or "hf://user/name@tag", which is downloaded.
        split: "split1", ...; None for all of them, whose probabilities are averaged: together
            they have seen every person of the data set.
        device: a torch device.
        model: as the results name it ("eeg+ecg", "mult", "features + LR: eeg+ecg", ...), one of
            `kept_models`; None for the run's first. A saved model is one already.

    Raises:
        DataError: no run's folder, an unfinished run (which stage), an unknown split or model,
            damage; the Hub does not give the repository.
    """
    folder = local_folder(folder)
    if is_saved(folder):
        found = read(folder, split, model, device)
        return TrainedRun(folder, found.config, found.splits)
    config = read_config(folder)
    names = _split_names(folder)
    if split is None and not readable(folder / RESULTS, (folder / RESULTS).is_file):
        raise DataError(
            folder,
            str(RESULTS),
            f"an unfinished run, stopped in {unfinished_stage(folder)}",
            "a finished one",
            "Finish it: the same training command with --resume. "
            + (f"Or take one of its splits: `split={names[0]}`." if names else ""),
        )
    if split is not None and split not in names:
        raise DataError(folder, "`split`", split, ", ".join(names) or "one that was trained")
    known = [config] if config.select == "none" else [*candidates(config).values()]
    loaded = {}
    for name in names if split is None else [split]:
        loaded[name] = SplitModel.load(folder / MODELS / name, model, device)
        others = min((_differences(loaded[name].config, each) for each in known), key=len)
        for option, (found, wanted) in others.items():
            path = folder / MODELS / name / f"{TOKENIZER}.safetensors"
            raise damaged(path, f"notes.config.{option}", found, f"{wanted}, as {CONFIG}")
    return TrainedRun(folder, config, loaded)


def kept_models(folder: Path) -> list[str]:
    """The models of a run that `load` takes, those under study first; a saved model's one.

    Raises:
        DataError: no run's folder, or damage.
    """
    if is_saved(folder):
        name = describe(folder)["model"]
        return [name] if name else []
    read_config(folder)
    names = _split_names(folder)
    return kept_names(SplitFolder(folder / MODELS / names[0])) if names else []


def _differences(found: ModelConfig, wanted: ModelConfig) -> dict[str, tuple[Any, Any]]:
    """Options that differ, and both values."""
    names = (option.name for option in fields(ModelConfig))
    both = {name: (getattr(found, name), getattr(wanted, name)) for name in names}
    return {name: (one, other) for name, (one, other) in both.items() if one != other}


def _split_names(folder: Path) -> list[str]:
    found = (re.fullmatch(r"split(\d+)", path.name) for path in (folder / MODELS).glob("split*"))
    return [f"split{number}" for number in sorted(int(name[1]) for name in found if name)]
