"""Functions of each element by itself: the rectified linear unit, and a family of others."""

from scratch_conv.kernels.activation.channelwise import *
from scratch_conv.kernels.activation.family import *
from scratch_conv.kernels.activation.rectified import *
