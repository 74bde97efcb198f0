"""Modules: cross-modal attention, encoder, contrastive stage and fusion. PyTorch only."""

from clmer.nn.attention import CrossModalAttention
from clmer.nn.contrastive import ContrastiveModel
from clmer.nn.encoder import Encoder, as_tokens, feature_count
from clmer.nn.fusion import Fusion

__all__ = [
    "ContrastiveModel",
    "CrossModalAttention",
    "Encoder",
    "Fusion",
    "as_tokens",
    "feature_count",
]
