"""Layers that look at the same elements in another shape."""

import torch

__all__ = ["Flatten"]


class Flatten(torch.nn.Flatten):
    """`torch.nn.Flatten`, for models that are wholly of this package's layers.

    Shapes: input (N, *), output (N, product of *) by default.
    """
