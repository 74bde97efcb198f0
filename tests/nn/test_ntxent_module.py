"""`NTXentLoss`, with the edge cases that lightly publishes for its own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support.ntxent_cases import views
from support.processes import in_processes
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clmer.nn import Bandpass, NTXentLoss
from clmer.ops import nt_xent


def pair_by_pair(a: Tensor, b: Tensor, temperature: float) -> float:
    """SimCLR's Algorithm 1 in Python numbers: no tensor arithmetic but the products."""
    z = [row / row.norm() for row in torch.cat((a, b)).double()]
    n = len(a)
    total = 0.0
    for i, row in enumerate(z):
        e = [math.exp(float(row @ other) / temperature) for other in z]
        total -= math.log(e[(i + n) % (2 * n)] / (sum(e) - e[i]))
    return total / (2 * n)


@pytest.mark.parametrize("gather", [False, True])
@pytest.mark.parametrize("temperature", [0.1, 1, 10])
@pytest.mark.parametrize("dim", [1, 2, 16, 64])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_algorithm_1(n: int, dim: int, temperature: float, gather: bool) -> None:
    a, b = views((n, dim), torch.float32)
    loss = NTXentLoss(temperature, gather_distributed=gather)
    want = pair_by_pair(a, b, temperature)
    assert loss(a, b).item() == pytest.approx(want, abs=1e-5)
    assert loss(b, a).item() == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 1, 7])
@pytest.mark.parametrize("n", [1, 2, 8, 16])
def test_rows_of_one_direction_are_guesses(n: int, temperature: float) -> None:
    """All similarities are equal: the loss is log of the number of candidates, 2N - 1."""
    direction = torch.tensor([1.0, 2.0])
    a, b = (0.1 + torch.rand(n, 1) for _ in range(2))
    loss = NTXentLoss(temperature)(a * direction, b * direction)
    assert loss.item() == pytest.approx(math.log(2 * n - 1), abs=1e-6)


@pytest.mark.parametrize("dim", [1, 32])
def test_views_may_be_swapped(dim: int) -> None:
    loss = NTXentLoss()
    for n in range(1, 20):
        a, b = views((n, dim), torch.float32, seed=n)
        torch.testing.assert_close(loss(a, b), loss(b, a))


def test_is_the_op() -> None:
    a, b = views((9, 4), torch.float32)
    labels = torch.arange(9) % 2
    assert torch.equal(NTXentLoss()(a, b), nt_xent(a, b, 0.5))
    assert torch.equal(NTXentLoss(0.1)(a, b, labels), nt_xent(a, b, 0.1, labels=labels))
    assert repr(NTXentLoss(0.1)) == "NTXentLoss(temperature=0.1, gather_distributed=False)"


def test_arguments_reach_the_op() -> None:
    a, b = views((6, 4), torch.float32)
    for options in ({"reduction": "sum"}, {"reduction": "none"}, {"impl": "reference"}):
        loss = NTXentLoss(0.1, **options)  # type: ignore[arg-type]
        assert torch.equal(loss(a, b), nt_xent(a, b, 0.1, **options))  # type: ignore[call-overload]
        ((name, value),) = options.items()
        assert f"{name}={value!r}" in repr(loss)
    both = NTXentLoss(0.1, accuracy=True)
    assert "accuracy=True" in repr(both)
    found, accuracy = both(torch.stack((a, b), 1))
    assert torch.equal(found, nt_xent(a, b, 0.1))
    assert torch.equal(accuracy, nt_xent(a, b, 0.1, accuracy=True)[1])
    tau = nn.Parameter(torch.tensor(0.1))
    learnt = NTXentLoss(tau)
    learnt(a, b).backward()
    assert list(learnt.parameters()) == [tau]
    assert tau.grad is not None
    with pytest.raises(ValueError, match="impl: found 'no such'"):
        NTXentLoss(impl="no such")(a, b)
    with pytest.raises(ValueError, match="reduction 'max'"):
        NTXentLoss(reduction="max")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((256, 0.5, 1), r"temperature 256, an integer.*write NTXentLoss\(temperature=0.5\)"),
        ((256,), r"looks like a batch size \(write 256.0.*write NTXentLoss\(temperature=0.5\)"),
        (("cpu", 256, 0.2, True), r"temperature 'cpu'.*write NTXentLoss\(temperature=0.2\)"),
        (("cpu",), r"temperature 'cpu', expected a number; write NTXentLoss\(temperature=0.5\)"),
        ((True,), "temperature True, expected a number"),
        ((0.5, None), r"memory_bank_size None, expected 0; write NTXentLoss\(temperature=0.5\)"),
        ((0.3, 0, 2), r"gather_distributed 2, expected True or False; .*temperature=0.3"),
        ((0.3, 0, False, 1), r"found 4 arguments \(0.3, 0, False, 1\), expected three at most"),
    ],
)
def test_constructors_of_other_projects_are_named(
    arguments: tuple[object, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=f"NTXentLoss: found .*{message}|NTXentLoss: {message}"):
        NTXentLoss(*arguments)  # type: ignore[arg-type]


def test_a_high_temperature_is_said(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.warns(UserWarning, match=r"found temperature 256.0, usual are 0.05 to 1"):
        NTXentLoss(256.0)
    recwarn.clear()
    NTXentLoss(10)
    assert not recwarn.list


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_torchscript_is_refused_with_a_sentence() -> None:
    for module in (NTXentLoss(), nn.Sequential(Bandpass(128, 4, 45))):
        with pytest.raises(RuntimeError, match=r"torch.jit.script: \w+ has kernels .*torch.export"):
            torch.jit.script(module)


@pytest.mark.parametrize("temperature", [-1.0, 0.0, math.nan, math.inf])
def test_temperature_is_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match=f"found temperature {temperature}"):
        NTXentLoss(temperature)


@pytest.mark.parametrize("size", [1, 64, (64, 32)])
def test_memory_bank_is_refused(size: int | tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="found memory_bank_size .* there is no memory bank"):
        NTXentLoss(memory_bank_size=size)
    NTXentLoss(memory_bank_size=(0, 32))


def test_torch_without_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_available", lambda: False)
    NTXentLoss()
    with pytest.raises(ValueError, match="needs torch.distributed"):
        NTXentLoss(gather_distributed=True)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(6, 4, dtype=torch.float64)


def distributed_worker(rank: int, world: int, path: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=world)
    a, b = views((3 * world, 6))
    alone = model()
    want = NTXentLoss()(alone(a), alone(b))
    want.backward()
    shared = DistributedDataParallel(model())
    mine = torch.cat([v.chunk(world)[rank] for v in (a, b)])
    loss = NTXentLoss(gather_distributed=True)(*shared(mine).chunk(2))
    loss.backward()
    torch.testing.assert_close(loss, want)
    for got, expected in zip(shared.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad)


def test_data_parallel_training_equals_one_process(tmp_path: Path) -> None:
    in_processes(distributed_worker, 2, tmp_path)


def compiled_worker(rank: int, world: int, path: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=world)
    a, b = (v.requires_grad_() for v in views((4 + rank, 8), torch.float32))
    loss = NTXentLoss(0.5, gather_distributed=True)
    want = loss(a, b)
    grads = torch.autograd.grad(want, (a, b))
    found = torch.compile(loss, backend="aot_eager")(a, b)
    torch.testing.assert_close(found, want)
    torch.testing.assert_close(torch.autograd.grad(found, (a, b)), grads)


def test_compiled_over_ranks(tmp_path: Path) -> None:
    in_processes(compiled_worker, 2, tmp_path)
