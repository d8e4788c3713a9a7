"""Softmax layers."""

import torch
from torch import Tensor

from scratch_conv import functional

__all__ = ["LogSoftmax", "Softmax"]


class Softmax(torch.nn.Softmax):
    """`torch.nn.Softmax` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """

    def forward(self, input: Tensor) -> Tensor:
        return functional.softmax(input, self.dim, _stacklevel=5)


class LogSoftmax(torch.nn.LogSoftmax):
    """`torch.nn.LogSoftmax` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """

    def forward(self, input: Tensor) -> Tensor:
        return functional.log_softmax(input, self.dim, _stacklevel=5)
