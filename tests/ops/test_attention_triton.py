"""cross_attention in Triton without a GPU: interpreted on small shapes, and compiled for GPUs."""

import pytest
import torch
from support.attention_cases import (
    CASES,
    EMPTY,
    check_bias,
    check_causal,
    check_empty_tensors,
    check_half_type,
    check_leading_dimensions,
    check_means_of_large_values,
    check_nan_spreads_to_who_sees_it_and_no_further,
    check_repeats,
    check_strides,
    check_the_equation,
    check_what_causal_hides_leaks_nothing,
    check_what_masks_hide_leaks_nothing,
)
from support.places import needs_triton
from test_attention import inputs
from test_ntxent import run_in_child, run_in_interpreter

from clmer.ops.attention.op import cross_attention

#: (Lq, Lk, D, Dv): tiles that heads share, one tile, rows or keys past a tile's edge, streamed.
SHAPES = [
    *((1, 1, 1, 1), (3, 4, 5, 3), (5, 8, 16, 2)),
    *((9, 5, 3, 8), (17, 33, 8, 16), (3, 70, 8, 8), (40, 3, 16, 16)),
    *((5, 129, 4, 4), (129, 9, 4, 7)),
]


def triton(*args, **options):
    return cross_attention(*args, impl="triton", **options)


def check_errors():
    q, k, v, *_ = inputs((3, 5, 4, 4), torch.float32)
    with pytest.raises(ValueError, match="impl='triton': found float64"):
        triton(q.double(), k.double(), v.double())
    wide = torch.zeros(2, 3, 257)
    with pytest.raises(ValueError, match="D = 257 and Dv = 4, expected at most 256"):
        triton(wide, wide, torch.zeros(2, 3, 4))
    q.requires_grad_()
    with pytest.raises(RuntimeError, match="triton backward has no gradient"):
        torch.autograd.grad(triton(q, k, v).sum(), q, create_graph=True)
    from clmer.kernels.attention import attention_forward

    for name, changed in (
        ("key", (q, k[:1], v, None, None, None)),
        ("mask", (q, k, v, torch.zeros(2, 3, 4, dtype=torch.bool), None, None)),
        ("bias", (q, k, v, None, None, torch.zeros(3, 5))),
    ):
        with pytest.raises(ValueError, match=f"{name}: found"):
            attention_forward(*changed, None, 0.0, 1.0, False)


# ---- children: one start of Triton's interpreter for several checks ------------------------------
def check_results():
    for shape in SHAPES:
        for case in CASES if shape in SHAPES[1:6:2] else ("all",):
            check_the_equation(triton, shape, case)
    for shape in ((3, 4, 5, 3), (9, 5, 3, 8), (5, 129, 4, 4)):
        for dtype in (torch.bfloat16, torch.float16):
            check_half_type(triton, shape, dtype)
    for shape in SHAPES[1], SHAPES[-2]:
        check_repeats(triton, shape)


def check_masks():
    for rows, keys in ((7, 8), (9, 20), (129, 5), (4, 129)):
        check_what_masks_hide_leaks_nothing(triton, rows, keys)
    for keys in (6, 129):
        check_nan_spreads_to_who_sees_it_and_no_further(triton, keys)


def check_causal_flag():
    for shape in (
        (3, 4, 5, 3),
        (17, 33, 8, 16),
        (33, 17, 8, 16),
        (129, 140, 4, 4),
        (140, 129, 4, 4),
    ):
        for case in ("plain", "all"):
            check_causal(triton, shape, case)
    for rows, keys in ((5, 9), (20, 9), (129, 200)):
        check_what_causal_hides_leaks_nothing(triton, rows, keys)


def check_large_values():
    for keys in (3, 40, 129):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            check_means_of_large_values(triton, keys, dtype)


def check_arguments():
    check_bias(triton)
    check_strides(triton)
    check_leading_dimensions(triton)
    for sizes in (*EMPTY, (0, 129, 4, 4)):
        check_empty_tensors(triton, sizes)
    check_errors()


def check_compilation():
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from clmer.kernels.attention import variants

    names = ("50 x 50 x 16 bf16", "50 x 50 x 16 fp32 tf32 terms", "129 x 300 x 256 bf16")
    chosen = [v for v in variants() if any(name in v.name for name in names)]
    assert {v.name.split()[0] for v in chosen} == {
        *("short_forward", "short_backward"),
        *("long_forward", "long_grad_query", "long_grad_keys"),
    }
    for i, variant in enumerate(chosen):
        source = ASTSource(variant.kernel, variant.signature, constexprs=variant.constexprs)
        target = GPUTarget("cuda", (80, 90, 100)[i % 3], 32)
        built = compile(source, target=target, options=variant.options)
        assert built.metadata.shared <= 99 << 10, variant.name  # the smallest of these families
        assert "atom" not in built.asm["ptx"], variant.name
        assert "mma" in built.asm["ptx"], variant.name


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize(
    "check",
    [check_results, check_masks, check_causal_flag, check_arguments, check_large_values],
)
def test_in_the_interpreter(check):
    run_in_interpreter(check)


@needs_triton
def test_compiles_for_gpus():
    run_in_child(check_compilation, TRITON_INTERPRET="0")
