from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

def build_info() -> dict[str, Any]: ...
def why_no_cuda() -> str: ...
def set_exchange_api(capsule: object | None) -> None: ...
def set_simd_level(name: str) -> bool: ...
def let_threads_stop() -> None: ...
def sosfilt(
    x: Tensor, sos: Tensor, state: Tensor, adjoint: bool, threads: int, stream: int
) -> tuple[Tensor, Tensor]: ...
def sosfilt_array(
    x: NDArray[Any],
    axis: int,
    sos: NDArray[np.float64],
    zi: NDArray[np.float64],
    zf: NDArray[np.float64],
    y: NDArray[Any] | None,
    scale: float,
    threads: int,
) -> None: ...
def sosfiltfilt_array(
    x: NDArray[Any],
    axis: int,
    sos: NDArray[np.float64],
    zi: NDArray[np.float64],
    y: NDArray[Any],
    extension: int,
    edge: int,
    threads: int,
) -> None: ...

class Cascade:
    def __init__(
        self,
        sos: NDArray[np.float64],
        state: NDArray[np.float64],
        last: NDArray[np.float64],
        scale: float,
    ) -> None: ...
    def push(self, chunk: object, threads: int) -> NDArray[Any] | None: ...

def nt_xent_forward(
    view_a: Tensor, view_b: Tensor, temperature: float, normalize: bool, ranked: bool, threads: int
) -> tuple[Tensor, Tensor]: ...
def nt_xent_backward(
    grad_loss: Tensor,
    view_a: Tensor,
    view_b: Tensor,
    temperature: float,
    stats: Tensor,
    normalize: bool,
    threads: int,
) -> tuple[Tensor, Tensor, float]: ...
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
    want_lse: bool,
    out: Tensor | None,
    weights: Tensor | None,
    threads: int,
) -> tuple[Tensor, Tensor | None]: ...
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
    grad_bias: Tensor | None,
    grad_query: Tensor | None,
    grad_key: Tensor | None,
    grad_value: Tensor | None,
    threads: int,
) -> tuple[Tensor, Tensor, Tensor]: ...
def attention_short_forward(
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
    tf32: bool,
    stream: int,
) -> tuple[Tensor, Tensor]: ...
def attention_short_backward(
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
    grad_scores: Tensor | None,
    tf32: bool,
    stream: int,
) -> tuple[Tensor, Tensor, Tensor]: ...
def attention_short_refusal(rows: int, dim: int, keys: int, value_dim: int) -> str: ...
def project(x: Tensor, weight: Tensor, bias: Tensor, heads: int, threads: int) -> list[Tensor]: ...
def merge(
    x: Tensor,
    heads: Tensor,
    weight: Tensor,
    bias: Tensor,
    seed: Tensor | None,
    dropout: float,
    threads: int,
) -> Tensor: ...
def feed_forward(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    hidden_seed: Tensor | None,
    out_seed: Tensor | None,
    hidden_dropout: float,
    out_dropout: float,
    keep: bool,
    threads: int,
) -> tuple[Tensor, Tensor | None]: ...
def project_backward(
    grads: list[Tensor], x: Tensor, weight_t: Tensor, heads: int, threads: int
) -> list[Tensor]: ...
def merge_backward(
    grad: Tensor, heads: Tensor, weight_t: Tensor, seed: Tensor | None, dropout: float, threads: int
) -> list[Tensor]: ...
def feed_forward_backward(
    grad: Tensor,
    x: Tensor,
    kept: Tensor,
    weight1_t: Tensor,
    weight2_t: Tensor,
    hidden_seed: Tensor | None,
    out_seed: Tensor | None,
    hidden_dropout: float,
    out_dropout: float,
    threads: int,
) -> list[Tensor]: ...
def layer(
    x: Tensor,
    weights: list[Tensor],
    heads: int,
    first_only: bool,
    seeds: Tensor | None,
    samples: Tensor | None,
    dropout: float,
    threads: int,
) -> tuple[Tensor, Tensor]: ...
def layer_backward(
    grad_y: Tensor,
    x: Tensor,
    saved: Tensor,
    weights: list[Tensor],
    heads: int,
    first_only: bool,
    seeds: Tensor | None,
    samples: Tensor | None,
    dropout: float,
    threads: int,
) -> tuple[Tensor, Tensor]: ...
def normpool(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stats: Tensor,
    eps: float,
    measure: bool,
    threads: int,
) -> Tensor: ...
def normpool_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stats: Tensor,
    eps: float,
    measure: bool,
    threads: int,
) -> tuple[Tensor, Tensor, Tensor]: ...
