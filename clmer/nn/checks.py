"""What every classifier here checks: sizes when it is built, tensors when it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from torch import Tensor, nn


class NotScriptable:
    """A module that TorchScript cannot hold: `torch.jit.script` asks it first, and it says so."""

    #: What to do instead.
    _instead = "torch.compile and torch.export take it"

    def __prepare_scriptable__(self) -> NoReturn:
        raise RuntimeError(
            f"torch.jit.script: {type(self).__name__} has kernels that TorchScript does not know; "
            f"{self._instead}"
        )


def check_inputs(owner: str, inputs: Mapping[str, tuple[int, int]]) -> None:
    """Refuse a model without modalities, or with an empty one.

    Args:
        owner: the model's name, for the message.
        inputs: (tokens, features) of each modality by name.

    Raises:
        ValueError: no modality, or one without tokens or features.
    """
    if not inputs:
        raise ValueError(f"{owner}: expected at least one modality in inputs, got none")
    for name, shape in inputs.items():
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError(
                f"{owner}: inputs[{name!r}]: expected (tokens, features) >= 1, got {shape}"
            )


def check_at_least(owner: str, least: int, **sizes: int) -> None:
    """Refuse a size below `least`; the message names it."""
    for name, value in sizes.items():
        if value < least:
            raise ValueError(f"{owner}: {name} must be >= {least}, got {value}")


def check_heads(owner: str, dim: int, heads: int) -> None:
    """Refuse heads that do not divide a token's features."""
    if dim % heads:
        raise ValueError(f"{owner}: dim must be a multiple of heads, got {dim} and {heads}")


def only_input(owner: str, inputs: Mapping[str, tuple[int, int]]) -> tuple[str, int, int]:
    """Name, channels and samples of the one modality of a model that takes no more.

    Raises:
        ValueError: none, or several.
    """
    check_inputs(owner, inputs)
    if len(inputs) > 1:
        raise ValueError(f"{owner}: expected one modality, got {list(inputs)}")
    ((name, (channels, samples)),) = inputs.items()
    return name, channels, samples


def named_inputs(
    owner: str,
    inputs: Mapping[str, tuple[int, int]],
    x: Mapping[str, Tensor] | Sequence[Tensor],
) -> dict[str, Tensor]:
    """A batch by modality, in the order of `inputs`.

    Args:
        owner: the model's name, for the message.
        inputs: (tokens, features) of each modality by name.
        x: [B, tokens, features] of each modality, by name or in the order of `inputs`.

    Raises:
        ValueError: a modality is missing, unknown or of the wrong shape.
    """
    if not isinstance(x, Mapping):
        if len(x) != len(inputs):
            raise ValueError(
                f"{owner}: expected {len(inputs)} tensors ({', '.join(inputs)}), got {len(x)}"
            )
        x = dict(zip(inputs, x, strict=True))
    if x.keys() != inputs.keys():
        raise ValueError(f"{owner}: expected the modalities {list(inputs)}, got {list(x)}")
    batch = next(iter(x.values())).shape[0]  # len() would make a traced size a constant
    for name, shape in inputs.items():
        if x[name].shape != (batch, *shape):
            raise ValueError(
                f"{owner}: {name}: expected [{batch}, {shape[0]} tokens, {shape[1]} features], "
                f"got {list(x[name].shape)}"
            )
    return {name: x[name] for name in inputs}


def check_alike(owner: str, models: Sequence[Any]) -> None:
    """Refuse models that cannot be one stack.

    Args:
        owner: the stack's name, for the message.
        models: with inputs, heads and parameters.

    Raises:
        ValueError: there are none, or one differs from the first.
    """
    if not models:
        raise ValueError(f"{owner}: found no models, expected one or more of one shape")
    first = models[0]
    found: object
    expected: object
    for number, model in enumerate(models[1:], 1):
        if model.inputs != first.inputs:
            what, found, expected = "inputs", model.inputs, first.inputs
        elif list(model.inputs) != list(first.inputs):
            what = "order of inputs"
            found, expected = ", ".join(model.inputs), ", ".join(first.inputs)
        elif model.heads != first.heads:
            what, found, expected = "heads", model.heads, first.heads
        else:
            own, wanted = _shapes(model), _shapes(first)
            name = next((n for n in wanted | own if own.get(n) != wanted.get(n)), None)
            if name is None:
                continue
            what, found, expected = f"shape of {name}", own.get(name), wanted.get(name)
        raise ValueError(
            f"{owner}: {what} of models[{number}]: found {found}, expected {expected} as "
            "models[0] has; stack models of one configuration"
        )


def _shapes(model: nn.Module) -> dict[str, list[int]]:
    return {name: list(parameter.shape) for name, parameter in model.named_parameters()}
