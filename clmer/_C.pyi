from typing import Any

from torch import Tensor

def build_info() -> dict[str, Any]: ...
def set_exchange_api(capsule: object) -> None: ...
def clear_exchange_api() -> None: ...
def set_simd_level(name: str) -> bool: ...
def sosfilt(
    x: Tensor,
    sos: Tensor,
    state: Tensor,
    y: Tensor,
    state_out: Tensor,
    adjoint: bool,
    threads: int,
    stream: int,
) -> None: ...
def nt_xent(
    view_a: Tensor,
    view_b: Tensor,
    temperature: Tensor,
    normalize: bool,
    loss: Tensor,
    stats: Tensor,
    threads: int,
) -> None: ...
def nt_xent_backward(
    grad_loss: Tensor,
    view_a: Tensor,
    view_b: Tensor,
    temperature: Tensor,
    stats: Tensor,
    normalize: bool,
    grad_a: Tensor,
    grad_b: Tensor,
    grad_temperature: Tensor,
    threads: int,
) -> None: ...
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
    want_lse: bool,
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
    grad_bias: Tensor | None,
    threads: int,
) -> tuple[Tensor, Tensor, Tensor]: ...
