"""Functions with the signatures and the semantics of `torch.nn.functional`, computed by NumPy."""

from scratch_conv.functional.activation import log_softmax, relu, softmax
from scratch_conv.functional.convolution import conv2d
from scratch_conv.functional.dense import linear
from scratch_conv.functional.dropout import dropout, dropout2d
from scratch_conv.functional.loss import cross_entropy
from scratch_conv.functional.normalization import batch_norm
from scratch_conv.functional.pooling import max_pool2d
from scratch_conv.functional.shape import flatten

__all__ = [
    "batch_norm",
    "conv2d",
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
