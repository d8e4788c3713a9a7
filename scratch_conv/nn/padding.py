"""Padding layers."""

import torch

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class CircularPad1d(torch.nn.CircularPad1d):
    """`torch.nn.CircularPad1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, L) or (C, L), output (N, C, OL) or (C, OL).
    """


class CircularPad2d(torch.nn.CircularPad2d):
    """`torch.nn.CircularPad2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W) or (C, H, W), output (N, C, OH, OW) or (C, OH, OW).
    """


class CircularPad3d(torch.nn.CircularPad3d):
    """`torch.nn.CircularPad3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, D, H, W) or (C, D, H, W), output (N, C, OD, OH, OW) or (C, OD, OH, OW).
    """


class ConstantPad1d(torch.nn.ConstantPad1d):
    """`torch.nn.ConstantPad1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, L) or (C, L), output (N, C, OL) or (C, OL).
    """


class ConstantPad2d(torch.nn.ConstantPad2d):
    """`torch.nn.ConstantPad2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W) or (C, H, W), output (N, C, OH, OW) or (C, OH, OW).
    """


class ConstantPad3d(torch.nn.ConstantPad3d):
    """`torch.nn.ConstantPad3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, D, H, W) or (C, D, H, W), output (N, C, OD, OH, OW) or (C, OD, OH, OW).
    """


class ReflectionPad1d(torch.nn.ReflectionPad1d):
    """`torch.nn.ReflectionPad1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, L) or (C, L), output (N, C, OL) or (C, OL).
    """


class ReflectionPad2d(torch.nn.ReflectionPad2d):
    """`torch.nn.ReflectionPad2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W) or (C, H, W), output (N, C, OH, OW) or (C, OH, OW).
    """


class ReflectionPad3d(torch.nn.ReflectionPad3d):
    """`torch.nn.ReflectionPad3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, D, H, W) or (C, D, H, W), output (N, C, OD, OH, OW) or (C, OD, OH, OW).
    """


class ReplicationPad1d(torch.nn.ReplicationPad1d):
    """`torch.nn.ReplicationPad1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, L) or (C, L), output (N, C, OL) or (C, OL).
    """


class ReplicationPad2d(torch.nn.ReplicationPad2d):
    """`torch.nn.ReplicationPad2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W) or (C, H, W), output (N, C, OH, OW) or (C, OH, OW).
    """


class ReplicationPad3d(torch.nn.ReplicationPad3d):
    """`torch.nn.ReplicationPad3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, D, H, W) or (C, D, H, W), output (N, C, OD, OH, OW) or (C, OD, OH, OW).
    """


class ZeroPad1d(torch.nn.ZeroPad1d):
    """`torch.nn.ZeroPad1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, L) or (C, L), output (N, C, OL) or (C, OL).
    """


class ZeroPad2d(torch.nn.ZeroPad2d):
    """`torch.nn.ZeroPad2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W) or (C, H, W), output (N, C, OH, OW) or (C, OH, OW).
    """


class ZeroPad3d(torch.nn.ZeroPad3d):
    """`torch.nn.ZeroPad3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, D, H, W) or (C, D, H, W), output (N, C, OD, OH, OW) or (C, OD, OH, OW).
    """
