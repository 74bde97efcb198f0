"""Models beside CLMER against their equations: counts, explicit products, what must not matter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clmer.baselines import MODELS
from clmer.baselines.crossmodal import CrossmodalLayer, CrossmodalTransformer, TokenProjection
from clmer.baselines.eeg_conformer import ConformerLayer, EEGConformer, spans
from clmer.baselines.eegnet import EEGNet, at_most, kernels
from clmer.baselines.fetcheeg import FetchEEG, PostNormLayer, head_count
from clmer.baselines.husformer import Husformer
from clmer.baselines.mult import MulT
from clmer.baselines.shallow_convnet import ShallowConvNet, lengths

FACE = {"physio": (4, 16), "landmarks": (3, 11), "au": (2, 7)}
SIGNAL = {"physio": (4, 96)}
SMALL = {"dim": 12, "heads": 3, "cross_layers": 2, "memory_layers": 2}
CONFORMER = {"kernel": 9, "pool": 16, "stride": 6, "depth": 2}
FETCH = {"layers": 2, "hidden": 32}


def mult(classes: int = 3, **options: int) -> MulT:
    return MulT(FACE, classes, **{**SMALL, **options})


def husformer(classes: int = 3, **options: int) -> Husformer:
    return Husformer(FACE, classes, **{**SMALL, **options})


def conformer(classes: int = 3) -> EEGConformer:
    return EEGConformer(SIGNAL, classes, **CONFORMER)


def fetcheeg(classes: int = 3) -> FetchEEG:
    return FetchEEG(SIGNAL, classes, **FETCH)


def eegnet(classes: int = 3) -> EEGNet:
    return EEGNet(SIGNAL, classes)


def shallow(classes: int = 3) -> ShallowConvNet:
    return ShallowConvNet(SIGNAL, classes, kernel=9, pool=16, stride=6)


ALL: list[Callable[..., nn.Module]] = [mult, husformer, conformer, fetcheeg, eegnet, shallow]


def batch_for(model: nn.Module, size: int = 2) -> dict[str, Tensor]:
    dtype = next(model.parameters()).dtype
    return {name: torch.randn(size, *shape, dtype=dtype) for name, shape in model.inputs.items()}  # type: ignore[operator, union-attr]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


# --- every model ---------------------------------------------------------------------------------
@pytest.mark.parametrize("build", ALL)
@pytest.mark.parametrize("size", [1, 3])
def test_logits_and_gradients_of_every_parameter(
    build: Callable[..., nn.Module], size: int
) -> None:
    model = build().eval()
    logits = model(batch_for(model, size))
    assert logits.shape == (size, 3)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("build", ALL)
def test_every_input_matters_to_its_own_sample_alone(build: Callable[..., nn.Module]) -> None:
    model = build().double().eval()
    x = {name: part.requires_grad_() for name, part in batch_for(model, 3).items()}
    model(x)[1].sum().backward()
    for name, part in x.items():
        assert part.grad is not None
        assert not part.grad[[0, 2]].any(), name
        # A Hann window begins with 0: a stretch's first sample counts by its mean alone.
        assert (part.grad[1] != 0).all(), name


@pytest.mark.parametrize("build", ALL)
def test_dropout_is_seeded_and_off_in_evaluation(build: Callable[..., nn.Module]) -> None:
    model = build()
    x = batch_for(model)
    torch.manual_seed(1)
    first = model(x)
    assert not torch.allclose(model(x), first)
    torch.manual_seed(1)
    torch.testing.assert_close(model(x), first, rtol=0, atol=0)
    model.eval()
    torch.testing.assert_close(model(x), model(list(x.values())), rtol=0, atol=0)


@pytest.mark.parametrize("build", ALL)
def test_wrong_tokens_say_what_was_expected(build: Callable[..., nn.Module]) -> None:
    model = build()
    x = batch_for(model)
    with pytest.raises(ValueError, match=r"physio: expected \[2, 4 tokens, .* features\], got"):
        model({**x, "physio": x["physio"][:, :2]})
    with pytest.raises(ValueError, match="modalities"):
        model({"smell": x["physio"]})


# --- the crossmodal transformer ------------------------------------------------------------------
def attention(
    query: Tensor, key: Tensor, value: Tensor, heads: int, scale: float | None = None
) -> Tensor:
    """Multi-head attention head by head, with softmax written out."""
    out = []
    for q, k, v in zip(*(t.chunk(heads, 2) for t in (query, key, value)), strict=True):
        scores = (q @ k.mT * (q.shape[2] ** -0.5 if scale is None else scale)).exp()
        out.append(scores / scores.sum(2, keepdim=True) @ v)
    return torch.cat(out, 2)


def by_hand(layer: CrossmodalLayer, x: Tensor, memory: Tensor) -> Tensor:
    """Eq. of `CrossmodalLayer`, from its weights alone."""
    mha = layer.attention
    w_q, w_k, w_v = mha.in_proj_weight.chunk(3)
    b_q, b_k, b_v = mha.in_proj_bias.chunk(3)
    first, second = layer.attention_norm, layer.feed_forward_norm

    def norm(t: Tensor, affine: nn.LayerNorm) -> Tensor:
        centred = t - t.mean(2, keepdim=True)
        spread = (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()
        return centred / spread * affine.weight + affine.bias

    asked, told = norm(x, first), norm(memory, first)
    y = attention(asked @ w_q.T + b_q, told @ w_k.T + b_k, told @ w_v.T + b_v, mha.num_heads)
    x = x + y @ mha.out_proj.weight.T + mha.out_proj.bias
    hidden = (norm(x, second) @ layer.widen.weight.T + layer.widen.bias).clamp(min=0)
    return x + hidden @ layer.narrow.weight.T + layer.narrow.bias


def scrambled(model: nn.Module) -> nn.Module:
    """In double, out of training, and no parameter left at its plain start (norms, biases)."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model.double().eval()


@pytest.mark.parametrize("itself", [True, False])
def test_a_crossmodal_layer_is_its_equation(itself: bool) -> None:
    layer = CrossmodalLayer(6, 2, attention_dropout=0.1, relu_dropout=0.1, residual_dropout=0.1)
    scrambled(layer)
    x, memory = torch.randn(2, 5, 6).double(), torch.randn(2, 3, 6).double()
    if itself:
        torch.testing.assert_close(layer(x), by_hand(layer, x, x))
    else:
        torch.testing.assert_close(layer(x, memory), by_hand(layer, x, memory))


def transformed(net: CrossmodalTransformer, x: Tensor, memory: Tensor | None = None) -> Tensor:
    """A `CrossmodalTransformer` out of `by_hand`, with Vaswani's positions written out."""
    dim = x.shape[2]

    def placed(t: Tensor) -> Tensor:
        p = torch.zeros(t.shape[1], dim, dtype=t.dtype)
        for place in range(t.shape[1]):
            for column in range(dim):
                angle = place / 10000 ** (2 * (column // 2) / dim)
                p[place, column] = math.cos(angle) if column % 2 else math.sin(angle)
        return math.sqrt(dim) * t + p

    told = None if memory is None else placed(memory)
    x = placed(x)
    for layer in net.layers:
        x = by_hand(layer, x, x if told is None else told)  # type: ignore[arg-type]
    return F.layer_norm(x, (dim,), net.norm.weight, net.norm.bias)


def projected(project: nn.ModuleDict, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: x[name] @ project[name].convolution.weight[:, :, 0].T for name in x}  # type: ignore[union-attr, index, operator]


def test_mult_is_its_equations() -> None:
    model = mult()
    scrambled(model)
    x = batch_for(model)
    tokens = projected(model.project, x)
    read = []
    for query in FACE:
        enriched = [
            transformed(model.cross[query][other], tokens[query], tokens[other])  # type: ignore[index, arg-type]
            for other in FACE
            if other != query
        ]
        read.append(transformed(model.memory[query], torch.cat(enriched, 2))[:, -1])  # type: ignore[arg-type]
    joined = torch.cat(read, 1)
    hidden = F.relu(model.residual[0](joined))
    wanted = model.classifier(joined + model.residual[3](hidden))
    torch.testing.assert_close(model(x), wanted, rtol=1e-6, atol=1e-6)


def test_husformer_is_its_equations() -> None:
    model = husformer()
    scrambled(model)
    x = batch_for(model)
    tokens = projected(model.project, x)
    everything = torch.cat(list(tokens.values()), 1)
    enriched = [transformed(model.cross[name], tokens[name], everything) for name in FACE]  # type: ignore[arg-type]
    streams = transformed(model.memory, torch.cat(enriched, 1))
    pooled = torch.einsum("l,bld->bd", model.weigh.weight[0], streams)
    torch.testing.assert_close(model(x), model.classifier(pooled), rtol=1e-6, atol=1e-6)


def test_without_positions_the_order_of_tokens_is_nothing() -> None:
    net = CrossmodalTransformer(6, 2, 2, longest=5)
    scrambled(net)
    x, memory = torch.randn(2, 5, 6).double(), torch.randn(2, 3, 6).double()
    assert not torch.allclose(net(x.flip(1), memory).flip(1), net(x, memory))  # positions tell
    net.positions.zero_()
    ordered = net(x, memory)
    torch.testing.assert_close(net(x.flip(1), memory), ordered.flip(1))
    torch.testing.assert_close(net(x, memory.roll(1, 1)), ordered)


def test_no_token_is_hidden_from_another() -> None:
    """A causal mask would leave the first token's output without the last of the memory."""
    net = CrossmodalTransformer(6, 2, 1, longest=5)
    scrambled(net)
    x, memory = torch.randn(1, 5, 6).double(), torch.randn(1, 5, 6).double().requires_grad_()
    net(x, memory)[0, 0].sum().backward()
    assert memory.grad is not None
    assert (memory.grad != 0).all()


def test_a_first_feature_of_zero_keeps_its_place() -> None:
    """Read as padding it would lose its position: a jump where the tokens hardly differ."""
    net = CrossmodalTransformer(6, 2, 1, longest=5)
    scrambled(net)
    x = torch.randn(1, 5, 6).double()
    x[0, 3, 0] = 0.0
    near = x.clone()
    near[0, 3, 0] = 1e-9
    torch.testing.assert_close(net(near), net(x), rtol=0, atol=1e-6)


def test_a_wider_projection_sees_neighbouring_tokens() -> None:
    project = TokenProjection(7, 6, kernel=3)
    x = torch.randn(1, 5, 7, requires_grad=True)
    project(x)[0, 1].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum(2)[0].bool().tolist() == [True, True, True, False, False]
    assert project(x).shape == (1, 5, 6)
    with pytest.raises(ValueError, match="odd"):
        TokenProjection(7, 6, kernel=2)


def test_an_odd_width_and_a_single_token_work() -> None:
    model = MulT({"a": (1, 4), "b": (3, 4)}, 2, dim=5, heads=5, cross_layers=1, memory_layers=1)
    assert model(batch_for(model)).isfinite().all()


def crossmodal_count(dim: int, layers: int) -> int:
    """MulT's encoder: Q, K, V, output; 4 d hidden; two norms a layer and one at the end."""
    layer = 4 * (dim * dim + dim) + (4 * dim * dim + 4 * dim) + (4 * dim * dim + dim) + 4 * dim
    return layers * layer + 2 * dim


def test_parameter_counts_of_mult_and_husformer() -> None:
    shapes = {"physio": (40, 128), "landmarks": (3, 1700), "au": (2, 425)}
    projections = 30 * (128 + 1700 + 425)
    joined = 3 * 2 * 30
    ending = 2 * (joined * joined + joined) + joined * 4 + 4
    pairs = 6 * crossmodal_count(30, 5) + 3 * crossmodal_count(60, 5)
    assert count(MulT(shapes, 4)) == projections + pairs + ending == 1_129_594
    whole = 3 * crossmodal_count(30, 5) + crossmodal_count(30, 5)
    assert count(Husformer(shapes, 4)) == projections + whole + 45 + 30 * 4 + 4 == 291_799


# --- EEG-Conformer -------------------------------------------------------------------------------
def test_parameter_count_of_eeg_conformer() -> None:
    """22 channels x 1000 samples, 4 classes, as the original builds it (its unused head apart)."""
    convolutions = (25 * 40 + 40) + (40 * 40 * 22 + 40) + 2 * 40 + (40 * 40 + 40)
    layer = 4 * (40 * 40 + 40) + (40 * 160 + 160) + (160 * 40 + 40) + 4 * 40
    tokens = (1000 - 25 + 1 - 75) // 15 + 1
    ending = (40 * tokens * 256 + 256) + (256 * 32 + 32) + (32 * 4 + 4)
    assert 40 * tokens == 2440
    model = EEGConformer({"eeg": (22, 1000)}, 4)
    assert count(model) == convolutions + 6 * layer + ending == 789_572
    assert model({"eeg": torch.randn(2, 22, 1000)}).shape == (2, 4)


def test_spans_last_as_long_at_another_rate() -> None:
    assert spans(250.0) == {"kernel": 25, "pool": 75, "stride": 15}
    assert spans(128.0) == {"kernel": 13, "pool": 38, "stride": 8}
    assert EEGConformer({"physio": (40, 128)}, 2, **spans(128.0)).steps == 10


def test_a_conformer_layer_is_its_equation() -> None:
    layer = ConformerLayer(8, 2, dropout=0.5)
    scrambled(layer)
    x = torch.randn(2, 5, 8).double()
    normed = F.layer_norm(x, (8,), layer.norm.weight, layer.norm.bias)
    q, k, v = layer.project(normed).chunk(3, 2)
    y = x + layer.out(attention(q, k, v, 2, scale=8**-0.5))
    torch.testing.assert_close(layer(x), y + layer.feed_forward(y))
    torch.testing.assert_close(layer(x.flip(1)), layer(x).flip(1))


def test_conformer_tokens_are_pooled_convolutions() -> None:
    model = conformer()
    scrambled(model)
    time, space, norm, *_, last = model.patches
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 4, 96).double()
    found = model.patches(x[:, None])[:, :, 0]  # [B, d, steps]
    filtered = torch.einsum("bctk,fk->bfct", x.unfold(2, 9, 1), time.weight[:, 0, 0])
    filtered = filtered + time.bias[:, None, None]
    mixed = torch.einsum("bfct,gfc->bgt", filtered, space.weight[..., 0]) + space.bias[:, None]
    scaled = (mixed - norm.running_mean[:, None]) / (norm.running_var[:, None] + 1e-5).sqrt()
    active = F.elu(scaled * norm.weight[:, None] + norm.bias[:, None])
    pooled = active.unfold(2, 16, 6).mean(3)
    wanted = torch.einsum("bgs,dg->bds", pooled, last.weight[..., 0, 0]) + last.bias[:, None]
    torch.testing.assert_close(found, wanted)
    assert found.shape[2] == model.steps


def test_a_shift_by_the_stride_moves_conformer_tokens_by_one() -> None:
    model = conformer().eval()
    x = torch.randn(1, 1, 4, 102)
    early, late = model.patches(x[..., :96]), model.patches(x[..., 6:])
    torch.testing.assert_close(early[..., 1:], late[..., :-1])


# --- FetchEEG ------------------------------------------------------------------------------------
def test_parameter_count_of_fetcheeg() -> None:
    """14 channels x 3 s at 128 Hz, four classes: MAN-II's shape with the original's stretches."""

    def transformer(dim: int) -> int:
        layer = 4 * (dim * dim + dim) + (dim * 2048 + 2048) + (2048 * dim + dim) + 4 * dim
        return 6 * layer

    stretches, channels, bands = 12, 14, 5
    ending = 2 * stretches * channels * bands * 4 + 4
    wanted = transformer(channels * bands) + transformer(stretches * bands) + ending
    assert count(FetchEEG({"eeg": (14, 384)}, 4)) == wanted == 3_437_200


def test_band_powers_are_welchs() -> None:
    from scipy import signal

    powers = fetcheeg().double().powers
    powers.standardise = nn.Identity()
    x = 5 * torch.randn(2, 4, 96).double()
    frequency, density = signal.welch(x[:, :, 32:64].numpy(), 128, nperseg=32)
    edges = ((1, 4), (4, 8), (8, 14), (14, 31), (31, 50))
    for band, (low, high) in enumerate(edges):
        inside = (frequency >= low) & (frequency <= high)
        wanted = torch.from_numpy(density[:, :, inside].sum(2)).log()
        torch.testing.assert_close(powers(x)[:, 1, :, band], wanted, rtol=1e-6, atol=1e-6)


def test_a_silent_channel_and_a_low_rate_stay_finite() -> None:
    model = FetchEEG({"eeg": (3, 60)}, 2, fs=40.0, **FETCH)
    assert model.powers.bands == 4  # nothing above 20 Hz
    x = torch.randn(4, 3, 60)
    x[:, 1] = 0.0
    model([x]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_channels_amplitude_is_standardised_away() -> None:
    model = FetchEEG(SIGNAL, 2, dropout=0.0, output_dropout=0.0, **FETCH).double()
    x = torch.randn(5, 4, 96).double()
    scale = torch.tensor([0.1, 1.0, 3.0, 50.0])[:, None].double()
    torch.testing.assert_close(model([scale * x]), model([x]), rtol=1e-4, atol=1e-4)


def test_channel_tokens_are_channels() -> None:
    """The original's reshape without a transpose would mix them."""
    model = fetcheeg().double().eval()
    seen: list[Tensor] = []
    model.channel.register_forward_hook(lambda _, given, out: seen.extend((given[0], out)))
    x, order = torch.randn(2, 4, 96).double(), [2, 0, 3, 1]
    model([x])
    model([x[:, order]])
    torch.testing.assert_close(seen[2], seen[0][:, order])
    torch.testing.assert_close(seen[3], seen[1][:, order])


def test_a_post_norm_layer_is_pytorchs() -> None:
    ours = PostNormLayer(12, 3, 20, dropout=0.1)
    scrambled(ours)
    theirs = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True).double().eval()
    names = {"attention": "self_attn", "attention_norm": "norm1", "feed_forward_norm": "norm2"}
    names |= {"widen": "linear1", "narrow": "linear2"}
    state = {}
    for key, value in ours.state_dict().items():
        part, rest = key.split(".", 1)
        state[f"{names[part]}.{rest}"] = value
    theirs.load_state_dict(state)
    x = torch.randn(2, 5, 12).double().requires_grad_()
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(("dim", "heads"), [(42, 7), (36, 6), (70, 7), (60, 6), (200, 8), (7, 7)])
def test_heads_divide_the_features(dim: int, heads: int) -> None:
    assert head_count(dim) == heads


# --- refusals ------------------------------------------------------------------------------------
def test_models_that_cannot_be_built_say_why() -> None:
    with pytest.raises(ValueError, match=r"two modalities or more, got \['physio'\]"):
        MulT({"physio": (4, 16)}, 2)
    with pytest.raises(ValueError, match="multiple of heads, got 12 and 5"):
        husformer(heads=5)
    with pytest.raises(ValueError, match="has 96 samples a window, expected at least 99"):
        EEGConformer(SIGNAL, 2)
    with pytest.raises(ValueError, match="has 20 samples a window, expected at least 32"):
        FetchEEG({"eeg": (4, 20)}, 2)
    with pytest.raises(ValueError, match=r"expected one modality, got \['physio', "):
        FetchEEG(FACE, 2)


# --- EEGNet and ShallowConvNet -------------------------------------------------------------------
def test_parameter_counts_of_the_convolutional_networks() -> None:
    eegnet_8_2 = 64 * 8 + 16 + 64 * 16 + 32 + 16 * 16 + 16 * 16 + 32 + (16 * 4 * 4 + 4)
    assert count(EEGNet({"eeg": (64, 128)}, 4)) == eegnet_8_2
    steps = (1000 - 25 + 1 - 75) // 15 + 1
    shallow_22 = (25 * 40 + 40) + 40 * 40 * 22 + 80 + (steps * 40 * 4 + 4)
    assert count(ShallowConvNet({"eeg": (22, 1000)}, 4)) == shallow_22 == 46_084


def test_convolutional_networks_keep_their_seconds_at_another_rate() -> None:
    assert kernels(128.0) == {"kernel": 64, "separable": 16, "pool": 4, "last_pool": 8}
    assert kernels(256.0) == {"kernel": 128, "separable": 16, "pool": 8, "last_pool": 8}
    assert lengths(250.0, 1000) == {"kernel": 25, "pool": 75, "stride": 15}
    assert lengths(250.0, 60) == {"kernel": 25, "pool": 36, "stride": 15}
    with pytest.raises(ValueError, match="has 30 samples a window, expected at least 32"):
        EEGNet({"eeg": (4, 30)}, 2)
    with pytest.raises(ValueError, match="has 96 samples a window, expected at least 99"):
        ShallowConvNet(SIGNAL, 2)


def test_eegnet_is_its_equation_with_bounded_norms() -> None:
    model = eegnet()
    scrambled(model)
    for norm in (each for each in model.modules() if isinstance(each, nn.BatchNorm2d)):
        norm.running_mean.normal_()  # type: ignore[union-attr, operator]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    x = torch.randn(2, 4, 96).double()
    padded = F.pad(x, (31, 32))
    time = torch.einsum("bctk,fk->bfct", padded.unfold(2, 64, 1), model.time.weight[:, 0, 0])
    time = model.time_norm(time)
    space = model.space.weight[:, 0, :, 0]  # [F_1 D, C]
    space = space / space.norm(dim=1, keepdim=True).clamp(min=1)
    assert (space.norm(dim=1) <= 1 + 1e-9).all()
    rhythms = torch.einsum("bfct,fdc->bfdt", time, space.unflatten(0, (8, 2))).flatten(1, 2)
    steps = model.separable(model.pooled(rhythms[:, :, None])).flatten(1)
    weight = model.classifier.weight
    weight = weight / (weight.norm(dim=1, keepdim=True) / 0.25).clamp(min=1)
    torch.testing.assert_close(model({"physio": x}), steps @ weight.T + model.classifier.bias)
    short = torch.full((2, 3), 0.01)
    torch.testing.assert_close(at_most(short, 1.0), short)


def test_shallow_convnet_reads_log_power() -> None:
    model = shallow()
    scrambled(model)
    x = torch.randn(2, 4, 96).double()
    y = model.filters(x[:, None])[:, :, 0]
    powers = y.square().unfold(2, 16, 6).mean(3).log().flatten(1)
    torch.testing.assert_close(model({"physio": x}), model.classifier(powers))


def test_a_spec_takes_what_it_needs() -> None:
    both = ("ecg", "physio", "eeg")
    assert MODELS["husformer"].takes(both) == both
    assert MODELS["eeg-conformer"].takes(both) == ("eeg",)
    assert MODELS["fetcheeg"].takes(("au", "physio")) == ("physio",)
    with pytest.raises(ValueError, match="found au, expected eeg or physio"):
        MODELS["fetcheeg"].takes(("au",))
    with pytest.raises(ValueError, match="found au, expected at least 2 modalities"):
        MODELS["mult"].takes(("au",))


# --- what they can learn -------------------------------------------------------------------------
def fitted(model: nn.Module, draw: Callable[[int, int], tuple[dict[str, Tensor], Tensor]]) -> float:
    """Accuracy on fresh draws after a few hundred steps of Adam."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = draw(512, 1)
    for _ in range(12):
        for rows in torch.randperm(512).split(32):
            loss = F.cross_entropy(model({name: t[rows] for name, t in x.items()}), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    x, y = draw(500, 2)
    with torch.no_grad():
        return (model.eval()(x).argmax(1) == y).float().mean().item()


def patterns(count: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Three noisy modalities; the label is the XOR of what two of them carry."""
    generator = torch.Generator().manual_seed(seed)
    fixed = torch.Generator().manual_seed(99)
    bits = torch.randint(0, 2, (3, count), generator=generator)
    x = {}
    for (name, shape), bit in zip(FACE.items(), bits, strict=True):
        pattern = torch.randn(shape, generator=fixed)
        noise = torch.randn(count, *shape, generator=generator)
        x[name] = 0.8 * (2 * bit[:, None, None] - 1) * pattern + 0.6 * noise
    return x, bits[0] ^ bits[2]


def rhythms(count: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Noise with a rhythm of random phase in one channel: 10 Hz or 20 Hz, at 128 Hz."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (count,), generator=generator)
    x = torch.randn(count, *SIGNAL["physio"], generator=generator)
    phase = 2 * math.pi * torch.rand(count, 1, generator=generator)
    time = torch.arange(x.shape[2]) / 128
    x[:, 1] += 2 * torch.sin(2 * math.pi * 10 * (1 + y[:, None]) * time + phase)
    return {"physio": x}, y


def test_mult_and_husformer_learn_an_xor_of_modalities() -> None:
    small = {"cross_layers": 1, "memory_layers": 1}
    assert fitted(mult(2, **small), patterns) > 0.9
    assert fitted(husformer(2, **small), patterns) > 0.9


def test_signal_models_learn_a_rhythm() -> None:
    assert fitted(eegnet(2), rhythms) > 0.9
    assert fitted(shallow(2), rhythms) > 0.9
    assert fitted(conformer(2), rhythms) > 0.9
    assert fitted(fetcheeg(2), rhythms) > 0.9
