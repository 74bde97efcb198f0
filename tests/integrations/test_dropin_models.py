"""Other people's models with our attention, by the lines of docs/dropin.md: the same results.

Each model is small, has random weights, and runs in float64, once as it is and once by the line. In
float64 a sum of some thousand terms is exact to about 1e-12 of its largest term, and a few layers
keep that below TOLERANCE; a forgotten mask, scale or bias is wrong in the first digits.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from support.dropin_models import Husformer, MulT, OwnAttention
from support.places import ROOT
from torch import Tensor, nn

import clmer.integrations.transformers
import clmer.nn.attention
from clmer.integrations.transformers import register
from clmer.nn import CrossModalAttention, replace_attention, sdpa_kernel

TOLERANCE = 1e-10
PAGE = ROOT / "docs" / "dropin.md"
#: What a model takes, by keyword or in order.
Inputs = dict[str, Any] | tuple[Any, ...]


def package(name: str) -> types.ModuleType:
    """A package, or a skipped test that says why there is none."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        pytest.skip(f'{name} is not installed: pip install "clmer[dropin]"')
    except (OSError, RuntimeError) as error:  # torchvision's and torchaudio's compiled halves
        pytest.skip(f"{name} does not load beside torch {torch.__version__}: {error}")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tokens(batch: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(3, 60, (batch, length), generator=torch.Generator().manual_seed(seed))


def padding(batch: int, length: int) -> Tensor:
    """True at the last tokens of the first sequence."""
    padded = torch.zeros(batch, length, dtype=torch.bool)
    padded[0, length - 3 :] = True
    return padded


# --- the models -----------------------------------------------------------------------------------
def torch_encoder() -> tuple[nn.Module, Inputs]:
    layer = nn.TransformerEncoderLayer(32, 4, 48, 0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    later = nn.Transformer.generate_square_subsequent_mask(12) < 0
    return model, {"src": numbers(3, 12, 32), "mask": later, "src_key_padding_mask": padding(3, 12)}


def torch_transformer() -> tuple[nn.Module, Inputs]:
    model = nn.Transformer(32, 4, 2, 2, 48, 0.0)
    given = {"src": numbers(12, 3, 32), "tgt": numbers(7, 3, 32, seed=1)}
    given["tgt_mask"] = nn.Transformer.generate_square_subsequent_mask(7, dtype=torch.float64)
    given["memory_key_padding_mask"] = given["src_key_padding_mask"] = padding(3, 12)
    return model, given


def mult(**options: Any) -> tuple[nn.Module, Inputs]:
    model = MulT((9, 7, 5), dim=20, heads=5, layers=2, memory_layers=1, **options)
    return model, tuple(numbers(3, n, w) for n, w in ((12, 9), (8, 7), (10, 5)))


def husformer(**options: Any) -> tuple[nn.Module, Inputs]:
    model = Husformer((8, 2, 2, 1), 16, dim=18, heads=3, layers=2, **options)
    return model, tuple(numbers(3, n, 16) for n in (8, 2, 2, 1))


def torchvision_vit() -> tuple[nn.Module, Inputs]:
    vision = package("torchvision.models")
    model = vision.VisionTransformer(16, 4, 2, 4, 32, 48, num_classes=5)
    nn.init.normal_(model.heads.head.weight)  # zeros at the beginning
    return model, (numbers(2, 3, 16, 16),)


def timm_model(name: str, **sizes: Any) -> tuple[nn.Module, Inputs]:
    timm = package("timm")
    options = {"img_size": 32, "num_classes": 5, "embed_dim": 32} | sizes
    timm.layers.set_fused_attn(True, experimental=True)  # Swin calls SDPA only then
    try:
        return timm.create_model(name, **options), (numbers(2, 3, 32, 32),)
    finally:
        timm.layers.set_fused_attn(True, experimental=False)


def x_decoder(**options: Any) -> tuple[nn.Module, Inputs]:
    x = package("x_transformers")
    sizes = {"dim": 32, "depth": 2, "heads": 4, "attn_dim_head": 8, "attn_flash": True}
    layers = x.Decoder(**sizes | options)
    model = x.TransformerWrapper(num_tokens=64, max_seq_len=32, attn_layers=layers)
    return model, (tokens(3, 12),)


def x_encoder() -> tuple[nn.Module, Inputs]:
    x = package("x_transformers")
    layers = x.Encoder(dim=32, depth=2, heads=4, attn_dim_head=8, attn_flash=True)
    model = x.TransformerWrapper(num_tokens=64, max_seq_len=32, attn_layers=layers)
    return model, {"x": tokens(3, 12), "mask": ~padding(3, 12)}


def eeg_model(name: str, channels: int, samples: int, **options: Any) -> tuple[nn.Module, Inputs]:
    kind = getattr(package("braindecode.models"), name)
    model = kind(n_chans=channels, n_times=samples, n_outputs=3, sfreq=100, **options)
    return model, (numbers(2, channels, samples),)


_SMALL = {"embed_dim": 32, "num_heads": 4}
_LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_LAYERS |= {"intermediate_size": 48}
_TEXT = _LAYERS | {"vocab_size": 64, "max_position_embeddings": 64, "pad_token_id": 0}
_T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_GPT = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_AUDIO = _LAYERS | {"conv_dim": [16, 16], "conv_stride": [5, 2], "conv_kernel": [10, 3]}
_AUDIO |= {"num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4, "mask_time_prob": 0.0}
_AUDIO |= {"num_conv_pos_embedding_groups": 2, "feat_extract_norm": "layer"}


def hugging_face(name: str, config: dict[str, Any]) -> tuple[nn.Module, Inputs]:
    transformers = package("transformers")
    made = getattr(transformers, f"{name}Config")(**copy.deepcopy(config))
    for key, value in made.to_dict().items():
        if ("drop" in key or "pdrop" in key) and isinstance(value, float):
            setattr(made, key, 0.0)
    model = getattr(transformers, f"{name}Model")._from_config(made, attn_implementation="sdpa")
    given: dict[str, Any] = {"input_ids": tokens(3, 12), "attention_mask": ~padding(3, 12)}
    if model.main_input_name == "pixel_values":
        given = {"pixel_values": numbers(2, 3, 16, 16)}
    elif model.main_input_name == "input_values":
        given = {"input_values": numbers(2, 240)}
    if made.is_encoder_decoder:
        given["decoder_input_ids"] = tokens(3, 6, seed=1)
    return model, given


# --- the lines ------------------------------------------------------------------------------------
Using = contextlib.AbstractContextManager[Any]


@contextlib.contextmanager
def replaced(model: nn.Module) -> Iterator[nn.Module]:
    """`replace_attention(model)`: no attention is left as it was."""
    report = replace_attention(model)
    assert report.replaced
    assert not any(type(m) is nn.MultiheadAttention for m in model.modules())
    yield model


@contextlib.contextmanager
def registered(model: nn.Module) -> Iterator[nn.Module]:
    """`register(); model.set_attn_implementation("clmer")`."""
    register()
    model.set_attn_implementation("clmer")
    yield model


@contextlib.contextmanager
def within(model: nn.Module) -> Iterator[nn.Module]:
    """`with sdpa_kernel() as calls`: all calls are taken."""
    with sdpa_kernel() as calls:
        yield model
    assert calls.taken
    assert not calls.left


@contextlib.contextmanager
def class_exchanged(model: nn.Module) -> Iterator[nn.Module]:
    """The published code's own class, exchanged by name before the model is built."""

    def ours(embed_dim: int, num_heads: int, attn_dropout: float) -> CrossModalAttention:
        return CrossModalAttention(embed_dim, num_heads, attn_dropout)

    make = mult if isinstance(model, MulT) else husformer
    other = make(make=ours)[0].double()
    other.load_state_dict(model.state_dict())
    yield other


@dataclass(frozen=True)
class Row:
    """A row of the page: who makes the model, by which line it runs on ours."""

    make: Callable[[], tuple[nn.Module, Inputs]]
    line: Callable[[nn.Module], Using]


#: First cell of the page's row -> what is tested.
ROWS = {
    "`nn.TransformerEncoder`": Row(torch_encoder, replaced),
    "`nn.Transformer`": Row(torch_transformer, replaced),
    "MulT": Row(partial(mult, make=OwnAttention), class_exchanged),
    "MulT, on `nn.MultiheadAttention`": Row(mult, replaced),
    "Husformer": Row(partial(husformer, make=OwnAttention), class_exchanged),
    "Husformer, on `nn.MultiheadAttention`": Row(husformer, replaced),
    "EEG-Conformer": Row(
        partial(eeg_model, "EEGConformer", 8, 300, drop_prob=0.0, att_drop_prob=0.0),
        within,
    ),
    "CBraMod": Row(partial(eeg_model, "CBraMod", 4, 400, drop_prob=0.0, n_layer=2), replaced),
    "EEGPT": Row(partial(eeg_model, "EEGPT", 4, 256, depth=2, **_SMALL), within),
    "ViT (torchvision)": Row(torchvision_vit, replaced),
    "ViT (timm)": Row(
        partial(timm_model, "vit_tiny_patch16_224", patch_size=8, depth=2, num_heads=4), within
    ),
    "Swin (timm)": Row(
        partial(
            timm_model,
            "swin_tiny_patch4_window7_224",
            window_size=4,
            depths=(2, 1),
            num_heads=(2, 4),
            strict_img_size=False,
        ),
        within,
    ),
    "x-transformers, encoder": Row(x_encoder, within),
    "x-transformers, decoder": Row(partial(x_decoder, rotary_pos_emb=True), within),
    "x-transformers, ALiBi": Row(partial(x_decoder, alibi_pos_bias=True), within),
    "BERT": Row(partial(hugging_face, "Bert", _TEXT), registered),
    "Llama": Row(partial(hugging_face, "Llama", _TEXT | {"num_key_value_heads": 2}), registered),
    "Llama, by `sdpa_kernel`": Row(
        partial(hugging_face, "Llama", _TEXT | {"num_key_value_heads": 2}), within
    ),
    "GPT-2": Row(partial(hugging_face, "GPT2", _GPT), registered),
    "T5": Row(partial(hugging_face, "T5", _T5), registered),
    "ViT": Row(
        partial(hugging_face, "ViT", _LAYERS | {"image_size": 16, "patch_size": 4}), registered
    ),
    "wav2vec 2.0": Row(partial(hugging_face, "Wav2Vec2", _AUDIO), registered),
}
#: Models that compute attention by products of their own: first cell -> the model.
WRITTEN_OUT = {
    "LaBraM": partial(eeg_model, "Labram", 128, 400, num_layers=2, **_SMALL),
    "ATCNet": partial(eeg_model, "ATCNet", 4, 400),
    "x-transformers without flash": partial(x_decoder, attn_flash=False),
}


# --- the tests ------------------------------------------------------------------------------------
def run(model: nn.Module, given: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
    """Output, and the gradient of every parameter that has one."""
    model.zero_grad()
    out = call(model, given)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    (out * weights).sum().backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return out.detach(), grads


def call(model: nn.Module, given: Inputs) -> Tensor:
    torch.manual_seed(3)
    out = model(**given) if isinstance(given, dict) else model(*given)
    return out if isinstance(out, Tensor) else out[0]


def made(make: Callable[[], tuple[nn.Module, Inputs]]) -> tuple[nn.Module, Inputs]:
    """A model in float64 whose attention is far from uniform, and whose biases are not zero."""
    torch.manual_seed(0)
    model, given = make()
    model = model.double().train()
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d)):
            module.p = 0.0
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data.add_(0.2 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model, given


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A name for each call of an op of ours, from wherever it comes."""
    calls: list[str] = []

    def count(module: types.ModuleType, name: str) -> None:
        real = getattr(module, name)

        def counting(*args: Any, **options: Any) -> Any:
            calls.append(name)
            return real(*args, **options)

        monkeypatch.setattr(module, name, counting)

    count(clmer.nn.attention, "cross_attention")
    count(clmer.nn.attention, "cross_attention_with_weights")
    count(clmer.integrations.transformers, "cross_attention")
    count(importlib.import_module("clmer.ops.attention.sdpa"), "scaled_dot_product_attention")
    return calls


@pytest.mark.parametrize("name", ROWS)
def test_a_model_computes_the_same(name: str, counted: list[str]) -> None:
    row = ROWS[name]
    model, given = made(row.make)
    other = copy.deepcopy(model)
    wanted, wanted_grads = run(model, given)
    assert not counted
    with row.line(other) as changed:
        out, grads = run(changed, given)
        assert counted
        with torch.no_grad():
            evaluated = call(changed.eval(), given)
    with torch.no_grad():
        wanted_evaluated = call(model.eval(), given)
    for found, want in ((out, wanted), (evaluated, wanted_evaluated)):
        torch.testing.assert_close(found, want, rtol=0, atol=TOLERANCE * float(want.abs().max()))
    assert grads.keys() == wanted_grads.keys()
    assert len(grads) > 4
    largest = max(float(g.abs().max()) for g in wanted_grads.values())
    for key, grad in grads.items():  # the bias of a key has none but rounding errors
        scale = max(float(wanted_grads[key].abs().max()), 1e-4 * largest)
        torch.testing.assert_close(grad, wanted_grads[key], rtol=0, atol=TOLERANCE * scale, msg=key)


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_attention_that_is_written_out_is_not_touched(name: str, counted: list[str]) -> None:
    model, given = made(WRITTEN_OUT[name])
    with pytest.warns(UserWarning, match="found no nn.MultiheadAttention to change"):
        replace_attention(model)
    with sdpa_kernel() as calls:
        call(model, given)
    assert (calls.taken, counted) == (0, [])


@pytest.mark.parametrize("make", [mult, husformer])
def test_a_class_of_its_own_is_named(make: Callable[..., tuple[nn.Module, Inputs]]) -> None:
    model, _ = make(make=OwnAttention)
    with pytest.warns(UserWarning, match=r"code of its own \(its class: OwnAttention\)"):
        report = replace_attention(model)
    assert report.left.keys() == {
        name for name, module in model.named_modules() if isinstance(module, OwnAttention)
    }


def test_the_published_class_is_multihead_attention() -> None:
    """The structures differ in nothing but who computes the attention."""
    for make in (mult, husformer):
        own, given = made(partial(make, make=OwnAttention))
        plain = make()[0].double()
        plain.load_state_dict(own.state_dict())
        torch.testing.assert_close(plain(*given), own(*given))


@pytest.mark.skipif(not PAGE.is_file(), reason="docs/ is not beside the tests")
def test_the_page_has_a_row_for_each_model() -> None:
    text = PAGE.read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| model \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.M)
    cells = [[c.strip() for c in line.strip("|\n").split(" | ")] for line in table.splitlines()]
    assert [row[0] for row in cells] == [*ROWS, *WRITTEN_OUT]
    words = {
        replaced: "`replace_attention(model)`",
        within: "`with sdpa_kernel():`",
        registered: '`model.set_attn_implementation("clmer")`',
        class_exchanged: "[its class](#mult-and-husformer-as-published)",
    }
    for name, *rest in cells:
        assert rest[0] == (words[ROWS[name].line] if name in ROWS else "none"), name
