"""`project_heads`, `merge_heads`, `feed_forward`: sublayers of transformer layers, fused."""

from clmer.ops.sublayer.op import feed_forward, merge_heads, project_heads
from clmer.ops.sublayer.reference import (
    feed_forward_reference,
    merge_heads_reference,
    project_heads_reference,
)

__all__ = [
    "feed_forward",
    "feed_forward_reference",
    "merge_heads",
    "merge_heads_reference",
    "project_heads",
    "project_heads_reference",
]
