"""Modules with the names, constructors, parameters and state dicts of `torch.nn`, computed by NumPy.

Each is a subclass of its torch namesake: `isinstance` holds both ways of asking, and a torch module becomes
ours by a change of class (`scratch_conv.swap`).
"""

from scratch_conv.nn.activation import ReLU
from scratch_conv.nn.convolution import Conv2d
from scratch_conv.nn.dense import Linear
from scratch_conv.nn.pooling import MaxPool2d

__all__ = ["Conv2d", "Linear", "MaxPool2d", "ReLU"]
