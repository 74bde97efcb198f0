"""Presets, what each data set changes in them, and where a run's recordings are: `configure`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from clmer.baselines import MODELS
from clmer.data.manifest import reader as manifest
from clmer.data.registry import DATASETS
from clmer.data.synthetic import WRITERS
from clmer.data.synthetic.model import Control
from clmer.errors import ConfigError
from clmer.pipeline.config import PAIRS, Config
from clmer.storage import near_folder

#: What a preset changes from the paper's sizes.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {"objective": "paper", "classifier": "fusion"},
    "cpu": {
        "epochs_contrastive": 15,
        "epochs_fusion": 60,
        "patience": 10,
        "width": 16,
        "token_length": 20,
        "dim": 32,
        "heads": 4,
        "cross_layers": 2,
        "memory_layers": 1,
        "single_layers": 3,
    },
}

#: What the paper (or design) fixes by data set, under the paper preset.
PAPER_BY_DATASET: Mapping[str, Mapping[str, Any]] = {
    "deap": {"token_length": 50},
    "deap-raw": {"token_length": 50},
    "amigos-short": {"token_length": 15},
    "amigos-long": {"token_length": 15, "epochs_fusion": 200},
    "man2": {"token_length": 15},
    "eegmat": {"token_length": 20},
    "manifest": {"token_length": 15},
    "bids": {"token_length": 15},
}


#: What a data set changes under the cpu preset. deap, AMIGOS and man2 train one split of six.
#: On amigos-long's windows of 5 s the contrastive stage gains nothing (docs/results.md).
#: eegmat has 16 training people: the conv encoder's tokens overfit them, and so does one
#: transformer alone (docs/results.md has the comparison).
CPU_BY_DATASET: Mapping[str, Mapping[str, Any]] = {
    "deap": {"repeats": 1},
    "deap-raw": {"repeats": 1},
    "amigos-short": {"repeats": 1},
    "amigos-long": {"repeats": 1, "contrastive": False},
    "man2": {"repeats": 1},
    "eegmat": {
        "tokens": "spectrum",
        "contrastive": False,
        "members": 5,
        "cross_layers": 1,
        "memory_layers": 1,
        "single_layers": 1,
        "embedding_dropout": 0.5,
    },
}


def build(dataset: str, given: Mapping[str, Any]) -> Config:
    """The run that a data set's defaults, a preset and the user's own choices make.

    Args:
        dataset: a name in `clmer.data.DATASETS`.
        given: fields the user set; None means unset. `preset` "auto" goes by the device.

    Raises:
        ConfigError: an option out of range, or one that no run has.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    unknown = set(chosen) - {field.name for field in fields(Config)}
    if unknown:
        raise ConfigError(f"found {', '.join(sorted(unknown))}, no such options")
    preset = chosen.pop("preset", "auto")
    if preset == "auto":
        preset = "cpu" if chosen.get("device", "cpu") == "cpu" else "paper"
    if preset not in PRESETS:
        raise ConfigError(f"`preset`: found {preset!r}, expected auto, {' or '.join(PRESETS)}")
    defaults = DATASETS[dataset]
    window_s = chosen.get("window_s", defaults.window_s)
    own: dict[str, Any] = {
        "task": defaults.task,
        "protocol": defaults.protocol,
        "modalities": defaults.modalities,
        "labels": defaults.labels[0] if defaults.labels else "",
        "window_s": window_s,
        "stride_s": window_s,
        "ablation": "single" if dataset == "eegmat" else "none",
        "preset": preset,
    }
    by_dataset = CPU_BY_DATASET if preset == "cpu" else PAPER_BY_DATASET
    own |= {**PRESETS[preset], **by_dataset.get(dataset, {})}
    own |= {"repeats": 0} if chosen.get("splits") else {}
    for name in {"modalities", "models", *PAIRS} & chosen.keys():
        chosen[name] = tuple(chosen[name])
    chosen["one_start"] = chosen.get("protocol", own["protocol"]) == "shuffled"
    config = Config(dataset=dataset, **own | _without_stage_1(own, chosen) | chosen)
    if config.protocol in defaults.refused:
        why = defaults.refused[config.protocol]
        raise ConfigError(f"`protocol={config.protocol}`: misleads on {dataset}: {why}")
    return config


def _without_stage_1(own: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """No contrastive stage where none of the models reads its features."""
    linear = chosen.get("classifier") == "linear"
    models = (name for name in chosen.get("models", ("clmer",)) if name in MODELS)
    reads = any(MODELS[n].tokens == "stage" and not (linear and n == "clmer") for n in models)
    return {} if reads or not chosen.get("fusion", True) else {"contrastive": False}


def configure(dataset: str, device: str = "auto", **given: Any) -> Config:
    """The run that a command's options ask for.

    Args:
        dataset: a name in `clmer.data.DATASETS`.
        device: auto, or a torch device.
        **given: fields of `Config`, None or left out where unset; and where the recordings are:
            root, or synthetic=True with the generator's control, people and generator_seed.

    Raises:
        ConfigError: an option that cannot be met.
        DataError: a manifest that cannot be read.
    """
    given["device"] = known_device(device)
    _choose_source(dataset, given)
    if not DATASETS[dataset].tasks and given.get("task") is None:
        given["task"] = manifest.labels(Path(given["root"]))[0]
    return build(dataset, given)


def known_device(name: str) -> str:
    """The name of a device that tensors can be put on; "auto" is a GPU where there is one.

    Raises:
        ConfigError: there is no such device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"`device`: found {name!r}, expected auto, cpu or cuda[:n]") from error
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        seen = "no CUDA device" if not count else f"{count} CUDA devices"
        raise ConfigError(
            f"`device={name}`: torch {torch.__version__} sees {seen}; use `device=cpu`"
        )
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"`device`: found {name!r}, expected auto, cpu or cuda[:n]")
    return name


def _choose_source(dataset: str, given: dict[str, Any]) -> None:
    """Where the recordings are: synthetic, root or $CLMER_DATA/<name>."""
    generator = {name: given.pop(name, None) for name in ("control", "people", "generator_seed")}
    asked = {name: value for name, value in generator.items() if value is not None}
    if given.pop("synthetic", False):
        if dataset not in WRITERS:
            raise ConfigError(f"`synthetic`: generates {', '.join(WRITERS)}, not {dataset}")
        seed = asked.pop("generator_seed", 0)
        own = {"control": "none", "people": WRITERS[dataset][1], "seed": seed, **asked}
        _check_generator(**own)
        given["synthetic"] = own
        given.pop("root", None)
        return
    if asked:
        names = ", ".join(f"`{name}`" for name in asked)
        raise ConfigError(f"{names}: these shape generated data; add `synthetic`")
    if given.get("root") is not None:
        if not Path(given["root"]).is_dir():
            what = "a file" if Path(given["root"]).is_file() else "no folder"
            near = near_folder(Path(given["root"]))
            raise ConfigError(
                f"`root`: found {what} {given['root']}, expected the data's folder"
                f"{near and '. '}{near}"
            )
        return
    data = os.environ.get("CLMER_DATA")
    looked = Path(data) / dataset if data else None
    if looked is not None and looked.is_dir():
        given["root"] = str(looked)
        return
    where = str(looked) if looked else f"$CLMER_DATA/{dataset} (CLMER_DATA is not set)"
    synthetic = "\nOr try it on generated recordings: `synthetic`." if dataset in WRITERS else ""
    raise ConfigError(
        f"no {dataset} recordings: looked in {where}; give `root=DIR`.\n"
        f"{DATASETS[dataset].obtain}{synthetic}"
    )


def _check_generator(control: str, people: int, seed: int) -> None:
    try:
        Control.parse(control)
    except ValueError as error:
        found = str(error).removeprefix("control")
        raise ConfigError(f"`control`{found}") from error
    if not 1 <= people <= 99:
        raise ConfigError(f"`people`: found {people}, expected 1 to 99")
    if not 0 <= seed <= 2**63:
        raise ConfigError(f"`generator_seed`: found {seed}, expected 0 to 2**63")
