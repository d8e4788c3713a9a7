"""Modules with the names, constructors, parameters and state dicts of `torch.nn`, computed by NumPy.

Each is a subclass of its torch namesake: `isinstance` holds both ways of asking, and a torch module becomes
ours by a change of class (`scratch_conv.swap`).
"""

from scratch_conv.nn.activation import *
from scratch_conv.nn.convolution import *
from scratch_conv.nn.cross_entropy import *
from scratch_conv.nn.dropout import *
from scratch_conv.nn.flatten import *
from scratch_conv.nn.linear import *
from scratch_conv.nn.normalization import *
from scratch_conv.nn.pooling import *
from scratch_conv.nn.softmax import *
from scratch_conv.nn.tracing import stand_in

__all__ = sorted(name for name, value in globals().items() if isinstance(value, type))

for _name in __all__:
    stand_in(globals()[_name])
