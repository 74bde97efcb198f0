"""Random numbers of a fit: from generators of its own, which no other thread can touch.

Modules of PyTorch draw their first weights, and dropout its masks, from one generator that all
threads of a process share. `drawn_from` gives weights another one, `drawing_from` dropout; so fits
in several threads end as each would alone, and the caller's random state stays as it was. On a GPU
dropout draws from the device's generator: there fits take turns (`own_random_state`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clmer.ops.attention.reference import draw_seed

_LOCK = threading.RLock()
_generator: ContextVar[torch.Generator | None] = ContextVar("generator", default=None)


aten = torch.ops.aten
_WITH_GENERATOR = {
    aten.rand.default: aten.rand.generator,
    aten.randn.default: aten.randn.generator,
    aten.randint.default: aten.randint.generator,
    aten.randint.low: aten.randint.low_generator,
    aten.randperm.default: aten.randperm.generator,
}


class _Drawn(TorchDispatchMode):
    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _WITH_GENERATOR:
            return _WITH_GENERATOR[func](*args, generator=self.generator, **kwargs)
        takes = any(argument.name == "generator" for argument in func._schema.arguments)
        if takes and kwargs.get("generator") is None:
            kwargs["generator"] = self.generator
        return func(*args, **kwargs)


def seeded(seed: int) -> torch.Generator:
    """A generator of the CPU."""
    return torch.Generator().manual_seed(seed)


@contextmanager
def drawn_from(generator: torch.Generator) -> Iterator[None]:
    """A block whose random tensors on the CPU come from a generator: for a module's weights.

    Every operation in it costs a call of Python; it is not for training steps.
    """
    with _Drawn(generator):
        yield


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """A block in which this thread's modules drop out by a generator of the CPU."""
    token = _generator.set(generator)
    try:
        yield
    finally:
        _generator.reset(token)


def generator_for(device: torch.device) -> torch.Generator | None:
    """The generator that modules draw from on a device; None is PyTorch's own."""
    if torch.compiler.is_compiling() or device.type != "cpu":
        return None
    return _generator.get()


def new_seed(p: float, device: torch.device) -> Tensor | None:
    """A dropout key for an op; None where nothing is dropped."""
    return draw_seed(device, generator_for(device)) if p > 0 else None


def new_seeds(p: float, device: torch.device, count: int) -> Tensor | None:
    """Dropout keys [count] for an op with several masks; None where nothing is dropped."""
    if p == 0:
        return None
    low, high, generator = -(2**63), 2**63 - 1, generator_for(device)
    return torch.randint(low, high, (count,), device=device, generator=generator)


@contextmanager
def own_random_state(device: torch.device) -> Iterator[None]:
    """A block that seeds a GPU's generator as it likes; elsewhere nothing happens.

    One thread is in such a block at a time; the others wait. What the generator was before is put
    back after it.
    """
    if device.type != "cuda":
        yield
        return
    with _LOCK, torch.random.fork_rng(devices=[device]):
        yield


def seed_device(seed: int, device: torch.device) -> None:
    """Seed a GPU's generator, and no other device's (`torch.manual_seed` all); no other device."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
