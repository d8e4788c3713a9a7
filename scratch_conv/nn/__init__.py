"""Modules with the names, constructors, parameters and state dicts of `torch.nn`, computed by NumPy.

Each is a subclass of its torch namesake: `isinstance` holds both ways of asking, and a torch module becomes
ours by a change of class (`scratch_conv.swap`).
"""

from scratch_conv.nn.activation import LogSoftmax, ReLU, Softmax
from scratch_conv.nn.convolution import (
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    LazyConv1d,
    LazyConv2d,
    LazyConvTranspose2d,
)
from scratch_conv.nn.cross_entropy import CrossEntropyLoss
from scratch_conv.nn.dropout import Dropout, Dropout2d
from scratch_conv.nn.flatten import Flatten
from scratch_conv.nn.linear import Linear
from scratch_conv.nn.normalization import BatchNorm1d, BatchNorm2d
from scratch_conv.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from scratch_conv.nn.tracing import TwinModule

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConvTranspose2d",
    "Linear",
    "LogSoftmax",
    "MaxPool2d",
    "ReLU",
    "Softmax",
]

for _name in __all__:
    _layer = globals()[_name]
    _layer.__module__ = TwinModule(_layer.__module__)
