"""`cross_attention` in Triton: which kernel runs, in what tiles, and its launch.

Plan: sequences of up to 128 stand whole in a program's tile (attention_short.py), longer or wider
ones are streamed (attention_long.py); attention_terms.py holds what both share. Programs are
numbered along the grid's first dimension, which has room for 2^31. Leading dimensions of any
strides are folded to three; only what does not fold, and features that are not adjacent, are
copied. Tiles and warps come from the tables below, chosen by what compilers report (a program's
memory fits every GPU since sm_80); those of 64 x 64 in half types also by timing. float32 is
multiplied as float32, without tensor cores, unless torch.backends.cuda.matmul allows tf32. A launch
waits for nothing: CUDA graphs may hold it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clmer.kernels._launch import Variant, cdiv, launch, next_power_of_2
from clmer.kernels._precision import float32_precision
from clmer.kernels.attention_long import long_forward, long_grad_keys, long_grad_query
from clmer.kernels.attention_short import short_backward, short_forward
from clmer.kernels.attention_terms import INTEGERS

#: The widest features that fit.
MAX_DIM = 256


# --- tiles --------------------------------------------------------------------------------------
class Tiles(NamedTuple):
    """A launch's constants and warps; HEADS share a tile, 0 where sequences are streamed."""

    HEADS: int
    BLOCK_Q: int
    BLOCK_K: int
    BLOCK_D: int
    warps: int


#: A whole head stands in a tile up to this width of its features, by the tile's longer edge.
_WIDEST = {
    "half": {16: 128, 32: 128, 64: 128, 128: 64},
    "tf32": {16: 128, 32: 128, 64: 64, 128: 16},
    "ieee": {16: 128, 32: 64, 64: 32, 128: 16},
}
#: Streamed: queries and keys in a tile, by the width of the features.
_STREAMED = {
    "half": {16: 64, 32: 64, 64: 64, 128: 32, 256: 16},
    "tf32": {16: 64, 32: 64, 64: 32, 128: 16, 256: 16},
    "ieee": {16: 64, 32: 32, 64: 16, 128: 16, 256: 16},
}
#: Warps on tensor cores, by the pairs in a tile.
_WARPS = {256: 1, 512: 1, 1024: 2, 2048: 4, 4096: 4, 8192: 8, 16384: 8}
#: Without tensor cores: multiply-adds of a product per warp, all of which the compiler unrolls.
_UNROLLED = 32 * 256


def _edge(length: int) -> int:
    """The least tile edge that holds `length`: a power of two that a tensor core multiplies."""
    return max(16, next_power_of_2(length))


def choose_tiles(rows: int, keys: int, width: int, kind: str) -> Tiles:
    """By Lq, Lk, the wider of D and Dv, and how factors are multiplied: half, tf32 or ieee."""
    block_q, block_k, block_d = _edge(rows), _edge(keys), _edge(width)
    slot = next_power_of_2(max(rows, keys, 1))
    heads = max(1, 16 // slot)
    longer = max(block_q, block_k)
    if block_d > _WIDEST[kind].get(longer, 0):
        heads = 0
        block_q = block_k = _STREAMED[kind][block_d]
    warps = max(_WARPS[block_q * block_k], block_d // 32)  # or wide rows fill the registers
    if kind == "ieee":
        warps = min(16, max(1, block_q * block_k * block_d // _UNROLLED))
    return Tiles(heads, block_q, block_k, block_d, warps)


def _constants(tiles: Tiles, vec: int, precision: str, is_causal: bool) -> dict[str, Any]:
    blocks = {name: size for name, size in tiles._asdict().items() if name.isupper() and size}
    return {**blocks, "VEC": vec, "PRECISION": precision, "CAUSAL": is_causal}


def _options(tiles: Tiles) -> dict[str, int]:
    return {"num_warps": tiles.warps, "num_stages": 1 if tiles.BLOCK_D > 128 else 2}


# --- layout -------------------------------------------------------------------------------------
#: The letter of a tensor's strides -> its name.
_NAMES = {"q": "query", "k": "key", "v": "value", "g": "grad_out"}
_NAMES |= {"m": "mask", "a": "attn_mask", "b": "bias"}
#: Tensors by that letter.
Tensors = dict[str, Tensor | None]


def _strides(name: str, tensor: Tensor | None, lead: int) -> tuple[int, ...]:
    """A stride a dimension, without the features'; 0 where one element is broadcast."""
    dims = lead + (2 if name in "ab" else 1)
    if tensor is None:
        return (0,) * dims
    sized = zip(tensor.shape[:dims], tensor.stride()[:dims], strict=True)
    return tuple(0 if size == 1 else stride for size, stride in sized)


def _fold(sizes: torch.Size, strides: list[tuple[int, ...]]) -> list[tuple[int, tuple[int, ...]]]:
    """(size, every tensor's stride) of leading dimensions; those one step walks through are one."""
    folded: list[tuple[int, tuple[int, ...]]] = []
    for size, *steps in zip(sizes, *strides, strict=True):
        if size == 1:
            continue
        if folded and folded[-1][1] == tuple(step * size for step in steps):
            folded[-1] = (folded[-1][0] * size, tuple(steps))
        else:
            folded.append((size, tuple(steps)))
    return folded


def _dense(tensors: Tensors, lead: torch.Size) -> Tensors:
    """Everything expanded over the leading dimensions and contiguous."""
    dims = len(lead)
    return {
        name: None if t is None else t.expand(*lead, *t.shape[dims:]).contiguous()
        for name, t in tensors.items()
    }


def _integers(tensors: Tensors, lead: torch.Size) -> tuple[Tensors, dict[str, int]]:
    """The kernels' sizes and strides, and the tensors: copies of those that do not fit."""
    tensors = {
        name: t.contiguous() if t is not None and name in "gqkv" and t.stride(-1) != 1 else t
        for name, t in tensors.items()
    }
    dims = len(lead)
    strides = {name: _strides(name, t, dims) for name, t in tensors.items()}
    folded = _fold(lead, [each[:dims] for each in strides.values()])
    if len(folded) > 3:
        return _integers(_dense(tensors, lead), lead)
    folded = [(1, (0,) * len(tensors))] * (3 - len(folded)) + folded
    integers = {"heads": lead.numel(), "n1": folded[1][0], "n2": folded[2][0]}
    for i, (name, each) in enumerate(strides.items()):
        steps = [*(steps[i] for _, steps in folded), *each[dims:]]
        letters = {"m": "012c", "a": "012rc", "b": "012rc"}.get(name, "012r")
        integers |= {name + letter: step for letter, step in zip(letters, steps, strict=True)}
    return tensors, integers


class _Call(NamedTuple):
    """What every kernel of a call takes: arguments by name, tiles, constants."""

    arguments: dict[str, Any]
    tiles: Tiles
    constants: dict[str, Any]

    def launch(self, kernel: Any, programs: int, **results: Tensor | None) -> None:
        """Run `programs` programs; arguments that the kernel does not have stay out."""
        every = self.arguments | results
        taken = tuple(every[name] for name in kernel.arg_names if name not in self.constants)
        launch(kernel, programs, taken, self.constants, _options(self.tiles))


def _guard(operands: dict[str, Tensor], terms: Tensors, results: dict[str, Tensor]) -> None:
    """Raises ValueError for shapes with which a kernel would leave a tensor."""
    query = operands["q"]
    lead, (rows, width), (keys, value_width) = (
        query.shape[:-2],
        query.shape[-2:],
        operands["v"].shape[-2:],
    )
    full: dict[str, tuple[int, ...]]
    full = {"q": (rows, width), "k": (keys, width), "v": (keys, value_width)}
    full |= {"g": (rows, value_width), "out": (rows, value_width), "lse": (rows,)}
    full |= {"m": (keys,), "a": (rows, keys), "b": (rows, keys)}
    for name, tensor in (operands | terms | results).items():
        expected = (*lead, *full[name])
        if tensor is None or tensor.shape == expected:
            continue
        fits = name in "mab" and tensor.dim() == len(expected)
        if not fits or any(a not in (1, b) for a, b in zip(tensor.shape, expected, strict=True)):
            name = _NAMES.get(name, name)
            raise ValueError(f"{name}: found {tuple(tensor.shape)}, expected {expected}")
    if max(width, value_width) > MAX_DIM:
        found = f"D = {width} and Dv = {value_width}"
        raise ValueError(f"impl='triton': found {found}, expected at most {MAX_DIM}")


def _call(
    operands: dict[str, Tensor],
    terms: Tensors,
    seed: Tensor | None,
    dropout_p: float,
    scale: float,
    is_causal: bool,
    **more: Tensor,
) -> _Call:
    _guard(operands, terms, more)
    query, value, attn_mask = operands["q"], operands["v"], terms["a"]
    lead, (rows, width) = query.shape[:-2], query.shape[-2:]
    keys, value_width = value.shape[-2:]
    precision = float32_precision() if query.dtype == torch.float32 else "ieee"
    kind = precision if query.dtype == torch.float32 else "half"
    tiles = choose_tiles(rows, keys, max(width, value_width), kind)
    if attn_mask is not None and not tiles.HEADS:
        # Keys that no query sees: a tile does not see all queries.
        shown = attn_mask.expand(*attn_mask.shape[:-2], rows, keys)
        hidden = ~(shown.tril() if is_causal else attn_mask).any(-2)
        terms["m"] = hidden if terms["m"] is None else terms["m"] | hidden
    terms |= {name: None if (t := terms[name]) is None else t.view(torch.uint8) for name in "ma"}
    tensors, integers = _integers({**operands, **terms}, lead)
    integers |= {"width": width, "value_width": value_width}
    vec = 16 // query.element_size()
    wide = [name for name in integers if name[0] in "gqkv" or name.endswith("width")]
    if any(integers[name] % vec for name in wide):
        vec = 1
    integers |= {name: integers[name] // vec for name in wide}
    arguments = {
        **{_NAMES[letter]: tensor for letter, tensor in tensors.items()},
        **integers,
        **more,
        "rows": rows,
        "keys": keys,
        "seed": seed,
        "scale": scale,
        "threshold": int(dropout_p * 2**32),
        "grown": 1.0 / (1.0 - dropout_p),
        "spare": _spare(keys, query.dtype),
    }
    return _Call(arguments, tiles, _constants(tiles, vec, precision, is_causal))


def _spare(keys: int, dtype: torch.dtype) -> float:
    """A power of two by which no sum of `keys` weights exceeds 1, nor one of values the largest.

    Sums of float16 fit into float32 as they are, and its few exponents have none to spare.
    """
    return 1.0 if dtype == torch.float16 else 2.0 ** -max(keys - 1, 0).bit_length()


def _in_interpreter(tensor: Tensor) -> bool:
    """Whether bfloat16 must be widened: the interpreter's tl.dot takes it for integers."""
    return tensor.dtype == torch.bfloat16 and not tensor.is_cuda


def attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    attn_mask: Tensor | None,
    bias: Tensor | None,
    seed: Tensor | None,
    dropout_p: float,
    scale: float,
    is_causal: bool,
) -> tuple[Tensor, Tensor]:
    """The op `clmer::cross_attention`, whose page has validated the shapes.

    Args:
        query: [..., Lq, D], float32, bfloat16 or float16, D <= MAX_DIM.
        key: [..., Lk, D].
        value: [..., Lk, Dv], Dv <= MAX_DIM.
        mask: bool [..., Lk], each size 1 or full; True = ignore.
        attn_mask: bool [..., Lq, Lk], each size 1 or full; True = takes part.
        bias: float32 [..., Lq, Lk], each size 1 or full.
        seed: 0-d int64 where there is dropout.
        dropout_p: probability of dropping a weight.
        scale: of the scores.
        is_causal: query i sees the keys 0 to i alone.

    Returns:
        O [..., Lq, Dv] and the log-sum-exp of the scores [..., Lq] float32, -inf where a query sees
        no key; both contiguous.

    Source: the paper's Eq. 5-6; `clmer.ops.cross_attention`.
    """
    if _in_interpreter(query):
        q, k, v = query.float(), key.float(), value.float()
        out, lse = attention_forward(
            q, k, v, mask, attn_mask, bias, seed, dropout_p, scale, is_causal
        )
        return out.to(query.dtype), lse
    operands = {"q": query, "k": key, "v": value}
    terms = {"m": mask, "a": attn_mask, "b": bias}
    out = query.new_empty((*query.shape[:-1], value.shape[-1]))
    lse = query.new_empty(query.shape[:-1], dtype=torch.float32)
    call = _call(operands, terms, seed, dropout_p, scale, is_causal, out=out, lse=lse)
    with torch.cuda.device_of(query):  # Triton launches on the current device
        if call.tiles.HEADS:
            call.launch(short_forward, cdiv(lse.shape[:-1].numel(), call.tiles.HEADS))
        else:
            blocks = cdiv(query.shape[-2], call.tiles.BLOCK_Q)
            call.launch(long_forward, lse.shape[:-1].numel() * blocks)
    return out, lse


def attention_backward(
    grad_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    mask: Tensor | None,
    attn_mask: Tensor | None,
    bias: Tensor | None,
    seed: Tensor | None,
    dropout_p: float,
    scale: float,
    is_causal: bool,
    bias_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The op `clmer::cross_attention_backward`: what `attention_forward` took and gave, and dO.

    grad_out is [..., Lq, Dv], of any strides. With `bias_grad` dS takes [..., Lq, Lk] float32.

    Returns:
        The gradients of query, key and value, contiguous, and of bias (float32) or None.
    """
    if _in_interpreter(query):
        g, q, k, v, o = (t.float() for t in (grad_out, query, key, value, out))
        rest = (mask, attn_mask, bias, seed, dropout_p, scale, is_causal, bias_grad)
        dq, dk, dv, grad_bias = attention_backward(g, q, k, v, o, lse, *rest)
        return dq.to(query.dtype), dk.to(query.dtype), dv.to(query.dtype), grad_bias
    operands = {"g": grad_out, "q": query, "k": key, "v": value}
    terms: Tensors = {"m": mask, "a": attn_mask, "b": bias}
    call = _call(operands, terms, seed, dropout_p, scale, is_causal, out=out, lse=lse)
    heads, rows, keys = lse.shape[:-1].numel(), query.shape[-2], key.shape[-2]
    dq, dk, dv = (t.new_empty(t.shape) for t in (query, key, value))
    ds = None
    if bias is not None and bias_grad:
        room = query.new_zeros if is_causal else query.new_empty  # blocks are left out
        ds = room((*query.shape[:-1], keys), dtype=torch.float32)
    with torch.cuda.device_of(query):
        if call.tiles.HEADS:
            programs = cdiv(heads, call.tiles.HEADS)
            grads = {"grad_query": dq, "grad_key": dk, "grad_value": dv}
            call.launch(short_backward, programs, **grads, grad_scores=ds)
        else:
            blocks_q = cdiv(rows, call.tiles.BLOCK_Q)
            blocks_k = cdiv(keys, call.tiles.BLOCK_K)
            call.launch(long_grad_query, heads * blocks_q, grad_query=dq, grad_scores=ds)
            call.launch(long_grad_keys, heads * blocks_k, grad_key=dk, grad_value=dv)
    return dq, dk, dv, None if ds is None or bias is None else ds.sum_to_size(bias.shape)


# --- ahead of time ------------------------------------------------------------------------------
#: (Lq, Lk, D): heads that share a tile, each size of a tile at its widest, the streamed ends.
_SAMPLES = [
    *((3, 4, 16), (16, 16, 128), (50, 50, 16), (128, 128, 64)),
    *((129, 300, 64), (129, 300, 256)),
]
_TYPES = [("bf16", "ieee"), ("fp32", "tf32"), ("fp32", "ieee")]


def variants() -> Iterator[Variant]:
    """Every kernel in every kind of product, at the tables' ends, with wide loads.

    Each with all masks, causal too, bias and dropout, and the paper's shape without them. Not
    listed, and compiled at first call: tiles between the ends, fewer terms, float16 (bfloat16's
    twin), single-element loads and sizes beyond 2^31.
    """
    for (rows, keys, width), (short, precision) in product(_SAMPLES, _TYPES):
        tiles = choose_tiles(rows, keys, width, precision if short == "fp32" else "half")
        kernels = [short_forward, short_backward]
        if not tiles.HEADS:
            kernels = [long_forward, long_grad_query, long_grad_keys]
        kinds = [(False, False), (True, True)] if rows == 50 else [(True, True)]
        for kernel, (terms, causal) in product(kernels, kinds):
            name = f"{kernel.__name__} {rows} x {keys} x {width} {short} {precision}"
            vec = 4 if short == "fp32" else 8
            fixed: dict[str, Any] = _constants(tiles, vec, precision, causal)
            signature: dict[str, str] = {}
            for argument in kernel.arg_names:
                if not terms and argument in _TERMS:
                    fixed[argument] = None
                signature[argument] = "constexpr" if argument in fixed else _type(argument, short)
            yield Variant(name + " terms" * terms, kernel, signature, fixed, _options(tiles))


_TERMS = {
    "mask": "*u8",
    "attn_mask": "*u8",
    "bias": "*fp32",
    "seed": "*i64",
    "grad_scores": "*fp32",
}


def _type(argument: str, short: str) -> str:
    types = {**_TERMS, "lse": "*fp32", "scale": "fp32", "grown": "fp32", "spare": "fp32"}
    return types.get(argument) or ("i32" if argument in INTEGERS else f"*{short}")
