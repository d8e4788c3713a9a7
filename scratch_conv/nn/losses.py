"""Losses that compare input and target by elements, and that of the logarithms of probabilities."""

import torch

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "HuberLoss",
    "L1Loss",
    "MSELoss",
    "NLLLoss",
    "SmoothL1Loss",
]


class BCELoss(torch.nn.BCELoss):
    """`torch.nn.BCELoss` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and target of any one shape; output (), or that shape where nothing is reduced.
    """


class BCEWithLogitsLoss(torch.nn.BCEWithLogitsLoss):
    """`torch.nn.BCEWithLogitsLoss` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and target of any one shape; output (), or that shape where nothing is reduced.
    """


class HuberLoss(torch.nn.HuberLoss):
    """`torch.nn.HuberLoss` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and target of any one shape; output (), or that shape where nothing is reduced.
    """


class L1Loss(torch.nn.L1Loss):
    """`torch.nn.L1Loss` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and target of any one shape; output (), or that shape where nothing is reduced.
    """


class MSELoss(torch.nn.MSELoss):
    """`torch.nn.MSELoss` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and target of any one shape; output (), or that shape where nothing is reduced.
    """


class NLLLoss(torch.nn.NLLLoss):
    """`torch.nn.NLLLoss` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, ...) or (C,); target (N, ...) or (); output (), or the shape of the target where
    nothing is reduced.
    """


class SmoothL1Loss(torch.nn.SmoothL1Loss):
    """`torch.nn.SmoothL1Loss` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and target of any one shape; output (), or that shape where nothing is reduced.
    """
