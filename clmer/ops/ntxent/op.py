"""`nt_xent`: the contrastive loss of two views of a batch, without the similarity matrix.

The plain PyTorch form is in reference.py, validation in checks.py, positives by label in labels.py,
process groups in distributed.py and ring.py; the kernels are in csrc/ntxent/ and kernels/ntxent*.py
(Triton).
"""

from __future__ import annotations

from typing import Literal, overload

import torch
import torch.distributed as dist
from torch import Tensor

from clmer.ops._dispatch import is_transformed, outside_graphs, tell_reference
from clmer.ops.ntxent import distributed as ntxent_distributed
from clmer.ops.ntxent import registration
from clmer.ops.ntxent.checks import check_arguments, check_result, promoted
from clmer.ops.ntxent.features import of_views, two_views
from clmer.ops.ntxent.labels import positive_means
from clmer.ops.ntxent.reference import nt_xent_reference, stack, widen


@overload
def nt_xent(
    view_a: Tensor,
    view_b: Tensor | None = None,
    temperature: float | Tensor = 0.2,
    *,
    labels: Tensor | None = None,
    normalize: bool = True,
    reduction: str = "mean",
    accuracy: Literal[False] = False,
    process_group: dist.ProcessGroup | None = None,
    gather: str = "all",
    impl: str | None = None,
) -> Tensor: ...


@overload
def nt_xent(
    view_a: Tensor,
    view_b: Tensor | None = None,
    temperature: float | Tensor = 0.2,
    *,
    labels: Tensor | None = None,
    normalize: bool = True,
    reduction: str = "mean",
    accuracy: Literal[True],
    process_group: dist.ProcessGroup | None = None,
    gather: str = "all",
    impl: str | None = None,
) -> tuple[Tensor, Tensor]: ...


@overload
def nt_xent(
    view_a: Tensor,
    view_b: Tensor | None = None,
    temperature: float | Tensor = 0.2,
    *,
    labels: Tensor | None = None,
    normalize: bool = True,
    reduction: str = "mean",
    accuracy: bool,
    process_group: dist.ProcessGroup | None = None,
    gather: str = "all",
    impl: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]: ...


def nt_xent(
    view_a: Tensor,
    view_b: Tensor | None = None,
    temperature: float | Tensor = 0.2,
    *,
    labels: Tensor | None = None,
    normalize: bool = True,
    reduction: str = "mean",
    accuracy: bool = False,
    process_group: dist.ProcessGroup | None = None,
    gather: str = "all",
    impl: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
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
            may differ, and the wider one is taken. None: view_a is features [B, n_views, D], as
            SupCon's code has them, for an even n_views. With more than two, all other views of a
            sample are its positives, as with labels that tell the samples apart.
        temperature: tau > 0, a float or a 0-d tensor; the tensor gets a gradient. (Its value is
            checked where that needs no waiting for a GPU.)
        labels: [N] or [G, N], integers: the class of each sample, whose two views share it.
        normalize: compare by cosine (True) or by plain dot product.
        reduction: "mean" or "sum" over the anchors, or "none" for the loss of each.
        accuracy: also return the top-1 accuracy, from the same pass: the share of anchors whose
            other view scores above all other rows. Equal scores count as a miss, so that rows which
            are all the same have 0 (on a GPU rounding may decide). No gradient; without labels.
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
            compilers or functorch look on, before architecture 8.0 and without a C compiler. For
            `torch.func`, forward mode and second derivatives None is the reference, and says so
            once; over ranks there are none of them.

    Returns:
        The loss, 0-d or [G]; float32 for half-precision views, which could not resolve it. With
        reduction="none" [2N] or [G, 2N], view_a's rows before view_b's; of features [B, n_views].
        With accuracy=True the loss and the accuracy, 0-d or [G].

    Raises:
        ValueError: a shape, dtype, device or temperature that does not fit; reduction="none" or
            accuracy where there is none (over ranks; with labels or more than two views).
        RuntimeError: an `impl` that cannot run on these tensors; derivatives of those kinds of an
            explicit "native" or "triton", or over ranks.

    Source: Eq. 1-2; Chen et al., A simple framework for contrastive learning (SimCLR), 2020;
    for labels Khosla et al., Supervised contrastive learning (SupCon), 2020, Eq. 2.
    """
    if view_b is None:
        a, b, labels = two_views(view_a, labels, process_group)
        found = nt_xent(
            a, b, temperature, labels=labels, normalize=normalize, reduction=reduction,
            accuracy=accuracy, process_group=process_group, gather=gather, impl=impl,
        )  # fmt: skip
        if reduction != "none":
            return found
        if isinstance(found, tuple):
            return of_views(found[0], view_a.shape), found[1]
        return of_views(found, view_a.shape)
    view_a, view_b = promoted(view_a, view_b)
    if process_group is not None:
        return _distributed(
            view_a, view_b, temperature, labels, normalize, reduction, accuracy, process_group,
            gather=gather, impl=impl,
        )  # fmt: skip
    check_result(reduction, accuracy, labels)
    chosen = check_arguments(view_a, view_b, temperature, labels, gather, impl)
    if gather != "all":
        raise ValueError(f"gather={gather!r}: found no process_group, expected one")
    if labels is not None:
        labels = labels.expand(view_a.shape[:-1])
    learnt = temperature if isinstance(temperature, Tensor) else None
    if impl is None and is_transformed(view_a, view_b, learnt):
        chosen = tell_reference("nt_xent")
    if chosen == "reference":
        return nt_xent_reference(
            view_a, view_b, temperature, labels=labels, normalize=normalize, reduction=reduction,
            accuracy=accuracy,
        )  # fmt: skip
    form, rows = _triton if chosen == "triton" else _native, reduction == "none"
    which = normalize, labels is None, rows, accuracy
    loss, right = form(impl is not None, view_a, view_b, temperature, *which)
    if labels is not None:
        attraction = positive_means(stack(view_a, view_b, normalize), labels)
        attraction = attraction if rows else attraction.mean(-1)
        if isinstance(temperature, Tensor):
            temperature = temperature.to(attraction.dtype)
        loss = loss - attraction / temperature
    loss = loss * (2 * view_a.shape[-2]) if reduction == "sum" else loss
    return (loss, right.to(loss.dtype).mean(-1)) if accuracy else loss


def _native(
    explicit: bool,
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    *which: bool,
) -> tuple[Tensor, Tensor]:
    """Loss, and for each row whether its positive comes first."""
    loss, stats = registration.call(explicit, widen(view_a), widen(view_b), temperature, *which)
    return loss, stats[..., 5, :]


@outside_graphs("nt_xent: ranks agree on their sizes, which no graph holds")
def _distributed(
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    labels: Tensor | None,
    normalize: bool,
    reduction: str,
    accuracy: bool,
    group: dist.ProcessGroup,
    *,
    gather: str,
    impl: str | None,
) -> Tensor | tuple[Tensor, Tensor]:
    learnt = temperature if isinstance(temperature, Tensor) else None
    if is_transformed(view_a, view_b, learnt):  # on all ranks: nothing can be sent from inside
        raise RuntimeError(
            "nt_xent: found torch.func or forward mode with a process_group, over which there are "
            "gradients in backward mode alone; leave out process_group"
        )
    try:
        check_result(reduction, accuracy, labels, gather)
        check_arguments(view_a, view_b, temperature, labels, gather, impl, least=0)
        if gather == "ring" and (impl not in (None, "triton") or labels is not None):
            raise ValueError(
                f"gather='ring': found impl={impl!r} or labels, which only gather='all' takes"
            )
    except Exception:  # raised here; the others would wait for this rank
        ntxent_distributed.refuse(group)
        raise
    asked: dict[str, object] = {
        "normalize": normalize, "gather": gather, "labels": labels is not None,
        "reduction": reduction, "accuracy": accuracy,
    }  # fmt: skip
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
        return nt_xent(
            view_a, view_b, temperature, labels=labels, normalize=normalize, reduction=reduction,
            accuracy=accuracy, impl=impl,
        )  # fmt: skip
    loss = _ring(view_a, view_b, temperature, normalize, sizes, group, impl)
    return loss * (2 * sum(sizes)) if reduction == "sum" else loss


def _ring(
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    normalize: bool,
    sizes: list[int],
    group: dist.ProcessGroup,
    impl: str | None,
) -> Tensor:
    """The mean over all ranks' rows, which travel."""
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
    explicit: bool,
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    *which: bool,
) -> tuple[Tensor, Tensor]:
    """Loss, and for each row whether its positive comes first."""
    from clmer.kernels.ntxent import nt_xent_triton

    a, b = (view.unsqueeze(0) if view.dim() == 2 else view for view in (view_a, view_b))
    loss, right = nt_xent_triton(a, b, temperature, *which, explicit=explicit)
    right = loss if right is None else right  # not asked for
    return (loss, right) if view_a.dim() == 3 else (loss.squeeze(0), right.squeeze(0))
