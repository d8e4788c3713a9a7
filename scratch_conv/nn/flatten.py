"""Layers that look at the same elements in another shape."""

import torch
from torch import Tensor

from scratch_conv import functional

__all__ = ["Flatten"]


class Flatten(torch.nn.Flatten):
    """`torch.nn.Flatten`, for models that are wholly of this package's layers.

    Shapes: input (N, *), output (N, product of *) by default.
    """

    def forward(self, input: Tensor) -> Tensor:
        return functional.flatten(input, self.start_dim, self.end_dim)
