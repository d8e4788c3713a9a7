"""Convolution layers."""

import torch

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
]


class Conv1d(torch.nn.Conv1d):
    """`torch.nn.Conv1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, in_channels, L) or (in_channels, L), output (N, out_channels, OL) or (out_channels, OL).
    `padding_mode` other than 'zeros' pads by `torch.nn.functional.pad`.
    """


class Conv2d(torch.nn.Conv2d):
    """`torch.nn.Conv2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, in_channels, H, W) or (in_channels, H, W), output (N, out_channels, OH, OW) or
    (out_channels, OH, OW). `padding_mode` other than 'zeros' pads by `torch.nn.functional.pad`.
    """


class Conv3d(torch.nn.Conv3d):
    """`torch.nn.Conv3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, in_channels, D, H, W) or (in_channels, D, H, W), output (N, out_channels, OD, OH, OW) or
    (out_channels, OD, OH, OW). `padding_mode` other than 'zeros' pads by `torch.nn.functional.pad`.
    """


class ConvTranspose1d(torch.nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, in_channels, L) or (in_channels, L), output (N, out_channels, OL) or (out_channels, OL);
    `output_size`, if it is given to the call, chooses among the sizes that the stride makes possible.
    """


class ConvTranspose2d(torch.nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, in_channels, H, W) or (in_channels, H, W), output (N, out_channels, OH, OW) or
    (out_channels, OH, OW); `output_size`, if it is given to the call, chooses among the sizes that the stride
    makes possible.
    """


class ConvTranspose3d(torch.nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input (N, in_channels, D, H, W) or (in_channels, D, H, W), output (N, out_channels, OD, OH, OW) or
    (out_channels, OD, OH, OW); `output_size`, if it is given to the call, chooses among the sizes that the
    stride makes possible.
    """


class LazyConv1d(torch.nn.LazyConv1d, Conv1d):  # type: ignore[misc]  # torch's own mixin
    """`torch.nn.LazyConv1d`: a `Conv1d` of this package from its first input on, which sets in_channels."""

    cls_to_become = Conv1d


class LazyConv2d(torch.nn.LazyConv2d, Conv2d):  # type: ignore[misc]  # torch's own mixin
    """`torch.nn.LazyConv2d`: a `Conv2d` of this package from its first input on, which sets in_channels."""

    cls_to_become = Conv2d


class LazyConv3d(torch.nn.LazyConv3d, Conv3d):  # type: ignore[misc]  # torch's own mixin
    """`torch.nn.LazyConv3d`: a `Conv3d` of this package from its first input on, which sets in_channels."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(torch.nn.LazyConvTranspose1d, ConvTranspose1d):  # type: ignore[misc]  # torch's own mixin
    """`torch.nn.LazyConvTranspose1d`: a `ConvTranspose1d` of this package from its first input on."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(torch.nn.LazyConvTranspose2d, ConvTranspose2d):  # type: ignore[misc]  # torch's own mixin
    """`torch.nn.LazyConvTranspose2d`: a `ConvTranspose2d` of this package from its first input on."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(torch.nn.LazyConvTranspose3d, ConvTranspose3d):  # type: ignore[misc]  # torch's own mixin
    """`torch.nn.LazyConvTranspose3d`: a `ConvTranspose3d` of this package from its first input on."""

    cls_to_become = ConvTranspose3d
