"""Stacked fusion against an explicit loop over pairs, its shapes, and what it can learn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clmer import ops
from clmer.nn.fusion import Fusion, StackedLayer, StackedLinear

SHAPES = {"physio": (4, 16), "landmarks": (3, 11), "au": (2, 7), "eeg": (1, 5)}
SMALL = {"token_length": 5, "dim": 12, "heads": 3, "cross_layers": 2, "memory_layers": 2}


def build(count: int, classes: int = 3, **options: int | float) -> Fusion:
    torch.manual_seed(0)
    inputs = dict(list(SHAPES.items())[:count])
    return Fusion(inputs, classes, **{**SMALL, **options})  # type: ignore[arg-type]


def batch_for(fusion: Fusion, size: int = 2, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(size, *shape, dtype=dtype) for shape in fusion.inputs.values()]


def linear(layer: StackedLinear, s: int, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight[s].T, layer.bias[s, 0])


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Plain multi-head attention, Eq. 6-7, head by head."""
    outputs = []
    for q, k, v in zip(
        query.chunk(heads, 2), key.chunk(heads, 2), value.chunk(heads, 2), strict=True
    ):
        outputs.append((q @ k.transpose(1, 2) / q.shape[2] ** 0.5).softmax(2) @ v)
    return torch.cat(outputs, dim=2)


def one_layer(
    layer: StackedLayer, s: int, x: Tensor, memory: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Stream s of a stacked layer; x [B, L, d], memory the keys and values of cross attention."""
    projected = linear(layer.project, s, F.layer_norm(x, x.shape[-1:]))
    query, key, value = (projected, *memory) if memory else projected.chunk(3, dim=2)
    x = x + linear(layer.out, s, attend(query, key, value, layer.heads))
    hidden = F.relu(linear(layer.widen, s, F.layer_norm(x, x.shape[-1:])))
    return x + linear(layer.narrow, s, hidden)


def looped(fusion: Fusion, parts: list[Tensor]) -> Tensor:
    """`Fusion.forward` without dropout, one pair and one modality after the other."""
    tokens = [unify(x) for unify, x in zip(fusion.unify.values(), parts, strict=True)]
    enriched: list[list[Tensor]] = [[] for _ in tokens]
    for p, (query, key) in enumerate(fusion.pairs):
        x, other = tokens[query], tokens[key]
        memory = linear(fusion.key_value, p, F.layer_norm(other, other.shape[-1:]))
        key_values = memory.chunk(2 * len(fusion.cross), dim=2)
        for i, layer in enumerate(fusion.cross):
            x = one_layer(layer, p, x, (key_values[2 * i], key_values[2 * i + 1]))  # type: ignore[arg-type]
        enriched[query].append(x)
    streams = [torch.cat(parts, 2) for parts in enriched] if fusion.pairs else tokens
    pooled = []
    for m, x in enumerate(streams):
        for layer in fusion.memory:
            x = one_layer(layer, m, x, None)  # type: ignore[arg-type]
        pooled.append(F.layer_norm(x, x.shape[-1:]).mean(1))
    joined = torch.cat(pooled, dim=1)
    logits: Tensor = fusion.classifier(joined + fusion.mlp(joined))
    return logits


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_stacked_equals_a_loop_over_pairs(count: int) -> None:
    fusion = build(count, single_layers=3).double().eval()
    parts = batch_for(fusion, dtype=torch.float64)
    torch.testing.assert_close(fusion(parts), looped(fusion, parts))
    parameters = tuple(fusion.parameters())
    stacked_grads = torch.autograd.grad(fusion(parts).square().sum(), parameters)
    looped_grads = torch.autograd.grad(looped(fusion, parts).square().sum(), parameters)
    for got, want in zip(stacked_grads, looped_grads, strict=True):
        torch.testing.assert_close(got, want)
        assert got.abs().max() > 0


@pytest.mark.parametrize(("count", "calls"), [(1, 7), (2, 5), (3, 5), (4, 5)])
def test_one_attention_call_a_layer(
    count: int, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    attention = ops.cross_attention

    def counted(query: Tensor, *args: Tensor, **options: float) -> Tensor:
        shapes.append(query.shape)
        return attention(query, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ops, "cross_attention", counted)
    fusion = build(count, cross_layers=3, memory_layers=2, single_layers=7)
    fusion(batch_for(fusion))
    assert len(shapes) == calls
    assert shapes[0][0] == max(count * (count - 1), 1)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("options", [{"token_length": 1}, {"memory_layers": 0}, {}])
def test_every_parameter_learns(count: int, options: dict[str, int]) -> None:
    fusion = build(count, **options)
    for size in (1, 3):
        logits = fusion(batch_for(fusion, size))
        assert logits.shape == (size, 3)
        logits.square().sum().backward()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def parameter_count(count: int, tokens: int, dim: int, cross: int, memory: int) -> int:
    """Counted by hand, classes = 3."""
    pairs, wide = count * (count - 1), max(count - 1, 1) * dim

    def layer(stack: int, d: int, projections: int) -> int:
        return stack * (projections * d * (d + 1) + d * (d + 1) + 8 * d * d + 5 * d)

    unify = sum(
        f * dim + dim + c * tokens + tokens + tokens * dim for c, f in list(SHAPES.values())[:count]
    )
    keys = pairs * (dim + 1) * 2 * dim * cross
    joined = count * wide
    head = 2 * joined * (joined + 1) + (joined + 1) * 3
    layers = cross * layer(pairs, dim, 1) + memory * layer(count, wide, 3)
    return unify + keys + layers + head


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_parameter_count(count: int) -> None:
    fusion = build(count, single_layers=2)
    assert sum(p.numel() for p in fusion.parameters()) == parameter_count(count, 5, 12, 2, 2)


def test_stacked_linear_starts_as_nn_linear() -> None:
    torch.manual_seed(0)
    stacked, one = StackedLinear(6, 40, 160), torch.nn.Linear(40, 160)
    for mine, theirs in ((stacked.weight, one.weight), (stacked.bias, one.bias)):
        assert mine.abs().max() <= 40**-0.5
        assert abs(mine.std().item() / theirs.std().item() - 1) < 0.1


def test_inputs_by_name_or_in_order() -> None:
    fusion = build(3).eval()
    parts = batch_for(fusion)
    by_name = dict(zip(reversed(fusion.inputs), reversed(parts), strict=True))
    torch.testing.assert_close(fusion(by_name), fusion(parts), rtol=0, atol=0)


def test_each_modality_matters_and_samples_stay_apart() -> None:
    fusion = build(3).eval()
    parts = [x.requires_grad_() for x in batch_for(fusion, 3)]
    fusion(parts)[1].sum().backward()
    for x in parts:
        assert x.grad is not None
        assert bool((x.grad[1] != 0).all())
        assert not x.grad[[0, 2]].any()


@pytest.mark.parametrize("count", [2, 3])
def test_a_missing_modality_says_nothing(count: int) -> None:
    """Only the windows that lack it change, and nothing of it reaches them, gradients included."""
    fusion = build(count).eval()
    parts = batch_for(fusion, 3)
    whole = fusion(parts)
    lacking = [part.clone() for part in parts]
    lacking[0][1] = torch.nan
    out = fusion(lacking)
    torch.testing.assert_close(out[[0, 2]], whole[[0, 2]])
    assert out.isfinite().all()
    assert not torch.allclose(out[1], whole[1])
    out[1].sum().backward()
    unify = fusion.unify["physio"]
    assert not any(p.grad.any() for p in unify.parameters() if p.grad is not None)
    with torch.no_grad():  # whatever the missing modality's weights are
        for parameter in unify.parameters():
            parameter.normal_()
    torch.testing.assert_close(fusion(lacking)[1], out[1])
    assert not torch.allclose(fusion(lacking)[0], out[0])


def test_a_window_without_any_modality_gets_the_bias() -> None:
    fusion = build(2).eval()
    parts = batch_for(fusion, 2)
    for part in parts:
        part[:] = torch.nan
    out = fusion(parts)
    assert out.isfinite().all()
    torch.testing.assert_close(out[0], out[1])


def test_modality_dropout_makes_windows_like_those_that_lack_it() -> None:
    fusion = build(2, modality_dropout=0.5, embedding_dropout=0.0).train()
    for module in fusion.modules():
        if isinstance(module, StackedLayer):
            module.attention_dropout = module.relu_dropout = module.residual_dropout = 0.0
    fusion.mlp[2].p = 0.0
    parts = [part[:1].expand(64, -1, -1).clone() for part in batch_for(fusion, 1)]
    torch.manual_seed(0)
    found = fusion(parts)
    lacking = [part.clone() for part in parts]
    lacking[0][:], parts_b = torch.nan, [parts[0], torch.full_like(parts[1], torch.nan)]
    fusion.eval()
    whole, without_a, without_b = fusion(parts)[0], fusion(lacking)[0], fusion(parts_b)[0]
    kinds = torch.stack(
        [torch.isclose(found, each, atol=1e-5).all(1) for each in (whole, without_a, without_b)]
    )
    assert (kinds.sum(0) == 1).all()
    counts = kinds.sum(
        1
    )  # of 64: half, since a draw that takes both takes none, and a quarter each
    assert 20 <= counts[0] <= 44
    assert counts[1] >= 6
    assert counts[2] >= 6
    torch.testing.assert_close(fusion(parts)[0], whole)  # off in evaluation


def test_dropout_is_seeded_and_off_in_evaluation() -> None:
    fusion = build(2)
    parts = batch_for(fusion)
    torch.manual_seed(1)
    first = fusion(parts)
    assert not torch.allclose(fusion(parts), first)
    torch.manual_seed(1)
    torch.testing.assert_close(fusion(parts), first, rtol=0, atol=0)
    state = torch.get_rng_state()
    fusion.eval()(parts)
    assert torch.equal(torch.get_rng_state(), state)


def test_wrong_inputs_say_what_was_expected() -> None:
    fusion = build(2)
    good = batch_for(fusion)
    with pytest.raises(ValueError, match=r"landmarks: expected \[2, 3 tokens, 11 features\], got"):
        fusion([good[0], good[1].transpose(1, 2)])
    with pytest.raises(ValueError, match=r"landmarks: expected \[2,"):
        fusion([good[0], good[1][:1]])
    with pytest.raises(ValueError, match=r"expected 2 tensors \(physio, landmarks\), got 1"):
        fusion(good[:1])
    with pytest.raises(ValueError, match=r"modalities \['physio', 'landmarks'\], got \['physio'\]"):
        fusion({"physio": good[0]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token_length": 0}, "token_length must be >= 1, got 0"),
        ({"heads": 5}, "multiple of heads, got 12 and 5"),
        ({"cross_layers": 0}, "cross_layers must be >= 1"),
        ({"memory_layers": -1}, "memory_layers must be >= 0"),
        ({"classes": 0}, "classes must be >= 1"),
    ],
)
def test_wrong_sizes_say_what_was_expected(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(2, **options)


def test_no_modalities_and_empty_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one modality"):
        Fusion({}, 2)
    with pytest.raises(ValueError, match=r"inputs\['au'\]: expected \(tokens, features\) >= 1"):
        Fusion({"au": (0, 5)}, 2)


def xor_data(count: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Two modalities, each a noisy pattern with the sign of one bit; the label is the bits' XOR."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.Generator().manual_seed(99)
    bits = torch.randint(0, 2, (2, count), generator=generator)
    parts = {}
    for name, bit in zip(("physio", "landmarks"), bits, strict=True):
        pattern = torch.randn(SHAPES[name], generator=patterns)
        noise = torch.randn(count, *SHAPES[name], generator=generator)
        parts[name] = 0.6 * (2 * bit[:, None, None] - 1) * pattern + 0.8 * noise
    return parts, bits[0] ^ bits[1]


def xor_accuracy(names: list[str], epochs: int) -> float:
    torch.manual_seed(0)
    fusion = Fusion(
        {name: SHAPES[name] for name in names},
        2,
        token_length=4,
        dim=16,
        heads=2,
        cross_layers=1,
        memory_layers=1,
        single_layers=2,
    )
    optimiser = torch.optim.Adam(fusion.parameters(), lr=1e-3)
    parts, label = xor_data(512, seed=1)
    for _ in range(epochs):
        for rows in torch.randperm(512).split(64):
            loss = F.cross_entropy(fusion([parts[n][rows] for n in names]), label[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    parts, label = xor_data(1000, seed=2)
    with torch.no_grad():
        guess = fusion.eval()([parts[n] for n in names]).argmax(1)
    return (guess == label).float().mean().item()


def test_xor_of_two_modalities_needs_both() -> None:
    assert xor_accuracy(["physio", "landmarks"], epochs=16) > 0.9
    assert abs(xor_accuracy(["physio"], epochs=6) - 0.5) < 0.06
    assert abs(xor_accuracy(["landmarks"], epochs=6) - 0.5) < 0.06


def test_gradients_per_sample_and_second_derivatives() -> None:
    """By vmap over grad, as differential privacy takes them, and of a penalty on the gradient."""
    fusion = build(2).double().eval()
    batch = batch_for(fusion, dtype=torch.float64)
    weights = dict(fusion.named_parameters())

    def loss(weights: dict[str, Tensor], *tokens: Tensor) -> Tensor:
        one = [each[None] for each in tokens]
        found: Tensor = torch.func.functional_call(fusion, weights, (one,)).square().sum()
        return found

    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(weights, *batch)
    for i in range(2):
        want = torch.autograd.grad(loss(weights, *(t[i] for t in batch)), list(weights.values()))
        for name, expected in zip(weights, want, strict=True):
            torch.testing.assert_close(each[name][i], expected)

    def sharpness(x: Tensor) -> Tensor:
        out: Tensor = fusion([x, batch[1]]).square().sum()
        (grad,) = torch.autograd.grad(out, x, create_graph=True)
        return grad.square().sum()

    x = batch[0].requires_grad_()
    (found,) = torch.autograd.grad(sharpness(x), x)
    step = 1e-6 * torch.ones_like(x)
    slope = (sharpness(x + step) - sharpness(x - step)) / 2e-6
    torch.testing.assert_close(found.sum(), slope.detach(), rtol=1e-5, atol=1e-8)
