"""Pooling layers."""

import torch

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
]


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


class AdaptiveAvgPool3d(torch.nn.AdaptiveAvgPool3d):
    """`torch.nn.AdaptiveAvgPool3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, D, H, W) or (C, D, H, W), output (N, C, OD, OH, OW) or (C, OD, OH, OW).
    """


class AdaptiveMaxPool2d(torch.nn.AdaptiveMaxPool2d):
    """`torch.nn.AdaptiveMaxPool2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W) or (C, H, W), output (N, C, OH, OW) or (C, OH, OW).
    """


class AdaptiveMaxPool3d(torch.nn.AdaptiveMaxPool3d):
    """`torch.nn.AdaptiveMaxPool3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, D, H, W) or (C, D, H, W), output (N, C, OD, OH, OW) or (C, OD, OH, OW).
    """


class AvgPool3d(torch.nn.AvgPool3d):
    """`torch.nn.AvgPool3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, D, H, W) or (C, D, H, W), output (N, C, OD, OH, OW) or (C, OD, OH, OW).
    """


class MaxPool3d(torch.nn.MaxPool3d):
    """`torch.nn.MaxPool3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, D, H, W) or (C, D, H, W), output (N, C, OD, OH, OW) or (C, OD, OH, OW).
    """


class AdaptiveAvgPool1d(torch.nn.AdaptiveAvgPool1d):
    """`torch.nn.AdaptiveAvgPool1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, L) or (C, L), output (N, C, OL) or (C, OL).
    """


class AdaptiveMaxPool1d(torch.nn.AdaptiveMaxPool1d):
    """`torch.nn.AdaptiveMaxPool1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, L) or (C, L), output (N, C, OL) or (C, OL).
    """


class AvgPool1d(torch.nn.AvgPool1d):
    """`torch.nn.AvgPool1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, L) or (C, L), output (N, C, OL) or (C, OL).
    """


class MaxPool1d(torch.nn.MaxPool1d):
    """`torch.nn.MaxPool1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, L) or (C, L), output (N, C, OL) or (C, OL).
    """


class MaxUnpool1d(torch.nn.MaxUnpool1d):
    """`torch.nn.MaxUnpool1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and indices (N, C, L) or (C, L), output (N, C, OL) or (C, OL).
    """


class MaxUnpool2d(torch.nn.MaxUnpool2d):
    """`torch.nn.MaxUnpool2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and indices (N, C, H, W) or (C, H, W), output (N, C, OH, OW) or (C, OH, OW).
    """


class MaxUnpool3d(torch.nn.MaxUnpool3d):
    """`torch.nn.MaxUnpool3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and indices (N, C, D, H, W) or (C, D, H, W), output (N, C, OD, OH, OW) or (C, OD, OH, OW).
    """
