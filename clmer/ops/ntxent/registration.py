"""`nt_xent` registered with torch: kernel, fake, autograd, vmap.

Views are [N, D] or [G, N, D]; temperature 0-d float64; loss [] or [G], with rows=True [2N] or
[G, 2N]; stats [6, 2N] or [G, 6, 2N] float64 hold what the backward needs of each row, its loss, and
with ranked=True whether its positive comes first: csrc/ntxent/args.h. With positives=False the loss
is log sum_{j != i} exp(s_ij) alone, for whoever subtracts other positives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clmer._native import _C
from clmer.ops._dispatch import (
    any_requires_grad,
    below_autograd,
    is_plain,
    is_tracing,
    library,
    no_double_backward,
    reference_gradients,
)
from clmer.ops.ntxent.reference import anchor_losses


def call(
    explicit: bool, view_a: Tensor, view_b: Tensor, temperature: float | Tensor, *which: bool
) -> tuple[Tensor, Tensor]:
    """Loss and stats from views of float32 or float64: outright, or through the dispatcher.

    Args:
        explicit: the caller named the form, so that its second derivatives are an error.
        view_a: as above.
        view_b: like view_a.
        temperature: a number, or 0-d.
        which: normalize, positives, rows, ranked.
    """
    learnt = temperature if isinstance(temperature, Tensor) else None
    tracing = is_tracing()
    if tracing or not is_plain(view_a, view_b, learnt):
        arguments = (view_a, view_b, _as_tensor(temperature, view_a.device), *which)
        if tracing:
            found = torch.ops.clmer.nt_xent(*arguments)
        else:
            found = _NtXent.apply(_below_autograd, explicit, *arguments)
    else:
        if learnt is not None:
            temperature = learnt.to(torch.float64)
        learns = torch.is_grad_enabled() and any_requires_grad(view_a, view_b, learnt)
        if learns:
            found = _NtXent.apply(_forward, explicit, view_a, view_b, temperature, *which)
        else:
            found = _forward(view_a, view_b, temperature, *which)
    loss, stats = found
    return loss, stats


def _as_tensor(temperature: float | Tensor, device: torch.device) -> Tensor:
    """The temperature as the registered op takes it: 0-d float64."""
    if isinstance(temperature, Tensor):
        return temperature.to(torch.float64)
    return torch.tensor(temperature, dtype=torch.float64, device=device)


def weigh_rows(grad_rows: Tensor, stats: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """Gradients of rows' losses, as one of their mean [...] and stats [..., k, 2N] that hold them.

    W_ij = g_i P_ij + g_j P_ji: a row's weight goes into its share and its miss, relative to the
    largest of its batch, so that none of them vanishes.

    Args:
        grad_rows: g [..., 2N].
        stats: as the kernels take them.
        first: the share among the k; the miss follows.
    """
    largest = grad_rows.abs().amax(-1)
    relative = grad_rows / torch.where(largest == 0, 1.0, largest)[..., None]
    stats = stats.clone()
    stats[..., first : first + 2, :] *= relative[..., None, :].to(stats.dtype)
    return largest * grad_rows.shape[-1], stats


def reference_backward(
    grad_loss: Tensor,
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    normalize: bool,
    positives: bool,
    rows: bool,
) -> list[Tensor | None]:
    """The gradients as functions that can be differentiated again.

    Args:
        grad_loss: of the loss, [...] or with `rows` [..., 2N].
        view_a: as in `nt_xent`, like the next three.
        view_b: see `nt_xent`.
        temperature: see `nt_xent`.
        normalize: see `nt_xent`.
        positives: see above.
        rows: see above.
    """

    def reference(view_a: Tensor, view_b: Tensor, learnt: Tensor | None) -> Tensor:
        tau = temperature if learnt is None else learnt
        each = anchor_losses(view_a, view_b, tau, normalize, positives)
        return each if rows else each.mean(-1)

    learnt = temperature if isinstance(temperature, Tensor) else None
    return reference_gradients("nt_xent", reference, (view_a, view_b, learnt), grad_loss)


# --- kernels and fakes --------------------------------------------------------------------------
library.define(
    "nt_xent(Tensor view_a, Tensor view_b, Tensor temperature, bool normalize, "
    "bool positives=True, bool rows=False, bool ranked=False) -> (Tensor, Tensor)"
)
library.define(
    "nt_xent_backward(Tensor grad_loss, Tensor view_a, Tensor view_b, Tensor temperature, "
    "Tensor stats, bool normalize) -> (Tensor, Tensor, Tensor)"
)


def _forward(
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    normalize: bool,
    positives: bool = True,
    rows: bool = False,
    ranked: bool = False,
) -> tuple[Tensor, Tensor]:
    """The kernel itself."""
    views, threads = (view_a.contiguous(), view_b.contiguous()), torch.get_num_threads()
    loss, stats = _C.nt_xent_forward(*views, float(temperature), normalize, ranked, threads)
    if not positives:
        _, shift, share, miss, each, _ = stats.unbind(-2)
        torch.sub(shift, share.log(), out=each)
        loss.copy_(each.mean(-1))
        miss -= 1.0  # the gradient of row i's lse for its positive is p, that of its loss p - 1
    return (stats[..., 4, :].to(loss.dtype, copy=True) if rows else loss), stats


def _backward(
    grad_loss: Tensor,
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    stats: Tensor,
    normalize: bool,
) -> tuple[Tensor, Tensor, float]:
    """The kernel itself."""
    if grad_loss.dim() == view_a.dim() - 1:
        grad_loss, stats = weigh_rows(grad_loss, stats, 2)
    tau, threads = float(temperature), torch.get_num_threads()
    tensors = (grad_loss.contiguous(), view_a.contiguous(), view_b.contiguous())
    return _C.nt_xent_backward(*tensors, tau, stats, normalize, threads)


def _op_backward(
    grad_loss: Tensor,
    view_a: Tensor,
    view_b: Tensor,
    temperature: Tensor,
    stats: Tensor,
    normalize: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    stats = stats.contiguous()
    grad_a, grad_b, grad = _backward(grad_loss, view_a, view_b, temperature, stats, normalize)
    return grad_a, grad_b, temperature.new_full((), grad)


def _fake(
    view_a: Tensor,
    view_b: Tensor,
    temperature: Tensor,
    normalize: bool,
    positives: bool = True,
    rows: bool = False,
    ranked: bool = False,
) -> tuple[Tensor, Tensor]:
    *groups, n, _ = view_a.shape
    loss = view_a.new_empty((*groups, 2 * n) if rows else groups)
    return loss, view_a.new_empty((*groups, 6, 2 * n), dtype=torch.float64)


def _fake_backward(
    grad_loss: Tensor,
    view_a: Tensor,
    view_b: Tensor,
    temperature: Tensor,
    stats: Tensor,
    normalize: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = view_a.shape
    return view_a.new_empty(shape), view_a.new_empty(shape), temperature.new_empty(())


library.impl("nt_xent", _forward, "CPU")
library.impl("nt_xent_backward", _op_backward, "CPU")
torch.library.register_fake("clmer::nt_xent", _fake, lib=library)
torch.library.register_fake("clmer::nt_xent_backward", _fake_backward, lib=library)


# --- autograd -----------------------------------------------------------------------------------
class _NtXent(torch.autograd.Function):
    @staticmethod
    def forward(ctx, forward, explicit, view_a, view_b, temperature, *which):  # type: ignore[no-untyped-def]
        loss, stats = forward(view_a, view_b, temperature, *which)
        learnt = temperature if isinstance(temperature, Tensor) else None
        ctx.save_for_backward(view_a, view_b, stats, learnt)
        ctx.constants = temperature if learnt is None else None, which
        ctx.plain, ctx.explicit = forward is _forward, explicit
        ctx.mark_non_differentiable(stats)
        ctx.set_materialize_grads(False)
        return loss, stats

    @staticmethod
    def backward(ctx, grad_loss, _):  # type: ignore[no-untyped-def]
        if grad_loss is None:
            return (None,) * 9
        view_a, view_b, stats, learnt = ctx.saved_tensors
        constant, which = ctx.constants
        temperature, normalize = constant if learnt is None else learnt, which[0]
        outright = not torch.is_grad_enabled() and not is_tracing() and is_plain(grad_loss)
        if torch.is_grad_enabled() and not ctx.explicit and not is_tracing():
            grads = reference_backward(grad_loss, view_a, view_b, temperature, *which[:3])
        elif ctx.plain and outright:
            grads = _backward(grad_loss, view_a, view_b, temperature, stats, normalize)
            if learnt is not None:
                grads = (*grads[:2], learnt.new_full((), grads[2]))
        else:
            temperature = _as_tensor(temperature, view_a.device)
            grads = torch.ops.clmer.nt_xent_backward(
                grad_loss, view_a, view_b, temperature, stats, normalize
            )
        return None, None, *grads[:2], None if learnt is None else grads[2], *[None] * 4


def _autograd(
    view_a: Tensor,
    view_b: Tensor,
    temperature: Tensor,
    normalize: bool,
    positives: bool = True,
    rows: bool = False,
    ranked: bool = False,
) -> tuple[Tensor, Tensor]:
    which = normalize, positives, rows, ranked
    return _NtXent.apply(_below_autograd, True, view_a, view_b, temperature, *which)


def _below_autograd(*arguments: Any) -> tuple[Tensor, Tensor]:
    with below_autograd():
        return torch.ops.clmer.nt_xent(*arguments)


def _autograd_backward(
    grad_loss: Tensor,
    view_a: Tensor,
    view_b: Tensor,
    temperature: Tensor,
    stats: Tensor,
    normalize: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    inputs = (grad_loss, view_a, view_b, temperature)
    if torch.is_grad_enabled() and any(each.requires_grad for each in inputs):
        raise no_double_backward("nt_xent")
    with below_autograd():
        return torch.ops.clmer.nt_xent_backward(*inputs, stats, normalize)


library.impl("nt_xent", _autograd, "Autograd")
library.impl("nt_xent_backward", _autograd_backward, "Autograd")


@torch.library.register_vmap("clmer::nt_xent", lib=library)
def _vmap(info, in_dims, view_a, view_b, temperature, *which):  # type: ignore[no-untyped-def]
    if in_dims[2] is not None:
        raise ValueError("vmap over temperature is not defined: all batches share one")
    n, grouped = info.batch_size, view_a.dim() - (in_dims[0] is not None) == 3

    def folded(view, dim):  # type: ignore[no-untyped-def]
        view = view.movedim(dim, 0) if dim is not None else view.expand(n, *view.shape)
        return view.flatten(0, 1) if grouped else view

    loss, stats = torch.ops.clmer.nt_xent(
        folded(view_a, in_dims[0]), folded(view_b, in_dims[1]), temperature, *which
    )
    if grouped:
        loss, stats = loss.unflatten(0, (n, -1)), stats.unflatten(0, (n, -1))
    return (loss, stats), (0, 0)
