"""Other people's models with torch's attention and with ours: what docs/dropin.md says of speed.

    OMP_NUM_THREADS=1 pytest benchmarks/bench_dropin.py --benchmark-only

A step is forward, backward, clipping and Adam, in training mode with each model's usual dropout,
float32 on the CPU; both have the same weights, and in evaluation the same outputs. "torch" is the
model as it is: `nn.MultiheadAttention` or `F.scaled_dot_product_attention`; "published" is the
class that the code of MulT and Husformer has. "no attention" has the projections alone: what even
attention that takes no time would leave. Times are median/minimum in ms, contenders in turn, of
the wall clock and of the process (what others do on the machine enters the former more); the ratio
is of medians, with that of the minima in brackets. Packages that are not installed (extra `dropin`)
are left out, and said to be.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from _measure import Comparison, Table, compare_passes, ratio, table
from torch import Tensor, nn
from torch.nn import functional as F

import clmer
from clmer.integrations.transformers import register
from clmer.nn import replace_attention, sdpa_kernel

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from support.dropin_models import Husformer, MulT, OwnAttention

Inputs = dict[str, Tensor] | tuple[Tensor, ...]
#: Ours first, then the model as it is and others, and what they take.
Contenders = tuple[dict[str, nn.Module], Inputs]


# --- models ---------------------------------------------------------------------------------------
class ProjectionsAlone(nn.MultiheadAttention):
    """All of attention but attention: the projections, and sums in its place."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        given = zip(self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        q, k, v = (F.linear(x, w, b) for x, (w, b) in zip((query, key, value), given, strict=True))
        return self.out_proj(q + k.mean(0) + v.mean(0)), None


def replaced(model: nn.Module) -> nn.Module:
    """A copy with `replace_attention`."""
    ours = copy.deepcopy(model)
    assert replace_attention(ours).replaced
    return ours


def structure(make: Callable[..., nn.Module], inputs: Inputs) -> Contenders:
    """MulT or Husformer on four kinds of attention."""
    theirs = make()
    models = {"ours": replaced(theirs), "torch": theirs}
    for name, attention in (("published", OwnAttention), ("no attention", ProjectionsAlone)):
        models[name] = make(make=attention)
        models[name].load_state_dict(theirs.state_dict())
    return models, inputs


def mult(dim: int, heads: int, batch: int) -> Contenders:
    widths = (300, 74, 35)
    inputs = tuple(torch.randn(batch, 50, width) for width in widths)
    return structure(partial(MulT, widths, dim, heads, dropout=0.1), inputs)


def husformer(dim: int, heads: int, batch: int) -> Contenders:
    """DEAP: 32 EEG channels, 2 and 2 of eyes and face, 1 of skin, 128 samples each."""
    channels = (32, 2, 2, 1)
    inputs = tuple(torch.randn(batch, count, 128) for count in channels)
    return structure(partial(Husformer, channels, 128, dim, heads, dropout=0.1), inputs)


def encoder(causal: bool) -> Contenders:
    layer = nn.TransformerEncoderLayer(64, 4, 256, 0.1, batch_first=True)
    theirs = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    given = {"src": torch.randn(64, 50, 64)}
    if causal:
        given["mask"] = nn.Transformer.generate_square_subsequent_mask(50)
    return {"ours": replaced(theirs), "torch": theirs}, given


def by_kernel(theirs: nn.Module, inputs: Inputs) -> Contenders:
    """Ours is a copy whose steps are within `sdpa_kernel`."""
    return {"ours": copy.deepcopy(theirs), "torch": theirs}, inputs


def conformer() -> Contenders:
    models = importlib.import_module("braindecode.models")
    theirs = models.EEGConformer(n_chans=22, n_times=1000, n_outputs=4)
    return by_kernel(theirs, (torch.randn(16, 22, 1000),))


def cbramod() -> Contenders:
    models = importlib.import_module("braindecode.models")
    theirs = models.CBraMod(n_chans=16, n_times=1000, n_outputs=4, sfreq=200, n_layer=4)
    return {"ours": replaced(theirs), "torch": theirs}, (torch.randn(4, 16, 1000),)


def torchvision_vit() -> Contenders:
    vision = importlib.import_module("torchvision.models")
    theirs = vision.VisionTransformer(112, 16, 4, 6, 192, 768, dropout=0.1, attention_dropout=0.1)
    return {"ours": replaced(theirs), "torch": theirs}, (torch.randn(8, 3, 112, 112),)


def timm_vit() -> Contenders:
    timm = importlib.import_module("timm")
    theirs = timm.create_model("vit_tiny_patch16_224", img_size=112, depth=4)
    return by_kernel(theirs, (torch.randn(8, 3, 112, 112),))


def x_decoder() -> Contenders:
    x = importlib.import_module("x_transformers")
    layers = x.Decoder(dim=128, depth=2, heads=8, attn_dim_head=16, attn_flash=True)
    theirs = x.TransformerWrapper(num_tokens=256, max_seq_len=128, attn_layers=layers)
    return by_kernel(theirs, (torch.randint(0, 256, (8, 128)),))


_SIZES = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 16}
_SIZES |= {"intermediate_size": 512}
_TEXT = _SIZES | {"vocab_size": 512, "max_position_embeddings": 256}


def hugging_face(name: str, config: dict[str, Any], inputs: dict[str, Tensor]) -> Contenders:
    transformers = importlib.import_module("transformers")
    register()
    made = getattr(transformers, f"{name}Config")(**config)
    model = getattr(transformers, f"{name}Model")
    theirs = model._from_config(made, attn_implementation="sdpa")
    ours = model._from_config(copy.deepcopy(made), attn_implementation="clmer")
    ours.load_state_dict(theirs.state_dict())
    return {"ours": ours, "torch": theirs}, inputs


def text(length: int, batch: int = 8, padded: bool = False) -> dict[str, Tensor]:
    mask = torch.ones(batch, length, dtype=torch.long)
    if padded:
        mask[::2, length - length // 4 :] = 0
    return {"input_ids": torch.randint(3, 500, (batch, length)), "attention_mask": mask}


MODELS: dict[str, Callable[[], Contenders]] = {
    "MulT, d 30, 5 heads, B 24": partial(mult, 30, 5, 24),
    "MulT, d 40, 10 heads, B 24": partial(mult, 40, 10, 24),
    "MulT, d 40, 10 heads, B 64": partial(mult, 40, 10, 64),
    "Husformer, d 30, 3 heads, B 64": partial(husformer, 30, 3, 64),
    "Husformer, d 40, 5 heads, B 64": partial(husformer, 40, 5, 64),
    "nn.TransformerEncoder, d 64, 4 heads, L 50, B 64": partial(encoder, False),
    "nn.TransformerEncoder, causal": partial(encoder, True),
    "EEG-Conformer, 22 x 1000, B 16": conformer,
    "CBraMod, 16 x 1000, 4 layers, B 4": cbramod,
    "ViT (torchvision), d 192, 49 + 1 tokens, B 8": torchvision_vit,
    "ViT (timm), d 192, 49 + 1 tokens, B 8": timm_vit,
    "x-transformers, causal, L 128, B 8": x_decoder,
    "Llama, d 256, 16 heads, L 48, B 8": lambda: hugging_face("Llama", _TEXT, text(48)),
    "Llama, L 128": lambda: hugging_face("Llama", _TEXT, text(128)),
    "Llama, L 128, padded": lambda: hugging_face("Llama", _TEXT, text(128, padded=True)),
    "BERT, d 256, 16 heads, L 128, B 8": lambda: hugging_face("Bert", _TEXT, text(128)),
    "BERT, L 128, padded": lambda: hugging_face("Bert", _TEXT, text(128, padded=True)),
    "ViT, d 256, 64 + 1 tokens, B 8": lambda: hugging_face(
        "ViT",
        _SIZES | {"image_size": 64, "patch_size": 8},
        {"pixel_values": torch.randn(8, 3, 64, 64)},
    ),
}
#: Models that run on ours within `sdpa_kernel`.
BY_KERNEL = [name for name in MODELS if name.startswith(("EEG-Conf", "ViT (timm)", "x-trans"))]


# --- steps ----------------------------------------------------------------------------------------
def output(model: nn.Module, inputs: Inputs) -> Tensor:
    out = model(**inputs) if isinstance(inputs, dict) else model(*inputs)
    return out if isinstance(out, Tensor) else out[0]


def agree(models: dict[str, nn.Module], inputs: Inputs, ours_within: bool) -> None:
    """What computes something else has no place in a table."""
    outputs = {}
    for name, model in models.items():
        block = sdpa_kernel() if ours_within and name == "ours" else contextlib.nullcontext()
        with torch.no_grad(), block:
            outputs[name] = output(model.eval(), inputs)
    for name, model in models.items():
        if name != "no attention":
            torch.testing.assert_close(outputs[name], outputs["torch"], rtol=1e-3, atol=1e-3)
        model.train()


def stepper(model: nn.Module, inputs: Inputs) -> Callable[[], dict[str, float]]:
    """One training step; ms of the wall clock and of this process."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)

    def step() -> dict[str, float]:
        wall, own = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        output(model, inputs).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.8)
        optimizer.step()
        wall, own = time.perf_counter() - wall, time.process_time() - own
        return {"wall clock": 1e3 * wall, "process": 1e3 * own}

    return step


def within(step: Callable[[], dict[str, float]]) -> Callable[[], dict[str, float]]:
    """The step in a block that is entered for each one, since the other must run outside of it.

    Entering, which a training does once, is not timed.
    """

    def entered() -> dict[str, float]:
        with sdpa_kernel() as calls:
            times = step()
        assert calls.taken
        assert not calls.left
        return times

    return entered


@pytest.mark.parametrize("name", MODELS)
def test_step(benchmark, name: str) -> None:
    torch.manual_seed(0)
    try:
        models, inputs = MODELS[name]()
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"{name}: {error}")
    agree(models, inputs, name in BY_KERNEL)
    runs = {each: stepper(model, inputs) for each, model in models.items()}
    if name in BY_KERNEL:
        runs["ours"] = within(runs["ours"])
    results = benchmark.pedantic(compare_passes, (runs, 9, 12.0), rounds=1)
    for which, result in results.items():
        row = {"one step of": name, "time": which}
        row |= {each: result.cell(each) for each in result.times}
        row["torch / ours"] = against(result, "torch")
        own_table("Models, a training step, float32: ms median/minimum").rows.append(row)
        benchmark.extra_info[which] = result.extra()


# --- calls ----------------------------------------------------------------------------------------
def attend(form: Callable[..., Tensor], qkv: list[Tensor], grad: Tensor | None) -> None:
    with torch.set_grad_enabled(grad is not None):
        out = form(*qkv, is_causal=True)
        if grad is not None:
            torch.autograd.grad(out, qkv, grad)


def caller(
    form: Callable[..., Tensor], qkv: list[Tensor], grad: Tensor
) -> Callable[[], dict[str, float]]:
    """Forward alone, and both passes; ms of the wall clock and of this process."""

    def calls() -> dict[str, float]:
        times = {}
        for which, given in (("forward", None), ("both", grad)):
            wall, own = time.perf_counter(), time.process_time()
            attend(form, qkv, given)
            times[f"{which}, wall clock"] = 1e3 * (time.perf_counter() - wall)
            times[f"{which}, process"] = 1e3 * (time.process_time() - own)
        return times

    return calls


@pytest.mark.parametrize("dim", [16, 64])
@pytest.mark.parametrize("length", [48, 128, 256])
def test_causal_call(benchmark, length: int, dim: int) -> None:
    """Queries as projections give them: [B, L, H, D], transposed."""
    torch.manual_seed(0)
    shape = (4, length, 16, dim)
    qkv = [torch.randn(shape, requires_grad=True) for _ in "qkv"]
    leaves = [t.transpose(1, 2).detach().requires_grad_() for t in qkv]
    grad = torch.randn(shape).transpose(1, 2)
    forms: dict[str, Callable[..., Tensor]] = {
        "ours": clmer.scaled_dot_product_attention,
        "torch": F.scaled_dot_product_attention,
    }
    torch.testing.assert_close(*(form(*leaves, is_causal=True) for form in forms.values()))
    runs = {name: caller(form, leaves, grad) for name, form in forms.items()}
    results = benchmark.pedantic(compare_passes, (runs, 15), rounds=1)
    for which, result in results.items():
        row = {"causal, B 4, 16 heads": f"L {length}, D {dim}", "time": which}
        row |= {each: result.cell(each) for each in result.times}
        row["torch / ours"] = against(result, "torch")
        own_table("A causal call of SDPA, float32: ms median/minimum").rows.append(row)
        benchmark.extra_info[which] = result.extra()


def against(result: Comparison, name: str) -> str:
    """How many times ours another one takes: by medians (and by minima)."""
    by = [ratio({"ours": t["ours"], name: t[name]}) for t in (result.medians, result.minima)]
    return f"{by[0]:.2f} ({by[1]:.2f}) {result.void}".rstrip()


def own_table(title: str) -> Table:
    own = table(title)
    own.summary = lambda: ["", *(__doc__ or "").strip().splitlines()[4:]]
    return own
