"""Modules: cross-modal attention, NT-Xent, encoder, contrastive stage and fusion. PyTorch only."""

from clmer.nn.attention import CrossModalAttention
from clmer.nn.bandpass import Bandpass
from clmer.nn.contrastive import ContrastiveModel
from clmer.nn.encoder import Encoder, as_tokens, feature_count
from clmer.nn.fusion import Fusion
from clmer.nn.ntxent import NTXentLoss
from clmer.nn.replace import Replacement, replace_attention, restore_attention
from clmer.ops.attention.sdpa import sdpa_kernel

__all__ = [
    "Bandpass",
    "ContrastiveModel",
    "CrossModalAttention",
    "Encoder",
    "Fusion",
    "NTXentLoss",
    "Replacement",
    "as_tokens",
    "feature_count",
    "replace_attention",
    "restore_attention",
    "sdpa_kernel",
]
