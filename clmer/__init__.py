"""CLMER: emotion recognition from EEG-centred physiology and serialised faces, on fused kernels.

`import clmer` registers the ops with torch; everything else is imported when it is first asked for:
`clmer.nn`, `clmer.signal`, `clmer.ops`, `clmer.data`, `clmer.load`, `clmer.Live`,
`clmer.CLMERClassifier`, `clmer.CLMERRegressor`.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clmer import data, nn, ops, signal
    from clmer._native import build_info
    from clmer.integrations.regressor import CLMERRegressor
    from clmer.integrations.scikit_learn import CLMERClassifier
    from clmer.live import Live
    from clmer.ops import (
        cross_attention,
        feed_forward,
        merge_heads,
        nt_xent,
        project_heads,
        scaled_dot_product_attention,
        sosfilt,
    )
    from clmer.pipeline.run.load import load

__version__ = "0.1.0"
__all__ = [
    "CLMERClassifier",
    "CLMERRegressor",
    "Live",
    "__version__",
    "build_info",
    "cross_attention",
    "data",
    "feed_forward",
    "load",
    "merge_heads",
    "nn",
    "nt_xent",
    "ops",
    "project_heads",
    "scaled_dot_product_attention",
    "signal",
    "sosfilt",
]

_MODULES = ("data", "nn", "ops", "signal")
_FROM = {
    "CLMERClassifier": "clmer.integrations.scikit_learn",
    "CLMERRegressor": "clmer.integrations.regressor",
    "Live": "clmer.live",
    "build_info": "clmer._native",
    "cross_attention": "clmer.ops",
    "feed_forward": "clmer.ops",
    "load": "clmer.pipeline.run.load",
    "merge_heads": "clmer.ops",
    "nt_xent": "clmer.ops",
    "project_heads": "clmer.ops",
    "scaled_dot_product_attention": "clmer.ops",
    "sosfilt": "clmer.ops",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"clmer.{name}")
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_FROM[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# A command (`clmer`, `python -m clmer...`) imports torch itself, within its handler for Ctrl-C.
if sys.argv[:1] != ["-m"] and not sys.argv[0].endswith(("/clmer", "clmer/__main__.py")):
    import_module("clmer.ops")
