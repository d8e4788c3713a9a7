"""Normalization layers."""

import torch
from torch import Tensor

from scratch_conv import functional

__all__ = ["BatchNorm1d", "BatchNorm2d"]


def _forward(self: torch.nn.BatchNorm1d | torch.nn.BatchNorm2d, input: Tensor) -> Tensor:
    """Choose whose statistics are used and which are kept."""
    self._check_input_dim(input)
    by_batch = self.training or self.running_mean is None
    keeps = self.running_mean is not None and (not self.training or self.track_running_stats)
    share = 0.0 if self.momentum is None else self.momentum
    if self.training and self.track_running_stats and self.num_batches_tracked is not None:
        self.num_batches_tracked.add_(1)
        if self.momentum is None:
            share = 1.0 / float(self.num_batches_tracked)
    statistics = (self.running_mean, self.running_var) if keeps else (None, None)
    return functional.batch_norm(input, *statistics, self.weight, self.bias, by_batch, share, self.eps)


class BatchNorm1d(torch.nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C) or (N, C, L).
    """

    forward = _forward


class BatchNorm2d(torch.nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, H, W).
    """

    forward = _forward
