"""`nt_xent` over the ranks of a process group: every rank has some samples, all are negatives.

One rule for gradients: a rank's gradient is what its own rows contribute, so what all ranks hold
(weights, the temperature) gets the sum over ranks, and a rank's rows their own, whole.

all:  the rows of all ranks are gathered, and each rank runs the kernel over them: 4 M^2 D flops a
      rank, M = 2 N_total; memory O(N_total D).
ring: rows travel from rank to rank while each computes its own rows' sums: 6 M^2 D / world flops a
      rank, in PyTorch, or in Triton (ntxent_ring.py); memory O(N_local D). The backward pass sends
      the rows round once more with their log-sum-exps: W_ij = e^s_ij (e^-lse_i + e^-lse_j) is
      symmetric, so a rank completes its own rows' gradients alone and no gradient travels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from clmer.ops._dispatch import without_autocast

#: Rows and columns of the ring's tiles, [G, 512, 512] at a time.
_TILE = 512


def refuse(group: dist.ProcessGroup) -> None:
    """Tell the other ranks that this one's arguments do not fit, where they would wait for ever."""
    _exchange(None, group)


def agree(view: Tensor, asked: Mapping[str, object], group: dist.ProcessGroup) -> list[int]:
    """The samples N of every rank, once all are known to fit together.

    Args:
        view: one of this rank's two.
        asked: this rank's other arguments, by name: numbers and strings.
        group: the ranks.

    Raises:
        ValueError: another rank refused its arguments, or the ranks' differ in more than the number
            of samples. On every rank.
    """
    *groups, samples, dim = view.shape
    shape = f"views [{', '.join(map(str, [*groups, 'N', dim]))}] {view.dtype}"
    found = _exchange((samples, shape, dict(asked)), group)
    refused = [rank for rank, each in enumerate(found) if each is None]
    if refused:
        raise ValueError(f"views: refused on rank {refused[0]}, whose error says why")
    known = [each for each in found if each is not None]
    sizes = [each[0] for each in known]
    arguments = [{"views": each[1], **each[2]} for each in known]
    for name in arguments[0]:
        values = [each.get(name) for each in arguments]
        if any(value != values[0] for value in values):
            shown = "; ".join(f"rank {rank}: {value}" for rank, value in enumerate(values))
            raise ValueError(f"{name}: the ranks have {shown}; expected the same on all")
    if not sum(sizes):
        raise ValueError(f"views: the ranks hold {sizes} samples, expected one at least")
    return sizes


_Asked = tuple[int, str, dict[str, object]]


def _exchange(mine: _Asked | None, group: dist.ProcessGroup) -> list[_Asked | None]:
    """What every rank says of its arguments, in rank order."""
    every: list[_Asked | None] = [None] * dist.get_world_size(group)
    dist.all_gather_object(every, mine, group=group)
    return every


def gather_samples(x: Tensor, dim: int, sizes: Sequence[int], group: dist.ProcessGroup) -> Tensor:
    """Every rank's samples along `dim` (negative) in rank order; the gradient reaches one's own.

    Each rank computes the same loss from the same rows, so what it needs of the gradient, the part
    for its own rows, is already whole: nothing is reduced.
    """
    shape = list(x.shape)
    shape[dim] = max(sizes)
    padded = x.new_zeros(shape)
    padded.narrow(dim, 0, x.shape[dim]).copy_(x.detach())
    every = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(every, padded, group=group)
    parts = [part.narrow(dim, 0, size) for part, size in zip(every, sizes, strict=True)]
    parts[dist.get_rank(group)] = _Share.apply(x, 1)
    return torch.cat(parts, dim)


def own_share(temperature: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The temperature; of its gradient, which every rank finds whole, each gets an equal share."""
    share: Tensor = _Share.apply(temperature, dist.get_world_size(group))
    return share


def refuse_second_derivatives() -> None:
    """Raises RuntimeError in a backward under create_graph=True.

    A rank's gradient is no function of the other ranks' rows, as far as this rank's graph knows.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "nt_xent: found create_graph=True with a process_group, over which there are no second "
            "derivatives; for them call nt_xent(..., impl='reference') in one process"
        )


class _Share(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, parts: int) -> Tensor:
        ctx.parts = parts
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        refuse_second_derivatives()
        return grad[0] if ctx.parts == 1 else grad[0] / ctx.parts, None


def nt_xent_ring(
    z: Tensor, temperature: Tensor, sizes: Sequence[int], group: dist.ProcessGroup
) -> Tensor:
    """The loss [G] of all ranks' rows from this rank's z [G, 2 n, D], float32 or float64."""
    loss: Tensor = _Ring.apply(z, temperature, tuple(sizes), group)
    return loss


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, z: Tensor, temperature: Tensor, sizes: tuple[int, ...], group: dist.ProcessGroup
    ) -> Tensor:
        z, tau = z.contiguous(), temperature.item()
        # log sum of e^s over negatives, and d = that - s of the positive: the loss is
        # log(1 + e^d), 1 - p is 1 / (1 + e^-d), no difference of near-equals.
        negatives = z.new_full(z.shape[:2], -torch.inf, dtype=torch.float64)  # [G, 2 n]
        with without_autocast(z.device):
            for other, columns in travelling(z, sizes, group):
                for rows, cols, s in _tiles(z, columns, tau):
                    if other == dist.get_rank(group):
                        _exclude(s, rows, cols, z.shape[1])
                    old = negatives[:, rows]
                    negatives[:, rows] = old.logaddexp(s.logsumexp(-1).double())
        half = (z.double() * z.roll(z.shape[1] // 2, 1).double()).sum(-1) / tau
        d = negatives - half
        total = d.logaddexp(torch.zeros_like(d)).sum(-1)
        dist.all_reduce(total, group=group)
        ctx.save_for_backward(z, temperature, negatives.logaddexp(half), d.sigmoid())
        ctx.sizes, ctx.group = sizes, group
        return (total / (2 * sum(sizes))).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, Tensor, None, None]:
        refuse_second_derivatives()
        z, temperature, lse, miss = ctx.saved_tensors
        tau, n = temperature.item(), z.shape[1] // 2
        # e^-lse = e^-shift share: lse does not fit into float32, and a shift of few digits leaves
        # s - shift those of s.
        shift = lse.div(32).round().mul(32)
        share = (shift - lse).exp().to(z.dtype)
        shift = shift.to(z.dtype)
        sent = torch.cat((z, shift[..., None], share[..., None]), -1)  # [G, 2 n, D + 2]
        grad = torch.zeros_like(z)
        with without_autocast(z.device):
            for other, rows_of_other in travelling(sent, ctx.sizes, ctx.group):
                columns, by, part = rows_of_other.split((z.shape[2], 1, 1), -1)
                for rows, cols, s in _tiles(z, columns, tau):
                    if other == dist.get_rank(ctx.group):
                        _exclude(s, rows, cols, 2 * n)
                    w = (s - shift[:, rows, None]).exp_().mul_(share[:, rows, None])
                    w += s.sub_(by[:, cols].mT).exp_().mul_(part[:, cols].mT)
                    grad[:, rows].baddbmm_(w, columns[:, cols])
        missed = (miss + miss.roll(n, 1)).to(z.dtype)
        grad -= missed[..., None] * z.roll(n, 1)
        grad *= (grad_loss / (2 * sum(ctx.sizes) * tau))[:, None, None]
        grad_temperature = -0.5 / tau * (z.double() * grad.double()).sum()
        return grad, grad_temperature.to(temperature), None, None


def travelling(
    mine: Tensor, sizes: Sequence[int], group: dist.ProcessGroup
) -> Iterator[tuple[int, Tensor]]:
    """Each rank and its rows [G, 2 n, ...], this rank's first; the next arrive during the work.

    Args:
        mine: this rank's rows.
        sizes: the samples n of every rank.
        group: the ranks.
    """
    rank, world = dist.get_rank(group), len(sizes)
    ahead, behind = (dist.get_global_rank(group, (rank + by) % world) for by in (1, -1))
    here = mine
    for step in range(world):
        holder = (rank - step) % world
        if step == world - 1:
            yield holder, here
            return
        coming = mine.new_empty(mine.shape[0], 2 * sizes[holder - 1], mine.shape[2])
        sent = dist.P2POp(dist.isend, here, ahead, group)
        received = dist.P2POp(dist.irecv, coming, behind, group)
        moves = [move for move in (sent, received) if move.tensor.numel()]
        waits = dist.batch_isend_irecv(moves) if moves else []
        yield holder, here
        for wait in waits:
            wait.wait()
        here = coming


def _tiles(z: Tensor, columns: Tensor, tau: float) -> Iterator[tuple[slice, slice, Tensor]]:
    """Similarities [G, rows, cols] of a few rows and columns at a time."""
    for i in range(0, z.shape[1], _TILE):
        for j in range(0, columns.shape[1], _TILE):
            rows, cols = slice(i, i + _TILE), slice(j, j + _TILE)
            yield rows, cols, (z[:, rows] @ columns[:, cols].mT).div_(tau)


def _exclude(s: Tensor, rows: slice, cols: slice, m: int) -> None:
    """Self and positive are no negatives: a tile of a rank's rows against its own."""
    i = torch.arange(rows.start, rows.start + s.shape[1], device=s.device)[:, None]
    j = torch.arange(cols.start, cols.start + s.shape[2], device=s.device)
    s.masked_fill_((i - j) % (m // 2) == 0, -torch.inf)
