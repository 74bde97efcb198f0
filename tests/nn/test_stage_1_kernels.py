"""Stage 1 by its kernels against the same by PyTorch's modules: weights, gradients, loss curves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clmer.nn import ContrastiveModel, Encoder, contrastive, encoder
from clmer.nn.contrastive import PooledContrast, TemporalTransformer
from clmer.nn.random_state import drawing_from

#: The shapes of a run: channels, samples, features.
MODALITIES = {"physio": (40, 128, 80), "landmarks": (204, 25, 66), "au": (34, 25, 64)}
Make = Callable[[Encoder], nn.Module]
MODELS: dict[str, Make] = {"paper": ContrastiveModel, "pooled": PooledContrast}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels called, by name."""
    made: list[str] = []
    for module, name in ((contrastive.sublayer, "transformer_layer"), (encoder, "norm_relu_pool")):

        def call(*args: object, name: str = name, form: object = getattr(module, name), **more):  # type: ignore[no-untyped-def]
            made.append(name)
            return form(*args, **more)  # type: ignore[operator]

        monkeypatch.setattr(module, name, call)
    return made


def without_kernels(patch: pytest.MonkeyPatch) -> None:
    """All modules take PyTorch's parts, as on a GPU."""
    for module in (contrastive.sublayer, encoder):
        patch.setattr(module, "takes_kernel", lambda x: False)


def model(name: str, modality: str, dropout: float, dtype: torch.dtype) -> nn.Module:
    channels, length, features = MODALITIES[modality]
    torch.manual_seed(0)
    made = MODELS[name](Encoder(channels, length, width=16, features=features, dropout=dropout))
    for part in made.modules():
        if isinstance(part, contrastive._Layer):
            part.dropout.p = dropout
            for own in part.feed_forward:
                if hasattr(own, "p"):
                    own.p = dropout
    with torch.no_grad():  # norms that do something
        for parameter in made.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return made.to(dtype)


def step(made: nn.Module, x: Tensor, **more: int) -> list[Tensor]:
    """The losses, the gradients, and the buffers behind a step."""
    losses = made(x, torch.Generator().manual_seed(1), **more)
    grads = torch.autograd.grad(losses["loss"], tuple(made.parameters()))
    return [losses["loss"].detach(), *grads, *(b.clone() for b in made.buffers())]


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("name", MODELS)
def test_a_step_is_that_of_pytorch_s_modules(
    name: str, modality: str, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    channels, length, _ = MODALITIES[modality]
    x = torch.randn(6, channels, length, generator=torch.Generator().manual_seed(3)).double()
    found = step(model(name, modality, 0.0, torch.float64), x)
    layers = 4 if name == "paper" else 0
    assert calls == 3 * ["norm_relu_pool"] + layers * ["transformer_layer"]
    without_kernels(monkeypatch)
    wanted = step(model(name, modality, 0.0, torch.float64), x)
    assert len(calls) == 3 + layers
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_a_loss_curve_is_that_of_pytorch_s_modules(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout, whose masks are drawn otherwise; Adam magnifies rounding."""
    curves = []
    for kernels in (True, False):
        with monkeypatch.context() as patch:
            if not kernels:
                without_kernels(patch)
            made = model(name, "au", 0.0, torch.float64)
            optimizer = torch.optim.Adam(made.parameters(), lr=3e-4, weight_decay=3e-4)
            generator, curve = torch.Generator().manual_seed(5), []
            x = torch.randn(32, 34, 25, generator=generator).double()
            for _ in range(40):
                optimizer.zero_grad()
                loss = made(x, generator)["loss"]
                loss.backward()
                optimizer.step()
                curve.append(float(loss.detach()))
        curves.append(torch.tensor(curve))
    torch.testing.assert_close(*curves, rtol=1e-6, atol=0)
    assert curves[0][-5:].mean() < 0.99 * curves[0][:5].mean()


def test_evaluation_is_that_of_pytorch_s_modules(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model("paper", "landmarks", 0.35, torch.float64)
    x = torch.randn(5, 204, 25, generator=torch.Generator().manual_seed(3)).double()
    made(x, torch.Generator().manual_seed(0))  # running statistics
    made.eval()
    before = [buffer.clone() for buffer in made.buffers()]
    calls.clear()
    with torch.no_grad():
        found = made(x, torch.Generator().manual_seed(1))["loss"]
        one = made.encoder(x[:1])
    assert calls == 3 * ["norm_relu_pool"] + 4 * ["transformer_layer"] + 3 * ["norm_relu_pool"]
    assert all(torch.equal(a, b) for a, b in zip(before, made.buffers(), strict=True))
    without_kernels(monkeypatch)
    with torch.no_grad():
        torch.testing.assert_close(made(x, torch.Generator().manual_seed(1))["loss"], found)
        torch.testing.assert_close(made.encoder(x[:1]), one)


@pytest.mark.parametrize("where", ["autocast", "bfloat16", "meta", "compiled"])
def test_pytorch_s_modules_where_no_kernel_fits(where: str, calls: list[str]) -> None:
    torch.manual_seed(0)
    form: nn.Module = nn.Sequential(Encoder(4, 25, width=8), TemporalTransformer(32, 5))
    x = torch.randn(3, 4, 25)
    if where in ("bfloat16", "meta"):
        there = torch.bfloat16 if where == "bfloat16" else "meta"
        form, x = form.to(there), x.to(there)  # type: ignore[arg-type]
    if where == "compiled":
        form = torch.compile(form, backend="eager")
    with torch.autocast("cpu", torch.bfloat16, enabled=where == "autocast"):
        assert form(x).shape == (3, 100)
    assert calls == []


def test_masks_follow_the_generator_of_a_fit() -> None:
    torch.manual_seed(0)
    transformer, z = TemporalTransformer(6, 9), torch.randn(4, 6, 5)
    runs = []
    for seed in (1, 1, 2):
        with drawing_from(torch.Generator().manual_seed(seed)):
            runs.append(transformer(z))
    assert torch.equal(runs[0], runs[1])
    assert not torch.allclose(runs[0], runs[2])


def test_a_state_dict_has_the_names_and_shapes_of_earlier_runs() -> None:
    state = ContrastiveModel(Encoder(4, 25, width=8)).state_dict()
    layer = {
        "norm.weight": (100,), "norm.bias": (100,), "query.weight": (100, 100),
        "key_value.weight": (200, 100), "out.weight": (100, 100), "out.bias": (100,),
        "feed_forward.0.weight": (100,), "feed_forward.0.bias": (100,),
        "feed_forward.1.weight": (64, 100), "feed_forward.1.bias": (64,),
        "feed_forward.4.weight": (100, 64), "feed_forward.4.bias": (100,),
    }  # fmt: skip
    block = {
        "0.weight": (8, 4, 8), "1.weight": (8,), "1.bias": (8,), "1.running_mean": (8,),
        "1.running_var": (8,), "1.num_batches_tracked": (),
    }  # fmt: skip
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    for prefix, own in (("transformer.layers.3.", layer), ("encoder.blocks.0.", block)):
        assert {n.removeprefix(prefix): s for n, s in shapes.items() if n.startswith(prefix)} == own
