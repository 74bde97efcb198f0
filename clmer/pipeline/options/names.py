"""Names of modalities: they become files of a run and modules of a model."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

from clmer.baselines import NAMES
from clmer.data.store.plan import is_valid_name
from clmer.errors import ConfigError

#: What stands beside the models in a run's folder, each named after its modalities; further members
#: of a model end in "-2", "-3", ...
_RESERVED = (
    *("contrastive", "linear", "tokenizer", "select", "permuted", "random-encoders", "no-encoders"),
    *NAMES,
)
_MEMBER = re.compile(r".*-\d+")


def is_valid_modality_name(name: str) -> bool:
    """Whether a modality may have a name: it becomes one of files and of modules."""
    taken = name in _RESERVED or _MEMBER.fullmatch(name) or hasattr(nn.ModuleDict(), name)
    return not taken and is_valid_name(name)


def check_modality_names(names: Iterable[str]) -> None:
    """Refuse names that a run could not tell from its own files and modules.

    Raises:
        ConfigError: there is one.
    """
    for name in names:
        if not is_valid_modality_name(name):
            raise ConfigError(
                f"`modalities`: found {name!r}, expected letters, digits, spaces, _, + and -, and "
                "no word that PyTorch's modules or a run's folder use. Call it "
                f"my_{re.sub(r'[^A-Za-z0-9]', '_', name)}, for example"
            )
