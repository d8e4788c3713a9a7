"""Normalization layers."""

import torch

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
]


class BatchNorm1d(torch.nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C) or (N, C, L).
    """


class BatchNorm2d(torch.nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, H, W).
    """


class BatchNorm3d(torch.nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, D, H, W).
    """


class LazyBatchNorm1d(torch.nn.LazyBatchNorm1d, BatchNorm1d):
    """`torch.nn.LazyBatchNorm1d`: a `BatchNorm1d` of this package from its first input on, which sets C."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(torch.nn.LazyBatchNorm2d, BatchNorm2d):
    """`torch.nn.LazyBatchNorm2d`: a `BatchNorm2d` of this package from its first input on, which sets C."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(torch.nn.LazyBatchNorm3d, BatchNorm3d):
    """`torch.nn.LazyBatchNorm3d`: a `BatchNorm3d` of this package from its first input on, which sets C."""

    cls_to_become = BatchNorm3d
