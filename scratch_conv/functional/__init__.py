"""Functions with the signatures and the semantics of `torch.nn.functional`, computed by NumPy."""

from scratch_conv.functional.convolution import conv1d, conv2d, conv_transpose2d
from scratch_conv.functional.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d

__all__ = ["adaptive_avg_pool2d", "avg_pool2d", "conv1d", "conv2d", "conv_transpose2d", "max_pool2d"]
