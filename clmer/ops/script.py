"""What TorchScript says of the ops' functions: that it cannot hold them, and what can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


def refuse_script(function: Callable[..., Any]) -> None:
    """Let `torch.jit.script` of the function, or of what calls it, end in a sentence.

    TorchScript asks a function's `__prepare_scriptable__` before it compiles it.
    """

    def refuse() -> NoReturn:
        raise RuntimeError(
            f"torch.jit.script: clmer.ops.{function.__name__} cannot be written in TorchScript; "
            "torch.jit.trace, torch.compile and torch.export take it (docs/attention.md, Exporting)"
        )

    function.__prepare_scriptable__ = refuse  # type: ignore[attr-defined]
