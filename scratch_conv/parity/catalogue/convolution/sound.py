"""Right implementations of conv2d, which sum in other orders than torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.convolution.convolving import spell_out
from scratch_conv.parity.drawing.strategies import as_pair

_conv2d: Callable[..., Tensor] = F.conv2d

SOUND_CONVOLUTION = Collection("conv2d")
COLLECTIONS = (SOUND_CONVOLUTION,)
_sound = SOUND_CONVOLUTION.sound


@_sound("im2col-reversed")
def im2col_reversed(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Convolve by unfolding, with the products of a window summed from the last to the first."""
    g = spell_out(weight, **arguments)
    padded = F.pad(input, (g.left, g.right, g.top, g.bottom))
    taps = [
        padded[..., i * g.dilation[0] :, j * g.dilation[1] :]
        for i in range(g.kernel_size[0])
        for j in range(g.kernel_size[1])
    ]
    size = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, d, s in zip(padded.shape[-2:], g.kernel_size, g.dilation, g.stride, strict=True)
    ]
    rows, columns = (slice(0, s * (n - 1) + 1, s) for s, n in zip(g.stride, size, strict=True))
    unfolded = torch.stack([tap[..., rows, columns] for tap in taps], -3).flip(-3)
    kernel = torch.unflatten(weight.flatten(-2).flip(-1), 0, (g.groups, -1))
    grouped = torch.unflatten(unfolded, -4, (g.groups, -1))
    output = torch.einsum("...gckyx,gock->...goyx", grouped, kernel).flatten(-4, -3)
    return output if bias is None else output + bias[:, None, None]


@_sound("direct-loop")
def direct_loop(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Convolve tap by tap and input channel by input channel, adding to the bias."""
    g = spell_out(weight, **arguments)
    padded = F.pad(input, (g.left, g.right, g.top, g.bottom))
    size = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, d, s in zip(padded.shape[-2:], g.kernel_size, g.dilation, g.stride, strict=True)
    ]
    own = torch.unflatten(weight, 0, (g.groups, -1))[..., None, None]
    totals = weight.new_zeros(g.groups, 1, 1, 1)
    if bias is not None:
        totals = torch.unflatten(bias, 0, (g.groups, -1, 1, 1))
    outputs, channels = [], weight.shape[1]
    for group, total in enumerate(totals):
        for i, j, c in np.ndindex(*g.kernel_size, channels):
            row, column = i * g.dilation[0], j * g.dilation[1]
            rows = slice(row, row + g.stride[0] * (size[0] - 1) + 1, g.stride[0])
            columns = slice(column, column + g.stride[1] * (size[1] - 1) + 1, g.stride[1])
            pixels = padded[..., group * channels + c, None, rows, columns]
            total = total + pixels * own[group, :, c, i, j]
        outputs.append(total)
    return torch.cat(outputs, -3)


@_sound("one-by-one")
def one_by_one(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Convolve each sample alone, as a batch of one."""
    if input.ndim == 3 or input.shape[0] == 0:
        return F.conv2d(input, weight, bias, **arguments)
    return torch.cat([F.conv2d(sample, weight, bias, **arguments) for sample in torch.split(input, 1)])


@_sound("in-float64", {"dtypes": ("float32",), "special_values": False})
def in_float64(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Convolve in float64 and round once."""
    wide = [None if each is None else each.double() for each in (input, weight, bias)]
    return _conv2d(*wide, **arguments).to(input.dtype)


@_sound("numpy-loops", {"dilation": False, "groups": False, "string_padding": False, "unbatched": False})
class NumpyConvolution:
    """A convolution layer in plain NumPy, by loops over windows; the batch axis is needed."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0
    ) -> None:
        self.stride, self.padding = as_pair(stride), as_pair(padding)
        self.weight = np.zeros((out_channels, in_channels, *as_pair(kernel_size)))
        self.bias = np.zeros(out_channels)

    def _windows(self, height: int, width: int) -> Any:
        kernel = self.weight.shape[2:]
        for y, row in enumerate(range(0, height - kernel[0] + 1, self.stride[0])):
            for x, column in enumerate(range(0, width - kernel[1] + 1, self.stride[1])):
                yield y, x, (..., slice(row, row + kernel[0]), slice(column, column + kernel[1]))

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the output (N, O, OH, OW) for x (N, C, H, W)."""
        (p, q), kernel = self.padding, self.weight.shape[2:]
        self.padded = np.pad(x, ((0, 0), (0, 0), (p, p), (q, q)))
        height, width = self.padded.shape[2:]
        size = [(n - k) // s + 1 for n, k, s in zip((height, width), kernel, self.stride, strict=True)]
        output = np.zeros((len(x), len(self.weight), *size), x.dtype)
        for row, column, window in self._windows(height, width):
            output[..., row, column] = np.tensordot(self.padded[window], self.weight, ((1, 2, 3), (1, 2, 3)))
        return output + self.bias[:, None, None]

    def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient of x and keep those of weight and bias."""
        grad = np.zeros_like(self.padded)
        self.grad_weight, self.grad_bias = np.zeros_like(self.weight), dy.sum((0, 2, 3))
        for row, column, window in self._windows(*self.padded.shape[2:]):
            here = dy[..., row, column]
            grad[window] += np.tensordot(here, self.weight, 1)
            self.grad_weight += np.tensordot(here.T, self.padded[window], 1)
        (p, q), (height, width) = self.padding, grad.shape[2:]
        return grad[:, :, p : height - p, q : width - q]
