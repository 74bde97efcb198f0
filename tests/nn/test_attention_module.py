import copy
import pickle

import pytest
import torch
from torch import nn

from clmer.nn import CrossModalAttention, replace_attention

VARIANTS = {
    "plain": {},
    "kdim": {"kdim": 6, "vdim": 10},
    "extra keys": {"add_bias_kv": True, "add_zero_attn": True},
    "no bias": {"bias": False},
}


CAUSAL = torch.ones(4, 5, dtype=torch.bool).triu(1)  # True = ignore


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


@pytest.mark.filterwarnings("ignore:Support for mismatched")
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
        {"attn_mask": CAUSAL},
        {"attn_mask": torch.stack([CAUSAL, CAUSAL.flip(1)] * 3)},
        {"attn_mask": CAUSAL, "key_padding_mask": padding},
        {"attn_mask": CAUSAL, "key_padding_mask": torch.where(padding, -torch.inf, 0.0).double()},
        {"attn_mask": tokens(1, 4, 5, 3)[0], "key_padding_mask": padding},
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
    v = v.unflatten(-1, (ours.num_heads, -1)).transpose(1, 2)
    torch.testing.assert_close(out, ours.out_proj((weights @ v).transpose(1, 2).flatten(2)))
    ours.eval()
    assert not (ours(q, k, k)[1] == 0).any()


@pytest.mark.parametrize("need_weights", [False, True])
def test_queries_that_attn_mask_leaves_nothing(need_weights):
    ours, theirs = pair()
    q, k = tokens(2, 4, 8), tokens(2, 5, 8, 1)
    mask = torch.zeros(4, 5, dtype=torch.bool)
    mask[1] = True
    out, weights = ours(q, k, k, attn_mask=mask, need_weights=need_weights)
    rest = [0, 2, 3]
    want, their_weights = theirs(q, k, k, attn_mask=mask)
    torch.testing.assert_close(out[:, rest], want[:, rest])
    torch.testing.assert_close(out[:, 1], ours.out_proj.bias.expand(2, 8))
    if need_weights:
        torch.testing.assert_close(weights[:, rest], their_weights[:, rest])
        assert not weights[:, 1].any()
    out.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in ours.parameters())


@pytest.mark.parametrize("batch_first", [True, False])
def test_output_is_contiguous(batch_first):
    ours, theirs = pair(batch_first)
    for x in (tokens(3, 4, 8), tokens(3, 4, 8).transpose(0, 1), tokens(1, 4, 8)[0]):
        out, want = ours(x, x, x)[0], theirs(x, x, x)[0]
        assert out.is_contiguous()
        if not batch_first:
            assert out.stride() == want.stride()


@pytest.mark.parametrize("training", [True, False])
def test_dropout_of_everything(training):
    ours, theirs = pair(dropout=1.0)
    x = tokens(2, 4, 8)
    for asked in ({"need_weights": False}, {}, {"average_attn_weights": False}):
        assert_same(ours.train(training), theirs.train(training), x, x, x, **asked)


def test_reference_has_what_the_kernel_has_not():
    ours, theirs = pair()
    x = tokens(2, 4, 8)
    ours.impl = "reference"
    assert CrossModalAttention(8, 2, impl="reference").impl == "reference"

    def penalty(module):
        z = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(module(z, z, z)[0].sum(), z, create_graph=True)
        module.zero_grad()
        grad.square().sum().backward()
        return [p.grad for p in module.parameters() if p.grad is not None]

    torch.testing.assert_close(penalty(ours), penalty(theirs))
    for module in (ours, theirs):
        p = {k: v.detach() for k, v in module.named_parameters()}

        def per_sample(p, x, module=module):
            return torch.func.functional_call(module, p, (x[None],) * 3)[0].sum()

        grads = torch.func.vmap(torch.func.grad(per_sample), (None, 0))(p, x)
        assert grads["in_proj_weight"].shape == (2, 24, 8)
    ours.impl = "no such"
    with pytest.raises(ValueError, match="impl: found 'no such'"):
        ours(x, x, x)


def swapped(model):
    """A copy whose every `nn.MultiheadAttention` is ours, with the same parameters."""
    model = copy.deepcopy(model)
    replace_attention(model)
    return model


def test_inside_a_transformer_decoder_layer(monkeypatch):
    calls = []
    plain = CrossModalAttention.forward

    def counted(self, *args, **kwargs):
        calls.append(kwargs)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(CrossModalAttention, "forward", counted)
    torch.manual_seed(0)
    theirs = nn.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True).double()
    ours = swapped(theirs)
    x, memory = tokens(2, 4, 8), tokens(2, 5, 8, 1)
    causal = nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
    padding = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]], dtype=torch.bool)
    for masks in (
        {},
        {"tgt_mask": causal, "tgt_is_causal": True, "memory_key_padding_mask": padding},
        {"tgt_mask": causal.isinf(), "tgt_is_causal": True},
        {"memory_mask": CAUSAL, "memory_is_causal": True},
    ):
        for training in (True, False):
            calls.clear()
            results = []
            for layer in (theirs.train(training), ours.train(training)):
                layer.zero_grad()
                out = layer(x, memory, **masks)
                out.square().sum().backward()
                results.append([out, *(p.grad for p in layer.parameters())])
            torch.testing.assert_close(*results)
            assert len(calls) == 2
            with torch.no_grad():
                torch.testing.assert_close(ours(x, memory, **masks), results[0][0])
            assert len(calls) == 4
    assert ours.state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize("norm_first", [False, True])
def test_encoders_call_it_although_they_have_a_fast_path(monkeypatch, norm_first):
    calls = []
    plain = CrossModalAttention.forward

    def counted(self, *args, **kwargs):
        calls.append(args[0].is_nested)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(CrossModalAttention, "forward", counted)
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=norm_first)
    theirs = nn.TransformerEncoder(layer.double(), 2, enable_nested_tensor=not norm_first).eval()
    ours = swapped(theirs)
    x = tokens(2, 4, 8)
    padding = torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    causal = nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
    for masks in (
        {},
        {"src_key_padding_mask": padding},
        {"mask": causal, "is_causal": True},
        {"src_key_padding_mask": padding.roll(1, 1)},
    ):
        for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
            calls.clear()
            with mode():
                out, want = ours(x, **masks), theirs(x, **masks)
            kept = ~masks.get("src_key_padding_mask", torch.zeros_like(padding))
            torch.testing.assert_close(out[kept], want[kept])
            # A layer that is handed a nested tensor hands its module one, which pads and goes on.
            assert len(calls) == (4 if calls[0] else 2)
            if masks.get("src_key_padding_mask") is padding and not norm_first:
                assert calls[0] == (mode is not torch.enable_grad)
    nested = torch.nested.nested_tensor([x[0], x[1, :3]])
    with pytest.raises(ValueError, match="nested tensors"):
        ours.layers[0].self_attn(nested, nested, nested)


@pytest.mark.parametrize("training", [True, False])
def test_compiled_whole(training):
    ours, _ = pair(dropout=0.5)
    ours.train(training)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    q, k = tokens(2, 4, 8), tokens(2, 5, 8, 1)
    padding = torch.tensor([[0, 0, 1, 0, 1], [1] * 5], dtype=torch.bool)
    for asked in ({"need_weights": False}, {"average_attn_weights": False}):
        results = []
        for module in (ours, compiled):
            torch.manual_seed(1)
            ours.zero_grad()
            out, weights = module(q, k, k, key_padding_mask=padding, attn_mask=CAUSAL, **asked)
            out.square().sum().backward()
            results.append([out, weights, *(p.grad for p in ours.parameters())])
        if weights is None:
            results = [[r[0], *r[2:]] for r in results]
        torch.testing.assert_close(*results)


def test_copies_and_pickles_stay_what_they_are():
    ours, _ = pair()
    x = tokens(2, 4, 8)
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(other) is CrossModalAttention
        assert torch.equal(other(x, x, x)[0], ours(x, x, x)[0])
    before = ours.in_proj_weight.clone()
    ours._reset_parameters()
    assert not torch.equal(ours.in_proj_weight, before)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (dict(key_padding_mask=torch.zeros(5, dtype=torch.bool)), "key_padding_mask: found shape"),
        (dict(key_padding_mask=torch.zeros(2, 4)), "key_padding_mask: found shape"),
        (
            dict(key_padding_mask=torch.zeros(2, 5, dtype=torch.int64)),
            "key_padding_mask: found torch",
        ),
        (dict(attn_mask=torch.zeros(4, 5, dtype=torch.uint8)), "attn_mask: found torch.uint8"),
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


@pytest.mark.parametrize(
    ("q", "k", "v", "message"),
    [
        (
            (2, 4, 7),
            (2, 5, 8),
            (2, 5, 8),
            r"query: found shape \(2, 4, 7\), expected 8 .*embed_dim",
        ),
        ((2, 4, 8), (2, 5, 7), (2, 5, 8), r"key: found shape \(2, 5, 7\), expected 8 .*kdim"),
        ((2, 4, 8), (2, 5, 8), (2, 5, 9), r"value: found shape .*expected 8 features \(vdim\)"),
        ((2, 4, 8), (2, 5, 8), (2, 6, 8), "as many tokens in both"),
        ((2, 4, 8), (3, 5, 8), (3, 5, 8), "one batch size; batch_first=True"),
    ],
)
def test_shapes_that_do_not_fit(q, k, v, message):
    ours, _ = pair()
    with pytest.raises(ValueError, match=message):
        ours(torch.zeros(q).double(), torch.zeros(k).double(), torch.zeros(v).double())
