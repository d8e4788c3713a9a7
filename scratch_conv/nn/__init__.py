"""Modules with the names, constructors, parameters and state dicts of `torch.nn`, computed by NumPy.

Each is a subclass of its torch namesake. Its forward pass is that of torch's class, within which NumPy
computes the functions that are called.
"""

from scratch_conv.nn.activation import *
from scratch_conv.nn.computing import compute
from scratch_conv.nn.convolution import *
from scratch_conv.nn.cross_entropy import *
from scratch_conv.nn.dropout import *
from scratch_conv.nn.flatten import *
from scratch_conv.nn.group_normalization import *
from scratch_conv.nn.interpolation import *
from scratch_conv.nn.linear import *
from scratch_conv.nn.losses import *
from scratch_conv.nn.normalization import *
from scratch_conv.nn.padding import *
from scratch_conv.nn.pooling import *
from scratch_conv.nn.response_normalization import *
from scratch_conv.nn.shuffling import *
from scratch_conv.nn.softmax import *
from scratch_conv.nn.tracing import stand_in
from scratch_conv.nn.unfolding import *

__all__ = sorted(name for name, value in globals().items() if isinstance(value, type))

for _name in __all__:
    stand_in(globals()[_name])
    if not _name.startswith("Lazy"):  # these derive from another layer of this package
        compute(globals()[_name])
