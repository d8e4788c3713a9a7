"""Pooling layers."""

from typing import Any

import torch
from torch import Tensor

from scratch_conv import functional

__all__ = ["AdaptiveAvgPool2d", "AvgPool2d", "MaxPool2d"]


class AdaptiveAvgPool2d(torch.nn.AdaptiveAvgPool2d):
    """`torch.nn.AdaptiveAvgPool2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W) or (C, H, W), output (N, C, OH, OW) or (C, OH, OW).
    """

    def forward(self, input: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(input, self.output_size)


class AvgPool2d(torch.nn.AvgPool2d):
    """`torch.nn.AvgPool2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W) or (C, H, W), output (N, C, OH, OW) or (C, OH, OW).
    """

    def forward(self, input: Tensor) -> Tensor:
        return functional.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class MaxPool2d(torch.nn.MaxPool2d):
    """`torch.nn.MaxPool2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, C, H, W) or (C, H, W), output (N, C, OH, OW) or (C, OH, OW).
    """

    def forward(self, input: Tensor) -> Any:
        return functional.max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )
