"""Many architectures of transformers on `attn_implementation="clmer"`: as "eager", or refused."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clmer.integrations.transformers import NAME, register

transformers = pytest.importorskip("transformers")

_TOKENS = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BERT = _TOKENS | {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
BART = _TOKENS | {
    "d_model": 32,
    **{f"{part}_layers": 2 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 48 for part in ("encoder", "decoder")},
    "max_position_embeddings": 64,
    "decoder_start_token_id": 2,
}
T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
T5 |= {"pad_token_id": 0, "decoder_start_token_id": 0}
GPT = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
LLAMA = BERT | {"num_key_value_heads": 2}
VIT = {key: BERT[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
VIT |= {"intermediate_size": 48, "image_size": 16, "patch_size": 4}
AUDIO = {key: BERT[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
AUDIO |= {"intermediate_size": 48, "conv_dim": [16, 16], "conv_stride": [5, 2]}
AUDIO |= {"conv_kernel": [10, 3], "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
AUDIO |= {"num_feat_extract_layers": 2, "mask_time_prob": 0.0, "feat_extract_norm": "layer"}
LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4}
LATENT |= {"v_head_dim": 6, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2}
LATENT |= {"topk_group": 1, "moe_intermediate_size": 16, "first_k_dense_replace": 1}
LATENT |= BERT | {"num_key_value_heads": 4}
NARROW = {"head_dim": 8}
SLIDING = {"sliding_window": 4}

#: Name of an architecture, options of its configuration; "+" begins a variant's own name.
SAME: dict[str, dict[str, Any]] = {
    **{name: BERT for name in ("Bert", "Roberta", "XLMRoberta", "Camembert", "Ernie")},
    **{name: BERT for name in ("ModernBert", "LayoutLM", "BioGpt", "GPTNeoX", "Persimmon")},
    "Albert": BERT | {"embedding_size": 16},
    "Electra": BERT | {"embedding_size": 16},
    "Esm": BERT | {"mask_token_id": 3, "position_embedding_type": "rotary"},
    "DistilBert": {"vocab_size": 64, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "OPT": BERT | {"ffn_dim": 48, "word_embed_proj_dim": 32},
    **{name: BART for name in ("Bart", "MBart", "Pegasus", "Marian", "Blenderbot", "M2M100")},
    "T5": T5,
    "MT5": T5,
    "GPT2": GPT,
    "GPT2+inverse": GPT | {"scale_attn_by_inverse_layer_idx": True},
    "GPTJ": GPT | {"rotary_dim": 4},
    "CodeGen": GPT | {"rotary_dim": 4},
    "GPTBigCode": GPT | {"multi_query": True},
    **{name: LLAMA for name in ("Llama", "Qwen2", "Phi", "Phi3", "StableLm", "Olmo2", "Cohere")},
    "Mistral": LLAMA | SLIDING,
    "Mixtral": LLAMA | {"num_local_experts": 2},
    "Qwen2+sliding": LLAMA | SLIDING | {"use_sliding_window": True, "max_window_layers": 1},
    "Qwen3": LLAMA | NARROW,
    "Gemma": LLAMA | NARROW,
    "Gemma3Text": LLAMA | NARROW | SLIDING,
    "DeepseekV3": LATENT,
    "ViT": VIT,
    "DeiT": VIT,
    "Beit": VIT | {"use_relative_position_bias": True},
    "Dinov2": VIT,
    "Swin": {"image_size": 16, "patch_size": 2, "embed_dim": 16, "depths": [1, 1]}
    | {"num_heads": [2, 2], "window_size": 2},
    "SiglipVision": VIT,
    "CLIPVision": VIT,
    "CLIPText": BERT,
    "Wav2Vec2": AUDIO,
    "Hubert": AUDIO,
    "Whisper": {key: value for key, value in BART.items() if "max" not in key}
    | {"num_mel_bins": 8, "max_source_positions": 16, "max_target_positions": 32},
}
#: These have attention of their own, or ask for scores that `cross_attention` does not have.
REFUSED: dict[str, dict[str, Any]] = {
    **{name: BERT for name in ("MPNet", "MegatronBert", "Deberta", "RemBert", "Luke", "Falcon")},
    "BigBird": BERT | {"attention_type": "original_full"},
    "Longformer": BERT | {"attention_window": 4},
    "BigBirdPegasus": BART | {"attention_type": "original_full"},
    "PegasusX": BART | {"num_global_tokens": 4, "block_size": 4},
    "LongT5": T5 | {"local_radius": 4},
    "Falcon+alibi": BERT | {"alibi": True},
    "Bloom": {"vocab_size": 64, "hidden_size": 32, "n_layer": 2, "n_head": 4, "pad_token_id": 0},
    "Mpt": {"vocab_size": 64, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64},
    "XLNet": {"vocab_size": 64, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
    "GPTNeo": {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 64}
    | {"attention_types": [[["global", "local"], 1]], "max_position_embeddings": 64},
    "Data2VecVision": VIT,
    "Gemma2": LLAMA | NARROW | SLIDING,
    "GptOss": LLAMA | NARROW | SLIDING | {"num_local_experts": 2, "num_experts_per_tok": 1},
    "DeepseekV32": LATENT | {"index_n_heads": 2, "index_head_dim": 8, "index_topk": 3},
}


@pytest.fixture(autouse=True)
def registered() -> None:
    register()


def make(name: str, options: dict[str, Any], implementation: str) -> nn.Module:
    """A model with the same weights every time, and no dropout."""
    kind = name.partition("+")[0]
    if not hasattr(transformers, f"{kind}Model"):
        pytest.skip(f"this version of transformers has no {kind}")
    config = getattr(transformers, f"{kind}Config")(**copy.deepcopy(options))
    for key, value in config.to_dict().items():
        if ("drop" in key or "pdrop" in key) and isinstance(value, float):
            setattr(config, key, 0.0)
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")._from_config(
        config, attn_implementation=implementation
    )
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():  # at its initial values attention is nearly uniform
        if parameter.dim() > 1:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data.add_(0.2 * noise)
    return model


def inputs(model: Any, padding: str) -> tuple[dict[str, Tensor], Tensor | None]:
    """What the model takes, and which of its outputs count; None for all of them."""
    generator = torch.Generator().manual_seed(2)
    mask = torch.ones(3, 12, dtype=torch.long)
    if padding == "right":
        mask[0, 7:] = mask[1, 10:] = 0
    else:
        mask[0, :5] = mask[1, :2] = 0
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(2, 3, 16, 16, generator=generator)}, None
    if model.main_input_name == "input_values":
        heard = mask[:2].repeat_interleave(20, 1)
        wave = torch.randn(2, 240, generator=generator)
        return {"input_values": wave * heard, "attention_mask": heard}, None
    if model.main_input_name == "input_features":
        given = {"input_features": torch.randn(3, 8, 32, generator=generator)}
    else:
        ids = torch.randint(3, 60, (3, 12), generator=generator)
        given = {"input_ids": ids, "attention_mask": mask}
    if model.config.is_encoder_decoder:
        mask = mask[:, :6] if padding == "right" else torch.ones(3, 6, dtype=torch.long)
        given["decoder_input_ids"] = torch.randint(3, 60, (3, 6), generator=generator)
        given["decoder_attention_mask"] = mask
    return given, mask.bool()


def run(model: Any, padding: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs at the positions that count, and the gradients."""
    given, real = inputs(model, padding)
    torch.manual_seed(3)
    out = model(**given)[0]
    out = out if real is None else out[real]
    weights = torch.linspace(-1, 1, out.numel()).view_as(out)
    (out * weights).sum().backward()
    return out.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("name", SAME)
def test_an_architecture_computes_what_eager_does(name: str, padding: str) -> None:
    train = padding == "left"
    out, grads = run(make(name, SAME[name], NAME).train(train), padding)
    wanted, wanted_grads = run(make(name, SAME[name], "eager").train(train), padding)
    torch.testing.assert_close(out, wanted, rtol=1e-3, atol=1e-3)
    assert grads.keys() == wanted_grads.keys()
    for key, grad in grads.items():
        scale = max(1.0, float(wanted_grads[key].abs().max()))
        torch.testing.assert_close(
            grad / scale, wanted_grads[key] / scale, rtol=2e-3, atol=2e-3, msg=key
        )


@pytest.mark.parametrize("name", SAME)
def test_an_architecture_attends_by_our_op(name: str) -> None:
    model = make(name, SAME[name], NAME).eval()
    given, _ = inputs(model, "right")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        model(**given)
    assert "clmer::cross_attention" in {event.key for event in profile.key_averages()}


@pytest.mark.parametrize("name", REFUSED)
def test_an_architecture_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"attn_implementation=\"clmer\".*eager"):
        run(make(name, REFUSED[name], NAME), "right")


@pytest.mark.parametrize("name", ["MPNet", "BigBirdPegasus", "Bloom"])
def test_a_refused_model_cannot_be_switched(name: str) -> None:
    model = make(name, REFUSED[name], "eager")
    # Of the others transformers itself says that they cannot be switched, and leaves them.
    with contextlib.suppress(ValueError):
        model.set_attn_implementation(NAME)
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("name", ["MegatronBert", "BigBirdPegasus"])
def test_a_name_written_into_the_configuration_is_met_at_the_mask(name: str) -> None:
    model = make(name, REFUSED[name], "eager")
    model.config._attn_implementation = NAME
    with pytest.raises(ValueError, match=r'refuses "sdpa".*eager'):
        run(model, "right")


class Adds(nn.Module):
    def forward(self, scores: Tensor, attention_mask: Tensor) -> Tensor:
        return (scores + attention_mask).softmax(-1)


class Fills(nn.Module):
    def forward(self, scores: Tensor, attention_mask: Tensor) -> Tensor:
        return scores.masked_fill(~attention_mask, -1e9).softmax(-1)


class LooksUp(nn.Module):
    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        return ALL_ATTENTION_FUNCTIONS["sdpa"](self, x, x, x, attention_mask)[0]


class Chooses(nn.Module):
    def forward(self, scores: Tensor, attention_mask: Tensor) -> Tensor:
        filled = scores.masked_fill(~attention_mask, -1e9)
        return filled if self.config._attn_implementation == "sdpa" else filled.softmax(-1)


for _kind in (Adds, Fills, LooksUp, Chooses):
    _kind.__name__ += "Attention"


@pytest.mark.parametrize(
    ("kinds", "sdpa", "why"),
    [
        ([Adds, LooksUp], True, "AddsAttention, which adds masks"),
        ([Adds], True, "AddsAttention, which adds masks"),
        ([Fills], True, "attention of its own"),
        ([Chooses, LooksUp], True, "ChoosesAttention, which chooses by name"),
        ([LooksUp], False, 'refuses "sdpa"'),
        ([Fills, LooksUp], True, None),
        ([LooksUp], True, None),
        ([nn.MultiheadAttention, LooksUp], True, None),
    ],
)
def test_modules_are_judged(kinds: list[type], sdpa: bool, why: str | None) -> None:
    class OwnModel(transformers.PreTrainedModel):
        config_class = transformers.BertConfig
        _supports_sdpa = sdpa

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            sizes = {nn.MultiheadAttention: (8, 2)}
            self.layers = nn.ModuleList(kind(*sizes.get(kind, ())) for kind in kinds)
            self.post_init()

    config = transformers.BertConfig(**BERT)
    if why is None:
        assert OwnModel._from_config(config, attn_implementation=NAME)
        return
    with pytest.raises(ValueError, match=f"OwnModel.*{why}.*eager"):
        OwnModel._from_config(config, attn_implementation=NAME)


def test_what_others_implement_is_left_to_them() -> None:
    make("BigBirdPegasus", REFUSED["BigBirdPegasus"], "eager")
    make("Bert", BERT, "sdpa")
