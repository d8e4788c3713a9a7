"""Functions with the signatures and the semantics of `torch.nn.functional`, computed by NumPy."""

from scratch_conv.functional.activation import relu
from scratch_conv.functional.convolution import conv2d
from scratch_conv.functional.dense import linear
from scratch_conv.functional.pooling import max_pool2d

__all__ = ["conv2d", "linear", "max_pool2d", "relu"]
