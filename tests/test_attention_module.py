import pytest
import torch
from torch import nn

from clmer.nn import CrossModalAttention

VARIANTS = {
    "plain": {},
    "kdim": {"kdim": 6, "vdim": 10},
    "extra keys": {"add_bias_kv": True, "add_zero_attn": True},
    "no bias": {"bias": False},
}


def pair(batch_first=True, dropout=0.0, **options):
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(8, 2, dropout, batch_first=batch_first, **options).double()
    for p in theirs.parameters():
        nn.init.normal_(p, std=0.5)  # biases start at zero, which would hide a forgotten one
    ours = CrossModalAttention(8, 2, dropout, batch_first=batch_first, **options).double()
    assert ours.load_state_dict(theirs.state_dict()) == nn.MultiheadAttention(
        8, 2, **options
    ).double().load_state_dict(ours.state_dict())
    return ours, theirs


def tokens(batch, rows, dim, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, rows, dim, generator=g, dtype=torch.float64)


def assert_same(ours, theirs, *args, **kwargs):
    for a, b in zip(ours(*args, **kwargs), theirs(*args, **kwargs), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)
    results = []
    for module in (ours, theirs):
        module.zero_grad()
        module(*args, **kwargs)[0].square().sum().backward()
        results.append([p.grad for p in module.parameters()])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_multihead_attention(variant, batch_first):
    options = VARIANTS[variant]
    ours, theirs = pair(batch_first, **options)
    q, k = tokens(3, 4, 8), tokens(3, 5, options.get("kdim", 8), 1)
    v = tokens(3, 5, options.get("vdim", 8), 2)
    if not batch_first:
        q, k, v = (t.transpose(0, 1) for t in (q, k, v))
    padding = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 0, 0, 0], [0] * 5], dtype=torch.bool)
    for masks in (
        {},
        {"key_padding_mask": padding},
        {"attn_mask": torch.ones(4, 5, dtype=torch.bool).triu(1)},
        {
            "attn_mask": tokens(6, 4, 5, 3),
            "key_padding_mask": torch.where(padding, -torch.inf, 0.0).double(),
        },
    ):
        for asked in ({"need_weights": False}, {}, {"average_attn_weights": False}):
            assert_same(ours, theirs, q, k, v, **masks, **asked)


def test_self_attention_shared_keys_and_no_batch():
    ours, theirs = pair()
    x, y = tokens(2, 4, 8), tokens(2, 5, 8, 1)
    assert_same(ours, theirs, x, x, x)
    assert_same(ours, theirs, x, y, y)
    padding = torch.tensor([False, True, False, False, True])
    assert_same(ours, theirs, x[0], y[0], y[0], key_padding_mask=padding)
    causal = nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
    assert_same(ours, theirs, x, x, x, attn_mask=causal, is_causal=True)
    with pytest.raises(ValueError, match="attn_mask"):
        ours(x, x, x, is_causal=True)
    with pytest.raises(ValueError, match="three dimensions"):
        ours(x, y[0], y[0])


def test_padding_may_hold_anything_and_be_everything():
    ours, _ = pair()
    q, k = tokens(2, 4, 8), tokens(2, 5, 8, 1)
    padding = torch.tensor([[0, 0, 1, 0, 1], [1] * 5], dtype=torch.bool)
    k[padding] = torch.nan
    out, weights = ours(q, k, k, key_padding_mask=padding)
    assert not weights[1].any()
    torch.testing.assert_close(out[1], ours.out_proj.bias.expand(4, 8))
    out.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in ours.parameters())


def test_weights_and_output_drop_the_same():
    ours, _ = pair(dropout=0.5)
    q, k = tokens(2, 4, 8), tokens(2, 5, 8, 1)
    torch.manual_seed(3)
    out, weights = ours(q, k, k, average_attn_weights=False)
    torch.manual_seed(3)
    assert torch.equal(out, ours(q, k, k, need_weights=False)[0])
    assert (weights == 0).any()
    _, _, v = ours._project(q, k, k, False, True)
    torch.testing.assert_close(out, ours.out_proj((weights @ v).transpose(1, 2).flatten(2)))
    ours.eval()
    assert not (ours(q, k, k)[1] == 0).any()


def test_inside_a_transformer_layer():
    layer = nn.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True).double()
    x, memory = tokens(2, 4, 8), tokens(2, 5, 8, 1)
    before = layer(x, memory)
    theirs = layer.multihead_attn
    layer.multihead_attn = CrossModalAttention(8, 2, batch_first=True).double()
    layer.multihead_attn.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(layer(x, memory), before)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (dict(key_padding_mask=torch.zeros(5, dtype=torch.bool)), "key_padding_mask: found shape"),
        (dict(key_padding_mask=torch.zeros(2, 4)), "key_padding_mask: found shape"),
        (dict(attn_mask=torch.zeros(3, 4, 5)), "attn_mask: found shape"),
        (dict(attn_mask=torch.zeros(5, 4)), "attn_mask: found shape"),
    ],
)
def test_masks_that_do_not_fit(masks, message):
    ours, _ = pair()
    q, k = tokens(2, 4, 8), tokens(2, 5, 8, 1)
    with pytest.raises(ValueError, match=message):
        ours(q, k, k, **masks)


def test_learnt_key_under_autocast():
    ours = CrossModalAttention(8, 2, batch_first=True, add_bias_kv=True, add_zero_attn=True)
    q, k = tokens(2, 4, 8).float(), tokens(2, 5, 8, 1).float()
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = ours(q, k, k)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), ours(q, k, k)[0], atol=0.02, rtol=0.02)
