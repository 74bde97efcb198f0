"""One training step, run as it is or captured whole as a CUDA graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clmer.pipeline.targets import Losses

_WARM_UP = 3


@dataclass(frozen=True, eq=False)
class TrainStep:
    """Forward, backward, clipping, optimiser; nothing in it waits for a GPU.

    Args:
        model: trained in place.
        optimizer: over the model's parameters.
        losses: what a step minimises.
        clip: norm that gradients are clipped to; infinity never clips.
        amp: run the forward under bfloat16 autocast; weights stay as they are.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    losses: Losses
    clip: float = math.inf
    amp: bool = False

    def __call__(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Train on rows [B]; the losses, detached."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=self.amp):
            parts = self.losses(batch, generator)
        parts["loss"].backward()
        if math.isfinite(self.clip):
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return {name: value.detach() for name, value in parts.items()}


class GraphedStep:
    """A `TrainStep` as one CUDA graph, captured at the first whole batch; others run as they are.

    Losses draw from PyTorch's default generator alone, which a graph knows; the optimiser is
    capturable. The steps that warm up before the capture are undone, so that a run which captures
    anew after --resume continues to the same numbers.

    Args:
        step: what is captured.
        size: rows of a whole batch.

    Source: PyTorch's notes on CUDA graphs, whole-network capture.
    """

    def __init__(self, step: TrainStep, size: int) -> None:
        self.step, self.size = step, size
        self._graph: torch.cuda.CUDAGraph | None = None
        self._rows = torch.empty(0)
        self._parts: dict[str, Tensor] = {}

    def __call__(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Train on rows [B]; the losses, overwritten by the next call."""
        if len(batch) != self.size:
            return self.step(batch, generator)
        if self._graph is None:
            self._graph = self._capture(batch, generator)
        self._rows.copy_(batch)
        self._graph.replay()
        return self._parts

    def _capture(self, batch: Tensor, generator: torch.Generator) -> torch.cuda.CUDAGraph:
        self._rows = batch.clone()
        before = _Snapshot(self.step)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self.step(self._rows, generator)
        torch.cuda.current_stream().wait_stream(side)
        before.restore()
        self.step.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._parts = self.step(self._rows, generator)
        return graph


class _Snapshot:
    """Weights, buffers, moments and the generator, restored in place: graphs hold addresses."""

    def __init__(self, step: TrainStep) -> None:
        self.optimizer = step.optimizer
        self.tensors = [*step.model.parameters(), *step.model.buffers()]
        self.before = [tensor.detach().clone() for tensor in self.tensors]
        self.state = {
            parameter: {name: value.clone() for name, value in state.items()}
            for parameter, state in step.optimizer.state.items()
        }
        self.random = torch.cuda.get_rng_state()

    @torch.no_grad()
    def restore(self) -> None:
        for tensor, before in zip(self.tensors, self.before, strict=True):
            tensor.copy_(before)
        for parameter, state in self.optimizer.state.items():
            known = self.state.get(parameter)
            for name, value in state.items():  # a fresh optimiser's moments and count are zeros
                value.copy_(known[name]) if known else value.zero_()
        torch.cuda.set_rng_state(self.random)


def adam(
    model: nn.Module,
    *,
    lr: float,
    graph: bool = False,
    slow: tuple[str, float] | None = None,
    **options: Any,
) -> torch.optim.Adam:
    """Adam in one kernel; where a CUDA graph will hold it, its rates are tensors on the device.

    Args:
        model: what it trains.
        lr: learning rate.
        graph: see above.
        slow: the beginning of some parameters' names, and the share of the rate that they get; a
            group of parameters notes its share of the rate as "share".
        **options: of `torch.optim.Adam`.
    """
    prefix, share = slow or ("", 1.0)
    parts: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        own = share if slow and name.startswith(prefix) else 1.0
        parts.setdefault(own, []).append(parameter)
    groups = []
    for own, parameters in sorted(parts.items(), reverse=True):  # whole rate first: the loop's
        rate: Any = own * lr
        if graph:
            rate = torch.tensor(rate, device=parameters[0].device)
        groups.append({"params": parameters, "lr": rate, "share": own})
    return torch.optim.Adam(groups, fused=True, capturable=graph, **options)
