"""What `nt_xent` returns: reductions, features of many views, and the top-1 accuracy."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.ntxent_cases import views
from support.processes import in_processes, joined
from torch import Tensor

from clmer.ops import nt_xent, nt_xent_reference

SHAPES = [(1, 1), (2, 3), (33, 17), (64, 40), (3, 37, 9)]


def gradients(loss: Tensor, weight: Tensor, *inputs: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad((loss * weight).sum(), inputs, retain_graph=True))


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("tau", [0.01, 0.2])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_anchor(shape: tuple[int, ...], tau: float, normalize: bool, labelled: bool) -> None:
    a, b = (v.requires_grad_() for v in views(shape, normalize=normalize))
    t = torch.tensor(tau, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(shape[-2]) % 3 if labelled else None
    options = {"labels": labels, "normalize": normalize, "reduction": "none"}
    ours = nt_xent(a, b, t, **options)  # type: ignore[call-overload]
    plain = nt_xent_reference(a, b, t, **options)  # type: ignore[arg-type]
    assert ours.shape == (*shape[:-2], 2 * shape[-2])
    torch.testing.assert_close(ours, plain)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1)).double()
    weight[..., 0] = 1e-12
    torch.testing.assert_close(
        gradients(ours, weight, a, b, t), gradients(plain, weight, a, b, t), atol=1e-9, rtol=1e-9
    )
    for reduction, whole in (("mean", ours.mean(-1)), ("sum", ours.sum(-1))):
        found = nt_xent(a, b, t, **{**options, "reduction": reduction})  # type: ignore[call-overload]
        torch.testing.assert_close(found, whole)
        one = torch.ones(found.shape, dtype=torch.float64)
        each = torch.ones_like(ours) / (ours.shape[-1] if reduction == "mean" else 1)
        torch.testing.assert_close(
            gradients(found, one, a, b, t), gradients(ours, each, a, b, t), atol=1e-9, rtol=1e-9
        )


def test_anchors_of_small_weight_keep_their_digits() -> None:
    """In float32, where e^-lse is near the smallest number."""
    a, b = (v.requires_grad_() for v in views((40, 16), torch.float32))
    tau = 1 / 75
    for scale in (1.0, 1e-12):
        weight = torch.full((80,), scale)
        ours = gradients(nt_xent(a, b, tau, reduction="none"), weight, a, b)
        double = [v.detach().double().requires_grad_() for v in (a, b)]
        rows = nt_xent_reference(*double, tau, reduction="none")
        assert isinstance(rows, Tensor)
        want = gradients(rows, weight.double(), *double)
        for found, exact in zip(ours, want, strict=True):
            torch.testing.assert_close(found.double() / scale, exact / scale, atol=2e-4, rtol=2e-4)


def test_no_weight_and_no_anchor_but_one() -> None:
    a, b = (v.requires_grad_() for v in views((5, 4)))
    rows = nt_xent(a, b, reduction="none")
    assert not any(g.any() for g in gradients(rows, torch.zeros(10), a, b))
    one = torch.zeros(10, dtype=torch.float64)
    one[7] = 1.0
    plain = nt_xent_reference(a, b, reduction="none")
    assert isinstance(plain, Tensor)
    torch.testing.assert_close(gradients(rows, one, a, b), gradients(plain, one, a, b))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("tau", [0.005, 0.2])  # with and without running maxima
@pytest.mark.parametrize("shape", [*SHAPES, (200, 8)])
def test_accuracy_is_that_of_the_logits(
    shape: tuple[int, ...], tau: float, normalize: bool, dtype: torch.dtype
) -> None:
    a, noise = views(shape, dtype)
    b = a + noise
    loss, accuracy = nt_xent(a, b, tau, normalize=normalize, accuracy=True)
    assert torch.equal(loss, nt_xent(a, b, tau, normalize=normalize))
    assert not accuracy.requires_grad
    z = torch.cat((a, b), -2).double()
    z = F.normalize(z, dim=-1) if normalize else z
    m = z.shape[-2]
    logits = (z @ z.mT / tau).masked_fill(torch.eye(m, dtype=torch.bool), -torch.inf)
    best = logits.argmax(-1)
    right = (best == torch.arange(m).roll(m // 2)).double().mean(-1)
    torch.testing.assert_close(accuracy.double(), right, atol=1e-6, rtol=0)
    if shape == (200, 8):
        assert 0.1 < accuracy < 0.99


def test_accuracy_of_rows_that_are_all_the_same_is_zero() -> None:
    for m in (3, 100):
        a = torch.randn(1, 16).expand(m, 16)
        for tau in (0.2, 0.005):
            assert nt_xent(a, a, tau, accuracy=True)[1] == 0
    assert nt_xent(torch.ones(1, 2), torch.ones(1, 2), accuracy=True)[1] == 1  # no negative


def test_accuracy_costs_nothing_of_the_gradient_and_is_the_same_at_any_number_of_threads() -> None:
    a, b = (v.requires_grad_() for v in views((300, 32), torch.float32))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            loss, accuracy = nt_xent(a, b, accuracy=True)
            results.append([loss, accuracy, *torch.autograd.grad(loss, (a, b))])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))
    assert torch.equal(results[0][2], torch.autograd.grad(nt_xent(a, b), a)[0])


def sup_con(features: Tensor, labels: Tensor | None, tau: float) -> Tensor:
    """Khosla et al.'s published loss, for contrast_mode="all", by anchor [B, n_views]."""
    b, v, _ = features.shape
    z = F.normalize(torch.cat(features.unbind(1)), dim=-1)
    labels = torch.arange(b) if labels is None else labels
    mask = (labels[:, None] == labels).repeat(v, v).fill_diagonal_(False)
    s = z @ z.T / tau
    lse = s.masked_fill(torch.eye(b * v, dtype=torch.bool), -torch.inf).logsumexp(-1)
    rows = lse - (s * mask).sum(-1) / mask.sum(-1)
    return rows.view(v, b).T


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("n_views", [2, 4, 6])
def test_features_of_many_views(n_views: int, labelled: bool) -> None:
    g = torch.Generator().manual_seed(0)
    features = torch.randn(7, n_views, 5, generator=g, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([4, 4, 0, 9, 0, 4, 2]) if labelled else None
    want = sup_con(features, labels, 0.3)
    found = nt_xent(features, temperature=0.3, labels=labels, reduction="none")
    torch.testing.assert_close(found, want)
    mean = nt_xent(features, temperature=0.3, labels=labels)
    torch.testing.assert_close(mean, want.mean())
    weight = torch.randn(7, n_views, generator=g, dtype=torch.float64)
    torch.testing.assert_close(
        gradients(found, weight, features), gradients(want, weight, features)
    )
    if n_views == 2 and not labelled:
        rows, accuracy = nt_xent(features, temperature=0.3, reduction="none", accuracy=True)
        assert torch.equal(rows, found)
        assert torch.equal(accuracy, nt_xent(*features.unbind(1), accuracy=True)[1])


def test_what_there_is_not() -> None:
    a, b = views((4, 3))
    labels = torch.zeros(4, dtype=torch.int64)
    for call, message in (
        (lambda: nt_xent(a, b, reduction="max"), "reduction: found 'max', expected 'mean'"),
        (lambda: nt_xent(a, b, labels=labels, accuracy=True), "accuracy: found labels"),
        (lambda: nt_xent(torch.ones(4, 4, 3), accuracy=True), "accuracy: .*more than two views"),
        (lambda: nt_xent(a), r"found \(4, 3\) and no view_b, expected features \[B, n_views, D"),
        (lambda: nt_xent(torch.ones(4, 3, 2)), "an even number of views"),
        (lambda: nt_xent(torch.ones(4, 0, 2)), "two views at least"),
        (lambda: nt_xent(torch.ones(4, 2, 3), labels=labels[:3]), r"labels: found shape \(3,\)"),
        (lambda: nt_xent(torch.ones(4, 2, 3), 0.5), "found float.*features .* go alone"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("options", [{"reduction": "none"}, {"accuracy": True}])
def test_compiled(options: dict[str, object]) -> None:
    a, b = (v.requires_grad_() for v in views((9, 4), torch.float32))
    results = []
    for form in (nt_xent, torch.compile(nt_xent, fullgraph=True, backend="aot_eager")):
        found = form(a, b, 0.5, **options)  # type: ignore[operator]
        loss, *rest = found if isinstance(found, tuple) else (found,)
        results.append([loss, *rest, *torch.autograd.grad(loss.square().sum(), (a, b))])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("rows", [False, True])
def test_registered(rows: bool) -> None:
    a, b = (v.requires_grad_() for v in views((2, 5, 3)))
    tau = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    arguments = (a, b, tau, True, True, rows, True)
    torch.library.opcheck(torch.ops.clmer.nt_xent.default, arguments)
    assert torch.autograd.gradcheck(
        lambda *x: torch.ops.clmer.nt_xent(*x, True, True, rows, True)[0], (a, b, tau)
    )
    mapped = torch.func.vmap(lambda x, y: nt_xent(x, y, reduction="none", accuracy=True))(a, b)
    torch.testing.assert_close(mapped, nt_xent(a, b, reduction="none", accuracy=True))


def worker(rank: int, world: int, path: str) -> None:
    group = joined(rank, world, path)
    a, b = views((2 * world + 1, 6))
    own = slice(2 * rank, 2 * rank + 2 + rank)
    for options in ({"reduction": "sum"}, {"accuracy": True}):
        want = nt_xent(a, b, **options)  # type: ignore[call-overload]
        found = nt_xent(a[own], b[own], process_group=group, **options)  # type: ignore[call-overload]
        torch.testing.assert_close(found, want)
    want = nt_xent(a, b, reduction="sum")
    found = nt_xent(a[own], b[own], reduction="sum", process_group=group, gather="ring")
    torch.testing.assert_close(found, want)
    features = torch.stack((a, b, -a, a + b), 1)
    want = nt_xent(features)
    torch.testing.assert_close(nt_xent(features[own], process_group=group), want)
    for options, message in (
        ({"reduction": "none"}, "reduction: found 'none' with a process_group"),
        ({"accuracy": True, "gather": "ring"}, "expected gather='all'"),
    ):
        with pytest.raises(ValueError, match=message):
            nt_xent(a[own], b[own], process_group=group, **options)  # type: ignore[call-overload]


@pytest.mark.slow
def test_over_ranks(tmp_path: Path) -> None:
    in_processes(worker, 2, tmp_path)
