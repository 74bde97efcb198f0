"""Other people's models, small and randomly initialised, on `attn_implementation="clmer"`."""

from __future__ import annotations

import copy
from importlib import metadata

import pytest
import torch
from torch import Tensor, nn

from clmer.integrations.transformers import NAME, attention_forward, register

transformers = pytest.importorskip("transformers")

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32}
TEXT = SIZES | {"intermediate_size": 64, "vocab_size": 50, "max_position_embeddings": 32}
SEQ2SEQ = {"d_model": 32, "vocab_size": 50, "decoder_start_token_id": 0, "pad_token_id": 0}


@pytest.fixture(autouse=True)
def registered() -> None:
    register()
    torch.manual_seed(0)


def bert(**options: object) -> nn.Module:
    return transformers.BertModel(transformers.BertConfig(**TEXT, **options))


def vit() -> nn.Module:
    config = transformers.ViTConfig(**SIZES, intermediate_size=64, image_size=16, patch_size=4)
    return transformers.ViTModel(config)


def bart() -> nn.Module:
    sizes = {"encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    config = transformers.BartConfig(**SEQ2SEQ, **sizes, **heads, max_position_embeddings=32)
    return transformers.BartForConditionalGeneration(config)


def t5() -> nn.Module:
    config = transformers.T5Config(**SEQ2SEQ, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    return transformers.T5ForConditionalGeneration(config)


def llama() -> nn.Module:
    config = transformers.LlamaConfig(**TEXT, num_key_value_heads=2, pad_token_id=0)
    return transformers.LlamaForCausalLM(config)


def mistral() -> nn.Module:
    config = transformers.MistralConfig(**TEXT, num_key_value_heads=2, sliding_window=4)
    return transformers.MistralForCausalLM(config)


def gpt2() -> nn.Module:
    config = transformers.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, vocab_size=50, n_positions=32, pad_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


def text(padding: str) -> dict[str, Tensor]:
    """Three sequences of at most nine tokens; `padding` is the side where two of them lack some."""
    ids, mask = torch.randint(3, 50, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    if padding == "right":
        mask[0, 5:] = mask[1, 7:] = 0
    elif padding == "left":
        mask[0, :4] = mask[1, :2] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}


def inputs(make: object, padding: str, dtype: torch.dtype) -> tuple[dict[str, Tensor], Tensor]:
    """A model's inputs, and which of its output positions count."""
    if make is vit:
        return {"pixel_values": torch.randn(2, 3, 16, 16, dtype=dtype)}, torch.ones(2, 17)
    given = text(padding)
    if make in (bart, t5):
        return given | {"decoder_input_ids": torch.randint(3, 50, (3, 5))}, torch.ones(3, 5)
    return given, given["attention_mask"]


def outputs(model: nn.Module, **given: Tensor) -> Tensor:
    result = model(**given)
    return result["logits"] if "logits" in result else result["last_hidden_state"]


def switch(model: nn.Module, implementation: str) -> None:
    model.set_attn_implementation(implementation)
    if model.config._attn_implementation != implementation:
        pytest.skip(f"{type(model).__name__} takes no implementation by name in this version")


def run(
    model: nn.Module, implementation: str, given: dict[str, Tensor], real: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs at the positions that count, and the gradient of every parameter."""
    model = copy.deepcopy(model)
    switch(model, implementation)
    out = outputs(model, **given)[real.bool()]
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    (out * weights).sum().backward()
    return out.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


CASES = [
    *((make, padding) for make in (bert, bart, t5, llama, gpt2) for padding in ("right", "left")),
    *((make, "none") for make in (vit, llama, mistral)),
    (mistral, "left"),
]


@pytest.mark.parametrize(
    ("make", "padding"), CASES, ids=lambda case: getattr(case, "__name__", case)
)
@pytest.mark.parametrize(("against", "dtype"), [("eager", torch.float32), ("sdpa", torch.float64)])
def test_same_as(make, padding: str, against: str, dtype: torch.dtype) -> None:
    model = make().to(dtype).eval()
    given, real = inputs(make, padding, dtype)
    out, grads = run(model, NAME, given, real)
    wanted, wanted_grads = run(model, against, given, real)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(out, wanted, rtol=tolerance, atol=tolerance)
    assert grads.keys() == wanted_grads.keys()
    for name, grad in grads.items():
        scale = max(1.0, float(wanted_grads[name].abs().max()))
        torch.testing.assert_close(
            grad / scale, wanted_grads[name] / scale, rtol=tolerance, atol=tolerance, msg=name
        )


def test_it_is_our_op_that_runs() -> None:
    model = bert().eval()
    model.set_attn_implementation(NAME)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        model(**text("right"))
    names = [event.key for event in profile.key_averages()]
    assert "clmer::cross_attention" in names
    assert not any("scaled_dot_product" in name or "softmax" in name for name in names)


@pytest.mark.parametrize(("make", "padding"), [(bert, "right"), (llama, "left"), (bart, "left")])
def test_padding_would_matter(monkeypatch: pytest.MonkeyPatch, make, padding: str) -> None:
    model = make().eval()
    given, real = inputs(make, padding, torch.float32)
    wanted, _ = run(model, "eager", given, real)
    monkeypatch.delitem(transformers.AttentionMaskInterface._global_mapping, NAME)
    dropped, _ = run(model, NAME, given, real)
    assert (dropped - wanted).abs().max() > 1e-3 * wanted.abs().max()


@pytest.mark.parametrize("make", [bert, bart, t5])
def test_what_stands_behind_padding_changes_nothing(make) -> None:
    model = make().eval()
    given, real = inputs(make, "right", torch.float32)
    out, _ = run(model, NAME, given, real)
    other = given["input_ids"].masked_fill(given["attention_mask"] == 0, 7)
    changed, _ = run(model, NAME, given | {"input_ids": other}, real)
    torch.testing.assert_close(changed, out, rtol=0, atol=0)


@pytest.mark.parametrize("make", [llama, mistral, gpt2, bart, t5])
@pytest.mark.parametrize("cache", [None, "dynamic", "static"])
def test_generate(make, cache: str | None) -> None:
    model = make().double().eval()
    options = {"use_cache": cache is not None, "cache_implementation": cache}
    given, results = text("left"), {}
    for implementation in ("sdpa", NAME):
        switch(model, implementation)
        results[implementation] = model.generate(
            **given,
            **{name: value for name, value in options.items() if value is not None},
            max_new_tokens=6,
            min_new_tokens=6,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
    ours, wanted = results[NAME], results["sdpa"]
    torch.testing.assert_close(ours.sequences, wanted.sequences)
    for step, other in zip(ours.logits, wanted.logits, strict=True):
        torch.testing.assert_close(step, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("padding", ["none", "left"])
def test_prompt_in_two_pieces(padding: str) -> None:
    model = llama().double().eval()
    model.set_attn_implementation(NAME)
    given = text(padding)
    ids, mask = given["input_ids"], given["attention_mask"]
    whole = model(**given).logits
    first = model(input_ids=ids[:, :5], attention_mask=mask[:, :5], use_cache=True)
    rest = model(input_ids=ids[:, 5:], attention_mask=mask, past_key_values=first.past_key_values)
    if padding == "none":
        torch.testing.assert_close(rest.logits, whole[:, 5:], rtol=1e-6, atol=1e-6)
    model.set_attn_implementation("sdpa")
    first = model(input_ids=ids[:, :5], attention_mask=mask[:, :5], use_cache=True)
    wanted = model(input_ids=ids[:, 5:], attention_mask=mask, past_key_values=first.past_key_values)
    torch.testing.assert_close(rest.logits, wanted.logits, rtol=1e-6, atol=1e-6)


def test_custom_masks() -> None:
    model = llama().eval()
    given = text("none")
    seen = torch.ones(9, 9, dtype=torch.bool).tril()
    seen[:, 2] = False
    seen[2, 2] = True
    added = torch.zeros(9, 9).masked_fill(~seen, torch.finfo(torch.float32).min)
    model.set_attn_implementation("eager")
    wanted = model(given["input_ids"], attention_mask=added[None, None]).logits
    model.set_attn_implementation(NAME)
    for mask in (seen, added):
        found = model(given["input_ids"], attention_mask=mask[None, None]).logits
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_training_with_dropout() -> None:
    model = bert(attention_probs_dropout_prob=0.5, hidden_dropout_prob=0.0).train()
    model.set_attn_implementation(NAME)
    given = text("right")
    first = outputs(model, **given)
    first.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert not torch.equal(outputs(model, **given), first)
    drawn = []
    for _ in range(2):
        torch.manual_seed(1)
        drawn.append(outputs(model, **given))
    assert torch.equal(*drawn)


@pytest.mark.slow
@pytest.mark.parametrize("make", [bert, llama])
def test_compile_without_a_graph_break(make) -> None:
    model = make().eval()
    model.set_attn_implementation(NAME)
    given, real = inputs(make, "left", torch.float32)
    wanted = outputs(model, **given)[real.bool()]
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    out = outputs(compiled, **given)[real.bool()]
    torch.testing.assert_close(out, wanted, rtol=1e-4, atol=1e-4)
    out.square().sum().backward()


def test_autocast() -> None:
    model = bert().eval()
    given, real = inputs(bert, "right", torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = run(model, NAME, given, real)
    wanted, _ = run(model, "eager", given, real)
    torch.testing.assert_close(out.float(), wanted, rtol=0.05, atol=0.05)


def test_attentions_are_not_given_and_said_not_to_be() -> None:
    model = bert().eval()
    model.set_attn_implementation(NAME)
    with pytest.raises(ValueError, match="output_attentions"):
        model.config.output_attentions = True
    result = model(**text("right"), output_attentions=True)
    assert not any(isinstance(weights, Tensor) for weights in result.attentions or ())


@pytest.mark.parametrize(
    "option", ["softcap", "s_aux", "sinks", "block_indices", "indices", "cache"]
)
def test_refuses_what_would_change_the_scores(option: str) -> None:
    q = torch.randn(1, 2, 3, 4)
    with pytest.raises(ValueError, match=f"{option}.*eager"):
        attention_forward(nn.Module(), q, q, q, None, **{option: 1.0})


def test_without_a_mask_causality_is_the_modules() -> None:
    module, q = nn.Module(), torch.randn(2, 4, 5, 8)
    k, v = torch.randn(2, 2, 2, 5, 8)
    options = {"enable_gqa": True}
    full = nn.functional.scaled_dot_product_attention(q, k, v, **options)
    causal = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, **options)
    found = attention_forward(module, q, k, v, None)[0]  # transformers' default
    torch.testing.assert_close(found, causal.transpose(1, 2))
    found = attention_forward(module, q, k, v, None, is_causal=False)[0]
    torch.testing.assert_close(found, full.transpose(1, 2))
    module.is_causal = False
    torch.testing.assert_close(attention_forward(module, q, k, v, None)[0], full.transpose(1, 2))
    last = attention_forward(module, q[:, :, -1:], k, v, None, is_causal=True)[0]
    torch.testing.assert_close(last, causal[:, :, -1:].transpose(1, 2))


def test_names_the_version_found_and_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "4.40.2")
    with pytest.raises(ImportError, match=r"found 4\.40\.2, expected 5\.\d+ or newer"):
        register()

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(ImportError, match=r"not installed.*clmer\[transformers\]"):
        register()
