"""Where the parts of a trained split are read from: its folder in a run, or one saved model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from clmer.errors import DataError
from clmer.pipeline.run_files import read_tensors, readable

#: Tensors of a part, and its notes.
Part = tuple[Mapping[str, Tensor], Mapping[str, Any]]


class Parts(Protocol):
    """The parts of one split by name: "tokenizer", "contrastive", "eeg+ecg", ..."""

    @property
    def source(self) -> Path:
        """Where they are, for messages."""

    def path(self, name: str) -> Path:
        """The file of a part, for messages."""

    def has(self, name: str) -> bool:
        """Whether there is such a part."""

    def read(self, name: str) -> Part:
        """Tensors and notes of a part.

        Raises:
            DataError: it is not there (what makes it), or damaged.
        """


@dataclass(frozen=True)
class SplitFolder:
    """A folder with a file per part, as training or `SplitModel.save` wrote it.

    Args:
        source: "models/split1" of a run's folder, for one.
    """

    source: Path

    def path(self, name: str) -> Path:
        """The part's file."""
        return self.source / f"{name}.safetensors"

    def has(self, name: str) -> bool:
        """Whether the file is there."""
        path = self.path(name)
        return readable(path, path.is_file)

    def read(self, name: str) -> Part:
        """See `Parts.read`."""
        if not self.has(name):
            run = self.source.parent.parent
            raise DataError(
                run,
                str(self.path(name).relative_to(run)),
                "nothing",
                f"what training leaves when {self.source.name}/{name} is finished",
                "The same training command with --resume makes it.",
            )
        return read_tensors(self.path(name))


@dataclass(frozen=True, eq=False)
class SplitParts:
    """Parts that were read from one file.

    Args:
        source: that file.
        split: "split1", ...
        parts: tensors and notes by name.
    """

    source: Path
    split: str
    parts: Mapping[str, Part]

    def path(self, name: str) -> Path:
        """The file that holds them all."""
        return self.source

    def has(self, name: str) -> bool:
        """Whether it was in the file."""
        return name in self.parts

    def read(self, name: str) -> Part:
        """See `Parts.read`."""
        if name not in self.parts:
            expected = "tensors of that name, which this model needs"
            raise DataError(self.source, f"{self.split}/{name}", "nothing", expected)
        return self.parts[name]
