"""`sosfilt` with a gradient for its coefficients: the sections one by one, in float64.

A section is linear in its input, and so are its derivatives: with u the gradient of the output,
filtered by the section's poles backwards in time,

    u[t]     = dL/dy[t] - a1 u[t+1] - a2 u[t+2]
    dL/dx[t] = b0 u[t] + b1 u[t+1] + b2 u[t+2]
    dL/db_k  =  sum_t u[t] x[t-k]
    dL/da_k  = -sum_t u[t] y[t-k]
    dL/dz    = u[0], u[1]

Every filter in it is the op itself, so that derivatives of any order follow. What this holds in
memory for a backward is x and each section's output in float64; the cascade of constant
coefficients (`op.py`) holds nothing.

Source: Oppenheim & Schafer, Discrete-Time Signal Processing, section 6.3; the adjoint by hand.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import pad

from clmer.ops._dispatch import below_autograd, is_mapped, is_traced, library


def are_learnt(sos: Tensor) -> bool:
    """Whether a derivative for the coefficients is asked for, backwards or forwards."""
    if torch.is_grad_enabled() and sos.requires_grad:
        return True
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(sos).tangent is not None


def filter_sections(x: Tensor, sos: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The cascade by sections.

    Args:
        x: [R, T] float64.
        sos: [S, 6].
        state: [R, S, 2].

    Returns:
        y [R, T] and the state [R, S, 2] after the last sample, with gradients for all three.
    """
    states = []
    for c, z in zip(sos.unbind(0), state.unbind(1), strict=True):
        y = _section(x, c, z)
        states.append(_last_state(x, y, c, z))
        x = y
    return x, torch.stack(states, 1)


class _Section(torch.autograd.Function):
    """x [R, T], coefficients c [6] and the state z [R, 2] to start from, to y [R, T]."""

    @staticmethod
    def forward(ctx, x, c, z):  # type: ignore[no-untyped-def]
        y = _below_autograd(x, c, z)
        _keep(ctx, x, c, y)
        return y

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, c, y = ctx.saved_tensors
        u = _by_poles(grad.flip(-1), c).flip(-1)
        grad_x = sum(b * _advanced(u, k) for k, b in enumerate(c[:3]))
        of_b = [(u * _delayed(x, k)).sum() for k in range(3)]
        of_a = [-(u * _delayed(y, k)).sum() for k in (1, 2)]
        grad_c = torch.stack([*of_b, torch.zeros_like(of_b[0]), *of_a])
        return grad_x, grad_c, pad(u, (0, 2))[:, :2]

    @staticmethod
    def jvp(ctx, dx, dc, dz):  # type: ignore[no-untyped-def]
        x, c, y = ctx.saved_tensors
        change = _impulses(dz, x.shape[-1])
        for k in range(3):
            change = change + c[k] * _delayed(dx, k) + dc[k] * _delayed(x, k)
        for k in (1, 2):
            change = change - dc[3 + k] * _delayed(y, k)
        return _by_poles(change, c)


class _MappedSection(_Section):
    """The same in the form that `torch.func` asks for."""

    @staticmethod
    def forward(x, c, z):  # type: ignore[no-untyped-def]
        return _below_autograd(x, c, z)

    @staticmethod
    def setup_context(ctx, inputs, y):  # type: ignore[no-untyped-def]
        _keep(ctx, *inputs[:2], y)

    @staticmethod
    def vmap(info, in_dims, x, c, z):  # type: ignore[no-untyped-def]
        if in_dims[1] is not None:
            raise ValueError("vmap over sos is not defined: one cascade filters all rows")
        n = info.batch_size
        x, z = (
            each.expand(n, *each.shape) if dim is None else each.movedim(dim, 0)
            for each, dim in ((x, in_dims[0]), (z, in_dims[2]))
        )
        return _section(x.flatten(0, 1), c, z.flatten(0, 1)).unflatten(0, (n, -1)), 0


def _keep(ctx, *tensors):  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


def _below_autograd(x: Tensor, c: Tensor, z: Tensor) -> Tensor:
    with below_autograd():
        return _forward(x, c, z)


def _forward(x: Tensor, c: Tensor, z: Tensor) -> Tensor:
    y: Tensor = torch.ops.clmer.sosfilt(x, c[None], z[:, None])[0]
    return y


def _section(x: Tensor, c: Tensor, z: Tensor) -> Tensor:
    return torch.ops.clmer.sosfilt_section(x, c, z) if is_traced() else _apply(x, c, z)


def _apply(x: Tensor, c: Tensor, z: Tensor) -> Tensor:
    y: Tensor = (_MappedSection if is_mapped() else _Section).apply(x, c, z)
    return y


def _by_poles(x: Tensor, c: Tensor) -> Tensor:
    """X [R, T] filtered by 1 / (1 + a1 q + a2 q^2), q a delay, from zeros."""
    one, none = torch.ones_like(c[:1]), torch.zeros_like(c[:2])
    return _section(x, torch.cat((one, none, one, c[4:])), x.new_zeros(x.shape[0], 2))


def _delayed(x: Tensor, k: int) -> Tensor:
    """x[t - k], zeros before the first."""
    return pad(x, (k, 0))[:, : x.shape[-1]] if k else x


def _advanced(x: Tensor, k: int) -> Tensor:
    """x[t + k], zeros after the last."""
    return pad(x, (0, k))[:, k:] if k else x


def _impulses(z: Tensor, time: int) -> Tensor:
    """What a state [R, 2] adds to the poles' input: z0 at the first sample, z1 at the second."""
    return pad(z, (0, time - 2))


def _last_state(x: Tensor, y: Tensor, c: Tensor, z: Tensor) -> Tensor:
    """The state [R, 2] of a section after its last sample."""
    time = x.shape[-1]
    if time == 0:
        return z
    _, b1, b2, _, a1, a2 = c.unbind(0)
    before = b2 * x[:, -2] - a2 * y[:, -2] if time > 1 else z[:, 1]
    return torch.stack((b1 * x[:, -1] - a1 * y[:, -1] + before, b2 * x[:, -1] - a2 * y[:, -1]), -1)


# A graph cannot hold an autograd.Function with derivatives in forward mode: there it is an op.
library.define("sosfilt_section(Tensor x, Tensor c, Tensor z) -> Tensor")
library.impl("sosfilt_section", _forward, "CompositeExplicitAutograd")
library.impl("sosfilt_section", _apply, "Autograd")
