"""Functions with the signatures and the semantics of `torch.nn.functional`, computed by NumPy."""

from scratch_conv.functional.activation import log_softmax, relu, softmax
from scratch_conv.functional.convolution import conv1d, conv2d, conv_transpose2d
from scratch_conv.functional.cross_entropy import cross_entropy
from scratch_conv.functional.dropout import dropout, dropout2d
from scratch_conv.functional.flatten import flatten
from scratch_conv.functional.linear import linear
from scratch_conv.functional.normalization import batch_norm
from scratch_conv.functional.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "conv1d",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "dropout",
    "dropout2d",
    "flatten",
    "linear",
    "log_softmax",
    "max_pool2d",
    "relu",
    "softmax",
]
