"""Temporal prediction, the paper's contrastive loss, and the loss on pooled features."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clmer.nn.contrastive import (
    ContrastiveModel,
    PooledContrast,
    TemporalLoss,
    TemporalTransformer,
    future_steps,
    pooled,
    temporal_loss,
)
from clmer.nn.encoder import Encoder
from clmer.nn.views import Views
from clmer.ops import nt_xent


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
    torch.testing.assert_close(layer(x, first_only=True), layer(x)[:, :1])


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


@pytest.mark.parametrize("form", ["batch", "printed"])
def test_a_step_on_the_device_is_the_same_step(form: TemporalLoss) -> None:
    """Without its number: later steps are masked and positions are counted back from it."""
    contrastive = model(60, temporal=form).eval()
    x = torch.randn(5, 4, 60)
    choices = contrastive.encoder.steps - contrastive.ahead
    assert choices > 3
    found = []
    for t in range(choices):
        for given in (t, torch.tensor(t)):
            losses = contrastive(x, seeded(), given)
            parameters = list(contrastive.parameters())
            found.append([losses["loss"], *torch.autograd.grad(losses["loss"], parameters)])
    for number, tensor in zip(found[::2], found[1::2], strict=True):
        for want, got in zip(number, tensor, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
    assert len({float(each[0].detach()) for each in found[::2]}) == choices


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
    z_weak, z_strong = map(contrastive.encoder, Views()(x, generator))
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


# --- pooled --------------------------------------------------------------------------------------
def test_pooled_features_are_mean_and_deviation_over_time() -> None:
    z = torch.randn(4, 3, 7, dtype=torch.float64)
    found = pooled(z)
    torch.testing.assert_close(found[:, :3], z.mean(2))
    torch.testing.assert_close(found[:, 3:], z.std(2, correction=0), rtol=1e-5, atol=1e-5)


def test_features_that_are_zero_throughout_have_a_gradient() -> None:
    z = torch.zeros(2, 3, 5, requires_grad=True)
    pooled(z).sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_loss_of_groups_is_the_mean_of_each_alone() -> None:
    torch.manual_seed(0)
    model = PooledContrast(Encoder(3, 40, width=4, dropout=0.0)).double().eval()
    x = torch.randn(12, 3, 40, dtype=torch.float64)
    found = model(x, seeded(), group=4)
    views = model.views(x, seeded())
    u = [model.project(pooled(model.encoder(view))) for view in views]
    each = [nt_xent(u[0][i : i + 4], u[1][i : i + 4], 0.2) for i in (0, 4, 8)]
    torch.testing.assert_close(found["loss"], torch.stack(each).mean())
    assert found["loss"] < model(x, seeded())["loss"]  # fewer negatives


def test_a_second_window_is_the_other_view() -> None:
    views = Views((1.0, 0.0), jitter=(0.0, 0.0), pieces=1)
    model = PooledContrast(Encoder(2, 30, width=4), views=views).eval()
    x, other = torch.randn(2, 6, 2, 30)
    u, v = (model.project(pooled(model.encoder(part))) for part in (x, other))
    torch.testing.assert_close(model(x, seeded(), other=other)["loss"], nt_xent(u, v, 0.2))


def test_pooled_loss_reaches_every_parameter_and_repeats() -> None:
    model = PooledContrast(Encoder(3, 40, width=4))
    x = torch.randn(8, 3, 40)
    model(x, seeded(), group=2)["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    model.eval()
    assert model(x, seeded())["loss"] == model(x, seeded())["loss"]


@pytest.mark.parametrize(("batch", "group"), [(8, 3), (8, 1), (1, None), (8, 0)])
def test_groups_that_do_not_fit_are_named(batch: int, group: int | None) -> None:
    model = PooledContrast(Encoder(3, 40, width=4))
    with pytest.raises(ValueError, match="groups of 2 windows or more"):
        model(torch.randn(batch, 3, 40), seeded(), group=group)
