"""MobileViT-S features of face pictures: 112 x 112 x 3 -> 16 patches x 640 (Section IV-F).

The network is Hugging Face transformers' `MobileViTModel` (Mehta and Rastegari, MobileViT, 2022),
frozen; the paper takes one that was trained on ImageNet. Weights are read from a local folder (as
`huggingface-cli download apple/mobilevit-small --local-dir DIR` makes it), never fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clmer.data.face.windows import PATCHES
from clmer.errors import DataError

#: Features of each patch.
FEATURES = 640
RANDOM_NOTE = (
    "MobileViT-S has random weights (clmer train --mobilevit DIR gives others): its features cost "
    "what trained ones do, and their accuracy says nothing of trained ones."
)
_CHUNK = 64


class MobileViTFeatures:
    """The frozen MobileViT-S: pictures [B, 112, 112, 3] uint8 to patches [B, 16, 640].

    Pixels are scaled to 0-1 and their channels reversed (blue first), as the published weights
    expect; the last feature map, 640 x 4 x 4, is read row by row.

    Args:
        folder: `config.json` and `model.safetensors` of a `MobileViTModel`; None for random weights
            (seed 0).

    Raises:
        DataError: the folder holds no such model, or transformers is not installed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        try:
            from transformers import MobileViTConfig, MobileViTModel
        except ModuleNotFoundError as error:
            hint = 'pip install "clmer[transformers]"'
            raise DataError("mobilevit", "package", error, "transformers", hint) from error

        if folder is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self.network = MobileViTModel(MobileViTConfig(), expand_output=True)
                self._settle()
        else:
            if not (folder / "config.json").is_file():
                raise DataError(
                    folder,
                    "config.json",
                    "nothing",
                    "a MobileViT model's folder",
                    "Download apple/mobilevit-small into it.",
                )
            try:
                self.network = MobileViTModel.from_pretrained(folder, local_files_only=True)
            except (OSError, ValueError, RuntimeError) as error:
                expected = "the weights of a MobileViTModel"
                raise DataError(folder, "model.safetensors", error, expected) from error
            found = self.network.config.neck_hidden_sizes[-1]
            if found != FEATURES:
                expected = f"{FEATURES} (MobileViT-S)"
                raise DataError(folder / "config.json", "neck_hidden_sizes[-1]", found, expected)
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def _settle(self) -> None:
        """Batch norms of random weights see noise once: else 40 layers shrink everything to 0."""
        norms = [part for part in self.network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        self.network.eval()
        for norm in norms:
            norm.train().momentum = None  # what it saw, not a mixture with the start
        self.network(pixel_values=torch.rand(32, 3, 112, 112))

    def __call__(self, images: Tensor) -> Tensor:
        """Features [B, 16, 640] of pictures [B, 112, 112, 3] uint8."""
        x = images.flip(-1).permute(0, 3, 1, 2).float() / 255
        features = self.network(pixel_values=x).last_hidden_state  # [B, 640, 4, 4]
        return features.flatten(2).transpose(1, 2)


def weights_digest(folder: Path | None) -> str:
    """What tells weights from others: SHA-256, hex, of the model's file; "random" for None.

    Raises:
        DataError: the folder has no `model.safetensors`.
    """
    if folder is None:
        return "random"
    path = folder / "model.safetensors"
    try:
        with path.open("rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        hint = "Download apple/mobilevit-small into the folder."
        raise DataError(path, "file", error.strerror, "MobileViT's weights", hint) from error


def embedder(folder: Path | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """A function from pictures [k, 112, 112, 3] uint8 to features [k, 16, 640] float32."""
    model = MobileViTFeatures(folder)

    @torch.no_grad()
    def embed(images: np.ndarray) -> np.ndarray:
        parts = [model(part) for part in torch.from_numpy(images).split(_CHUNK)]
        return torch.cat(parts).numpy() if parts else np.empty((0, PATCHES, FEATURES), np.float32)

    return embed
