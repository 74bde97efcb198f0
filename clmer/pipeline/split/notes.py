"""The notes of a split's file `TOKENIZER`, from which the rest is built: read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from clmer.errors import ConfigError, DataError
from clmer.json_files import ANY, NUMBER
from clmer.pipeline.config import TOKEN_KINDS, ModelConfig
from clmer.pipeline.run_files import check, damaged
from clmer.pipeline.targets import ClassTarget, Target, read_target
from clmer.pipeline.tokenizer import Tokenizer

#: Name of the split's file that holds what makes tokens.
TOKENIZER = "tokenizer"
_MOST_VALUES = 2**28  # of one window
_NOTES = {
    "modalities": [{"name": str, "tokens": int, "fs": NUMBER, "channels": [str]}],
    "lengths": {ANY: int},
    "kind": str,
    "by_reference": bool,
    "classes": [str],
    "rating": [NUMBER],
    "config": dict,
}


def read_model_config(notes: Mapping[str, Any], path: Path) -> ModelConfig:
    """The configuration in a tokenizer file's notes.

    Raises:
        DataError: it is damaged, or of another version.
    """
    check(notes, _NOTES, path, "notes")
    found = notes["config"]
    known = {each.name for each in fields(ModelConfig)}
    if found.keys() != known:
        names = ", ".join(sorted(found.keys() ^ known))
        raise damaged(path, "notes.config", names, "the options of this version")
    try:
        lists = {name: tuple(each) for name, each in found.items() if isinstance(each, list)}
        return ModelConfig(**{**found, **lists})
    except (ConfigError, TypeError) as error:
        raise damaged(path, "notes.config", error) from error


def read_split_target(config: ModelConfig, notes: Mapping[str, Any], path: Path) -> Target:
    """What the split's models predict; of encoders alone whatever classes there are.

    Raises:
        DataError: the notes are not of the configuration's target.
    """
    if not config.fusion:
        return ClassTarget(tuple(notes["classes"]))
    try:
        return read_target(config.target, notes)
    except ValueError as error:
        raise foreign(path, error) from error


def read_tokenizer(
    tensors: Mapping[str, Tensor], notes: Mapping[str, Any], path: Path
) -> Tokenizer:
    """The tokenizer of a file's tensors and notes.

    Raises:
        DataError: they are damaged.
    """
    try:
        tokenizer = Tokenizer.from_state(tensors, notes)
    except (KeyError, TypeError, ValueError) as error:
        raise foreign(path, error) from error
    if tokenizer.kind not in ("raw", *TOKEN_KINDS):
        raise foreign(path, tokenizer.kind)
    if not tokenizer.modalities:
        raise foreign(path, "no modalities")
    for name, modality in tokenizer.modalities.items():
        size = len(modality.channels) * tokenizer.lengths.get(name, 0)
        if name not in tokenizer.windows and not tokenizer.by_reference:
            raise foreign(path, f"no statistics of {name}")
        if not 0 < size <= _MOST_VALUES or not 1 <= modality.tokens <= size or modality.fs <= 0:
            raise foreign(path, f"{name}: {size} values, {modality.tokens} tokens")
        for each in tokenizer.windows.get(name, ()):
            if each.shape != (len(modality.channels), 1):
                raise foreign(path, f"{name}: statistics {list(each.shape)}")
    return tokenizer


def foreign(path: Path, found: object) -> DataError:
    """What to say of a file that is not what the tokenizer's file asks for."""
    return damaged(path, "contents", found, f"those by {path.parent / TOKENIZER}.safetensors")
