"""Functions with the signatures and the semantics of `torch.nn.functional`, computed by NumPy."""

from scratch_conv.functional.activation import *
from scratch_conv.functional.adaptive_max_pooling import *
from scratch_conv.functional.convolution import *
from scratch_conv.functional.cross_entropy import *
from scratch_conv.functional.dropout import *
from scratch_conv.functional.flatten import *
from scratch_conv.functional.group_normalization import *
from scratch_conv.functional.interpolation import *
from scratch_conv.functional.linear import *
from scratch_conv.functional.losses import *
from scratch_conv.functional.nll import *
from scratch_conv.functional.normalization import *
from scratch_conv.functional.padding import *
from scratch_conv.functional.pooling import *
from scratch_conv.functional.pooling_of_signals import *
from scratch_conv.functional.pooling_of_volumes import *
from scratch_conv.functional.response_normalization import *
from scratch_conv.functional.shuffling import *
from scratch_conv.functional.softmax import *
from scratch_conv.functional.unfolding import *
from scratch_conv.functional.unpooling import *

__all__ = sorted(name for name, value in globals().items() if callable(value) and not name.startswith("_"))
