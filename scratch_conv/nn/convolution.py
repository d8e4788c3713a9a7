"""Convolution layers."""

import torch
from torch import Tensor

from scratch_conv import functional


class Conv2d(torch.nn.Conv2d):
    """`torch.nn.Conv2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, in_channels, H, W) or (in_channels, H, W), output (N, out_channels, OH, OW) or
    (out_channels, OH, OW). `padding_mode` other than 'zeros' pads by `torch.nn.functional.pad`.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input = torch.nn.functional.pad(
                input, self._reversed_padding_repeated_twice, mode=self.padding_mode
            )
            padding = (0, 0)
        return functional.conv2d(input, weight, bias, self.stride, padding, self.dilation, self.groups)
