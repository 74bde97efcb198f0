"""Encoders to start from, out of a folder: a run's, or a saved model's."""

from __future__ import annotations

from pathlib import Path

from clmer.errors import DataError
from clmer.pipeline.run.load import load
from clmer.pipeline.stages.start import Start


def read_start(folder: Path | str) -> Start:
    """The encoders that a folder holds.

    Args:
        folder: of `TrainedRun.save_encoders` or `save_pretrained`, or a run's with one split; or
            "hf://user/name".

    Raises:
        DataError: no such folder, damage, several splits, or no encoders.
    """
    trained = load(folder)
    if len(trained.splits) > 1:
        raise DataError(
            folder,
            "`init`",
            f"the encoders of {len(trained.splits)} splits",
            "those of one",
            f'clmer.load("{folder}", split="{next(iter(trained.splits))}").save_encoders(DIR) '
            "makes such a folder.",
        )
    (split,) = trained.splits.values()
    if not split.encoders:
        raise DataError(folder, "`init`", "no encoders of stage 1", "a model with some")
    return Start(split.tokenizer.modalities, split.encoders)
