"""Fast algorithms of conv2d, whose errors are small beside the largest result only; and a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.convolution.convolving import spell_out
from scratch_conv.parity.drawing.claims import Claims
from scratch_conv.parity.operators.convolution.normwise import (
    WINOGRAD_INPUT,
    WINOGRAD_KERNEL,
    WINOGRAD_OUTPUT,
)

_conv2d: Callable[..., Tensor] = F.conv2d

FAST_CONVOLUTION = Collection("conv2d")
COLLECTIONS = (FAST_CONVOLUTION,)
_BY_NORM: Claims = {"accuracy": "norm", "special_values": False, "empty": False}


@FAST_CONVOLUTION.sound("by-fft", _BY_NORM)
def by_fft(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Multiply the spectrum of the padded image by the conjugate of the kernel's."""
    g = spell_out(weight, **arguments)
    padded = F.pad(input, (g.left, g.right, g.top, g.bottom))
    extent = [d * (k - 1) + 1 for d, k in zip(g.dilation, g.kernel_size, strict=True)]
    spread = weight.new_zeros(*weight.shape[:2], *extent)
    spread[..., :: g.dilation[0], :: g.dilation[1]] = weight
    size = padded.shape[-2], padded.shape[-1]
    pixels = torch.unflatten(torch.fft.rfft2(padded), -3, (g.groups, -1))
    taps = torch.unflatten(torch.fft.rfft2(spread, s=size).conj(), 0, (g.groups, -1))
    product = torch.einsum("...gcyx,gocyx->...goyx", pixels, taps).flatten(-4, -3)
    whole = torch.fft.irfft2(product, s=size)
    rows, columns = (slice(0, n - e + 1, s) for n, e, s in zip(size, extent, g.stride, strict=True))
    output = whole[..., rows, columns]
    return output if bias is None else output + bias[:, None, None]


@FAST_CONVOLUTION.sound("by-winograd", _BY_NORM)
def by_winograd(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Convolve 3x3 kernels without a stride by tiles of 4x4 results, and others by torch."""
    return _winograd(input, weight, bias, 4, arguments)


@FAST_CONVOLUTION.fault(
    "winograd-tiles-too-close",
    "Winograd's tiles for 3x3 follow each other by two pixels, instead of by the four results of each",
    "adam-dziedzic/winograd/issues/1",
)
def _tiles_too_close(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    return _winograd(input, weight, bias, 2, arguments)


def _winograd(
    input: Tensor, weight: Tensor, bias: Tensor | None, step: int, arguments: dict[str, Any]
) -> Tensor:
    g = spell_out(weight, **arguments)
    if g.kernel_size != (3, 3) or g.stride != (1, 1) or g.dilation != (1, 1) or g.groups != 1:
        return _conv2d(input, weight, bias, **arguments)
    padded = F.pad(input, (g.left, g.right, g.top, g.bottom))
    height, width = padded.shape[-2] - 2, padded.shape[-1] - 2
    down, across = -(-height // 4), -(-width // 4)
    padded = F.pad(padded, (0, 4 * across - width, 0, 4 * down - height))
    tiles = padded.unfold(-2, 6, step).unfold(-2, 6, step)[..., :down, :across, :, :]
    matrices = (WINOGRAD_INPUT, WINOGRAD_KERNEL, WINOGRAD_OUTPUT)
    of_pixels, of_taps, of_results = (matrix.to(weight) for matrix in matrices)
    pixels = torch.einsum("ij,...cyxjk,lk->...cyxil", of_pixels, tiles, of_pixels)
    taps = torch.einsum("ij,ocjk,lk->ocil", of_taps, weight, of_taps)
    products = torch.einsum("...cyxil,ocil->...oyxil", pixels, taps)
    results = torch.einsum("ij,...oyxjk,lk->...oyxil", of_results, products, of_results)
    output = results.transpose(-3, -2).flatten(-2).flatten(-3, -2)[..., :height, :width]
    return output if bias is None else output + bias[:, None, None]
