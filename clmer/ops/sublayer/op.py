"""`project_heads`, `merge_heads`, `feed_forward`: what a transformer layer does around attention.

Each takes S layers of one shape at once (modality pairs, ensemble members; one layer is S = 1), and
its kernel takes a tile of rows through all of its stages while they are in cache. The plain PyTorch
forms are in reference.py, validation in checks.py, torch's registration in registration.py, calls
of the GPU kernels in gpu.py; csrc/sublayer/ and kernels/sublayer.py (Triton).
"""

from __future__ import annotations

from torch import Tensor

from clmer.ops._dispatch import is_transformed, tell_reference
from clmer.ops.attention.reference import check_seed
from clmer.ops.sublayer.checks import (
    check_feed_forward,
    check_merge_heads,
    check_project_heads,
    of_one_kind,
)
from clmer.ops.sublayer.reference import (
    feed_forward_reference,
    merge_heads_reference,
    project_heads_reference,
    widen,
)
from clmer.ops.sublayer.registration import FEED_FORWARD, MERGE_HEADS, PROJECT_HEADS, run


def project_heads(
    x: Tensor, weight: Tensor, bias: Tensor, num_heads: int, *, impl: str | None = None
) -> tuple[Tensor, ...]:
    """Layer norm and linear map of the tokens, as attention's query, key and value take them.

        heads_i = split(norm(x_s) W_s + b_s)_i                              i = 1..n

    norm has no gain and offset of its own: W and b hold them already (docs/sublayer.md says how);
    its eps is 1e-5.

    Args:
        x: [S, B, L, d]: S layers' tokens, L each in a batch of B. float32, float64, bfloat16 or
            float16 (the last two compute in float32); any strides. Under autocast the tensors'
            dtypes may differ, and the widest is taken.
        weight: [S, d, n d]: n projections side by side, inputs first (`nn.Linear` has them last).
        bias: [S, 1, n d].
        num_heads: h, divides d.
        impl: None, "native" (CPU; n up to 64), "triton" (GPU; elsewhere in Triton's interpreter;
            float32 with d up to 128, half precision, multiplied as it is, with d up to 256) or
            "reference" (plain PyTorch, differentiable any number of times). None is native on the
            CPU, for n up to 64, and the reference elsewhere (on a GPU until Triton's form is
            measured there: docs/sublayer.md), as well as for `torch.func`, forward mode and second
            derivatives, which it says once.

    Returns:
        n tensors [S, B, h, L, d / h] of x's dtype.

    Raises:
        ValueError: a shape, dtype or device that does not fit.
        RuntimeError: an explicit `impl` that cannot run here, or second derivatives of one.

    Source: Section III-D; pre-norm layers as in Xiong et al., On layer normalization in the
    transformer architecture (2020).
    """
    x, weight, bias = of_one_kind(x=x, weight=weight, bias=bias)
    chosen = check_project_heads(x, weight, bias, num_heads, impl)
    if impl is None and is_transformed(x, weight, bias):
        chosen = tell_reference("project_heads")
    if chosen == "reference":
        return project_heads_reference(x, weight, bias, num_heads)
    dtype = x.dtype
    x, weight, bias = _as_computed(chosen, x, weight, bias)
    tensors = (x.contiguous(), weight, bias)
    heads = run(PROJECT_HEADS, chosen, impl is not None, *tensors, num_heads)
    return tuple(heads if x.dtype == dtype else (each.to(dtype) for each in heads))


def merge_heads(
    x: Tensor,
    heads: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    dropout_p: float = 0.0,
    seed: Tensor | None = None,
    impl: str | None = None,
) -> Tensor:
    """Attention's output projection, dropout and residual.

        y_s = x_s + dropout(concat(heads_s) W_s + b_s)

    Args:
        x: [S, B, L, d], see `project_heads`.
        heads: [S, B, h, L, d / h], what attention gives for the query that `project_heads` made.
        weight: [S, d, d], inputs first.
        bias: [S, 1, d].
        dropout_p: probability in [0, 1) of dropping an element; the kept ones grow by 1 / (1 - p).
        seed: 0-d int64, the key of the dropout mask; None draws one with `torch.randint`. The mask
            is a hash of (seed, row of [S, B, L], feature), the same in every implementation.
        impl: see `project_heads`; None is native on the CPU for every shape.

    Returns:
        y [S, B, L, d] of x's dtype.

    Raises:
        ValueError: a shape, dtype or device that does not fit, or dropout_p outside [0, 1).
        RuntimeError: an explicit `impl` that cannot run here, or second derivatives of one.

    Source: Section III-D.
    """
    x, heads, weight, bias = of_one_kind(x=x, heads=heads, weight=weight, bias=bias)
    chosen = check_merge_heads(x, heads, weight, bias, dropout_p, impl)
    if impl is None and is_transformed(x, heads, weight, bias):
        chosen = tell_reference("merge_heads")
    seed = check_seed(seed, dropout_p, x.device)
    if chosen == "reference":
        return merge_heads_reference(x, heads, weight, bias, dropout_p=dropout_p, seed=seed)
    dtype = x.dtype
    x, heads, weight, bias = _as_computed(chosen, x, heads, weight, bias)
    tensors = (x.contiguous(), heads.contiguous(), weight, bias, seed)
    y: Tensor = run(MERGE_HEADS, chosen, impl is not None, *tensors, float(dropout_p))
    return y if y.dtype == dtype else y.to(dtype)


def feed_forward(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    *,
    hidden_dropout_p: float = 0.0,
    dropout_p: float = 0.0,
    hidden_seed: Tensor | None = None,
    seed: Tensor | None = None,
    impl: str | None = None,
) -> Tensor:
    """Layer norm, two linear maps with ReLU between them, dropout behind each, and residual.

        y_s = x_s + dropout(dropout(relu(norm(x_s) W1_s + b1_s)) W2_s + b2_s)

    norm as in `project_heads`. Between forward and backward only the hidden rows are kept, by
    "triton" nothing: it computes them again.

    Args:
        x: [S, B, L, d], see `project_heads`.
        weight1: [S, d, H], inputs first.
        bias1: [S, 1, H].
        weight2: [S, H, d], inputs first.
        bias2: [S, 1, d].
        hidden_dropout_p: of the inner dropout, in [0, 1).
        dropout_p: of the outer dropout, in [0, 1).
        hidden_seed: the key of the inner mask, see `merge_heads`.
        seed: the key of the outer mask.
        impl: see `merge_heads`.

    Returns:
        y [S, B, L, d] of x's dtype.

    Raises:
        ValueError: a shape, dtype or device that does not fit, or a probability outside [0, 1).
        RuntimeError: an explicit `impl` that cannot run here, or second derivatives of one.

    Source: Section III-D; Vaswani et al., Attention Is All You Need (2017), Eq. 2.
    """
    x, weight1, bias1, weight2, bias2 = of_one_kind(
        x=x, weight1=weight1, bias1=bias1, weight2=weight2, bias2=bias2
    )
    probabilities = (hidden_dropout_p, dropout_p)
    chosen = check_feed_forward(x, weight1, bias1, weight2, bias2, *probabilities, impl)
    if impl is None and is_transformed(x, weight1, bias1, weight2, bias2):
        chosen = tell_reference("feed_forward")
    hidden_seed = check_seed(hidden_seed, hidden_dropout_p, x.device)
    seed = check_seed(seed, dropout_p, x.device)
    if chosen == "reference":
        return feed_forward_reference(
            x,
            weight1,
            bias1,
            weight2,
            bias2,
            hidden_dropout_p=hidden_dropout_p,
            dropout_p=dropout_p,
            hidden_seed=hidden_seed,
            seed=seed,
        )
    dtype = x.dtype
    x, *weights = _as_computed(chosen, x, weight1, bias1, weight2, bias2)
    tensors = (x.contiguous(), *weights, hidden_seed, seed)
    y: Tensor
    y, _ = run(FEED_FORWARD, chosen, impl is not None, *tensors, *map(float, probabilities))
    return y if y.dtype == dtype else y.to(dtype)


def _as_computed(impl: str, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Half precision in float32, but for Triton's kernels, which multiply it as it is."""
    return tensors if impl == "triton" else widen(*tensors)
