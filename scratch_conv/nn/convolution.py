"""Convolution layers."""

import torch
from torch import Tensor

from scratch_conv import functional

__all__ = ["Conv1d", "Conv2d", "ConvTranspose2d", "LazyConv1d", "LazyConv2d", "LazyConvTranspose2d"]


class Conv1d(torch.nn.Conv1d):
    """`torch.nn.Conv1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, in_channels, L) or (in_channels, L), output (N, out_channels, OL) or (out_channels, OL).
    `padding_mode` other than 'zeros' pads by `torch.nn.functional.pad`.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input = torch.nn.functional.pad(
                input, self._reversed_padding_repeated_twice, mode=self.padding_mode
            )
            padding = (0,)
        return functional.conv1d(input, weight, bias, self.stride, padding, self.dilation, self.groups)


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


class ConvTranspose2d(torch.nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, in_channels, H, W) or (in_channels, H, W), output (N, out_channels, OH, OW) or
    (out_channels, OH, OW); `output_size`, if it is given to the call, chooses among the sizes that the stride
    makes possible.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.padding_mode != "zeros":
            raise ValueError(
                f"Only `zeros` padding mode is supported for ConvTranspose2d, but got {self.padding_mode!r}"
            )
        output_padding = self._output_padding(
            input,
            output_size,
            self.stride,  # type: ignore[arg-type]  # torch's annotation says list of int, its code takes tuples
            self.padding,  # type: ignore[arg-type]
            self.kernel_size,  # type: ignore[arg-type]
            2,
            self.dilation,  # type: ignore[arg-type]
        )
        return functional.conv_transpose2d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,  # type: ignore[arg-type]
            output_padding,  # type: ignore[arg-type]
            self.groups,
            self.dilation,
        )


class LazyConv1d(torch.nn.LazyConv1d, Conv1d):  # type: ignore[misc]  # torch's own mixin
    """`torch.nn.LazyConv1d`: a `Conv1d` of this package from its first input on, which sets in_channels."""

    cls_to_become = Conv1d


class LazyConv2d(torch.nn.LazyConv2d, Conv2d):  # type: ignore[misc]  # torch's own mixin
    """`torch.nn.LazyConv2d`: a `Conv2d` of this package from its first input on, which sets in_channels."""

    cls_to_become = Conv2d


class LazyConvTranspose2d(torch.nn.LazyConvTranspose2d, ConvTranspose2d):  # type: ignore[misc]  # torch's own mixin
    """`torch.nn.LazyConvTranspose2d`: a `ConvTranspose2d` of this package from its first input on."""

    cls_to_become = ConvTranspose2d
