"""Activation layers."""

import torch
from torch import Tensor

from scratch_conv import functional

__all__ = ["ReLU"]


class ReLU(torch.nn.ReLU):
    """`torch.nn.ReLU` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """

    def forward(self, input: Tensor) -> Tensor:
        return functional.relu(input, inplace=self.inplace)
