"""A saved model's folder: written whole, and read back bit for bit.

config.json          options, channels, classes, scores: all that is not a tensor
model.safetensors    weights and statistics of every split, by "split1/eeg/..."
README.md            the model card, see `clmer.pipeline.share.card`

Nothing in it is of a person: no ids, no scores of single people, no names of files, no dates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

import clmer
from clmer.data.registry import DATASETS
from clmer.errors import ConfigError, DataError
from clmer.json_files import ANY, NUMBER
from clmer.pipeline.config import Config, ModelConfig
from clmer.pipeline.run_files import (
    as_config,
    check,
    check_options,
    damaged,
    read_json,
    readable,
    settings,
)
from clmer.pipeline.share.scores import SCORES, check_scores
from clmer.pipeline.split.files import parts_of
from clmer.pipeline.split.model import SplitModel, load_parts
from clmer.pipeline.split.notes import TOKENIZER
from clmer.pipeline.split.parts import Part, SplitParts
from clmer.pipeline.targets import ClassTarget
from clmer.storage import unwritable, write_file

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
#: Version of the layout.
FORMAT = 1
#: What stands for the table of a user's own splits, and for encoders given, which are not kept.
OWN_TABLE, GIVEN = "own", "given"
#: Options of encoders that are saved alone.
ENCODERS_ALONE: Mapping[str, Any] = {
    "fusion": False,
    "encoders": "frozen",
    "target": "class",
    "ablation": "none",
    "select": "none",
}
_TYPE = "clmer"
_WAY_OUT = "Save it again (save_pretrained), or download it anew."
_DESCRIPTION = {
    "format": int,
    "clmer_version": str,
    "model_sha256": str,
    "model": str,
    "classes": [str],
    "by_reference": bool,
    "modalities": [
        {
            "name": str,
            "tokens": int,
            "fs": NUMBER,
            "channels": [str],
            "kinds": [str],
            "unit": str,
            "native_fs": NUMBER,
            "levels": [[str, NUMBER]],
            "samples": int,
        }
    ],
    "options": dict,
    "splits": {ANY: {"kind": str, "rating": [NUMBER], "options": dict, "notes": {ANY: dict}}},
}


@dataclass(frozen=True, eq=False)
class SavedModel:
    """What a saved model's folder says.

    Args:
        config: what was trained, without paths.
        name: of the model, as results name it; "" of encoders alone.
        splits: the loaded splits by name.
        scores: see `clmer.pipeline.share.scores`; None where there are none.
    """

    config: Config
    name: str
    splits: Mapping[str, SplitModel]
    scores: Mapping[str, Any] | None


# --- what is written --------------------------------------------------------------------------
def model_of(config: Config, splits: Mapping[str, SplitModel]) -> SavedModel:
    """A run's loaded model as it is saved: alone, without paths and without scores.

    Args:
        config: of the run.
        splits: one model of each.

    Raises:
        ConfigError: it needs more than can be saved.
    """
    if "mobilevit" in next(iter(splits.values())).tokenizer.modalities and config.mobilevit:
        raise ConfigError(
            "`mobilevit`: found weights in a folder of their own, which are not the model's to "
            "pass on, expected a model that needs none; train without the modality mobilevit"
        )
    alone = {name: _alone(split) for name, split in splits.items()}
    first = next(iter(alone.values()))
    window_s = config.window_s or DATASETS[config.dataset].window_s
    kept = replace(
        config,
        **{name: getattr(first.config, name) for name in ("models", "ablation", "select")},
        root="",
        mobilevit="",
        splits=OWN_TABLE if config.splits else "",
        init=GIVEN if config.init else "",
        device="cpu",
        graph=False,
        modalities=tuple(first.tokenizer.modalities),
        window_s=window_s,
        stride_s=config.stride_s or window_s,
    )
    return SavedModel(kept, next(iter(first.models), ""), alone, None)


def encoders_of(split: SplitModel) -> SplitModel:
    """A split's encoders without what was trained on labels, and without their names."""
    config = replace(split.config, **ENCODERS_ALONE)
    return replace(split, config=config, models={}, target=ClassTarget(()), selection=None)


def _alone(split: SplitModel) -> SplitModel:
    """A split's model whose configuration and statistics are of nothing else."""
    models = tuple(each.chosen.spec.name for each in split.models.values())
    config = replace(
        split.config,
        models=models or split.config.models,
        ablation="none",
        select="none",
        graph=False,
    )
    names = split.tokenizer.modalities
    windows = {name: each for name, each in split.tokenizer.windows.items() if name in names}
    lengths = {name: split.tokenizer.lengths[name] for name in names}
    tokenizer = replace(split.tokenizer, windows=windows, lengths=lengths)
    return replace(split, config=config, tokenizer=tokenizer, selection=None)


def write(folder: Path, model: SavedModel, card: str, *, overwrite: bool) -> None:
    """Write a model's folder; config.json comes last, so that a folder without it is unfinished.

    Args:
        folder: made where it is not there.
        model: from `model_of`, or read.
        card: text of README.md.
        overwrite: replace a saved model that is there.

    Raises:
        DataError: the folder holds something else, or cannot be written.
    """
    _check_free(folder, overwrite)
    tensors: dict[str, Tensor] = {}
    for name, split in model.splits.items():
        for part, (values, _) in parts_of(split).items():
            tensors |= {f"{name}/{part}/{key}": value for key, value in values.items()}
    content = save(
        {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
        {"format": "pt"},
    )
    described = _described(model, hashlib.sha256(content).hexdigest())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    write_file(folder / WEIGHTS, content)
    write_file(folder / CARD, card.encode())
    write_file(folder / CONFIG, (json.dumps(described, indent=1, ensure_ascii=False)).encode())


def _check_free(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that holds something; hidden files (.git, .gitattributes) do not count."""
    if not readable(folder, folder.exists):
        return
    if not folder.is_dir():
        raise DataError(folder, "`folder`", "a file", "a folder", "Choose another one.")
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    others = sorted({*names} - {CONFIG, WEIGHTS, CARD})
    if others or (names and not is_saved(folder)):
        found = f"a folder with {', '.join(others or sorted(names))}"
        raise DataError(folder, "`folder`", found, "a new or empty one", "Choose another one.")
    if names and not overwrite:
        hint = "Choose another folder, or say `overwrite=True`."
        raise DataError(folder, "`folder`", "a saved model", "a new or empty folder", hint)


def _described(model: SavedModel, digest: str) -> dict[str, Any]:
    """What config.json holds."""
    first = next(iter(model.splits.values()))
    options = settings(model.config)
    return {
        "model_type": _TYPE,
        "format": FORMAT,
        "clmer_version": clmer.__version__,
        "model_sha256": digest,
        "model": model.name,
        "classes": list(first.classes),
        "by_reference": first.tokenizer.by_reference,
        "modalities": [
            {**asdict(each), "samples": first.tokenizer.lengths[name]}
            for name, each in first.tokenizer.modalities.items()
        ],
        "options": options,
        "splits": {
            name: {
                "kind": split.tokenizer.kind,
                "rating": split.target.notes()["rating"],
                "options": _own_options(split.config, options),
                "notes": {
                    part: notes
                    for part, (_, notes) in parts_of(split).items()
                    if notes and part != TOKENIZER
                },
            }
            for name, split in model.splits.items()
        },
        SCORES: model.scores,
    }


def _own_options(config: ModelConfig, common: Mapping[str, Any]) -> dict[str, Any]:
    """A split's options that are not those of all (where each chose its own, `select=inner`)."""
    names = [each.name for each in fields(ModelConfig)]  # a split's can be of a whole run
    own = json.loads(json.dumps({name: getattr(config, name) for name in names}))
    return {name: value for name, value in own.items() if value != common[name]}


# --- what is read -----------------------------------------------------------------------------
def is_saved(folder: Path) -> bool:
    """Whether a folder holds a saved model, or what is left of one, and not a run.

    Raises:
        DataError: it may not be read.
    """
    if readable(folder / WEIGHTS, (folder / WEIGHTS).is_file):
        return True
    path = folder / CONFIG
    if not readable(path, path.is_file):
        return False
    try:
        found = read_json(path)
    except DataError:  # what reads it next says why
        return False
    return isinstance(found, dict) and "model_type" in found


@contextmanager
def _of_saved(folder: Path) -> Iterator[None]:
    """Say of a saved model's files how to get whole ones, and not how to train again."""
    try:
        yield
    except DataError as error:
        expected = error.expected
        if error.path.name == WEIGHTS and error.field == "contents":
            expected = f"the tensors that {CONFIG} beside it describes"
        if error.path.parent != folder:
            raise
        raise DataError(error.path, error.field, error.found, expected, _WAY_OUT) from error


def describe(folder: Path) -> dict[str, Any]:
    """config.json of a saved model, its fields held against their types.

    Raises:
        DataError: it is missing, damaged or of another version.
    """
    path = folder / CONFIG
    with _of_saved(folder):
        if not readable(path, path.is_file):
            raise DataError(path, "file", "nothing", "what save_pretrained wrote last")
        found = read_json(path)
        check(found, {"model_type": str, "format": int}, path)
        if (found["model_type"], found["format"]) != (_TYPE, FORMAT):
            said = f"{found['model_type']}, format {found['format']}"
            expected = f"{_TYPE}, format {FORMAT}"
            raise DataError(path, "model_type", said, expected)
        check(found, _DESCRIPTION, path)
        check_options(found["options"], path, "options")
        for name, split in found["splits"].items():
            check_options(split["options"], path, f"splits.{name}.options")
        if not found["splits"] or not found["modalities"]:
            raise damaged(path, "splits, modalities", "none of them", "one or more of each")
        if found.get(SCORES) is not None:
            check_scores(found[SCORES], path)
    return dict(found)


def read(folder: Path, split: str | None, model: str | None, device: str) -> SavedModel:
    """A saved model; the arguments are `clmer.load`'s.

    Raises:
        DataError: a file is missing or damaged (which field), or there is no such split or model.
    """
    found = describe(folder)
    names, name = [*found["splits"]], str(found["model"])
    if split is not None and split not in names:
        raise DataError(folder, "`split`", split, ", ".join(names))
    if model is not None and model != name:
        raise DataError(folder, "model", model, name or "none: it holds encoders alone")
    with _of_saved(folder):
        path = folder / CONFIG
        config = as_config(found["options"], path, "options", ())
        tensors = _tensors(folder / WEIGHTS, found["model_sha256"])
        loaded = {
            each: load_parts(
                SplitParts(folder / WEIGHTS, each, _parts(found, config, tensors, each)),
                name or None,
                torch.device(device),
            )
            for each in (names if split is None else [split])
        }
    return SavedModel(config, name, loaded, found.get(SCORES))


def _tensors(path: Path, digest: str) -> dict[str, Tensor]:
    if not readable(path, path.is_file):
        raise DataError(path, "file", "nothing", "the weights")
    try:
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            expected = f"{digest}, as {CONFIG} beside it says"
            raise DataError(path, "SHA-256", found, expected)
        return dict(load(content))
    except (SafetensorError, OSError, KeyError, TypeError, MemoryError) as error:
        raise damaged(path, "safetensors", error) from error


def _parts(
    found: Mapping[str, Any], config: Config, tensors: Mapping[str, Tensor], split: str
) -> dict[str, Part]:
    """A split's parts, as a run's folder would hold them."""
    parts: dict[str, dict[str, Tensor]] = {TOKENIZER: {}}
    for key, value in tensors.items():
        of, _, rest = key.partition("/")
        part, _, name = rest.partition("/")
        if of == split:
            parts.setdefault(part, {})[name] = value
    own = found["splits"][split]
    modalities = [dict(each) for each in found["modalities"]]
    lengths = {each["name"]: each.pop("samples") for each in modalities}
    options = {each.name: getattr(config, each.name) for each in fields(ModelConfig)}
    notes: dict[str, Any] = {
        "modalities": modalities,
        "lengths": lengths,
        "kind": own["kind"],
        "by_reference": found["by_reference"],
        "classes": found["classes"],
        "rating": own["rating"],
        "config": options | own["options"],
    }
    others = {**own["notes"], TOKENIZER: notes}
    return {name: (values, others.get(name, {})) for name, values in parts.items()}
