"""`nt_xent(impl="triton")` without a GPU: in Triton's interpreter, and compiled for GPUs."""

import pytest
import torch
from support.ntxent_cases import views
from support.places import needs_triton
from support.processes import in_processes, joined
from test_ntxent import assert_close, results, run_in_interpreter
from test_ntxent_distributed import assert_equal_to_one_process

from clmer.ops.ntxent.op import nt_xent, nt_xent_reference

# shape, tau: N around the tiles' edges; tau where e^(1/tau) overflows float32; D on both sides of
# the bounds between the forms of the backward (128 in float32, 256 in half precision)
CASES = [
    ((1, 1), 0.2),
    ((33, 17), 0.01),
    ((2, 19, 70), 0.2),
    ((2, 17, 130), 0.2),
    ((0, 3, 4), 0.2),
]
HALF_CASES = [((2, 19, 40), 0.25), ((9, 260), 0.25)]


def assert_within_plain_error(shape, tau, normalize, device="cpu"):
    """Errors against float64 at most 2 or 3 times those of PyTorch's float32, and the same bits."""
    a, b = (v.to(device) for v in views(shape, torch.float32, normalize))
    tau = float(torch.tensor(tau))
    ours = [t.cpu() for t in results(nt_xent, a, b, tau, normalize=normalize, impl="triton")]
    a, b = a.cpu(), b.cpu()
    plain = results(nt_xent_reference, a, b, tau, normalize=normalize)
    wide = results(nt_xent_reference, a.double(), b.double(), tau, normalize=normalize)
    if a.numel():
        assert_close(ours, plain, wide)
    else:
        torch.testing.assert_close(ours, [*plain])


def assert_half_close(shape, tau, dtype, device="cpu", normalize=True):
    """Within 2 eps of the dtype, to which z and W are rounded once, and a last digit."""
    a, b = views(shape, dtype, normalize)
    on_device = (v.to(device) for v in (a, b))
    ours = results(nt_xent, *on_device, tau, normalize=normalize, impl="triton")
    wide = results(nt_xent_reference, a.double(), b.double(), tau, normalize=normalize)
    assert ours[0].dtype == torch.float32
    assert ours[1].dtype == dtype
    info = torch.finfo(dtype)
    rounding = info.smallest_normal * info.eps / 2  # of subnormal numbers
    for mine, want in zip(ours, wide, strict=True):
        limit = 2 * info.eps * want.abs().max() + rounding
        assert (mine.cpu().double() - want).abs().max() <= limit


def equality_check():
    for shape, tau in CASES:
        for normalize in (True, False):
            assert_within_plain_error(shape, tau, normalize)
    for shape, tau in HALF_CASES:
        for dtype in (torch.bfloat16, torch.float16):
            assert_half_close(shape, tau, dtype)
    a, b = views((9, 260), torch.float32)
    first = results(nt_xent, a, b, 0.2, impl="triton")
    again = results(nt_xent, a, b, 0.2, impl="triton")
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    a.requires_grad_()
    with pytest.raises(RuntimeError, match="triton backward has no gradient"):
        torch.autograd.grad(nt_xent(a, b, impl="triton"), a, create_graph=True)
    with pytest.raises(ValueError, match="found float64 views"):
        nt_xent(a.double(), b.double(), impl="triton")


def second_derivatives_check():
    """Those of the form that impl=None takes on a GPU, where nobody named it."""
    from clmer.kernels.ntxent import nt_xent_triton

    a, b = (v.requires_grad_() for v in views((2, 9, 5), torch.float32))
    tau = torch.tensor(0.3, requires_grad=True)
    for each in (False, True):
        found = []
        for form in (
            lambda a, b, tau, each=each: nt_xent_triton(a, b, tau, each=each, explicit=False)[0],
            lambda a, b, tau, each=each: nt_xent_reference(
                a, b, tau, reduction="none" if each else "mean"
            ),
        ):
            rows = form(a, b, tau).square().sum()
            grads = torch.autograd.grad(rows, (a, b, tau), create_graph=True)
            again = torch.autograd.grad(sum(g.square().sum() for g in grads), (a, b, tau))
            found.append([*grads, *again])
        torch.testing.assert_close(*found, rtol=2e-4, atol=1e-5)


def results_check():
    """reduction="none" and accuracy=True: rows, their weighted gradients, the share of hits."""
    cases = (((33, 17), 0.01, True), ((2, 19, 70), 0.2, True), ((40, 9), 0.5, False))
    for shape, tau, normalize in cases:
        a, noise = views(shape, torch.float32, normalize)
        pair = [v.requires_grad_() for v in (a, a + 2 * noise)]
        wide = [v.detach().double().requires_grad_() for v in pair]
        how = {"normalize": normalize, "reduction": "none", "accuracy": True}
        rows, accuracy = nt_xent(*pair, tau, **how, impl="triton")
        want, share = nt_xent_reference(*wide, tau, **how)
        assert not accuracy.requires_grad
        torch.testing.assert_close(accuracy, share.float())
        assert 0 < share.mean() < 1
        torch.testing.assert_close(rows, want.float(), rtol=1e-4, atol=1e-4)
        weight = torch.randn(rows.shape, generator=torch.Generator().manual_seed(1))
        ours = torch.autograd.grad((rows * weight).sum(), pair)
        exact = torch.autograd.grad((want * weight).sum(), wide)
        for mine, one in zip(ours, exact, strict=True):
            assert (mine - one).abs().max() <= 1e-4 * one.abs().max()
        how["reduction"] = "mean"
        mean, again = nt_xent(*pair, tau, **how, impl="triton")
        assert torch.equal(again, accuracy)
        torch.testing.assert_close(mean, rows.mean(-1))


def recorded(run):
    """The (kernel, constants, options) that a call launches."""
    from clmer.kernels import ntxent_launches as table

    launched, call = [], table.Launch.__call__

    def record(self, programs, *arguments):
        launched.append((self.kernel, self.constants, self.options))
        call(self, programs, *arguments)

    table.Launch.__call__ = record
    try:
        run()
    finally:
        table.Launch.__call__ = call
    return launched


def many_blocks_check():
    """Several panels, strips and squares, the last ones partly filled; large tiles; one exp."""
    from clmer.kernels import ntxent as page
    from clmer.kernels import ntxent_launches as table

    known = [(each.kernel, each.constexprs, each.options) for each in page.variants()]
    page._PANEL, page._EDGE = 2, 64
    shape = (2, 75, 130)
    launched = recorded(lambda: assert_within_plain_error(shape, 0.2, True))
    names = [kernel.__name__ for kernel, _, _ in launched]
    assert names.count("sum_pairs") == 2  # 3 blocks of 64 rows, 2 a panel
    assert names.count("weigh_pairs") == 6  # squares of one tile, 3 a side
    page._EDGE = 128
    several = recorded(lambda: assert_within_plain_error((75, 130), 0.2, True))
    names = [kernel.__name__ for kernel, _, _ in several]
    assert names.count("weigh_pairs") == 3  # squares of 2 x 2 tiles, 2 x 1 and 1
    launched += several
    page._EDGE = 64
    launched += recorded(lambda: assert_within_plain_error((75, 9), 0.02, False))
    table._LARGE = 0
    launched += recorded(lambda: assert_half_close((150, 24), 0.2, torch.float16))
    launched += recorded(lambda: assert_half_close((70, 260), 0.2, torch.float16))
    a, b = views((40, 24), torch.float16)  # a number, not a tensor: bounded
    launched += recorded(
        lambda: torch.testing.assert_close(
            nt_xent(a, b, 0.2, impl="triton"), nt_xent(a, b, 0.2), rtol=1e-3, atol=0
        )
    )
    assert any(constants.get("BOUNDED") for _, constants, _ in launched)
    assert all(each in known for each in launched)


def bounded_gradient_check():
    from clmer.kernels import ntxent_launches as table

    table._LARGE = 0
    for dim in (24, 260):
        a, b = (v.requires_grad_() for v in views((70, dim), torch.float16))
        ours = torch.autograd.grad(nt_xent(a, b, 0.2, impl="triton"), (a, b))
        wide = torch.autograd.grad(nt_xent(a.double(), b.double(), 0.2, impl="reference"), (a, b))
        for mine, want in zip(ours, wide, strict=True):
            assert (mine - want).abs().max() <= 2e-3 * want.abs().max()


def edges_check():
    for scale in (1e-30, 1e30):
        a, b = views((9, 5), torch.float32)
        scaled = nt_xent(a * scale, b * scale, impl="triton")
        torch.testing.assert_close(scaled, nt_xent(a, b))
    a, b = views((6, 5), torch.float32)
    a[2] = 0
    b[3] = 1e-42  # subnormal
    for tau in (0.2, 0.01):
        loss, grad_a, grad_b, grad_tau = results(nt_xent, a, b, tau, impl="triton")
        assert torch.isfinite(loss)
        assert torch.isfinite(grad_tau)
        assert torch.count_nonzero(grad_a[2]) == torch.count_nonzero(grad_b[3]) == 0
        assert torch.count_nonzero(grad_a[[0, 1, 3, 4, 5]]) == 25
    for dim in (1, 5):
        a, b = views((40, dim), torch.float32)
        a[3, 0] = float("nan")
        assert nt_xent(a, b, 0.01, impl="triton").isnan()
    a = torch.eye(4) + 0.05  # p of the positive rounds to 1 in float32
    mine = results(nt_xent, a, torch.eye(4), 0.04, impl="triton")
    wide = results(nt_xent, a.double(), torch.eye(4, dtype=torch.float64), 0.04)
    assert 0 < mine[0] < 1e-8
    for each, want in zip(mine, wide, strict=True):
        torch.testing.assert_close(each.double(), want, rtol=2e-4, atol=0)
    a, b = (v.movedim(2, 0) for v in views((9, 6, 2), torch.float32))
    for result, want in zip(
        results(nt_xent, a, b, 0.2, impl="triton"), results(nt_xent, a, b, 0.2), strict=True
    ):
        torch.testing.assert_close(result, want)


def ring_worker(rank, world, path):
    group = joined(rank, world, path)
    how = {"gather": "ring", "impl": "triton"}
    for sizes in ([4, 4], [2, 0]):
        assert_equal_to_one_process(group, sizes, (6,), 0.2, **how)
    assert_equal_to_one_process(group, [20, 3], (2, 6), 0.01, **how)
    assert_equal_to_one_process(group, [5, 3], (140,), 0.2, normalize=False, **how)
    x = torch.ones(2, 4)
    with pytest.raises(ValueError, match="impl: the ranks have rank 0: None; rank 1: triton"):
        nt_xent(x, x, process_group=group, gather="ring", impl=(None, "triton")[rank])


CHECKS = (equality_check, second_derivatives_check, results_check, many_blocks_check)


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("check", [*CHECKS, bounded_gradient_check, edges_check])
def test_in_the_interpreter(check):
    run_in_interpreter(check)


@needs_triton
def test_ring_of_two_processes_equals_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    in_processes(ring_worker, 2, tmp_path)
