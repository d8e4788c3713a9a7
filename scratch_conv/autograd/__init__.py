"""Each kernel as a `torch.autograd.Function` on an opaque custom operator. Thin: all arithmetic is NumPy."""

from scratch_conv.autograd.convolution import Conv2d
from scratch_conv.autograd.dense import Linear
from scratch_conv.autograd.max_pooling import MaxPool2d, max_pool2d_indices
from scratch_conv.autograd.operators import call
from scratch_conv.autograd.products import MatrixProduct, SummedProduct
from scratch_conv.autograd.rectifying import ReLU

__all__ = [
    "Conv2d",
    "Linear",
    "MatrixProduct",
    "MaxPool2d",
    "ReLU",
    "SummedProduct",
    "call",
    "max_pool2d_indices",
]
