"""Average and max pooling."""

from scratch_conv.kernels.pooling.adaptive_maximum import *
from scratch_conv.kernels.pooling.average import *
from scratch_conv.kernels.pooling.maximum import *
from scratch_conv.kernels.pooling.picked import *
from scratch_conv.kernels.pooling.unpooling import *
from scratch_conv.kernels.pooling.volumes import *
