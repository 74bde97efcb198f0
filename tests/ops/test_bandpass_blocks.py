"""The GPU's algorithm, in its host form: blocks of time joined by the filter's transition."""

import pytest
import torch
from support import bandpass_cases as cases
from support import native

from clmer._native import _C

_C_test = native.load()
forms = pytest.mark.parametrize(("form", "warps"), cases.FORMS)


@forms
@pytest.mark.parametrize("time", cases.LENGTHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_scipy_at_any_length(form, warps, time, dtype):
    x, state = cases.operands(8, time, 4, dtype)
    y, end = cases.by(x, cases.SOS, state, form, warps)
    assert y.dtype == dtype
    cases.assert_as_good_as_scipy((y, end), x, cases.SOS, state)


@forms
@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 17, 64])
def test_any_number_of_sections(form, warps, count):
    cases.skip_unless_it_takes(form, count)
    sos = cases.sections(count)
    x, state = cases.operands(2, 2100, count)
    cases.assert_as_good_as_scipy(cases.by(x, sos, state, form, warps), x, sos, state)


@pytest.mark.parametrize(("form", "warps"), [f for f in cases.FORMS if f[0] != "sequential"])
@pytest.mark.parametrize("name", cases.HARD)
@pytest.mark.parametrize("offset", [0, 4200])
def test_joins_lose_nothing(form, warps, name, offset):
    """Over many tiles: slow filters, poles close to each other and to 1, unstable ones."""
    sos = torch.from_numpy(cases.HARD[name])
    x, state = cases.operands(3, 9000, len(sos), offset=offset)
    found = cases.by(x, sos, state, form, warps)
    cases.assert_as_good_as_scipy(found, x, sos, state, or_one_pass=not cases.is_stable(sos))


@pytest.mark.parametrize("name", cases.HARD)
@pytest.mark.parametrize(("warps", "walk"), [(1, 2), (1, 4), (2, 8)])
def test_joins_of_parts_lose_nothing(warps, walk, name):
    """Parts of several tiles."""
    sos = torch.from_numpy(cases.HARD[name])
    x, state = cases.operands(3, 9000, len(sos))
    found = cases.by(x, sos, state, "split", warps, walk=walk)
    cases.assert_as_good_as_scipy(found, x, sos, state, or_one_pass=not cases.is_stable(sos))


@forms
@pytest.mark.parametrize("name", [None, *cases.HARD])
@pytest.mark.parametrize("time", [1, 33, 1024, 3100])
def test_the_adjoint_is_the_sequential_one(form, warps, name, time):
    sos = cases.SOS if name is None else torch.from_numpy(cases.HARD[name])
    grad_y, grad_end = cases.operands(2, time, len(sos))
    want = _C.sosfilt(grad_y, sos, grad_end, True, 1, 0)
    found = cases.by(grad_y, sos, grad_end, form, warps, adjoint=True)
    for ours, other in zip(found, want, strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-9 * other.abs().max().item())


def test_the_sequential_form_keeps_its_bits_in_any_chunks():
    x, state = cases.operands(3, 1000, 4, torch.float32)
    whole, end = cases.by(x, cases.SOS, state, "sequential", 1)
    cuts, parts = [0, 1, 33, 65, 500, 500, 1000], []
    for a, b in zip(cuts, cuts[1:], strict=False):
        y, state = cases.by(x[:, a:b].contiguous(), cases.SOS, state, "sequential", 1)
        parts.append(y)
    assert torch.equal(torch.cat(parts, 1), whole)
    assert torch.equal(state, end)


@pytest.mark.parametrize(("form", "warps"), [f for f in cases.FORMS if f[0] != "sequential"])
def test_chunks_of_a_blocked_stream_agree_to_rounding(form, warps):
    x, state = cases.operands(3, 9000, 4)
    whole, end = cases.by(x, cases.SOS, state, form, warps)
    parts = []
    for chunk in x.split(3333, 1):
        y, state = cases.by(chunk.contiguous(), cases.SOS, state, form, warps)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-13)
    torch.testing.assert_close(state, end, rtol=0, atol=1e-13)


@forms
def test_a_row_does_not_see_its_neighbours(form, warps):
    x, state = cases.operands(5, 2100, 4)
    whole, end = cases.by(x, cases.SOS, state, form, warps)
    alone, alone_end = cases.by(x[3:4].contiguous(), cases.SOS, state[3:4], form, warps)
    assert torch.equal(alone[0], whole[3])
    assert torch.equal(alone_end[0], end[3])


@forms
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_spoils_what_follows_alone(form, warps, bad):
    x, state = cases.operands(1, 3000, 4)
    clean, _ = cases.by(x, cases.SOS, state, form, warps)
    x[0, 1100] = bad
    y, end = cases.by(x, cases.SOS, state, form, warps)
    assert torch.equal(y[0, :1100], clean[0, :1100])
    assert not y[0, 1100:].isfinite().any()
    assert not end.isfinite().any()


@forms
def test_the_ends_of_nothing_and_of_few(form, warps):
    x, state = cases.operands(3, 0, 4)
    if form == "split":
        with pytest.raises(ValueError, match="at least one sample"):
            cases.by(x, cases.SOS, state, form, warps)
        return
    y, end = cases.by(x, cases.SOS, state, form, warps)
    assert y.shape == (3, 0)
    assert torch.equal(end, state)
    y, end = cases.by(x[:0], cases.SOS, state[:0], form, warps)
    assert y.shape == (0, 0)
    assert end.shape == (0, 4, 2)


def test_the_form_follows_from_the_shape():
    assert _C_test.sosfilt_plan(1280, 8064, 4) == ("tiled", 4, 2, 1)
    assert _C_test.sosfilt_plan(32, 8064, 4) == ("tiled", 8, 1, 1)
    assert _C_test.sosfilt_plan(1, 1_000_000, 4) == ("split", 4, 245, 245)
    assert _C_test.sosfilt_plan(32, 1_000_000, 4) == ("split", 4, 245, 62)
    assert _C_test.sosfilt_plan(32, 1_000_000, 9) == ("tiled", 8, 123, 1)
    assert _C_test.sosfilt_plan(1280, 1000, 4) == ("tiled", 1, 1, 1)
    assert _C_test.sosfilt_plan(32, 512, 4)[0] == "sequential"
    assert _C_test.sosfilt_plan(1 << 14, 8064, 4)[0] == "sequential"


@pytest.mark.parametrize(
    ("form", "warps", "count", "message"),
    [
        ("whole", 1, 4, "expected sequential, tiled or split"),
        ("tiled", 3, 4, "expected 1, 2, 4 or 8"),
        ("split", 1, 9, "at most 8 sections"),
        ("tiled", 1, 65, "too many sections"),
    ],
)
def test_refusals(form, warps, count, message):
    x, state = cases.operands(1, 40, count)
    with pytest.raises(ValueError, match=message):
        cases.by(x, cases.sections(count), state, form, warps)
