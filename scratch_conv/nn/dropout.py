"""Dropout layers."""

import torch
from torch import Tensor

from scratch_conv import functional

__all__ = ["Dropout", "Dropout2d"]


class Dropout(torch.nn.Dropout):
    """`torch.nn.Dropout` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """

    def forward(self, input: Tensor) -> Tensor:
        return functional.dropout(input, self.p, self.training, self.inplace)


class Dropout2d(torch.nn.Dropout2d):
    """`torch.nn.Dropout2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, H, W) or (N, C, L).
    """

    def forward(self, input: Tensor) -> Tensor:
        return functional.dropout2d(input, self.p, self.training, self.inplace)
