"""MulT, the multimodal transformer for unaligned sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from clmer.baselines.crossmodal import CrossmodalTransformer, TokenProjection
from clmer.nn.checks import check_at_least, check_heads, check_inputs, named_inputs
from clmer.nn.dropout import Dropout


class MulT(nn.Module):
    """Every directed pair of modalities has a crossmodal transformer, at the tokens' own number.

        z_a = [T_ab(x_a, x_b) for b != a];  h_a = S_a(z_a)[last];  h = [h_a for all a]
        logits = W (h + W_2 dropout(relu(W_1 h)))

    T_ab lets x_a ask and x_b answer; S_a attends to itself over the M - 1 results side by side, of
    (M - 1) d features. x are token projections. Unlike `clmer.nn.Fusion`, tokens are not brought to
    one number L, positions are sinusoidal, and the last token is read instead of the mean.

    Args:
        inputs: (tokens, features) of each modality by name, two or more.
        classes: number of classes.
        dim: d, features of a token.
        heads: of every attention; divides d.
        cross_layers: of each T.
        memory_layers: of each S.
        kernel: of the token projections, odd.
        output_dropout: inside the residual block at the end.
        dropouts: those of `CrossmodalTransformer`, by its names for them.

    Left out of the original code: the causal mask (on by default there, between tokens of different
    modalities too, whose order it cannot know), positions that read a zero first feature as
    padding, and a projection skipped where a modality happens to have d features. Text is no
    special case: there it alone has dropout at the input and in the attention.

    Source: Tsai et al., Multimodal Transformer for Unaligned Multimodal Language Sequences (2019),
    https://github.com/yaohungt/Multimodal-Transformer, whose sizes are the defaults.
    """

    def __init__(
        self,
        inputs: Mapping[str, tuple[int, int]],
        classes: int,
        *,
        dim: int = 30,
        heads: int = 5,
        cross_layers: int = 5,
        memory_layers: int = 5,
        kernel: int = 1,
        output_dropout: float = 0.0,
        **dropouts: float,
    ) -> None:
        super().__init__()
        check_inputs("MulT", inputs)
        if len(inputs) < 2:
            raise ValueError(
                f"MulT: expected two modalities or more, got {list(inputs)}: it is made of pairs"
            )
        check_at_least("MulT", 1, classes=classes, dim=dim, heads=heads, cross_layers=cross_layers)
        check_at_least("MulT", 0, memory_layers=memory_layers)
        check_heads("MulT", dim, heads)
        self.inputs = dict(inputs)
        longest = max(tokens for tokens, _ in inputs.values())
        self.project = nn.ModuleDict(
            {name: TokenProjection(features, dim, kernel) for name, (_, features) in inputs.items()}
        )

        def transformers(names: Sequence[str], width: int, layers: int) -> nn.ModuleDict:
            return nn.ModuleDict(
                {
                    name: CrossmodalTransformer(width, heads, layers, longest, **dropouts)
                    for name in names
                }
            )

        #: query -> key -> T.
        self.cross = nn.ModuleDict(
            {
                query: transformers([name for name in inputs if name != query], dim, cross_layers)
                for query in inputs
            }
        )
        width = dim * (len(inputs) - 1)
        self.memory = transformers(list(inputs), width, memory_layers)
        joined = width * len(inputs)
        self.residual = nn.Sequential(
            nn.Linear(joined, joined), nn.ReLU(), Dropout(output_dropout), nn.Linear(joined, joined)
        )
        self.classifier = nn.Linear(joined, classes)

    def forward(self, x: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
        """Logits of a batch.

        Args:
            x: [B, tokens, features] of each modality, by name or in the order of `inputs`.

        Returns:
            [B, classes].

        Raises:
            ValueError: a modality is missing, unknown or of the wrong shape.
        """
        parts = named_inputs("MulT", self.inputs, x)
        tokens = {name: self.project[name](part) for name, part in parts.items()}
        read = []
        for query, pairs in self.cross.items():
            enriched = [cross(tokens[query], tokens[name]) for name, cross in pairs.items()]  # type: ignore[operator]
            read.append(self.memory[query](torch.cat(enriched, dim=2))[:, -1])
        joined = torch.cat(read, dim=1)  # [B, M (M - 1) d]
        logits: Tensor = self.classifier(joined + self.residual(joined))
        return logits
