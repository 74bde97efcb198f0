"""What arguments `nt_xent` takes, and which implementation they get."""

from __future__ import annotations

import math
import numbers

import torch
from torch import Tensor

from clmer.ops._dispatch import (
    check_dtype,
    choose_impl,
    compiles_triton,
    has_values,
    is_made_for,
    is_ordinary,
    is_tracing,
)
from clmer.ops.ntxent.labels import check_labels

_NATIVE = ("cpu",)


def check_arguments(
    view_a: Tensor,
    view_b: Tensor,
    temperature: float | Tensor,
    labels: Tensor | None,
    gather: str,
    impl: str | None,
    least: int = 1,
) -> str:
    """The implementation to run, once the arguments of `nt_xent` are known to fit.

    Args:
        view_a: see `nt_xent`, as the others.
        view_b: see `nt_xent`.
        temperature: see `nt_xent`.
        labels: see `nt_xent`.
        gather: see `nt_xent`.
        impl: see `nt_xent`.
        least: samples that there must be: a rank may have none.

    Raises:
        ValueError: a shape, dtype, device or temperature that does not fit.
        RuntimeError: an `impl` that cannot run on these tensors.
    """
    if gather not in ("all", "ring"):
        raise ValueError(f"gather: found {gather!r}, expected 'all' or 'ring'")
    for name, view in (("view_a", view_a), ("view_b", view_b)):
        if not isinstance(view, Tensor):
            also = "" if name == "view_a" else "; features [B, n_views, D] go alone, as view_a"
            raise ValueError(f"{name}: found {type(view).__name__}, expected a tensor{also}")
    _check(view_a, view_b, temperature, least)
    if labels is not None:
        check_labels(labels, view_a.shape, view_a.device)
    if impl == "triton" and view_a.dtype == torch.float64:
        raise ValueError("impl='triton': found float64 views, expected float32 or half precision")
    if impl is None and view_a.is_cuda:
        impl = _best_on_gpu(view_a, view_b)
    return choose_impl(impl, view_a.device, _NATIVE, also=("triton",))


def check_result(
    reduction: str, accuracy: bool, labels: Tensor | None, gather: str | None = None
) -> None:
    """Raises ValueError unless there is what is asked for; `gather` is None in one process."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction: found {reduction!r}, expected 'mean', 'sum' or 'none'")
    if reduction == "none" and gather is not None:
        raise ValueError(
            "reduction: found 'none' with a process_group, expected 'mean' or 'sum': a rank would "
            "need the gradients of the other ranks' anchors"
        )
    if accuracy and labels is not None:
        raise ValueError(
            "accuracy: found labels, or more than two views, expected neither: an anchor then has "
            "several positives, none of which is the right one"
        )
    if accuracy and gather == "ring":
        raise ValueError("accuracy: found gather='ring', expected gather='all'")


def promoted(view_a: Tensor, view_b: Tensor) -> tuple[Tensor, Tensor]:
    """Under autocast the two may differ, and the wider floating-point dtype is taken."""
    views = (view_a, view_b)
    if not all(isinstance(view, Tensor) and view.is_floating_point() for view in views):
        return views
    if view_a.dtype == view_b.dtype or not torch.is_autocast_enabled(view_a.device.type):
        return views
    dtype = torch.promote_types(view_a.dtype, view_b.dtype)
    return view_a.to(dtype), view_b.to(dtype)


def _best_on_gpu(view_a: Tensor, view_b: Tensor) -> str:
    """The faster form, as measured (docs/ntxent.md), where it may be called outright."""
    outright = not is_tracing() and is_ordinary(view_a, view_b)
    takes = view_a.dtype != torch.float64 and is_made_for(view_a.device) and compiles_triton()
    return "triton" if outright and takes else "reference"


def _check(view_a: Tensor, view_b: Tensor, temperature: float | Tensor, least: int = 1) -> None:
    if view_a.dim() not in (2, 3):
        raise ValueError(f"view_a: found shape {tuple(view_a.shape)}, expected [N, D] or [G, N, D]")
    if view_a.shape != view_b.shape:
        raise ValueError(
            f"view_b: found shape {tuple(view_b.shape)}, expected view_a's {tuple(view_a.shape)}"
        )
    if view_a.shape[-2] < least or view_a.shape[-1] < 1:
        raise ValueError(
            f"view_a: found shape {tuple(view_a.shape)}, expected at least one sample and feature"
        )
    check_dtype("view_a", view_a)
    if view_a.dtype != view_b.dtype:
        raise ValueError(
            f"found dtypes {view_a.dtype} and {view_b.dtype}, expected one floating-point dtype"
        )
    if view_a.device != view_b.device:
        raise ValueError(f"devices differ: view_a on {view_a.device}, view_b on {view_b.device}")
    if not isinstance(temperature, Tensor):
        if type(temperature) is not float and not isinstance(temperature, numbers.Real):
            raise ValueError(
                f"temperature: found {temperature!r}, expected a number > 0 or a 0-d tensor"
            )
        if not 0.0 < temperature < math.inf:
            raise ValueError(f"temperature: found {temperature}, expected a finite number > 0")
        return
    if temperature.dim() != 0 or not temperature.dtype.is_floating_point:
        raise ValueError(
            f"temperature: found {temperature.dtype} of shape {tuple(temperature.shape)}, expected "
            "a float or a 0-d floating-point tensor"
        )
    if temperature.device != view_a.device:
        raise ValueError(
            f"devices differ: temperature on {temperature.device}, view_a on {view_a.device}"
        )
    if has_values(temperature):
        value = temperature.item()
        if not 0.0 < value < math.inf:
            raise ValueError(f"temperature: found {value}, expected a finite number > 0")
