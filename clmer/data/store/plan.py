"""`WindowPlan`: a data set's windows in samples and frames, its defaults filled in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clmer.data.choices import IMAGES
from clmer.data.face.windows import FACE_TOKENS
from clmer.data.recording import KINDS
from clmer.data.registry import Band, Dataset
from clmer.data.store.options import PrepareOptions
from clmer.errors import ConfigError, DataError

#: What `is_valid_name` asks.
NAME = "letters, digits, spaces, _, + and -"


def is_valid_name(name: str) -> bool:
    """Whether a modality may have a name, which becomes part of a file's."""
    return re.fullmatch(r"\w[\w +-]*", name) is not None


@dataclass(frozen=True)
class WindowPlan:
    """`PrepareOptions` of one data set, nothing left open; `resolve` makes it.

    Args:
        dataset: whose windows.
        root: its folder, for messages.
        modalities: in the order of the store.
        window_s: length of a window in seconds.
        stride_s: seconds from window to window.
        filter: "type", "paper" or "causal".
        bridge_s: seconds of lost samples that are interpolated.
        fps: frames per second of the face.
        face: "raw" or "aligned".

    Raises:
        ConfigError: a window or stride below a sample or a video frame.
        DataError: a modality whose name cannot be that of a file.
    """

    dataset: Dataset
    root: Path
    modalities: tuple[str, ...]
    window_s: float
    stride_s: float
    filter: str
    bridge_s: float
    fps: float
    face: str

    def __post_init__(self) -> None:
        sample = f"at least {1 / self.dataset.fs:g} s"
        for argument, value, is_met, expected in (
            ("window_s", self.window_s, self.length >= 1, sample),
            ("stride_s", self.stride_s, self.step >= 1, sample),
            ("window_s", self.window_s, self.frames >= 1 or not self.has_face, "a video frame"),
        ):
            if not is_met:
                raise ConfigError(f"`{argument}`: found {value}, expected {expected}")
        for name in self.modalities:
            self._check_name(name)

    def _check_name(self, name: str) -> None:
        """Modalities name files."""
        if name == "face":
            raise DataError(self.root, "modality", name, f"some of {', '.join(FACE_TOKENS)}")
        if not is_valid_name(name):
            raise DataError(
                self.root,
                "modality",
                repr(name),
                NAME,
                f"Call it my_{re.sub(r'[^A-Za-z0-9]', '_', name)}, for example.",
            )

    @property
    def length(self) -> int:
        """Samples of a window."""
        return round(self.window_s * self.dataset.fs)

    @property
    def step(self) -> int:
        """Samples from window to window."""
        return round(self.stride_s * self.dataset.fs)

    @property
    def frames(self) -> int:
        """Frames of a window."""
        return round(self.window_s * self.fps)

    @property
    def has_face(self) -> bool:
        """Whether the face is asked for."""
        return bool(self.face_names)

    @property
    def has_images(self) -> bool:
        """Whether pictures of the face are asked for."""
        return any(name in IMAGES for name in self.modalities)

    @property
    def face_names(self) -> tuple[str, ...]:
        """Modalities that come from the face."""
        return tuple(name for name in self.modalities if name in FACE_TOKENS)

    def band(self, kind: str) -> Band:
        """Edges in Hz for a signal type."""
        return self.dataset.paper_band if self.filter == "paper" else self.dataset.band.get(kind)

    def parameters(self) -> dict[str, Any]:
        """What decides the windows, for a store's fingerprint and its JSON."""
        return {
            "dataset": self.dataset.name,
            "modalities": list(self.modalities),
            "window_s": self.window_s,
            "stride_s": self.stride_s,
            "filter": self.filter,
            "bridge_s": self.bridge_s,
            "band": {kind: self.band(kind) for kind in KINDS},
            "fs": self.dataset.fs,
            "fps": self.fps,
            "face": self.face,
        }


def resolve(dataset: Dataset, root: Path, options: PrepareOptions) -> WindowPlan:
    """The plan of some options: what they leave open is the data set's default.

    Raises:
        ConfigError, DataError: as `WindowPlan`.
    """
    window_s = dataset.window_s if options.window_s is None else options.window_s
    return WindowPlan(
        dataset,
        root,
        modalities=options.modalities or dataset.modalities or dataset.found(root),
        window_s=window_s,
        stride_s=window_s if options.stride_s is None else options.stride_s,
        filter=options.filter,
        bridge_s=options.bridge_s,
        fps=options.fps,
        face=options.face,
    )
