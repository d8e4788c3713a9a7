"""Losses."""

import torch
from torch import Tensor

from scratch_conv import functional

__all__ = ["CrossEntropyLoss"]


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """`torch.nn.CrossEntropyLoss` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, ...) or (C,); target (N, ...) or () of classes, or of the input's shape with
    probabilities; output (), or the shape of the target's classes where nothing is reduced.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )
