"""`nt_xent` beside other libraries' losses, and what no implementation may get wrong."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from support.ntxent_cases import views
from test_ntxent import results, run_in_child
from torch import Tensor

from clmer.ops.ntxent.op import nt_xent

F64 = torch.float64


def gradients(loss: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    return loss.detach(), *torch.autograd.grad(loss, (a, b))


# --- pytorch-metric-learning ------------------------------------------------------------------
@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("shape", [(2, 3), (7, 1), (20, 16)])
def test_pytorch_metric_learning_ntxent(shape: tuple[int, int], temperature: float) -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    a, b = (v.requires_grad_() for v in views(shape))
    theirs = losses.SelfSupervisedLoss(losses.NTXentLoss(temperature))(a, b)
    got = gradients(nt_xent(a, b, temperature), a, b)
    torch.testing.assert_close(got, gradients(theirs, a, b))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize(
    "labels",
    [[0, 0, 0, 1, 1, 2], [5, -1, 5, 5, -1, 5], [0, 1, 2, 3, 4, 5]],
    ids=["uneven", "two", "each its own"],
)
def test_pytorch_metric_learning_supcon(labels: list[int], temperature: float) -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    a, b = (v.requires_grad_() for v in views((6, 5)))
    y = torch.tensor(labels)
    theirs = losses.SupConLoss(temperature)(torch.cat((a, b)), torch.cat((y, y)))
    got = gradients(nt_xent(a, b, temperature, labels=y), a, b)
    torch.testing.assert_close(got, gradients(theirs, a, b))


def test_pytorch_metric_learning_supcon_on_known_angles() -> None:
    """Their published case, each row once more as its own second view."""
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    angles = torch.tensor([0, 10, 20, 50, 60, 80], dtype=F64).deg2rad()
    x = torch.stack((angles.cos(), angles.sin()), -1)
    y = torch.tensor([0, 0, 0, 1, 1, 2])
    theirs = losses.SupConLoss(0.1)(torch.cat((x, x)), torch.cat((y, y)))
    torch.testing.assert_close(nt_xent(x, x, 0.1, labels=y), theirs)


def test_one_class_is_where_peers_give_up() -> None:
    """Without a negative pytorch-metric-learning returns 0; the equation says more."""
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    a, b = views((3, 4))
    y = torch.zeros(3, dtype=torch.int64)
    assert losses.SupConLoss(0.1)(torch.cat((a, b)), torch.cat((y, y))) == 0
    loss = nt_xent(a, b, 0.1, labels=y)
    torch.testing.assert_close(loss, nt_xent(a, b, 0.1, labels=y, impl="reference"))
    assert loss > math.log(5)  # by Jensen: the uniform guess over 2N - 1 positives is the least


# --- lightly ----------------------------------------------------------------------------------
@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("shape", [(1, 2), (4, 1), (16, 64)])
def test_lightly(shape: tuple[int, int], temperature: float) -> None:
    lightly = pytest.importorskip("lightly.loss", reason="lightly is in no extra of ours")
    from clmer.nn import NTXentLoss

    a, b = (v.requires_grad_() for v in views(shape))
    theirs = lightly.NTXentLoss(temperature)(a, b)
    torch.testing.assert_close(
        gradients(NTXentLoss(temperature)(a, b), a, b), gradients(theirs, a, b)
    )


# --- what holds of any -------------------------------------------------------------------------
OPTIONS = [{}, {"labels": torch.arange(70) % 3}, {"normalize": False}]


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "labels", "dot product"])
def test_order_of_samples_does_not_matter(simd_level: str, options: dict) -> None:
    a, b = views((70, 9), normalize="normalize" not in options)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(1))
    want = results(nt_xent, a, b, 0.1, **options)
    if "labels" in options:
        options = {"labels": options["labels"][order]}
    got = results(nt_xent, a[order], b[order], 0.1, **options)
    torch.testing.assert_close(got, (want[0], want[1][order], want[2][order], want[3]))


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "labels", "dot product"])
def test_views_may_be_swapped(simd_level: str, options: dict) -> None:
    a, b = views((70, 9), normalize="normalize" not in options)
    loss, grad_a, grad_b, grad_tau = results(nt_xent, a, b, 0.1, **options)
    swapped = results(nt_xent, b, a, 0.1, **options)
    torch.testing.assert_close(swapped, (loss, grad_b, grad_a, grad_tau))


def test_lengths_do_not_matter_to_the_cosine() -> None:
    a, b = views((20, 6))
    lengths = torch.linspace(0.1, 9, 20, dtype=F64)[:, None]
    loss, grad_a, *_ = results(nt_xent, a, b, 0.2)
    scaled, scaled_grad, *_ = results(nt_xent, a * lengths, b, 0.2)
    torch.testing.assert_close(scaled, loss)
    torch.testing.assert_close(scaled_grad, grad_a / lengths)
    assert (grad_a * a).sum(-1).abs().max() < 1e-15  # nothing to gain by getting longer


def test_a_single_feature_leaves_only_signs() -> None:
    a = torch.tensor([[2.0], [-3.0]], requires_grad=True)
    loss = nt_xent(a, a.detach(), 1.0)
    e = math.e
    assert loss.item() == pytest.approx(math.log((e + 2 / e) / e))
    loss.backward()
    assert torch.count_nonzero(a.grad) == 0


def test_temperature_of_a_hundredth() -> None:
    """Where e^(1 / tau) is no float32: the other samples' shares are what they are, not NaN."""
    a, b = views((50, 8), torch.float32)
    narrow = results(nt_xent, a, b, 0.01)
    wide = results(nt_xent, a.double(), b.double(), 0.01)
    for got, want in zip(narrow, wide, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-4 * want.abs().max())


@pytest.mark.parametrize("impl", ["native", "reference"])
@pytest.mark.parametrize("tau", [-0.5, torch.tensor(-0.5)], ids=["float", "tensor"])
def test_negative_temperature_is_refused(tau: float | Tensor, impl: str) -> None:
    a, b = views((3, 2))
    with pytest.raises(ValueError, match="temperature: found -0.5, expected a finite number > 0"):
        nt_xent(a, b, tau, impl=impl)


def test_negative_temperature_is_refused_in_a_compiled_graph() -> None:
    a, b = views((3, 2), torch.float32)
    compiled = torch.compile(nt_xent, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(a, b, torch.tensor(0.5)), nt_xent(a, b, 0.5))
    with pytest.raises(ValueError, match="temperature: expected a finite number > 0"):
        compiled(a, b, torch.tensor(-0.5))


# --- memory -------------------------------------------------------------------------------------
N, DIM, LIMIT_MIB = 8192, 16, 40  # one byte a pair of samples is N^2 = 64 MiB; M^2 floats 1 GiB


def high_water() -> float:
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found
    return int(found[1]) / 1024


def peak(run) -> float:  # type: ignore[no-untyped-def]
    """MiB by which the resident set outgrows what it was before."""
    Path("/proc/self/clear_refs").write_text("5")
    before = high_water()
    run()
    return high_water() - before


def memory_check() -> None:
    a, b = (v.requires_grad_() for v in views((N, DIM), torch.float32))
    labels = torch.arange(N) % 10
    nt_xent(a[:64], b[:64], labels=labels[:64]).backward()
    matrix = torch.empty(0)

    def build_matrix() -> None:
        nonlocal matrix
        matrix = torch.ones(N, N, dtype=torch.bool)

    assert peak(build_matrix) > LIMIT_MIB, "the measure misses a matrix of bytes"
    del matrix
    for options in ({}, {"labels": labels}, {"temperature": 0.01}):
        grown = peak(lambda options=options: nt_xent(a, b, **options).backward())
        assert grown < LIMIT_MIB, f"{options}: {grown:.0f} MiB"


def can_reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return bool(high_water())
    except (OSError, AssertionError):
        return False


@pytest.mark.skipif(not can_reset_peak(), reason="needs Linux's /proc/self/clear_refs")
def test_no_matrix_is_ever_held() -> None:
    run_in_child(memory_check)
