"""`norm_relu_pool`: batch norm, ReLU and max pooling of series, fused."""

from clmer.ops.normpool.op import norm_relu_pool, norm_relu_pool_reference

__all__ = ["norm_relu_pool", "norm_relu_pool_reference"]
