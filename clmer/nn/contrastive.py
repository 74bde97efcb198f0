"""What an encoder is trained by without labels: the paper's Eq. 1-4, and NT-Xent on pooled z."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clmer import ops
from clmer.nn import sublayer
from clmer.nn.checks import NotScriptable
from clmer.nn.dropout import Dropout
from clmer.nn.encoder import Encoder
from clmer.nn.shard import BatchNorm, Shard, sharded
from clmer.nn.views import Views
from clmer.ops.ntxent.distributed import gather_samples
from clmer.ops.sublayer.layer import LayerWeights

#: The two readings of Eq. 3, see `temporal_loss`.
TemporalLoss = Literal["batch", "printed"]


#: What an objective returns: "loss" carries the gradient; its parts, for the log, are detached.
Losses = dict[str, Tensor]


class TemporalTransformer(nn.Module):
    """Summary s_t of the encoder steps up to t: a pre-norm transformer with a summary token.

    Positions are sinusoidal and counted back from t, so that the newest step is always at 0.

    Args:
        features: F, features a step of z.
        steps: the most steps it will see.
        hidden: width, and size of s_t.
        depth, heads, mlp: layers, heads, and hidden units of the feed-forward part.
        dropout: after attention and feed-forward layers.

    Source: TS-TCC's temporal contrasting module, which knows no positions.
    """

    positions: Tensor

    def __init__(
        self,
        features: int,
        steps: int,
        *,
        hidden: int = 100,
        depth: int = 4,
        heads: int = 4,
        mlp: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if hidden % heads or hidden % 2 or depth < 1:
            raise ValueError(
                "TemporalTransformer: expected an even hidden size that heads divide and "
                f"depth >= 1, got hidden={hidden}, heads={heads}, depth={depth}"
            )
        self.features, self.steps = features, steps
        self.embed = nn.Linear(features, hidden)
        self.summary = nn.Parameter(torch.randn(hidden))
        self.register_buffer("positions", sinusoid(steps, hidden), persistent=False)
        self.layers = nn.ModuleList(_Layer(hidden, heads, mlp, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, z: Tensor, t: Tensor | None = None) -> Tensor:
        """Summary s_t [B, hidden] of z [B, F, t + 1], oldest step first.

        Where t is given (0-d, on z's device) z may be longer, and steps past t are not seen: shapes
        do not depend on t, so that a CUDA graph holds every t.
        """
        if z.ndim != 3 or z.shape[1] != self.features or not 1 <= z.shape[2] <= self.steps:
            raise ValueError(
                f"TemporalTransformer: expected z [B, {self.features}, 1 to {self.steps} steps], "
                f"got {list(z.shape)}"
            )
        positions, later = self.positions[: z.shape[2]].flip(0), None
        if t is not None:
            ago = t - torch.arange(z.shape[2], device=z.device)
            positions = self.positions[ago.clamp(min=0)]
            later = F.pad(ago < 0, (1, 0))  # the summary token is seen
        x = self.embed(z.transpose(1, 2)) + positions
        x = torch.cat([self.summary.expand(len(x), 1, -1), x], dim=1)  # [B, 1 + t + 1, hidden]
        for layer in self.layers[:-1]:
            x = layer(x, unseen=later)
        x = self.layers[-1](x, first_only=True, unseen=later)  # only the summary token is read
        s: Tensor = self.norm(x[:, 0])
        return s


class _Layer(nn.Module):
    """Pre-norm attention and feed-forward part: one kernel on the CPU, else PyTorch's parts."""

    def __init__(self, hidden: int, heads: int, mlp: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(hidden)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key_value = nn.Linear(hidden, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, hidden)
        self.dropout = Dropout(dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(hidden),
            nn.Linear(hidden, mlp),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(mlp, hidden),
            Dropout(dropout),
        )

    def forward(self, x: Tensor, first_only: bool = False, unseen: Tensor | None = None) -> Tensor:
        """Update x [B, L, hidden]; `first_only` gives its first token alone, [B, 1, hidden].

        Nobody attends to tokens that are `unseen` [L].
        """
        if unseen is None and sublayer.takes_kernel(x):
            p = self.dropout.p if self.training else 0.0
            return sublayer.layer(x, self._weights(), self.heads, first_only, p)
        first = x[:, :1] if first_only else x
        normed = self.norm(x)
        query = self._heads(self.query(normed[:, : first.shape[1]]))
        key, value = map(self._heads, self.key_value(normed).chunk(2, dim=-1))
        y = ops.cross_attention(query, key, value, key_padding_mask=unseen)
        x = first + self.dropout(self.out(y.transpose(1, 2).flatten(2)))
        out: Tensor = x + self.feed_forward(x)
        return out

    def _weights(self) -> LayerWeights:
        feed_forward: Any = self.feed_forward
        norm, first, _, _, second, _ = feed_forward
        return LayerWeights(
            self.norm.weight, self.norm.bias, self.query.weight, self.key_value.weight,
            self.out.weight, self.out.bias, norm.weight, norm.bias,
            first.weight, first.bias, second.weight, second.bias,
        )  # fmt: skip

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


def sinusoid(length: int, dim: int) -> Tensor:
    """Positions [length, dim], dim even: sin and cos of t / 10000^(2 i / dim), in turn."""
    angle = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(0, dim, 2) / dim)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)  # [length, dim]


def temporal_loss(
    prediction: Tensor, z: Tensor, t: int | Tensor, temporal: TemporalLoss = "batch"
) -> Tensor:
    """How badly predictions made at step t tell the coming steps from negatives, -log softmax.

    batch:   mean over views, samples b and steps i of -log softmax_c(<p_i^b, z_t+i^c>)[c = b]:
             the negatives are the same step of the other samples; each step has its own p_i.
    printed: -1/K sum_i log(exp<p, z_t+i> / sum_{j != t} exp<p, z_j>), Eq. 3 as printed: the
             negatives are the other steps of the same window; one p for all.

    Args:
        prediction: F_i(s_t). batch [V, B, K, F]; printed [V, B, 1, F], with K = min(6, T' // 2).
        z: the encoder output that is predicted, [V, B, F, T'].
        t: last step that the prediction has seen; t + K < T', unchecked where it is on the device.
        temporal: "batch" or "printed".

    Returns:
        Scalar.

    Source: Eq. 3; `batch` is TS-TCC's form, normalised over the targets.
    """
    if temporal not in ("batch", "printed"):
        raise ValueError(f"temporal_loss: temporal must be 'batch' or 'printed', got {temporal!r}")
    if z.ndim != 4 or z.shape[3] < 2:
        raise ValueError(
            f"temporal_loss: expected z [V, B, F, T'] with T' >= 2, got {list(z.shape)}"
        )
    steps = z.shape[3]
    ahead = future_steps(steps)
    expected = ahead if temporal == "batch" else 1
    if prediction.shape != (*z.shape[:2], expected, z.shape[2]):
        raise ValueError(
            f"temporal_loss: expected prediction {[*z.shape[:2], expected, z.shape[2]]} for "
            f"z {list(z.shape)} and temporal {temporal!r}, got {list(prediction.shape)}"
        )
    if not isinstance(t, Tensor) and not 0 <= t < steps - ahead:
        raise ValueError(f"temporal_loss: t must be in [0, {steps - ahead}), got {t}")
    if temporal == "batch":
        future = _ahead(z, t, ahead)  # [V, B, F, K]
        scores = prediction.transpose(1, 2) @ future.permute(0, 3, 2, 1)  # [V, K, B, B]
        return -scores.log_softmax(3).diagonal(dim1=2, dim2=3).mean()
    scores = (prediction @ z).squeeze(2)  # [V, B, T']
    others = torch.arange(steps, device=z.device) != t
    normaliser = scores.masked_fill(~others, float("-inf")).logsumexp(2, keepdim=True)
    return (normaliser - _ahead(scores, t, ahead)).mean()


def _ahead(x: Tensor, t: int | Tensor, count: int) -> Tensor:
    """The `count` steps of x [..., T'] that follow t."""
    if isinstance(t, Tensor):
        return x.index_select(-1, t + 1 + torch.arange(count, device=x.device))
    return x[..., t + 1 : t + 1 + count]


def future_steps(steps: int) -> int:
    """K, the steps predicted ahead of t, of an encoder output with T' = `steps` >= 2."""
    return min(6, steps // 2)


class ContrastiveModel(NotScriptable, nn.Module):
    """The contrastive stage of one modality: L = 0.7 L_sample + 1.0 L_temporal.

    Two views of a window are encoded; the summary s_t of each predicts the other's K next steps
    (`temporal_loss`), and the projected summaries of the two are drawn together (`nt_xent`). Both
    views go through the encoder as one batch and share its BatchNorm statistics.

    Args:
        encoder: trained in place; afterwards it is used alone.
        temporal: reading of Eq. 3, see `temporal_loss`.
        temperature: tau of Eq. 1.
        sample_weight, temporal_weight: lambda_1 and lambda_2 of Eq. 4.
        hidden, depth, heads, mlp: of the `TemporalTransformer`.
        views: how the two views are made.

    Source: Eq. 1-4; sizes and weights from TS-TCC.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        views: Views | None = None,
        temporal: TemporalLoss = "batch",
        temperature: float = 0.2,
        sample_weight: float = 0.7,
        temporal_weight: float = 1.0,
        hidden: int = 100,
        depth: int = 4,
        heads: int = 4,
        mlp: int = 64,
    ) -> None:
        super().__init__()
        if temporal not in ("batch", "printed"):
            raise ValueError(
                f"ContrastiveModel: temporal must be 'batch' or 'printed', got {temporal!r}"
            )
        self.encoder, self.temporal, self.temperature = encoder, temporal, temperature
        self.views = views or Views()
        self.sample_weight, self.temporal_weight = sample_weight, temporal_weight
        self.ahead = future_steps(encoder.steps)
        self.transformer = TemporalTransformer(
            encoder.features, encoder.steps, hidden=hidden, depth=depth, heads=heads, mlp=mlp
        )
        self.predictors = self.ahead if temporal == "batch" else 1
        # all F_i in one product
        self.predict = nn.Linear(hidden, self.predictors * encoder.features)
        # nn.Linear's own start gives scores of +-4 and a loss at twice chance, which takes hundreds
        # of steps to undo; this start gives scores under 1.
        nn.init.normal_(self.predict.weight, std=(3 * hidden * encoder.features) ** -0.5)
        nn.init.zeros_(self.predict.bias)
        self.project = nn.Sequential(
            nn.Linear(hidden, 64), BatchNorm(64), nn.ReLU(), nn.Linear(64, 32)
        )

    def forward(
        self,
        x: Tensor,
        generator: torch.Generator,
        t: int | Tensor | None = None,
        shard: Shard | None = None,
    ) -> Losses:
        """Losses of one batch.

        Args:
            x: [B, C, T], standardised, B >= 2.
            generator: on x's device; draws the views, and t where none is given.
            t: the step predicted from, in [0, T' - K); drawn once a batch by default, which on a
                GPU waits for the device. A 0-d tensor on x's device stays there: see `draw_step`.
            shard: where several ranks train together, this rank's part of the batch. x and the
                generator's state are the same on every rank. So are the losses, those of the whole
                batch; their gradient is what this rank's samples contribute (sum over the ranks).
        """
        if len(x) < 2:
            raise ValueError(f"ContrastiveModel: needs at least 2 windows a batch, got {len(x)}")
        own = slice(None) if shard is None else shard.rows
        first, second = self.views(x, generator)
        views = torch.cat([first[own], second[own]])
        both = (2, len(views) // 2)
        if t is None:
            t = int(self.draw_step(generator))
        with sharded(shard, copies=2):
            z = self.encoder(views)  # [2 B, F, T']
            seen = (z, t) if isinstance(t, Tensor) else (z[:, :, : t + 1],)
            s = self.transformer(*seen)  # [2 B, hidden]
            a, b = self.project(s).unflatten(0, both)
        prediction = self.predict(s).view(*both, self.predictors, self.encoder.features)
        z = z.unflatten(0, both)
        if shard is not None:
            prediction = gather_samples(prediction, -3, shard.sizes, shard.group)
            z = gather_samples(z, -3, shard.sizes, shard.group)
        temporal = temporal_loss(prediction.flip(0), z, t, self.temporal)
        group = None if shard is None else shard.group
        sample = ops.nt_xent(a, b, self.temperature, process_group=group)
        loss = self.sample_weight * sample + self.temporal_weight * temporal
        return {"loss": loss, "sample": sample.detach(), "temporal": temporal.detach()}

    def draw_step(self, generator: torch.Generator) -> Tensor:
        """A step to predict from, 0-d, on the generator's device."""
        choices = self.encoder.steps - self.ahead
        return torch.randint(choices, (), generator=generator, device=generator.device)


class PooledContrast(NotScriptable, nn.Module):
    """NT-Xent on encoder features pooled over time, without a temporal loss.

        u = project(mean_t z_t, sd_t z_t)
        L = mean over groups of nt_xent(u of one view, u of the other)

    The pooled features are what a linear model reads. Negatives are the other windows of a group:
    with one person per group, what tells people apart is no help.

    Args:
        encoder: trained in place; afterwards it is used alone.
        views: how the two views are made.
        temperature: tau.
        hidden, size: units of the projection's hidden layer, and its output's.

    Source: Eq. 1-2 on other features; ours.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        views: Views | None = None,
        temperature: float = 0.2,
        hidden: int = 64,
        size: int = 32,
    ) -> None:
        super().__init__()
        self.encoder, self.views, self.temperature = encoder, views or Views(), temperature
        self.project = nn.Sequential(
            nn.Linear(2 * encoder.features, hidden),
            BatchNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, size),
        )

    def forward(
        self,
        x: Tensor,
        generator: torch.Generator,
        shard: Shard | None = None,
        *,
        other: Tensor | None = None,
        group: int | None = None,
    ) -> Losses:
        """Loss of one batch.

        Args:
            x: [B, C, T], standardised, B >= 2.
            generator: on x's device; draws the views.
            shard: as in `ContrastiveModel`.
            other: [B, C, T] what the second views are made of, such as neighbours; None for x.
            group: windows per group, which divides B: rows 0 to group - 1 are the first group.
                None for one group.
        """
        group = len(x) if group is None else group
        if group < 2 or len(x) % group:
            raise ValueError(
                f"PooledContrast: expected groups of 2 windows or more that divide the batch, got "
                f"{len(x)} windows and group={group}"
            )
        own = slice(None) if shard is None else shard.rows
        # of what the encoder's blocks see: samples, or log power over time
        seen = self.encoder.prepare(x)
        beside = seen if other is None else self.encoder.prepare(other)
        first, second = self.views(seen, generator, beside)
        views = torch.cat([first[own], second[own]])
        with sharded(shard, copies=2):
            u = self.project(pooled(self.encoder.convolve(views))).unflatten(
                0, (2, len(views) // 2)
            )
        if shard is not None:
            u = gather_samples(u, -2, shard.sizes, shard.group)
        a, b = u.unflatten(1, (-1, group))  # [groups, group, size] each
        loss = ops.nt_xent(a, b, self.temperature).mean()
        return {"loss": loss, "sample": loss.detach()}


def pooled(z: Tensor) -> Tensor:
    """Mean and standard deviation over time of z [B, F, T']: [B, 2 F]."""
    # the constant keeps the gradient finite where a feature is 0 throughout
    sd = (z.var(2, correction=0) + 1e-6).sqrt()
    return torch.cat([z.mean(2), sd], dim=1)
