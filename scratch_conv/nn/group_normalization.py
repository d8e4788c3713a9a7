"""Layers that normalize one sample at a time."""

import torch

__all__ = [
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
]


class LayerNorm(torch.nn.LayerNorm):
    """`torch.nn.LayerNorm` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (*, *normalized_shape).
    """


class GroupNorm(torch.nn.GroupNorm):
    """`torch.nn.GroupNorm` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, *).
    """


class InstanceNorm1d(torch.nn.InstanceNorm1d):
    """`torch.nn.InstanceNorm1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, L) or (C, L).
    """


class InstanceNorm2d(torch.nn.InstanceNorm2d):
    """`torch.nn.InstanceNorm2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, H, W) or (C, H, W).
    """


class InstanceNorm3d(torch.nn.InstanceNorm3d):
    """`torch.nn.InstanceNorm3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, D, H, W) or (C, D, H, W).
    """


class LazyInstanceNorm1d(torch.nn.LazyInstanceNorm1d, InstanceNorm1d):
    """`torch.nn.LazyInstanceNorm1d`: an `InstanceNorm1d` of this package from its first input on."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(torch.nn.LazyInstanceNorm2d, InstanceNorm2d):
    """`torch.nn.LazyInstanceNorm2d`: an `InstanceNorm2d` of this package from its first input on."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(torch.nn.LazyInstanceNorm3d, InstanceNorm3d):
    """`torch.nn.LazyInstanceNorm3d`: an `InstanceNorm3d` of this package from its first input on."""

    cls_to_become = InstanceNorm3d
