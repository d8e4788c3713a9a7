"""Modules with the names, constructors, parameters and state dicts of `torch.nn`, computed by NumPy.

Each is a subclass of its torch namesake: `isinstance` holds both ways of asking, and a torch module becomes
ours by a change of class (`scratch_conv.swap`).
"""

from scratch_conv.nn.convolution import (
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    LazyConv1d,
    LazyConv2d,
    LazyConvTranspose2d,
)
from scratch_conv.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConvTranspose2d",
    "MaxPool2d",
]
