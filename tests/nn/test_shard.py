"""A batch over several processes against the same in one: layers and the contrastive stage."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from support.processes import in_processes, joined
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

from clmer.nn import ContrastiveModel, Encoder, sublayer
from clmer.nn.contrastive import PooledContrast
from clmer.nn.dropout import Dropout, drop
from clmer.nn.shard import BatchNorm, Shard, current_group, sharded, undo_ddp_mean
from clmer.ops.sublayer.reference import normed, stacked_linear
from clmer.pipeline import ranks


def close(found, wanted, what):
    """Within float32's rounding of sums in another order, seen against the largest element."""
    error = (found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30)
    assert error < 2e-6, (what, float(error))


def layers_worker(rank, world, path):
    group = joined(rank, world, path)
    torch.manual_seed(0)
    shard = Shard(group, [3, 2, 0][:world])
    total = shard.total
    for shape in ((2 * total, 4), (2 * total, 4, 7)):
        whole = (torch.randn(shape) * 3 + 10).requires_grad_()  # a mean above the spread
        grad = torch.randn(shape)
        own = whole.detach().unflatten(0, (2, total))[:, shard.rows].flatten(0, 1).requires_grad_()
        own_grad = grad.unflatten(0, (2, total))[:, shard.rows].flatten(0, 1)
        for momentum in (0.1, None):
            wanted, found = (nn.BatchNorm1d(4, momentum=momentum), BatchNorm(4, momentum=momentum))
            with torch.no_grad():
                wanted.weight.normal_()
            found.load_state_dict(wanted.state_dict())
            wide = copy.deepcopy(wanted).double()
            truth = wide(whole.double())
            (truth_dx,) = torch.autograd.grad(truth, whole, grad.double(), retain_graph=True)
            truth_dw = torch.autograd.grad(truth, tuple(wide.parameters()), grad.double())
            with sharded(shard, copies=2):
                y = found(own)
            dx, *dw = torch.autograd.grad(y, (own, *found.parameters()), own_grad)
            pick = (slice(None), shard.rows)
            assert y.dtype == torch.float32
            if y.numel():
                close(y, truth.unflatten(0, (2, total))[pick].flatten(0, 1), "y")
                close(dx, truth_dx.unflatten(0, (2, total))[pick].flatten(0, 1), "dx")
            for mine, exact in zip(dw, truth_dw, strict=True):
                dist.all_reduce(mine, group=group)
                close(mine, exact, "parameters")
            for name, value in wide.state_dict().items():
                torch.testing.assert_close(found.state_dict()[name].to(value.dtype), value,
                                           rtol=1e-6, atol=0)  # fmt: skip
            found.eval()
            alone = found(own)
            with sharded(shard, copies=2):  # in evaluation no rank waits for another
                assert torch.equal(found(own), alone)
        torch.manual_seed(5)
        masked = Dropout(0.5)(whole).unflatten(0, (2, total))[:, shard.rows].flatten(0, 1)
        after = torch.rand(1)
        torch.manual_seed(5)
        with sharded(shard, copies=2):
            assert torch.equal(Dropout(0.5)(own), masked)
        assert torch.equal(torch.rand(1), after)  # a rank without samples draws along
    assert current_group() is None


@pytest.mark.parametrize("world", [2, 3])
def test_layers_see_the_whole_batch(world, tmp_path):
    in_processes(layers_worker, world, tmp_path)


def sublayers_worker(rank, world, path):
    group = joined(rank, world, path)
    torch.manual_seed(0)
    shard = Shard(group, [3, 2])
    streams, samples, length, dim = 2, shard.total, 4, 6
    x, heads = (
        torch.randn(streams, samples, length, dim),
        torch.randn(streams, samples, 3, length, 2),
    )
    weight, bias = torch.randn(streams, dim, dim), torch.randn(streams, 1, dim)
    torch.manual_seed(5)
    y = stacked_linear(heads.transpose(2, 3).flatten(3), weight, bias)
    wanted = x + drop(y.transpose(0, 1), 0.5).transpose(0, 1)
    torch.manual_seed(5)
    with sharded(shard):
        found = sublayer.merge(x[:, shard.rows], heads[:, shard.rows], weight, bias, dropout=0.5)
    close(found, wanted[:, shard.rows], "merge")
    torch.manual_seed(5)
    hidden = F.relu(stacked_linear(normed(x), weight, bias))
    hidden = drop(hidden.transpose(0, 1), 0.5).transpose(0, 1)
    y = stacked_linear(hidden, weight, bias)
    wanted = x + drop(y.transpose(0, 1), 0.25).transpose(0, 1)
    torch.manual_seed(5)
    with sharded(shard):
        weights = (weight, bias, weight, bias)
        found = sublayer.feed_forward(x[:, shard.rows], *weights, 0.5, 0.25)
    close(found, wanted[:, shard.rows], "feed_forward")


def test_sublayers_drop_what_one_process_would(tmp_path):
    in_processes(sublayers_worker, 2, tmp_path)


def test_a_numbered_gpu_becomes_the_current_one(monkeypatch):
    current = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    for name in ("cpu", "cuda", "cuda:1"):
        with ranks.joined(name) as (alone, own):
            assert alone.leads
            assert own == torch.device(name)
    assert current == [torch.device("cuda:1")]


@pytest.mark.parametrize(
    ("main", "code", "said"),
    [
        ("lambda: 3", 3, ""),
        ("lambda: sys.exit(2)", 2, ""),
        ("lambda: 1 / 0", 1, "ZeroDivisionError"),
    ],
)
@pytest.mark.parametrize("launched", [True, False])
def test_a_rank_leaves_with_its_code_and_without_a_teardown(main, code, said, launched):
    program = f"""
import atexit, sys
from clmer.pipeline import ranks
atexit.register(lambda: print("torn down"))
print("done")
ranks.leave_after({main})
"""
    environment = {**os.environ, **({"TORCHELASTIC_RUN_ID": "x"} if launched else {})}
    line = [sys.executable, "-c", program]
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == code
    assert ended.stdout.split("\n")[:-1] == (["done"] if launched else ["done", "torn down"])
    assert said in ended.stderr


class Float32Draws(TorchFunctionMode):
    """A float64 model draws the noise that it would in float32."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is not torch.randn:
            return func(*args, **kwargs)
        return func(*args, **{**kwargs, "dtype": torch.float32}).double()


def gradient_error(model, truth):
    """The largest error of any gradient, as a share of the largest gradient."""
    pairs = zip(model.parameters(), truth.parameters(), strict=True)
    largest = max(p.grad.abs().max() for p in truth.parameters())
    return max(float((p.grad - q.grad).abs().max() / largest) for p, q in pairs)


def model_worker(rank, world, path):
    group = joined(rank, world, path)
    for form in ("batch", "printed", "pooled"):
        for dtype, limit in ((torch.float64, 1e-11), (torch.float32, 1e-5)):
            torch.manual_seed(0)
            encoder = Encoder(4, 40, width=8)
            if form == "pooled":
                one = PooledContrast(encoder).to(dtype)
            else:
                one = ContrastiveModel(encoder, temporal=form).to(dtype)
            many, wide = copy.deepcopy(one), copy.deepcopy(one).double()
            wrapped = DistributedDataParallel(many)
            for batch in (8, 5, 2):  # of two samples a third rank gets none
                more = {"group": batch // 2} if form == "pooled" and batch == 8 else {}
                x = torch.randn(batch, 4, 40, dtype=dtype)
                results = []
                for model, shard in ((one, None), (wrapped, Shard.of(group, batch)), (wide, None)):
                    torch.manual_seed(1)
                    generator = torch.Generator().manual_seed(2)
                    with Float32Draws() if model is wide else nullcontext():
                        part = x.double() if model is wide else x
                        losses = model(part, generator, shard=shard, **more)
                    model.zero_grad()
                    undo_ddp_mean(losses["loss"], 1 if shard is None else world).backward()
                    results.append(losses)
                for name in results[0]:
                    found, wanted = results[1][name], results[0][name]
                    torch.testing.assert_close(found, wanted, rtol=limit, atol=0)
                error, allowed = gradient_error(many, one), limit
                if dtype == torch.float32:  # one process is itself 5 to 75 eps from the truth
                    error = gradient_error(many, wide)
                    allowed = max(3 * gradient_error(one, wide), 8 * torch.finfo(dtype).eps)
                assert error <= allowed, (form, dtype, batch, error, allowed)
                for wanted, found in zip(one.buffers(), many.buffers(), strict=True):
                    torch.testing.assert_close(found, wanted, rtol=limit, atol=limit)


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_contrastive_stage_equals_one_process(world, tmp_path):
    in_processes(model_worker, world, tmp_path)


def test_shares_of_a_batch():
    class Group:
        def size(self):
            return 3

    for samples, sizes in ((7, [3, 2, 2]), (6, [2, 2, 2]), (2, [1, 1, 0]), (0, [0, 0, 0])):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dist, "get_world_size", lambda group: group.size())
            assert Shard.of(Group(), samples).sizes == sizes
