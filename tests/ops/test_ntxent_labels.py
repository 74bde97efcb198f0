"""`nt_xent(labels=)`: several positives a row, SupCon's L_out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.distributed as dist
from support.ntxent_cases import views
from support.places import needs_triton
from support.processes import in_processes
from test_ntxent import assert_close, op_inputs, results, run_in_interpreter
from torch import Tensor

from clmer.ops.ntxent.op import nt_xent, nt_xent_reference

CLASSES = {
    "pairs": lambda n: torch.arange(n) // 2,
    "uneven": lambda n: torch.arange(n).remainder(7).clamp(max=4) - 2,
    "one": lambda n: torch.full((n,), 5),
    "extremes": lambda n: torch.tensor([-(2**63), 2**63 - 1, 0])[torch.arange(n) % 3],
}


def exact(a: Tensor, b: Tensor, tau: float, labels: Tensor) -> tuple[np.ndarray, ...]:
    """Loss and gradients in long double, pair by pair; a, b [N, D]."""
    x = np.concatenate((a.numpy(), b.numpy())).astype(np.longdouble)
    y = np.concatenate((labels.numpy(), labels.numpy()))
    length = np.sqrt((x * x).sum(-1, keepdims=True))
    z = x / length
    m = len(x)
    s = z @ z.T / np.longdouble(tau)
    np.fill_diagonal(s, -np.inf)
    top = s.max(-1, keepdims=True)
    p = np.exp(s - top)
    lse = top[:, 0] + np.log(p.sum(-1))
    p /= p.sum(-1, keepdims=True)
    loss = np.longdouble(0)
    for i in range(m):
        positives = [j for j in range(m) if j != i and y[j] == y[i]]
        loss += (lse[i] - s[i, positives].mean()) / m
        p[i, positives] -= np.longdouble(1) / len(positives)
    np.fill_diagonal(s, 0)
    grad = (p + p.T) @ z / (m * np.longdouble(tau))
    grad = (grad - z * (z * grad).sum(-1, keepdims=True)) / length
    return loss, grad[: m // 2], grad[m // 2 :], -(p * s).sum() / (m * np.longdouble(tau))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tau", [0.01, 0.2])
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("shape", [(2, 3), (33, 17), (70, 5), (9, 1)])
def test_equals_the_equation(
    simd_level: str, shape: tuple[int, int], classes: str, tau: float, dtype: torch.dtype
) -> None:
    a, b = views(shape, dtype)
    labels = CLASSES[classes](shape[0])
    tau = float(torch.tensor(tau, dtype=torch.float32))
    ours = results(nt_xent, a, b, tau, labels=labels)
    plain = results(nt_xent_reference, a, b, tau, labels=labels)
    assert ours[0].dtype == dtype
    assert_close(ours, plain, exact(a.double(), b.double(), tau, labels))


@pytest.mark.parametrize("impl", ["native", "reference"])
@pytest.mark.parametrize("normalize", [True, False])
def test_gradcheck(impl: str, normalize: bool) -> None:
    a, b = (v.requires_grad_() for v in views((2, 5, 3), normalize=normalize))
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[0, 1, 0, 0, 1], [4, 3, 2, 1, 4]])

    def call(a: Tensor, b: Tensor, tau: Tensor) -> Tensor:
        return nt_xent(a, b, tau, labels=labels, normalize=normalize, impl=impl)

    assert torch.autograd.gradcheck(call, (a, b, tau))


@pytest.mark.parametrize("impl", ["native", "reference"])
def test_labels_of_their_own_change_nothing(impl: str) -> None:
    a, b = views((2, 40, 9), torch.float32)
    with_labels = results(nt_xent, a, b, 0.2, labels=torch.randperm(40), impl=impl)
    torch.testing.assert_close(with_labels, results(nt_xent, a, b, 0.2, impl=impl))


def test_groups_are_independent_and_may_share_labels() -> None:
    a, b = views((3, 20, 6), torch.float32)
    labels = torch.arange(60).view(3, 20) * 7 % 4
    each = [nt_xent(x, y, labels=own) for x, y, own in zip(a, b, labels, strict=True)]
    torch.testing.assert_close(nt_xent(a, b, labels=labels), torch.stack(each))
    shared = nt_xent(a, b, labels=labels[0])
    torch.testing.assert_close(shared, nt_xent(a, b, labels=labels[:1].expand(3, 20)))
    assert nt_xent(a[:0], b[:0], labels=labels[0]).shape == (0,)


def test_names_of_classes_do_not_matter() -> None:
    a, b = views((12, 4), torch.float32)
    labels = torch.arange(12) % 3
    want = nt_xent(a, b, labels=labels)
    for renamed in (-5 * labels, labels.to(torch.uint8), torch.tensor([9, -1, 2**40])[labels]):
        torch.testing.assert_close(nt_xent(a, b, labels=renamed), want)
    two = nt_xent(a, b, labels=labels == 0)
    torch.testing.assert_close(two, nt_xent(a, b, labels=(labels == 0).long()))


@pytest.mark.parametrize("impl", ["native", "reference"])
def test_rows_of_zeros(impl: str) -> None:
    a, b = views((6, 5), torch.float32)
    a[2] = 0
    for result in results(nt_xent, a, b, 0.1, labels=torch.arange(6) // 3, impl=impl):
        assert result.isfinite().all()
    grad = results(nt_xent, a, b, 0.1, labels=torch.arange(6) // 3, impl=impl)[1]
    assert torch.count_nonzero(grad[2]) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computes_in_float32(dtype: torch.dtype) -> None:
    a, b = views((9, 6), dtype)
    labels = torch.arange(9) % 2
    ours = results(nt_xent, a, b, 0.25, labels=labels)
    wide = results(nt_xent, a.float(), b.float(), 0.25, labels=labels)
    assert ours[0].dtype == torch.float32
    torch.testing.assert_close(ours[0], wide[0], rtol=0, atol=0)
    for mine, want in zip(ours[1:3], wide[1:3], strict=True):  # two parts, each rounded
        torch.testing.assert_close(mine, want.to(dtype), rtol=4 * torch.finfo(dtype).eps, atol=1e-3)


def test_compiles_whole_at_changing_sizes() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(nt_xent, backend="aot_eager", fullgraph=True)
    for groups, n in ((4, 9), (3, 7), (2, 5)):  # the second makes the sizes symbols
        a, b = views((groups, n, 6), torch.float32)
        labels = torch.arange(groups * n).view(groups, n) % 5
        torch.testing.assert_close(compiled(a, b, labels=labels), nt_xent(a, b, labels=labels))


def test_folds_under_vmap() -> None:
    a, b = views((4, 9, 6), torch.float32)
    labels = torch.arange(36).view(4, 9) % 5
    want = nt_xent(a, b, labels=labels)

    def one(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
        return nt_xent(a, b, labels=labels)

    torch.testing.assert_close(torch.func.vmap(one)(a, b, labels), want)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(3), "labels: found torch.float32, expected an integer dtype"),
        (torch.zeros(4, dtype=int), r"labels: found shape \(4,\).*: \(3,\) or \(2, 3\)"),
        (torch.zeros(1, 3, dtype=int), r"labels: found shape \(1, 3\)"),
        (torch.zeros(3, dtype=int, device="meta"), "devices differ: labels on meta"),
    ],
)
def test_bad_labels(labels: Tensor, message: str) -> None:
    x = torch.ones(2, 3, 4)
    with pytest.raises(ValueError, match=message):
        nt_xent(x, x, labels=labels)


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1, 1), (0, 3, 4)])
def test_opcheck(shape: tuple[int, ...]) -> None:
    torch.use_deterministic_algorithms(False)
    inputs = (*op_inputs(shape), True, False)
    torch.library.opcheck(torch.ops.clmer.nt_xent.default, inputs)


def triton_check() -> None:
    for shape, tau in (((1, 1), 0.2), ((33, 17), 0.01), ((2, 19, 40), 0.2)):
        a, b = views(shape, torch.float32)
        labels = torch.arange(shape[-2]) % 4
        ours = results(nt_xent, a, b, tau, labels=labels, impl="triton")
        plain = results(nt_xent_reference, a, b, tau, labels=labels)
        wide = results(nt_xent_reference, a.double(), b.double(), tau, labels=labels)
        assert_close(ours, plain, wide)


@pytest.mark.slow
@needs_triton
def test_triton_in_the_interpreter() -> None:
    run_in_interpreter(triton_check)


def distributed_worker(rank: int, world: int, path: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=world)
    for shape in ((3 * world, 5), (2, 3 * world, 4)):
        a, b = views(shape)
        labels = torch.arange(3 * world) % 4  # classes that span both ranks
        want = results(nt_xent, a, b, 0.2, labels=labels)
        mine = [v.chunk(world, -2)[rank] for v in (a, b)]
        got = results(
            nt_xent,
            *mine,
            0.2,
            labels=labels.chunk(world)[rank],
            process_group=dist.group.WORLD,
        )
        torch.testing.assert_close(got[0], want[0])
        dist.all_reduce(got[3])  # each rank has its share
        torch.testing.assert_close(got[3], want[3])
        for ours, whole in zip(got[1:3], want[1:3], strict=True):
            torch.testing.assert_close(ours, whole.chunk(world, -2)[rank])


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path) -> None:  # type: ignore[no-untyped-def]
    in_processes(distributed_worker, 2, tmp_path)
