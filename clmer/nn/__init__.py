"""Modules on the ops."""

from clmer.nn.attention import CrossModalAttention

__all__ = ["CrossModalAttention"]
