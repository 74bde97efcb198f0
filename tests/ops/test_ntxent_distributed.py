"""`nt_xent` over process groups: two and three gloo processes against one."""

import pytest
import torch
import torch.distributed as dist
from support.ntxent_cases import views
from support.processes import in_processes, joined
from test_ntxent import results

from clmer.ops.ntxent.op import nt_xent


def assert_equal_to_one_process(group, sizes, shape, tau, dtype=torch.float32, **how):
    """Loss on every rank; its own rows' gradients; the sum over ranks for the temperature's.

    To 1e-6 in float32, or as far as the scores' own rounding, eps |s| in every e^s, allows.
    """
    rank = dist.get_rank(group)
    *groups, dim = shape
    a, b = views((*groups, sum(sizes), dim), dtype)
    normalize = how.get("normalize", True)
    # "all" is one process's arithmetic; the ring's is its own, and closer to float64 than that
    exact = (lambda x: x.double()) if how.get("gather") == "ring" else (lambda x: x)
    tau = float(torch.tensor(tau, dtype=dtype))
    top = 1.0 if normalize else max(float(v.square().sum(-1).max()) for v in (a, b))
    limit = max(1e-6 if dtype == torch.float32 else 1e-12, torch.finfo(dtype).eps * top / tau)
    want = results(nt_xent, exact(a), exact(b), tau, normalize=normalize)
    mine = [v.split(sizes, -2)[rank] for v in (a, b)]
    loss, *grads, grad_tau = results(nt_xent, *mine, tau, process_group=group, **how)
    dist.all_reduce(grad_tau, group=group)
    parts = [whole.split(sizes, -2)[rank] for whole in want[1:3]]
    tiny = 1e-30  # a lone sample is certain: all zero
    scale = max(whole.abs().max() for whole in want[1:3]) + tiny
    assert loss.dtype == dtype
    errors = [(loss - want[0]).abs().max() / (want[0].abs().max() + tiny)]
    errors += [(grad_tau - want[3]).abs() / (want[3].abs() + tiny)]
    for got, expected in zip(grads, parts, strict=True):
        assert got.shape == expected.shape
        errors += [(got - expected).abs().max() / scale] if got.numel() else []
    assert max(errors) <= limit, (how, sizes, shape, tau, dtype, [float(e) for e in errors])


def equality_worker(rank, world, path):
    group = joined(rank, world, path)
    uneven = [5, 3, 4][:world]
    for gather in ("all", "ring"):
        for normalize in (True, False):
            how = {"gather": gather, "normalize": normalize}
            for sizes in ([4] * world, uneven):
                assert_equal_to_one_process(group, sizes, (6,), 0.2, **how)
                assert_equal_to_one_process(group, sizes, (3, 6), 0.2, **how)
            assert_equal_to_one_process(group, uneven, (2, 5), 0.01, dtype=torch.float64, **how)
        # more rows than a tile; a cold temperature; a rank that has no sample, a lone one
        assert_equal_to_one_process(group, [280 + rank for rank in range(world)], (9,), 0.2,
                                    gather=gather)  # fmt: skip
        assert_equal_to_one_process(group, uneven, (2, 70), 0.01, gather=gather)
        assert_equal_to_one_process(group, [2, 0, 1][:world], (4,), 0.5, gather=gather)
        assert_equal_to_one_process(group, [1, 0, 0][:world], (4,), 0.5, gather=gather)
    a, b = views((sum(uneven), 5), torch.float32)
    labels = torch.arange(sum(uneven)) % 3
    whole = nt_xent(a, b, labels=labels)
    a, b, labels = (x.split(uneven)[rank] for x in (a, b, labels))
    assert torch.equal(nt_xent(a, b, labels=labels, process_group=group), whole)
    for impl in ("native", "reference"):
        assert_equal_to_one_process(group, uneven, (2, 5), 0.3, impl=impl)
    if world == 3:
        pair = dist.new_group([0, 2])
        if rank != 1:
            for gather in ("all", "ring"):
                assert_equal_to_one_process(pair, [2, 3], (4,), 0.2, gather=gather)


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_equal_one(world, tmp_path):
    in_processes(equality_worker, world, tmp_path)


class Projection(torch.nn.Module):
    """Weights and a temperature that all ranks hold."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(5, 4)
        self.tau = torch.nn.Parameter(torch.tensor(0.3))

    def forward(self, a, b, **how):
        return nt_xent(self.linear(a), self.linear(b), self.tau, **how)


def ddp_worker(rank, world, path):
    group = joined(rank, world, path)
    torch.manual_seed(0)
    one = Projection()
    a, b = views((8, 5), torch.float32)
    one(a, b).backward()
    want = [p.grad.clone() for p in one.parameters()]
    for gather in ("all", "ring"):
        one.zero_grad()
        many = torch.nn.parallel.DistributedDataParallel(one)
        mine = [v.split([5, 3])[rank] for v in (a, b)]
        (world * many(*mine, process_group=group, gather=gather)).backward()
        for grad, expected in zip((p.grad for p in one.parameters()), want, strict=True):
            torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-6)


def test_ddp_on_the_loss_times_the_world_size_is_one_process(tmp_path):
    in_processes(ddp_worker, 2, tmp_path)


def properties_worker(rank, world, path):
    group = joined(rank, world, path)
    for gather in ("all", "ring"):
        how = {"process_group": group, "gather": gather}
        # a zero row has no direction: finite loss, zero gradient
        a, b = views((4, 6), torch.float32, seed=rank)
        a[1] = 0
        loss, grad_a, grad_b, _ = results(nt_xent, a, b, 0.2, **how)
        assert loss.isfinite()
        assert grad_a[1].count_nonzero() == 0
        assert grad_b.count_nonzero() == grad_b.numel()
        # another rank's rows change this rank's gradient, and by as much as in one process
        other = views((4, 6), torch.float32, seed=10 * rank)
        assert not torch.equal(results(nt_xent, a, other[1], 0.2, **how)[1], grad_a)
        half = results(nt_xent, a.bfloat16(), b.bfloat16(), 0.25, **how)
        full = results(nt_xent, a.bfloat16().float(), b.bfloat16().float(), 0.25, **how)
        assert half[0].dtype == torch.float32
        torch.testing.assert_close(half[0], full[0])
        assert torch.equal(half[1], full[1].bfloat16())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(nt_xent(a, b, **how), nt_xent(a, b, **how))
            lowered = nt_xent(a, b, **how)
        assert torch.equal(nt_xent(a, b, **how), lowered)
        a.requires_grad_()
        with pytest.raises(RuntimeError, match="impl='reference'"):
            torch.autograd.grad(nt_xent(a, b, **how), a, create_graph=True)
        tau = torch.tensor(0.2, requires_grad=True)
        with pytest.raises(RuntimeError, match="over which there are no second derivatives"):
            torch.autograd.grad(nt_xent(a.detach(), b, tau, **how), tau, create_graph=True)
        with pytest.raises(RuntimeError, match=r"torch\.func or forward mode with a process_gr"):
            torch.func.grad(lambda b, how=how: nt_xent(b, b, **how))(b)
    group_of = {"process_group": group}
    ones = torch.ones(2, 4)
    with pytest.raises(ValueError, match=r"views: the ranks have rank 0: views \[N, 4\] torch.f"):
        nt_xent(torch.ones(2, 4 + rank), torch.ones(2, 4 + rank), **group_of)
    x = torch.ones(2, 4, dtype=(torch.float32, torch.float64)[rank])
    with pytest.raises(
        ValueError, match=r"rank 1: views \[N, 4\] torch.float64; expected the same"
    ):
        nt_xent(x, x, **group_of)
    labels = torch.zeros(2, dtype=torch.int64) if rank else None
    with pytest.raises(ValueError, match="labels: the ranks have rank 0: False; rank 1: True"):
        nt_xent(ones, ones, labels=labels, **group_of)
    with pytest.raises(ValueError, match=r"temperature: the ranks have rank 0: 0.2; rank 1: 0.3"):
        nt_xent(ones, ones, (0.2, 0.3)[rank], **group_of)
    with pytest.raises(ValueError, match="normalize: the ranks have rank 0: False; rank 1: True"):
        nt_xent(ones, ones, normalize=bool(rank), **group_of)
    with pytest.raises(ValueError, match="gather: the ranks have rank 0: all; rank 1: ring"):
        nt_xent(ones, ones, gather=("all", "ring")[rank], **group_of)
    with pytest.raises(ValueError, match=r"hold \[0, 0\] samples"):
        nt_xent(torch.ones(0, 4), torch.ones(0, 4), **group_of)
    said = "refused on rank 1" if rank == 0 else "temperature: found -1.0"
    with pytest.raises(ValueError, match=said):
        nt_xent(ones, ones, (0.2, -1.0)[rank], **group_of)
    said = "refused on rank 1" if rank == 0 else "labels: found list"
    with pytest.raises(ValueError, match=said):
        nt_xent(ones, ones, labels=(torch.zeros(2, dtype=torch.int64), [0, 0])[rank], **group_of)
    with pytest.raises(ValueError, match="which only gather='all' takes"):
        nt_xent(torch.ones(2, 4), torch.ones(2, 4), gather="ring", impl="native", **group_of)


def test_edges_and_refusals_reach_every_rank(tmp_path):
    in_processes(properties_worker, 2, tmp_path)


def test_gather_is_all_or_ring():
    with pytest.raises(ValueError, match="gather: found 'some', expected 'all' or 'ring'"):
        nt_xent(torch.ones(2, 3), torch.ones(2, 3), gather="some")
    with pytest.raises(ValueError, match="gather='ring': found no process_group"):
        nt_xent(torch.ones(2, 3), torch.ones(2, 3), gather="ring")
