"""Husformer: every modality attends to all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from clmer.baselines.crossmodal import CrossmodalTransformer, TokenProjection
from clmer.nn.checks import check_at_least, check_heads, check_inputs, named_inputs


class Husformer(nn.Module):
    """Each modality asks the concatenation of all modalities, itself included.

        a = [x_1; ..; x_M] along the tokens;  z = [T_1(x_1, a); ..; T_M(x_M, a)]
        h = sum_l w_l S(z)_l;  logits = W h

    x are token projections, S attends to itself over all tokens, w weighs tokens and has no bias.
    Positions run on through the concatenations.

    Args:
        inputs: (tokens, features) of each modality by name.
        classes: number of classes.
        dim: d, features of a token.
        heads: of every attention; divides d.
        cross_layers: of each T.
        memory_layers: of S.
        embedding_dropout: on scaled tokens with their positions.
        dropouts: the other ones of `CrossmodalTransformer`, by its names for them.

    Left out of the original code: the causal mask (on by default there: it would keep a modality
    from seeing those that stand behind it in the concatenation), positions that read a zero first
    feature as padding, a projection skipped where a modality happens to have d features, and a
    residual block whose result is computed and dropped.

    Source: Wang et al., Husformer: A Multi-Modal Transformer for Multi-Modal Human State
    Recognition (2022), https://github.com/SMARTlab-Purdue/Husformer, whose sizes are the defaults.
    """

    def __init__(
        self,
        inputs: Mapping[str, tuple[int, int]],
        classes: int,
        *,
        dim: int = 30,
        heads: int = 3,
        cross_layers: int = 5,
        memory_layers: int = 5,
        embedding_dropout: float = 0.1,
        **dropouts: float,
    ) -> None:
        super().__init__()
        check_inputs("Husformer", inputs)
        check_at_least("Husformer", 1, classes=classes, dim=dim, heads=heads)
        check_at_least("Husformer", 1, cross_layers=cross_layers)
        check_at_least("Husformer", 0, memory_layers=memory_layers)
        check_heads("Husformer", dim, heads)
        self.inputs = dict(inputs)
        together = sum(tokens for tokens, _ in inputs.values())

        def transformer(layers: int) -> CrossmodalTransformer:
            return CrossmodalTransformer(
                dim, heads, layers, together, embedding_dropout=embedding_dropout, **dropouts
            )

        self.project = nn.ModuleDict(
            {name: TokenProjection(features, dim) for name, (_, features) in inputs.items()}
        )
        self.cross = nn.ModuleDict({name: transformer(cross_layers) for name in inputs})
        self.memory = transformer(memory_layers)
        self.weigh = nn.Linear(together, 1, bias=False)
        self.classifier = nn.Linear(dim, classes)

    def forward(self, x: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
        """Logits of a batch.

        Args:
            x: [B, tokens, features] of each modality, by name or in the order of `inputs`.

        Returns:
            [B, classes].

        Raises:
            ValueError: a modality is missing, unknown or of the wrong shape.
        """
        parts = named_inputs("Husformer", self.inputs, x)
        tokens = {name: self.project[name](part) for name, part in parts.items()}
        everything = torch.cat(list(tokens.values()), dim=1)  # [B, all tokens, d]
        enriched = [self.cross[name](part, everything) for name, part in tokens.items()]
        streams = self.memory(torch.cat(enriched, dim=1))
        pooled = self.weigh(streams.transpose(1, 2)).squeeze(2)  # [B, d]
        logits: Tensor = self.classifier(pooled)
        return logits
