"""`nt_xent` over a ring of ranks with Triton's kernels: rows travel in the dtype of the views.

The same algorithm as the PyTorch ring of ntxent_distributed.py, whose tiles of 512 x 512 these
kernels replace; the rows' own rank is one triangle forward and half of W backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from clmer.kernels.ntxent import Sums, add_products, unit, view_gradients_of
from clmer.kernels.ntxent_launches import choose
from clmer.ops.ntxent.distributed import refuse_second_derivatives, travelling


def nt_xent_triton_ring(
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    normalize: bool,
    sizes: Sequence[int],
    group: dist.ProcessGroup,
) -> Tensor:
    """The loss [G] of all ranks' rows, float32, from this rank's views [G, n, D]."""
    if view_a.dtype == torch.bfloat16 and not view_a.is_cuda:
        view_a, view_b = view_a.float(), view_b.float()  # the interpreter takes it for integers
    temperature = temperature.float() if isinstance(temperature, Tensor) else float(temperature)
    views = view_a.contiguous(), view_b.contiguous()
    loss: Tensor = _TritonRing.apply(*views, temperature, normalize, tuple(sizes), group)
    return loss


class _TritonRing(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        view_a: Tensor,
        view_b: Tensor,
        tau: float | Tensor,
        normalize: bool,
        sizes: tuple[int, ...],
        group: dist.ProcessGroup,
    ) -> Tensor:
        to = choose(view_a.dtype, view_a.shape[0], 2 * max(sizes))  # ranks agree on the padding
        rank = dist.get_rank(group)
        with torch.cuda.device_of(view_a):
            rows = unit(view_a, view_b, tau, normalize, to)
            sums = Sums(rows, False, to)
            for step, (other, columns) in enumerate(travelling(rows.z, sizes, group)):
                loss = sums.add(columns, other == rank, step == len(sizes) - 1)
        total = loss.sum(-1)
        dist.all_reduce(total, group=group)
        ctx.save_for_backward(rows.z, rows.inverse_length, rows.inverse_tau, sums.stats)
        ctx.shape, ctx.to, ctx.normalize = view_a.shape, to, normalize
        ctx.sizes, ctx.group = sizes, group
        return (total / (2 * sum(sizes))).to(torch.float32)

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        z, inverse_length, inverse_tau, stats = ctx.saved_tensors
        rank = dist.get_rank(ctx.group)
        dz = torch.empty_like(z, dtype=torch.float32)
        sent = stats.permute(1, 2, 0).contiguous()  # [G, 2 n, 3], like rows
        both = zip(
            travelling(z, ctx.sizes, ctx.group),
            travelling(sent, ctx.sizes, ctx.group),
            strict=True,
        )
        with torch.cuda.device_of(z):
            for step, ((other, columns), (_, theirs)) in enumerate(both):
                add_products(
                    z, columns, stats, theirs.permute(2, 0, 1).contiguous(), inverse_tau, dz,
                    own=other == rank, adds=step > 0, bounded=False, to=ctx.to,
                )  # fmt: skip
            # the kernel divides by this rank's rows, the loss by those of all
            share = grad_loss * (ctx.shape[1] / sum(ctx.sizes))
            grad_a, grad_b, dots = view_gradients_of(
                dz, z, inverse_length, share, inverse_tau, ctx.shape, ctx.normalize, ctx.to
            )
        grad_tau = None
        if ctx.needs_input_grad[2]:
            grad_tau = (dots.sum(dtype=torch.float64) * inverse_tau[0] * -0.5).to(torch.float32)
        return grad_a, grad_b, grad_tau, None, None, None
