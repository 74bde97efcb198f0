"""Views, temporal prediction, and the contrastive loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clmer.nn.contrastive import (
    ContrastiveModel,
    TemporalLoss,
    TemporalTransformer,
    future_steps,
    strong_view,
    temporal_loss,
    weak_view,
)
from clmer.nn.encoder import Encoder

View = Callable[[Tensor, torch.Generator], Tensor]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("view", [weak_view, strong_view])
def test_views_are_fresh_keyed_and_out_of_place(view: View) -> None:
    x = torch.randn(3, 2, 30)
    kept, state = x.clone(), torch.get_rng_state()
    generator = seeded()
    first, second = view(x, generator), view(x, generator)
    torch.testing.assert_close(view(x, seeded()), first, rtol=0, atol=0)
    assert not torch.equal(first, second)
    assert torch.equal(x, kept)
    assert first.shape == x.shape
    assert first.dtype == x.dtype
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"


def test_weak_view_scales_each_channel_and_adds_noise() -> None:
    x = torch.ones(200, 4, 100, dtype=torch.float64)
    y = weak_view(x, seeded())
    assert abs(y.mean().item() - 1) < 0.02
    assert abs(y.mean(2).std().item() - 0.1) < 0.01
    assert abs((y - y.mean(2, keepdim=True)).std().item() - 0.05) < 0.002


def test_strong_view_permutes_pieces_of_time() -> None:
    batch, channels, length = 300, 3, 40
    ramp = torch.arange(float(length))
    x = (ramp + 1000 * torch.arange(channels)[:, None]).expand(batch, -1, -1).contiguous()
    y = strong_view(x, seeded(), jitter=0.0)
    torch.testing.assert_close(y.sort(dim=2).values, x)  # nothing lost, no channel copied
    torch.testing.assert_close(y - y[:, :1], x - x[:, :1])  # channels move together
    breaks = (y[:, 0].diff(dim=1) != 1).sum(1)
    assert breaks.max() == 4
    assert breaks.min() == 0
    assert len({tuple(row.tolist()) for row in y[:, 0]}) > batch // 2  # each sample its own
    noise = strong_view(x, seeded()) - y
    assert abs(noise.std().item() - 0.3) < 0.01


@pytest.mark.parametrize("length", [1, 2, 3])
def test_strong_view_takes_very_short_series(length: int) -> None:
    x = torch.randn(4, 2, length)
    y = strong_view(x, seeded(), jitter=0.0)
    torch.testing.assert_close(y.sort(dim=2).values, x.sort(dim=2).values)


def explicit_temporal_loss(prediction: Tensor, z: Tensor, t: int, form: str) -> Tensor:
    """`temporal_loss` as its docstring writes it, term by term."""
    views, batch, _, steps = z.shape
    terms = []
    for v in range(views):
        for b in range(batch):
            for i in range(1, min(6, steps // 2) + 1):
                if form == "batch":
                    p = prediction[v, b, i - 1]
                    scores = torch.stack([p @ z[v, c, :, t + i] for c in range(batch)])
                    right = scores[b]
                else:
                    p = prediction[v, b, 0]
                    scores = torch.stack([p @ z[v, b, :, j] for j in range(steps) if j != t])
                    right = p @ z[v, b, :, t + i]
                terms.append(scores.logsumexp(0) - right)
    return torch.stack(terms).mean()


@pytest.mark.parametrize("form", ["batch", "printed"])
@pytest.mark.parametrize(("steps", "t"), [(5, 0), (5, 2), (14, 7), (2, 0)])
def test_temporal_loss_is_the_written_formula(form: TemporalLoss, steps: int, t: int) -> None:
    torch.manual_seed(0)
    ahead = future_steps(steps) if form == "batch" else 1
    prediction = torch.randn(2, 4, ahead, 7, dtype=torch.float64, requires_grad=True)
    z = torch.randn(2, 4, 7, steps, dtype=torch.float64, requires_grad=True)
    loss = temporal_loss(prediction, z, t, form)
    expected = explicit_temporal_loss(prediction, z, t, form)
    torch.testing.assert_close(loss, expected)
    for got, want in zip(
        torch.autograd.grad(loss, (prediction, z)),
        torch.autograd.grad(expected, (prediction, z)),
        strict=True,
    ):
        torch.testing.assert_close(got, want)


class CountOps(TorchDispatchMode):
    """Counts what reaches the kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("form", ["batch", "printed"])
def test_temporal_loss_is_one_product_for_all_steps(form: TemporalLoss) -> None:
    ran = []
    for steps in (5, 14):  # 2 and 6 future steps
        ahead = future_steps(steps) if form == "batch" else 1
        with CountOps() as count:
            temporal_loss(torch.randn(2, 4, ahead, 7), torch.randn(2, 4, 7, steps), 1, form)
        ran.append(count.names)
    assert len(ran[0]) == len(ran[1])
    assert sum("mm" in name for name in ran[1]) == 1


def test_temporal_loss_of_one_window() -> None:
    """No other sample: certain in the batch form; the other steps remain in the printed one."""
    torch.manual_seed(0)
    prediction, z = torch.randn(2, 1, 6, 7), torch.randn(2, 1, 7, 12)
    assert temporal_loss(prediction, z, 3) == 0
    assert temporal_loss(prediction[:, :, :1], z, 3, "printed") > 0


def test_temporal_loss_keeps_large_scores_finite() -> None:
    torch.manual_seed(0)
    prediction, z = 100 * torch.randn(2, 4, 6, 7), torch.randn(2, 4, 7, 12)
    assert temporal_loss(prediction, z, 0).isfinite()
    assert temporal_loss(prediction[:, :, :1], z, 0, "printed").isfinite()


def test_temporal_loss_names_what_it_expected() -> None:
    z = torch.randn(2, 4, 7, 12)
    with pytest.raises(ValueError, match=r"t must be in \[0, 6\), got 6"):
        temporal_loss(torch.randn(2, 4, 6, 7), z, 6)
    with pytest.raises(ValueError, match=r"expected prediction \[2, 4, 6, 7\]"):
        temporal_loss(torch.randn(2, 4, 1, 7), z, 0)
    with pytest.raises(ValueError, match="temporal must be"):
        temporal_loss(torch.randn(2, 4, 1, 7), z, 0, "paper")  # type: ignore[arg-type]
    for form in ("batch", "printed"):
        with pytest.raises(ValueError, match=r"with T' >= 2, got \[2, 4, 7, 1\]"):
            temporal_loss(torch.randn(2, 4, 0, 7), z[..., :1], 0, form)
        with pytest.raises(ValueError, match=r"got \[4, 7, 12\]"):
            temporal_loss(torch.randn(4, 6, 7), z[0], 0, form)


def test_summary_reads_every_step_and_their_order() -> None:
    torch.manual_seed(0)
    transformer = TemporalTransformer(6, 9).eval()
    z = torch.randn(2, 6, 5, requires_grad=True)
    s = transformer(z)
    assert s.shape == (2, 100)
    s.square().sum().backward()
    assert z.grad is not None
    assert bool((z.grad != 0).all())
    assert not torch.allclose(transformer(z.flip(2)), s, atol=1e-3)


def test_summary_is_that_of_a_whole_last_layer() -> None:
    """The last layer computes the summary's row alone; the other rows never matter to it."""
    torch.manual_seed(0)
    transformer = TemporalTransformer(6, 9).eval()
    layer = transformer.layers[-1]
    x = torch.randn(3, 7, 100)
    torch.testing.assert_close(layer(x, 1), layer(x, 7)[:, :1])


def test_transformer_names_what_it_expected() -> None:
    with pytest.raises(ValueError, match=r"\[B, 6, 1 to 9 steps\], got \[2, 6, 10\]"):
        TemporalTransformer(6, 9)(torch.randn(2, 6, 10))
    with pytest.raises(ValueError, match="heads=3"):
        TemporalTransformer(6, 9, heads=3)


def model(length: int = 25, **options: TemporalLoss) -> ContrastiveModel:
    torch.manual_seed(0)
    return ContrastiveModel(Encoder(4, length, width=8), **options)


@pytest.mark.parametrize("form", ["batch", "printed"])
@pytest.mark.parametrize("length", [1, 25, 128])
def test_loss_reaches_every_parameter(form: TemporalLoss, length: int) -> None:
    contrastive = model(length, temporal=form)
    losses = contrastive(torch.randn(6, 4, length), seeded())
    torch.testing.assert_close(losses["loss"].detach(), 0.7 * losses["sample"] + losses["temporal"])
    losses["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in contrastive.parameters())


def test_each_view_predicts_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def spy(prediction: Tensor, z: Tensor, t: int, form: TemporalLoss) -> Tensor:
        seen.update(prediction=prediction, z=z, t=t)
        return temporal_loss(prediction, z, t, form)

    monkeypatch.setattr("clmer.nn.contrastive.temporal_loss", spy)
    contrastive = model().eval()
    x = torch.randn(3, 4, 25)
    contrastive(x, seeded(), t=1)
    generator = seeded()
    z_weak = contrastive.encoder(weak_view(x, generator))
    z_strong = contrastive.encoder(strong_view(x, generator))
    torch.testing.assert_close(seen["z"], torch.stack([z_weak, z_strong]))
    from_strong = contrastive.predict(contrastive.transformer(z_strong[:, :, :2]))
    torch.testing.assert_close(seen["prediction"][0].flatten(1), from_strong)


def test_forward_repeats_with_its_generator_and_draws_legal_t() -> None:
    contrastive = model().eval()
    x = torch.randn(3, 4, 25)
    first = contrastive(x, seeded(1))["loss"]
    torch.testing.assert_close(contrastive(x, seeded(1))["loss"], first, rtol=0, atol=0)
    for seed in range(20):  # T' = 5, K = 2: t = 0, 1 or 2; an illegal one raises
        contrastive(x, seeded(seed))


def test_temporal_loss_starts_at_chance() -> None:
    losses = model(128)(torch.randn(32, 4, 128), seeded())
    assert abs(losses["temporal"].item() / math.log(32) - 1) < 0.05


@pytest.mark.parametrize("form", ["batch", "printed"])
def test_training_beats_chance(form: TemporalLoss) -> None:
    """Sines of many frequencies: both parts fall under what uniform guessing gives."""
    contrastive = model(temporal=form)
    generator = seeded()
    frequency = 0.2 + 1.3 * torch.rand(12, 4, 1, generator=generator)
    x = 1.4 * torch.sin(torch.arange(25) * frequency)
    optimiser = torch.optim.Adam(contrastive.parameters(), lr=2e-3)
    sample, temporal = [], []
    for _ in range(100):
        losses = contrastive(x, generator)
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
        sample.append(losses["sample"])
        temporal.append(losses["temporal"])
    candidates = {"batch": 12, "printed": contrastive.encoder.steps - 1}[form]
    assert torch.stack(sample[-30:]).mean() < 0.95 * math.log(23)
    assert torch.stack(temporal[-30:]).mean() < 0.95 * math.log(candidates)


def test_one_window_is_no_batch() -> None:
    with pytest.raises(ValueError, match="at least 2 windows a batch, got 1"):
        model()(torch.randn(1, 4, 25), seeded())
    with pytest.raises(ValueError, match="floating-point x"):
        weak_view(torch.ones(2, 3, 4, dtype=torch.int64), seeded())
    with pytest.raises(ValueError, match="segments must be >= 1"):
        strong_view(torch.ones(2, 3, 4), seeded(), segments=0)
