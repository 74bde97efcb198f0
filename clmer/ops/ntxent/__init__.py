"""`nt_xent`: the NT-Xent loss without the similarity matrix."""

from clmer.ops.ntxent.op import nt_xent
from clmer.ops.ntxent.reference import nt_xent_reference

__all__ = ["nt_xent", "nt_xent_reference"]
