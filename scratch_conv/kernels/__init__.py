"""The operations and their derivatives in NumPy, one file an operation. Nothing here knows torch."""

from scratch_conv.kernels.activation import *
from scratch_conv.kernels.convolution import *
from scratch_conv.kernels.cross_entropy import *
from scratch_conv.kernels.dropout import *
from scratch_conv.kernels.group_normalization import *
from scratch_conv.kernels.interpolation import *
from scratch_conv.kernels.linear import *
from scratch_conv.kernels.losses import *
from scratch_conv.kernels.normalization import *
from scratch_conv.kernels.padding import *
from scratch_conv.kernels.pooling import *
from scratch_conv.kernels.products import *
from scratch_conv.kernels.response_normalization import *
from scratch_conv.kernels.scratch_memory import *
from scratch_conv.kernels.shuffling import *
from scratch_conv.kernels.softmax import *
from scratch_conv.kernels.sums import *
from scratch_conv.kernels.threads import *
from scratch_conv.kernels.unfolding import *
from scratch_conv.kernels.windows import *

__all__ = sorted(name for name, value in globals().items() if callable(value) and not name.startswith("_"))
