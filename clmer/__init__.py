"""CLMER: emotion recognition from EEG-centred physiology and serialised faces, on fused kernels."""

from typing import TYPE_CHECKING, Any

from clmer._native import build_info
from clmer.ops import (
    cross_attention,
    feed_forward,
    merge_heads,
    nt_xent,
    project_heads,
    sosfilt,
)

if TYPE_CHECKING:
    from clmer.integrations.scikit_learn import CLMERClassifier
    from clmer.pipeline.trained import load

__version__ = "0.1.0"
__all__ = [
    "CLMERClassifier",
    "__version__",
    "build_info",
    "cross_attention",
    "feed_forward",
    "load",
    "merge_heads",
    "nt_xent",
    "project_heads",
    "sosfilt",
]

#: What needs more than torch to import; imported when first asked for.
_LATER = {"CLMERClassifier": "clmer.integrations.scikit_learn", "load": "clmer.pipeline.trained"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)
