"""Each kernel as a `torch.autograd.Function` on an opaque custom operator. Thin: all arithmetic is NumPy."""

from scratch_conv.autograd._torch_internals import *
from scratch_conv.autograd.activation import *
from scratch_conv.autograd.activation_family import *
from scratch_conv.autograd.convolution import *
from scratch_conv.autograd.convolution3d import *
from scratch_conv.autograd.cross_entropy import *
from scratch_conv.autograd.dropout import *
from scratch_conv.autograd.group_normalization import *
from scratch_conv.autograd.interpolation import *
from scratch_conv.autograd.linear import *
from scratch_conv.autograd.losses import *
from scratch_conv.autograd.normalization import *
from scratch_conv.autograd.operators import *
from scratch_conv.autograd.padding import *
from scratch_conv.autograd.pooling import *
from scratch_conv.autograd.products import *
from scratch_conv.autograd.response_normalization import *
from scratch_conv.autograd.shuffling import *
from scratch_conv.autograd.softmax import *
from scratch_conv.autograd.tensors import *
from scratch_conv.autograd.unfolding import *

# isort: split
from scratch_conv.autograd.decompositions import *  # of the operators that are registered by now
