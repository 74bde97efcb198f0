"""Views: fresh, keyed by their generator, and what each number says."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from clmer.nn.views import Views, permuted, rotated

STILL: dict[str, Any] = {"scale": (1.0, 0.0), "jitter": (0.0, 0.0), "pieces": 1}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("views", [Views(), Views((1.0, 1.0), both=True, pieces=1, rotation=20.0)])
def test_views_are_fresh_keyed_and_out_of_place(views: Views) -> None:
    x = torch.randn(3, 6, 30)
    kept, state = x.clone(), torch.get_rng_state()
    generator = seeded()
    first, again = views(x, generator), views(x, generator)
    for one, other, same in zip(first, again, views(x, seeded()), strict=True):
        torch.testing.assert_close(one, same, rtol=0, atol=0)
        assert not torch.equal(one, other)
        assert (one.shape, one.dtype) == (x.shape, x.dtype)
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"


def test_the_first_view_is_scaled_and_the_second_where_both_are() -> None:
    x = torch.ones(300, 4, 100, dtype=torch.float64)
    first, second = Views()(x, seeded())
    assert abs(first.mean().item() - 1) < 0.02
    assert abs(first.mean(2).std().item() - 0.1) < 0.01
    assert abs((first - first.mean(2, keepdim=True)).std().item() - 0.05) < 0.002
    assert second.mean(2).std() < 0.05
    assert abs((second - x).std().item() - 0.3) < 0.01
    for view in Views((2.0, 1.1), both=True, jitter=(0.0, 0.0))(x, seeded()):
        assert abs(view.mean().item() - 2) < 0.1
        assert abs(view.mean(2).std().item() - 1.1) < 0.1


def test_without_scale_noise_and_pieces_a_view_is_the_window() -> None:
    x, other = torch.randn(2, 5, 3, 20)
    first, second = Views(**STILL)(x, seeded(), other)
    assert torch.equal(first, x)
    assert torch.equal(second, other)


def test_pieces_of_time_are_permuted() -> None:
    batch, channels, length = 300, 3, 40
    ramp = torch.arange(float(length))
    x = (ramp + 1000 * torch.arange(channels)[:, None]).expand(batch, -1, -1).contiguous()
    y = permuted(x, seeded(), 5)
    torch.testing.assert_close(y.sort(dim=2).values, x)  # nothing lost, no channel copied
    torch.testing.assert_close(y - y[:, :1], x - x[:, :1])  # channels move together
    breaks = (y[:, 0].diff(dim=1) != 1).sum(1)
    assert breaks.max() == 4
    assert breaks.min() == 0
    assert len({tuple(row.tolist()) for row in y[:, 0]}) > batch // 2  # each sample its own


@pytest.mark.parametrize("length", [1, 2, 3])
def test_very_short_series_are_permuted(length: int) -> None:
    x = torch.randn(4, 2, length)
    torch.testing.assert_close(permuted(x, seeded(), 5).sort(dim=2).values, x.sort(dim=2).values)


def test_axes_turn_together_and_keep_their_length() -> None:
    x = torch.randn(200, 6, 10, dtype=torch.float64)
    y = rotated(x, seeded(), 10.0)
    for sensor in (slice(0, 3), slice(3, 6)):
        torch.testing.assert_close(y[:, sensor].norm(dim=1), x[:, sensor].norm(dim=1))
    twice = rotated(torch.cat([x[:, :3], x[:, :3]], dim=1), seeded(), 10.0)
    torch.testing.assert_close(twice[:, :3], twice[:, 3:])
    up = torch.tensor([0.0, 0.0, 1.0]).double().expand(4000, 3)[:, :, None]
    angle = rotated(up, seeded(), 10.0)[:, 2].clamp(-1, 1).acos()
    expected = math.radians(10.0) * 2**0.5  # two of three coordinates move this axis
    assert abs(angle.square().mean().sqrt().item() / expected - 1) < 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": (1.0, -0.1)},
        {"scale": (math.nan, 0.1)},
        {"jitter": (0.1, -1.0)},
        {"pieces": 0},
        {"rotation": math.inf},
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Views: "):
        Views(**wrong)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected floating-point x \[B, C, T\]"):
        Views()(torch.zeros(3, 4), seeded())
    with pytest.raises(ValueError, match="channels in threes"):
        Views(rotation=5.0)(torch.randn(2, 4, 8), seeded())
