"""Cross-modal fusion of any number of modalities: all directed pairs as one stacked dimension."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clmer import ops
from clmer.nn import sublayer
from clmer.nn.checks import (
    NotScriptable,
    check_alike,
    check_at_least,
    check_heads,
    check_inputs,
    named_inputs,
)
from clmer.nn.dropout import Dropout
from clmer.nn.random_state import new_seed
from clmer.ops.attention.reference import attention_weights


class StackedLinear(nn.Module):
    """The weights of S independent linear maps, y_s = x_s W_s + b_s.

    Each is initialised as one `nn.Linear(inputs, outputs)`; `clmer.nn.sublayer` applies them.

    Args:
        stack: S.
        inputs, outputs: of each map; `weight` is [S, inputs, outputs], `bias` [S, 1, outputs].
    """

    def __init__(self, stack: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(stack, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(stack, 1, outputs).uniform_(-bound, bound))


class StackedLayer(nn.Module):
    """One pre-norm transformer layer for S streams at once, each with its own parameters.

    x + dropout(out(attention)), then x + dropout(W_2 dropout(relu(W_1 norm(x)))). The norms have no
    gain and offset of their own: the linear map behind each holds them already.

    Args:
        stack: S.
        dim: features of a token.
        heads: divides dim.
        attends_self: keys and values come from the stream itself, not from the caller.
        attention_dropout, relu_dropout, residual_dropout: where the names say.
    """

    def __init__(
        self,
        stack: int,
        dim: int,
        heads: int,
        *,
        attends_self: bool,
        attention_dropout: float,
        relu_dropout: float,
        residual_dropout: float,
    ) -> None:
        super().__init__()
        self.heads, self.dim, self.attends_self = heads, dim, attends_self
        self.attention_dropout = attention_dropout
        self.relu_dropout, self.residual_dropout = relu_dropout, residual_dropout
        self.project = StackedLinear(stack, dim, 3 * dim if attends_self else dim)
        self.out = StackedLinear(stack, dim, dim)
        self.widen = StackedLinear(stack, dim, 4 * dim)
        self.narrow = StackedLinear(stack, 4 * dim, dim)

    def forward(self, x: Tensor, key_value: tuple[Tensor, ...] = ()) -> Tensor:
        """Update x [S, B, L, d]; key_value is two [S, B, h, L, d / h] unless x attends itself."""
        attention, relu, residual = (
            p if self.training else 0.0
            for p in (self.attention_dropout, self.relu_dropout, self.residual_dropout)
        )
        projected, seed = self._projected(x), new_seed(attention, x.device)
        y = ops.cross_attention(*projected, *key_value, dropout_p=attention, seed=seed)
        x = sublayer.merge(x, y, self.out.weight, self.out.bias, residual)
        widen, narrow = self.widen, self.narrow
        weights = (widen.weight, widen.bias, narrow.weight, narrow.bias)
        return sublayer.feed_forward(x, *weights, relu, residual)

    def weights(self, x: Tensor, key_value: tuple[Tensor, ...] = ()) -> Tensor:
        """The weights [S, B, h, Lq, Lk] that `forward` attends with, without dropout."""
        query, key, *_ = (*self._projected(x), *key_value)
        return attention_weights(query, key)

    def _projected(self, x: Tensor) -> tuple[Tensor, ...]:
        """The query, and the key and value of a stream that attends itself."""
        return sublayer.project(x, self.project.weight, self.project.bias, self.heads)


class Unify(nn.Module):
    """One modality's tokens [B, C, features] as L tokens of d features, positions added.

    One linear map takes the features to d, another the C tokens to L. Both start at unit gain
    (variance 1 / inputs), so that standardised input gives tokens of about unit variance. Positions
    are learned and start small: after the second map a token's place has no order that a sinusoid
    could tell.
    """

    def __init__(self, tokens: int, features: int, token_length: int, dim: int) -> None:
        super().__init__()
        self.features = nn.Linear(features, dim)
        self.tokens = nn.Linear(tokens, token_length)
        for linear in (self.features, self.tokens):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
            nn.init.zeros_(linear.bias)
        self.positions = nn.Parameter(0.02 * torch.randn(token_length, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Unify x [B, C, features] to [B, L, d]."""
        x = self.tokens(self.features(x).transpose(1, 2))  # [B, d, L]
        return x.transpose(1, 2) + self.positions


class Fusion(NotScriptable, nn.Module):
    """Classifier over M modalities, fused pair by pair with cross-modal attention.

    Of each directed pair (a, b) the stream is a's unified tokens, which ask; keys and values come
    from b's unified tokens, the same in every layer. The M (M - 1) pairs are one stacked dimension:
    a layer is one `cross_attention` call and four batched products whatever M is. The M - 1 streams
    of a modality are then concatenated along the features, go through self-attention layers
    (stacked over modalities), and are averaged over tokens; all modalities together pass a residual
    MLP and the classifier. A single modality goes through `single_layers` self-attention layers
    instead.

    A modality that a window lacks has NaN as its tokens. It says nothing there: nobody attends to
    it, and what its own streams become counts as zero. So does, in training, one that
    `modality_dropout` takes away, which is what a window that lacks it will look like.

    Args:
        inputs: (tokens, features) of each modality by name: physio (40, 128), landmarks (3, 1700).
        classes: number of classes.
        token_length: L, tokens of every modality after unification.
        dim: d, features of a token.
        heads: of every attention; divides dim.
        cross_layers: layers of the pairs.
        memory_layers: self-attention layers on the concatenated pairs.
        single_layers: self-attention layers of a single modality.
        attention_dropout, relu_dropout, residual_dropout: of the layers.
        embedding_dropout: on the unified tokens.
        modality_dropout: probability that training takes a modality away from a window; a draw
            that would take all of them takes none.

    Source: Section III-D, Eq. 5-7; sizes from MulT.
    """

    query: Tensor
    key: Tensor

    def __init__(
        self,
        inputs: Mapping[str, tuple[int, int]],
        classes: int,
        *,
        token_length: int = 50,
        dim: int = 40,
        heads: int = 5,
        cross_layers: int = 5,
        memory_layers: int = 5,
        single_layers: int = 10,
        attention_dropout: float = 0.1,
        relu_dropout: float = 0.1,
        residual_dropout: float = 0.1,
        embedding_dropout: float = 0.25,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_inputs("Fusion", inputs)
        check_at_least("Fusion", 1, classes=classes, token_length=token_length, dim=dim)
        check_at_least("Fusion", 1, heads=heads, cross_layers=cross_layers)
        check_at_least("Fusion", 1, single_layers=single_layers)
        check_at_least("Fusion", 0, memory_layers=memory_layers)
        check_heads("Fusion", dim, heads)
        self.inputs, self.heads, self.dim = dict(inputs), heads, dim
        dropouts = {
            "attention_dropout": attention_dropout,
            "relu_dropout": relu_dropout,
            "residual_dropout": residual_dropout,
        }
        self.unify = nn.ModuleDict(
            {name: Unify(*shape, token_length, dim) for name, shape in inputs.items()}
        )
        self.embedding_dropout = Dropout(embedding_dropout)
        self.modality_dropout = Dropout(modality_dropout)
        count = len(inputs)
        #: Directed pairs (query, key), ordered by the query modality.
        self.pairs = [(a, b) for a in range(count) for b in range(count) if a != b]
        if self.pairs:
            query, key = torch.tensor(self.pairs).T
            self.register_buffer("query", query, persistent=False)
            self.register_buffer("key", key, persistent=False)
            # Keys and values of all layers come out of one product: their tokens never change.
            self.key_value = StackedLinear(len(self.pairs), dim, 2 * dim * cross_layers)
            self.cross = nn.ModuleList(
                StackedLayer(len(self.pairs), dim, heads, attends_self=False, **dropouts)
                for _ in range(cross_layers)
            )
        width = dim * max(count - 1, 1)
        self.memory = nn.ModuleList(
            StackedLayer(count, width, heads, attends_self=True, **dropouts)
            for _ in range(memory_layers if self.pairs else single_layers)
        )
        self.mlp = nn.Sequential(
            nn.Linear(count * width, count * width),
            nn.ReLU(),
            Dropout(relu_dropout),
            nn.Linear(count * width, count * width),
        )
        self.classifier = nn.Linear(count * width, classes)

    def forward(self, x: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
        """Logits of a batch.

        Args:
            x: [B, tokens, features] of each modality, by name or in the order of `inputs`; NaN
                throughout where a window lacks it.

        Returns:
            [B, classes].

        Raises:
            ValueError: a modality is missing, unknown or of the wrong shape.
        """
        parts = named_inputs("Fusion", self.inputs, x)
        missing = torch.stack([part[:, 0, 0].isnan() for part in parts.values()])  # [M, B]
        tokens = torch.stack(
            [
                self.unify[name](part.masked_fill(lacks[:, None, None], 0.0))
                for lacks, (name, part) in zip(missing, parts.items(), strict=True)
            ]
        )
        present = self._heard(~missing)
        tokens = self.embedding_dropout(tokens)  # [M, B, L, d]
        streams = _cross(self, tokens, present) if self.pairs else tokens
        pooled = _pooled(self.memory, streams, present).transpose(0, 1).flatten(1)  # [B, M width]
        logits: Tensor = self.classifier(pooled + self.mlp(pooled))
        return logits

    def _heard(self, present: Tensor) -> Tensor:
        """What is present [M, B] and training does not take away."""
        if not self.training or not self.modality_dropout.p or not self.pairs:
            return present
        kept = self.modality_dropout(present.T.float()).T > 0
        return torch.where(kept.any(0), kept, present)


class FusionStack:
    """K `Fusion` of one shape in one pass, for small batches: as long as two or three alone.

    They are used in evaluation mode, without gradients; their weights are copied, and again where
    they have changed since. That is seen of changes in place (an optimiser's, `load_state_dict`, a
    move to another device), not of those through `.data` or of another `nn.Parameter` in the place.

    Args:
        models: K of them.

    Raises:
        ValueError: there are none, or they differ in shape, in heads or in the order of inputs.
    """

    def __init__(self, models: Sequence[Fusion]) -> None:
        check_alike("FusionStack", models)
        self._models = tuple(models)
        self._copy()

    @torch.inference_mode(False)
    @torch.no_grad()
    def _copy(self) -> None:
        models, first, count = self._models, self._models[0], len(self._models)
        self._parameters = [parameter for model in models for parameter in model.parameters()]
        self._copied = self._state()
        self.heads, self.inputs, self.pairs = first.heads, first.inputs, first.pairs
        self._single = {
            name: torch.stack([model.get_parameter(name).detach() for model in models])
            for name, _ in first.named_parameters()
            if name.startswith(("unify.", "mlp.", "classifier."))
        }
        self.memory = _joined([model.memory for model in models])
        if self.pairs:
            steps = len(first.inputs) * torch.arange(count, device=first.key.device)[:, None]
            self.query, self.key = ((each + steps).flatten() for each in (first.query, first.key))
            self.key_value = _joined([model.key_value for model in models])
            self.cross = _joined([model.cross for model in models])

    def _state(self) -> list[tuple[int, int]]:
        """What changes with the parameters; an inference tensor counts no changes."""
        return [
            (0 if each.is_inference() else each._version, each.data_ptr())
            for each in self._parameters
        ]

    @torch.inference_mode()
    def __call__(self, x: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
        """Logits [K, B, classes] of each model for one batch, as `Fusion.forward` takes it."""
        if self._state() != self._copied:
            self._copy()
        parts = named_inputs("Fusion", self.inputs, x)
        missing = torch.stack([part[:, 0, 0].isnan() for part in parts.values()])  # [M, B]
        unified = [
            self._unified(name, part.masked_fill(lacks[:, None, None], 0.0))
            for lacks, (name, part) in zip(missing, parts.items(), strict=True)
        ]
        tokens = torch.stack(unified, 1).flatten(0, 1)  # [K M, B, L, d]
        present = (~missing).repeat(len(unified[0]), 1)
        streams = _cross(self, tokens, present) if self.pairs else tokens
        pooled = _pooled(self.memory, streams, present)  # [K M, B, width]
        pooled = pooled.unflatten(0, (-1, len(parts))).transpose(1, 2).flatten(2)
        hidden = self._linear("mlp.3", self._linear("mlp.0", pooled).relu())
        return self._linear("classifier", pooled + hidden)

    def _unified(self, name: str, part: Tensor) -> Tensor:
        """One modality's [B, C, features] as [K, B, L, d]: each model's `Unify`."""
        x = self._linear(f"unify.{name}.features", part.flatten(0, 1)[None])
        x = x.unflatten(1, part.shape[:2]).transpose(2, 3)  # [K, B, d, C]
        weight, bias = (self._single[f"unify.{name}.tokens.{each}"] for each in ("weight", "bias"))
        x = x @ weight.transpose(1, 2)[:, None] + bias[:, None, None]
        return x.transpose(2, 3) + self._single[f"unify.{name}.positions"][:, None]

    def _linear(self, name: str, x: Tensor) -> Tensor:
        """X [K or 1, n, inputs] by each model's own linear map."""
        weight, bias = self._single[f"{name}.weight"], self._single[f"{name}.bias"]
        return x @ weight.transpose(1, 2) + bias[:, None]


def _joined(modules: Sequence[nn.Module]) -> Any:
    """Modules of stacked parameters as one, whose stack is theirs one after the other."""
    out = copy.deepcopy(modules[0]).eval().requires_grad_(False)
    for name, parameter in out.named_parameters():
        parameter.data = torch.cat([module.get_parameter(name).detach() for module in modules])
    return out


def _cross(model: Fusion | FusionStack, tokens: Tensor, present: Tensor) -> Tensor:
    """Unified tokens [M, B, L, d] -> enriched streams [M, B, L, (M - 1) d].

    Values of what is not present [M, B] are zero, so that attending to it adds nothing.
    """
    weights = (model.key_value.weight, model.key_value.bias)
    memory = sublayer.project(tokens[model.key], *weights, model.heads)  # 2 a layer
    heard = present[model.key][:, :, None, None, None]
    memory = tuple(part * heard if i % 2 else part for i, part in enumerate(memory))
    streams = tokens[model.query]  # [P, B, L, d]
    for i, layer in enumerate(model.cross):
        streams = layer(streams, memory[2 * i : 2 * i + 2])
    return streams.unflatten(0, (len(tokens), -1)).permute(0, 2, 3, 1, 4).flatten(3)


def _pooled(layers: Iterable[nn.Module], streams: Tensor, present: Tensor) -> Tensor:
    """Streams [M, B, L, width] behind their layers, the mean over tokens: [M, B, width]."""
    for layer in layers:
        streams = layer(streams)
    return F.layer_norm(streams, streams.shape[-1:]).mean(2) * present[..., None]


@torch.no_grad()
def attention_maps(model: Fusion, x: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
    """What every pair attends to in every cross layer: softmax(Q K^T / sqrt(d / h)).

    The forward pass itself is watched: the layers' own inputs and projections make the weights.

    Args:
        model: of two modalities or more; in evaluation mode, or dropout blurs deeper layers.
        x: [B, tokens, features] of each modality, as `Fusion.forward` takes them.

    Returns:
        [P, layers, B, h, Lq, Lk]; pair p is `model.pairs[p]`, the query's modality first. Rows sum
        to 1.

    Raises:
        ValueError: a single modality has no pairs; or x is not what the model takes.

    Source: Eq. 5-6.
    """
    if not model.pairs:
        raise ValueError(f"attention_maps: expected two modalities or more, got {[*model.inputs]}")
    maps: list[Tensor] = []

    def record(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        maps.append(cast(StackedLayer, layer).weights(*inputs))

    hooks = [layer.register_forward_pre_hook(record) for layer in model.cross]
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(maps, 1)
