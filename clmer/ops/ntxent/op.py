"""`nt_xent`: the contrastive loss of two views of a batch, without the similarity matrix.

The plain PyTorch form is in reference.py, validation in checks.py, positives by label in labels.py,
process groups in distributed.py and ring.py; the kernels are in csrc/ntxent/ and kernels/ntxent*.py
(Triton).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from clmer._native import _C
from clmer.ops._dispatch import (
    any_requires_grad,
    below_autograd,
    is_plain,
    is_tracing,
    library,
    no_double_backward,
)
from clmer.ops.ntxent import distributed as ntxent_distributed
from clmer.ops.ntxent.checks import check_arguments, promoted
from clmer.ops.ntxent.labels import mean_positive
from clmer.ops.ntxent.reference import nt_xent_reference, stack, widen


def nt_xent(
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor = 0.2,
    *,
    labels: Tensor | None = None,
    normalize: bool = True,
    process_group: dist.ProcessGroup | None = None,
    gather: str = "all",
    impl: str | None = None,
) -> Tensor:
    """Normalised-temperature cross entropy: each sample's two views find each other in the batch.

    With z [2N, D] the rows of both views (each divided by its length) and p(i) the other view of
    i's sample:

        s_ij = z_i . z_j / tau
        L    = 1/2N sum_i ( log sum_{j != i} exp(s_ij) - s_i,p(i) )

    The native form never stores s: memory is O(N D) forward and backward. A row of zeros (or of
    subnormal numbers only) has no direction: its z is zero, and so is its gradient.

    With `labels` all other rows P(i) of i's label are its positives, p(i) among them (SupCon's
    L_out; without labels, or where nobody shares one, P(i) is p(i) alone):

        L    = 1/2N sum_i ( log sum_{j != i} exp(s_ij) - mean_{p in P(i)} s_ip )

    Args:
        view_a: [N, D], or [G, N, D] for G independent batches; N, D >= 1. float32, float64,
            bfloat16 or float16 (the last two compute in float32).
        view_b: like view_a; row n is the other view of view_a's row n. Under autocast their dtypes
            may differ, and the wider one is taken.
        temperature: tau > 0, a float or a 0-d tensor; the tensor gets a gradient. (Its value is
            checked where that needs no waiting for a GPU.)
        labels: [N] or [G, N], integers: the class of each sample, whose two views share it.
        normalize: compare by cosine (True) or by plain dot product.
        process_group: take the other ranks' samples as negatives too; ranks may differ in N, and
            one may have none, but agree in all other arguments. The loss, the same on every rank,
            and the gradients are those of one process that holds all rows. A rank gets the gradient
            of its own rows; what all ranks hold (weights, `temperature`) gets its share, and the
            sum over ranks is whole.
            `DistributedDataParallel` averages over ranks: multiply the loss by the world size.
        gather: how the other ranks' rows are had. "all": gathered, memory O(N_total D), and every
            rank computes the whole loss. "ring": they come by, memory O(N_local D), and a rank
            computes its own rows' part, blockwise in PyTorch, or in Triton where `impl` says so
            (without other `impl` and `labels`).
        impl: None, "native" (CPU), "reference" (plain PyTorch, differentiable any number of times)
            or "triton" (GPU; elsewhere in Triton's interpreter; not float64). None is native on
            the CPU; on a GPU "triton", but the reference for float64, for gather="ring", where
            compilers or functorch look on, before architecture 8.0 and without a C compiler.

    Returns:
        The loss, 0-d or [G]; float32 for half-precision views, which could not resolve it.

    Raises:
        ValueError: a shape, dtype, device or temperature that does not fit.
        RuntimeError: an `impl` that cannot run on these tensors; second derivatives of the native
            or Triton form.

    Source: Eq. 1-2; Chen et al., A simple framework for contrastive learning (SimCLR), 2020;
    for labels Khosla et al., Supervised contrastive learning (SupCon), 2020, Eq. 2.
    """
    view_a, view_b = promoted(view_a, view_b)
    if process_group is not None:
        return _distributed(
            view_a, view_b, temperature, labels, normalize, process_group, gather=gather, impl=impl
        )
    chosen = check_arguments(view_a, view_b, temperature, labels, gather, impl)
    if gather != "all":
        raise ValueError(f"gather={gather!r}: found no process_group, expected one")
    if labels is not None:
        labels = labels.expand(view_a.shape[:-1])
    if chosen == "reference":
        return nt_xent_reference(view_a, view_b, temperature, labels=labels, normalize=normalize)
    form = _triton if chosen == "triton" else _native
    if labels is None:
        return form(view_a, view_b, temperature, normalize)
    lse = form(view_a, view_b, temperature, normalize, positives=False)
    attraction = mean_positive(stack(view_a, view_b, normalize), labels)
    if isinstance(temperature, Tensor):
        temperature = temperature.to(attraction.dtype)
    return lse - attraction / temperature


def _native(
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    normalize: bool,
    positives: bool = True,
) -> Tensor:
    view_a, view_b = widen(view_a), widen(view_b)
    learnt = temperature if isinstance(temperature, Tensor) else None
    tracing = is_tracing()
    if tracing or not is_plain(view_a, view_b, learnt):
        temperature = _as_tensor(temperature, view_a.device)
        call = torch.ops.clmer.nt_xent if tracing else _autograd
        loss, _ = call(view_a, view_b, temperature, normalize, positives)
        return loss
    if learnt is not None:
        temperature = learnt.to(torch.float64)
    arguments = (view_a, view_b, temperature, normalize, positives)
    if torch.is_grad_enabled() and any_requires_grad(view_a, view_b, learnt):
        loss, _ = _NtXent.apply(_forward, *arguments)
    else:
        loss, _ = _forward(*arguments)
    return loss


def _as_tensor(temperature: float | Tensor, device: torch.device) -> Tensor:
    """The temperature as the registered op and Triton take it: 0-d float64."""
    if isinstance(temperature, Tensor):
        return temperature.to(torch.float64)
    return torch.tensor(temperature, dtype=torch.float64, device=device)


@torch.compiler.disable(reason="nt_xent: ranks agree on their sizes, which no graph holds")
def _distributed(
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    labels: Tensor | None,
    normalize: bool,
    group: dist.ProcessGroup,
    *,
    gather: str,
    impl: str | None,
) -> Tensor:
    try:
        check_arguments(view_a, view_b, temperature, labels, gather, impl, least=0)
        if gather == "ring" and (impl not in (None, "triton") or labels is not None):
            raise ValueError(
                f"gather='ring': found impl={impl!r} or labels, which only gather='all' takes"
            )
    except Exception:  # raised here; the others would wait for this rank
        ntxent_distributed.refuse(group)
        raise
    asked = {"normalize": normalize, "gather": gather, "labels": labels is not None}
    if not (isinstance(temperature, Tensor) and temperature.is_cuda):  # no waiting for a GPU
        asked["temperature"] = float(temperature)
    if gather == "ring":  # what travels is the implementation's
        asked["impl"] = impl
    sizes = ntxent_distributed.agree(view_a, asked, group)
    if gather == "all":
        if isinstance(temperature, Tensor):
            temperature = ntxent_distributed.own_share(temperature, group)
        views = torch.stack((view_a, view_b))
        view_a, view_b = ntxent_distributed.gather_samples(views, -2, sizes, group).unbind(0)
        if labels is not None:
            labels = labels.expand(views.shape[1:-1]).to(torch.int64)
            labels = ntxent_distributed.gather_samples(labels, -1, sizes, group)
        return nt_xent(view_a, view_b, temperature, labels=labels, normalize=normalize, impl=impl)
    if impl == "triton":  # the default is PyTorch's: not measured over several GPUs
        from clmer.ops.ntxent.ring import nt_xent_triton_ring

        a, b = (view.unsqueeze(0) if view.dim() == 2 else view for view in (view_a, view_b))
        loss = nt_xent_triton_ring(a, b, temperature, normalize, sizes, group)
        return loss if view_a.dim() == 3 else loss.squeeze(0)
    z = stack(view_a, view_b, normalize)
    if not isinstance(temperature, Tensor):
        # Never on another device: its value is asked for, which would wait for a GPU.
        temperature = torch.tensor(temperature, dtype=torch.float64, device="cpu")
    groups = z if z.dim() == 3 else z.unsqueeze(0)
    loss = ntxent_distributed.nt_xent_ring(groups, temperature, sizes, group)
    return loss if z.dim() == 3 else loss.squeeze(0)


def _triton(
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    normalize: bool,
    positives: bool = True,
) -> Tensor:
    from clmer.kernels.ntxent import nt_xent_triton

    a, b = (view.unsqueeze(0) if view.dim() == 2 else view for view in (view_a, view_b))
    loss = nt_xent_triton(a, b, temperature, normalize, positives)
    return loss if view_a.dim() == 3 else loss.squeeze(0)


# --- registration: views [N, D] or [G, N, D]; temperature 0-d float64; loss [] or [G]; stats
# [4, 2N] or [G, 4, 2N] float64 hold what the backward needs of each row: csrc/ntxent/args.h. With
# positives=False the loss is the mean of log sum_{j != i} exp(s_ij) alone, for whoever subtracts
# other positives.
library.define(
    "nt_xent(Tensor view_a, Tensor view_b, Tensor temperature, bool normalize, "
    "bool positives=True) -> (Tensor, Tensor)"
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
) -> tuple[Tensor, Tensor]:
    """The kernel itself."""
    views = (view_a.contiguous(), view_b.contiguous())
    loss, stats = _C.nt_xent_forward(*views, float(temperature), normalize, torch.get_num_threads())
    if not positives:
        _, shift, share, miss = stats.unbind(-2)
        loss.copy_((shift - share.log()).mean(-1))
        miss -= 1.0  # the gradient of row i's lse for its positive is p, that of its loss p - 1
    return loss, stats


def _backward(
    grad_loss: Tensor,
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    stats: Tensor,
    normalize: bool,
) -> tuple[Tensor, Tensor, float]:
    """The kernel itself."""
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
    view_a: Tensor, view_b: Tensor, temperature: Tensor, normalize: bool, positives: bool = True
) -> tuple[Tensor, Tensor]:
    *groups, n, _ = view_a.shape
    return view_a.new_empty(groups), view_a.new_empty((*groups, 4, 2 * n), dtype=torch.float64)


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
    def forward(ctx, forward, view_a, view_b, temperature, normalize, positives):  # type: ignore[no-untyped-def]
        loss, stats = forward(view_a, view_b, temperature, normalize, positives)
        learnt = temperature if isinstance(temperature, Tensor) else None
        ctx.save_for_backward(view_a, view_b, stats, learnt)
        ctx.constants = temperature if learnt is None else None, normalize
        ctx.plain = forward is _forward
        ctx.mark_non_differentiable(stats)
        ctx.set_materialize_grads(False)
        return loss, stats

    @staticmethod
    def backward(ctx, grad_loss, _):  # type: ignore[no-untyped-def]
        if grad_loss is None:
            return (None,) * 6
        view_a, view_b, stats, learnt = ctx.saved_tensors
        constant, normalize = ctx.constants
        temperature = constant if learnt is None else learnt
        outright = not torch.is_grad_enabled() and not is_tracing() and is_plain(grad_loss)
        if ctx.plain and outright:
            grads = _backward(grad_loss, view_a, view_b, temperature, stats, normalize)
            if learnt is not None:
                grads = (*grads[:2], learnt.new_full((), grads[2]))
        else:
            temperature = _as_tensor(temperature, view_a.device)
            grads = torch.ops.clmer.nt_xent_backward(
                grad_loss, view_a, view_b, temperature, stats, normalize
            )
        return None, *grads[:2], None if learnt is None else grads[2], None, None


def _autograd(
    view_a: Tensor, view_b: Tensor, temperature: Tensor, normalize: bool, positives: bool = True
) -> tuple[Tensor, Tensor]:
    return _NtXent.apply(_below_autograd, view_a, view_b, temperature, normalize, positives)


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
def _vmap(info, in_dims, view_a, view_b, temperature, normalize, positives=True):  # type: ignore[no-untyped-def]
    if in_dims[2] is not None:
        raise ValueError("vmap over temperature is not defined: all batches share one")
    n, grouped = info.batch_size, view_a.dim() - (in_dims[0] is not None) == 3

    def folded(view, dim):  # type: ignore[no-untyped-def]
        view = view.movedim(dim, 0) if dim is not None else view.expand(n, *view.shape)
        return view.flatten(0, 1) if grouped else view

    loss, stats = torch.ops.clmer.nt_xent(
        folded(view_a, in_dims[0]), folded(view_b, in_dims[1]), temperature, normalize, positives
    )
    if grouped:
        loss, stats = loss.unflatten(0, (n, -1)), stats.unflatten(0, (n, -1))
    return (loss, stats), (0, 0)
