"""What holds for any problem: hypothesis looks for one where it does not."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clmer.ops import attention_weights, cross_attention

few = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@dataclass(frozen=True)
class Problem:
    query: Tensor  # [H, Lq, D]
    key: Tensor  # [H, Lk, D]
    value: Tensor  # [H, Lk, Dv]
    key_padding_mask: Tensor | None  # [H or 1, Lk]
    attn_mask: Tensor | None  # [H or 1, Lq, Lk]
    attn_bias: Tensor | None  # [H or 1, Lq, Lk]

    def results(self, impl: str) -> list[Tensor]:
        """O, then the gradients of its squares by query, key and value."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        leaves = [given[n].detach().requires_grad_() for n in ("query", "key", "value")]
        out = cross_attention(**given | dict(zip(given, leaves)), impl=impl)  # noqa: B905
        return [out.detach(), *torch.autograd.grad(out.square().sum(), leaves)]

    def over_keys(self, change) -> Problem:
        """With `change(tensor, dim, name)` in place of everything that has keys."""
        dims = {"key": 1, "value": 1, "key_padding_mask": 1, "attn_mask": 2, "attn_bias": 2}
        found = {name: getattr(self, name) for name in dims}
        return replace(
            self,
            **{n: change(t, dims[n], n) for n, t in found.items() if t is not None},
        )


@st.composite
def problems(draw) -> Problem:
    heads, rows, keys, dim, wide = (draw(st.integers(1, most)) for most in (3, 12, 40, 9, 9))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shared = st.sampled_from([1, heads])

    def maybe(make, *shape):
        return make(draw(shared), *shape) if draw(st.booleans()) else None

    return Problem(
        torch.randn(heads, rows, dim, generator=g),
        torch.randn(heads, keys, dim, generator=g),
        torch.randn(heads, keys, wide, generator=g),
        maybe(lambda *s: torch.rand(s, generator=g) < 0.3, keys),
        maybe(lambda *s: torch.rand(s, generator=g) < 0.7, rows, keys),
        maybe(lambda *s: torch.randn(s, generator=g), rows, keys),
    )


impls = st.sampled_from(["native", "reference"])


@few
@given(problems(), impls, st.randoms(use_true_random=False))
def test_the_order_of_keys_means_nothing(problem, impl, random):
    order = list(range(problem.key.shape[1]))
    random.shuffle(order)
    permuted = problem.over_keys(lambda t, dim, _: t.index_select(dim, torch.tensor(order)))
    out, *want = problem.results(impl)
    again, *grads = permuted.results(impl)
    torch.testing.assert_close(again, out)
    for name, a, b in zip(("query", "key", "value"), grads, want, strict=True):
        expected = b if name == "query" else b[:, order]
        torch.testing.assert_close(a, expected, atol=1e-5 * float(b.abs().max() + 1), rtol=0)


@few
@given(problems(), impls, st.booleans(), st.data())
def test_a_masked_key_more_changes_nothing(problem, impl, padded, data):
    keys = problem.key.shape[1]
    at = data.draw(st.integers(0, keys))
    if padded and problem.key_padding_mask is None:
        problem = replace(problem, key_padding_mask=torch.zeros(1, keys, dtype=torch.bool))
    if not padded and problem.attn_mask is None:
        shape = (1, problem.query.shape[1], keys)
        problem = replace(problem, attn_mask=torch.ones(shape, dtype=torch.bool))
    new = {
        "key_padding_mask": padded,  # True = ignore
        "attn_mask": padded,  # True = takes part
    }

    def insert(tensor, dim, name):
        extra = torch.full_like(tensor.narrow(dim, 0, 1), new.get(name, torch.nan))
        return torch.cat([tensor.narrow(dim, 0, at), extra, tensor.narrow(dim, at, keys - at)], dim)

    out, *want = problem.results(impl)
    again, *grads = problem.over_keys(insert).results(impl)
    torch.testing.assert_close(again, out)
    for name, a, b in zip(("query", "key", "value"), grads, want, strict=True):
        if name != "query":
            assert not a[:, at].any()
            a = torch.cat([a[:, :at], a[:, at + 1 :]], 1)
        torch.testing.assert_close(a, b, atol=1e-5 * float(b.abs().max() + 1), rtol=0)


@few
@given(problems(), impls)
def test_the_weights_of_a_query_sum_to_one(problem, impl):
    heads, keys, _ = problem.value.shape
    given = {f.name: getattr(problem, f.name) for f in fields(problem)}
    given["value"] = torch.eye(keys).expand(heads, keys, keys)
    weights = cross_attention(**given, impl=impl)
    sees = torch.ones(weights.shape, dtype=torch.bool)
    if problem.key_padding_mask is not None:
        sees &= ~problem.key_padding_mask[:, None]
    if problem.attn_mask is not None:
        sees &= problem.attn_mask
    torch.testing.assert_close(weights.sum(-1), sees.any(-1).float())
    assert (weights >= 0).all()
    assert not weights[~sees].any()
    del given["value"]
    torch.testing.assert_close(attention_weights(**given), weights)
