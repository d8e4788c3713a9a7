"""Average and max pooling."""

from scratch_conv.kernels.pooling.average import *
from scratch_conv.kernels.pooling.maximum import *
