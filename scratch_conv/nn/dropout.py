"""Dropout layers."""

import torch

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class AlphaDropout(torch.nn.AlphaDropout):
    """`torch.nn.AlphaDropout` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class Dropout(torch.nn.Dropout):
    """`torch.nn.Dropout` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class Dropout1d(torch.nn.Dropout1d):
    """`torch.nn.Dropout1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, L) or (C, L).
    """


class Dropout2d(torch.nn.Dropout2d):
    """`torch.nn.Dropout2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, H, W) or (N, C, L).
    """


class Dropout3d(torch.nn.Dropout3d):
    """`torch.nn.Dropout3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, D, H, W) or (C, D, H, W).
    """


class FeatureAlphaDropout(torch.nn.FeatureAlphaDropout):
    """`torch.nn.FeatureAlphaDropout` but for who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, *).
    """
