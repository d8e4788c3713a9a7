"""Losses."""

import torch

__all__ = ["CrossEntropyLoss"]


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """`torch.nn.CrossEntropyLoss` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, ...) or (C,); target (N, ...) or () of classes, or of the input's shape with
    probabilities; output (), or the shape of the target's classes where nothing is reduced.
    """
