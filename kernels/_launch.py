"""Launches of Triton's kernels without what Triton does anew at each call.

`kernel[grid](...)` works out from all arguments which compiled form it needs: 100 us and more with
many arguments, which is longer than a small kernel runs. Here the form that it returned is kept
under a key of what it may depend on, and called outright, as Triton's tutorials do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

#: What a form depends on -> that form, the constants behind its arguments, and its kernel, whose id
#: is in the key and must not become another's.
_FORMS: dict[tuple[Any, ...], tuple[Any, tuple[Any, ...], Any]] = {}


def cdiv(n: int, size: int) -> int:
    """Blocks of that size that n takes: Triton's own takes 10 us outside a kernel."""
    return -(-n // size)


def next_power_of_2(n: int) -> int:
    """The least that is at least n, which is positive."""
    return 1 << (n - 1).bit_length()


def _kind(argument: Any) -> Any:
    """What of an argument a kernel's form depends on; integers must not be specialised."""
    if type(argument) is int:
        return -(2**31) <= argument < 2**31
    if isinstance(argument, Tensor):
        return argument.dtype, argument.data_ptr() % 16 == 0
    return type(argument)


def launch(
    kernel: Any,
    programs: int,
    arguments: tuple[Any, ...],
    constants: dict[str, Any],
    options: dict[str, int],
) -> None:
    """Run a kernel on the current stream of the current device.

    Args:
        kernel: of triton.jit, all integers in `do_not_specialize`, its constants last.
        programs: how many; none are no error.
        arguments: what comes before the constants, in order.
        constants: its tl.constexpr.
        options: num_warps, num_stages.
    """
    if not programs:
        return
    grid = (programs, 1, 1)
    if not isinstance(kernel, triton.JITFunction):  # interpreted
        kernel[grid](*arguments, **constants, **options)
        return
    device = torch.cuda.current_device()
    key = (id(kernel), device, *map(_kind, arguments), *constants.values(), *options.values())
    known = _FORMS.get(key)
    if known is None:
        for parameter, argument in zip(kernel.params, arguments, strict=False):
            if isinstance(argument, int) and not parameter.do_not_specialize:
                raise TypeError(f"{kernel.__name__}: {parameter.name}: an integer is specialised")
        form = kernel[grid](*arguments, **constants, **options)
        last = kernel.arg_names[len(arguments) :]
        _FORMS[key] = form, tuple(constants[name] for name in last), kernel
    else:
        form, behind, _ = known
        form[grid](*arguments, *behind)


class Variant(NamedTuple):
    """One kernel as it may be launched, so that tools can compile it without a GPU."""

    name: str
    kernel: Any  # a triton.JITFunction
    signature: dict[str, str]  # argument name -> "*fp32", "i32", "constexpr", ...
    constexprs: dict[str, Any]
    options: dict[str, int]  # num_warps, num_stages
