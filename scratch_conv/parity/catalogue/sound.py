"""Right implementations that compute in another order than torch: the suite must not refuse them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from scratch_conv.parity.catalogue.convolution.convolving import spell_out
from scratch_conv.parity.drawing.claims import Claims
from scratch_conv.parity.drawing.strategies import as_pair
from scratch_conv.parity.operators import OPERATORS

_conv2d: Callable[..., Tensor] = F.conv2d


@dataclass(frozen=True)
class Variant:
    """A right implementation: its name, the operator it is, the implementation, and what it claims."""

    name: str
    like: str
    candidate: Any
    supports: Claims = None


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


def direct_loop(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Convolve tap by tap and input channel by input channel, adding to the bias."""
    g = spell_out(weight, **arguments)
    padded = F.pad(input, (g.left, g.right, g.top, g.bottom))
    size = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, d, s in zip(padded.shape[-2:], g.kernel_size, g.dilation, g.stride, strict=True)
    ]
    outputs = []
    for channel in range(weight.shape[0]):
        total = torch.zeros(()) if bias is None else bias[channel]
        first = channel // (weight.shape[0] // g.groups) * weight.shape[1]
        for i, j, c in np.ndindex(*g.kernel_size, weight.shape[1]):
            row, column = i * g.dilation[0], j * g.dilation[1]
            rows = slice(row, row + g.stride[0] * (size[0] - 1) + 1, g.stride[0])
            columns = slice(column, column + g.stride[1] * (size[1] - 1) + 1, g.stride[1])
            total = total + padded[..., first + c, rows, columns] * weight[channel, c, i, j]
        outputs.append(total)
    return torch.stack(outputs, -3)


def one_by_one(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Convolve each sample alone, as a batch of one."""
    if input.ndim == 3 or input.shape[0] == 0:
        return F.conv2d(input, weight, bias, **arguments)
    return torch.cat([F.conv2d(sample, weight, bias, **arguments) for sample in torch.split(input, 1)])


def in_float64(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Convolve in float64 and round once."""
    wide = [None if each is None else each.double() for each in (input, weight, bias)]
    return _conv2d(*wide, **arguments).to(input.dtype)


def max_pool_by_taps(input: Tensor, kernel_size: Any, stride: Any = None, **arguments: Any) -> Any:
    """Gather what torch's indices name: the values and gradients without torch's kernels for them."""
    _, indices = F.max_pool2d(input, kernel_size, stride, **{**arguments, "return_indices": True})
    output = input.flatten(-2).gather(-1, indices.flatten(-2)).reshape(indices.shape)
    return (output, indices) if arguments.get("return_indices") else output


def average_by_convolution(input: Tensor, kernel_size: Any, stride: Any = None, **arguments: Any) -> Tensor:
    """Average by a convolution with a kernel of reciprocals."""
    height, width = as_pair(kernel_size)
    plain = {"padding", "ceil_mode"}.isdisjoint(name for name, value in arguments.items() if value)
    if not plain or input.shape[0] == 0:
        return F.avg_pool2d(input, kernel_size, stride, **arguments)
    area = arguments.get("divisor_override") or height * width
    kernel = torch.full((1, 1, height, width), 1 / area, dtype=input.dtype)
    flat = input.reshape(-1, 1, *input.shape[-2:])
    output = F.conv2d(flat, kernel, stride=kernel_size if stride is None else stride)
    return output.reshape(*input.shape[:-2], *output.shape[-2:])


def batch_norm_by_formula(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise by the formula, in two passes; autograd differentiates it."""
    channels, axes = (1, -1, *(1,) * (input.ndim - 2)), (0, *range(2, input.ndim))
    mean, variance = running_mean, running_var
    if training:
        mean = input.mean(axes)
        variance = (input - mean.view(channels)).square().mean(axes)
        if running_mean is not None and running_var is not None:
            count = input.numel() // input.shape[1]
            with torch.no_grad():
                running_mean.mul_(1 - momentum).add_(momentum * mean)
                running_var.mul_(1 - momentum).add_(momentum * variance * count / (count - 1))
    assert mean is not None
    assert variance is not None
    output = (input - mean.view(channels)) / (variance.view(channels) + eps).sqrt()
    if weight is not None:
        output = output * weight.view(channels)
    return output if bias is None else output + bias.view(channels)


def relu_by_where(input: Tensor, inplace: bool = False) -> Tensor:
    """Keep what is not negative, NaN included."""
    if inplace:
        return input.copy_(torch.where(input <= 0, torch.zeros_like(input), input))
    return torch.where(input <= 0, torch.zeros_like(input), input)


def linear_by_sums(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply and sum, the bias first."""
    if weight.ndim == 1:
        return (input * weight).flip(-1).sum(-1)
    output = (input.unsqueeze(-2) * weight).flip(-1).sum(-1)
    return output if bias is None else bias + output


def cross_entropy_by_formula(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Sum -q log p over the classes of a one-hot target; autograd differentiates it."""
    axis = 0 if input.ndim == 1 else 1
    logits, classes = input.movedim(axis, -1), input.shape[axis]
    shifted = logits - logits.detach().amax(-1, keepdim=True)
    losses = shifted.exp().sum(-1, keepdim=True).log() - shifted
    gain = torch.ones(classes, dtype=input.dtype) if weight is None else weight
    if target.is_floating_point():
        q, count = target.movedim(axis, -1), torch.tensor(max(1, input.numel() // classes))
    else:
        kept = target != ignore_index
        index = torch.where(kept, target, 0).long()
        q, gain = F.one_hot(index, classes).to(input.dtype), gain * kept.unsqueeze(-1)
        count = (gain * q).sum()
    q = (q * (1 - label_smoothing) + label_smoothing / classes) * gain
    summed = (q * losses).sum(-1)
    return {"none": summed, "sum": summed.sum(), "mean": summed.sum() / count}[reduction]


def softmax_by_logarithms(input: Tensor, dim: int) -> Tensor:
    """Take the exponential of log_softmax."""
    return (input - input.logsumexp(dim, keepdim=True)).exp()


def log_softmax_shifted(input: Tensor, dim: int) -> Tensor:
    """Subtract the greatest, then the logarithm of the sum."""
    shifted = input - input.detach().amax(dim, keepdim=True)
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


def dropout_by_product(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Draw torch's mask and multiply by it, the scale last."""
    if not training or p == 0:
        return input
    mask = torch.empty_like(input.detach()).bernoulli_(1 - p)
    output = _Kept.apply(input, mask, 1 - p if p < 1 else 1)
    return input.copy_(output) if inplace else output


class _Kept(torch.autograd.Function):
    """x mask / share, and its transpose likewise: dividing first could overflow where nothing is kept."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, mask: Tensor, share: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.share = share
        return input * mask / share

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        return _Kept.apply(grad_output, *ctx.saved_tensors, ctx.share), None, None


def adaptive_average_by_products(input: Tensor, output_size: Any) -> Tensor:
    """Average by one matrix for the height and one for the width."""
    size = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    down, across = (
        _averages(length, length if n is None else n, input.dtype)
        for length, n in zip(input.shape[-2:], size, strict=True)
    )
    return down @ input @ across.mT


def _averages(length: int, size: int, dtype: torch.dtype) -> Tensor:
    matrix = torch.zeros(size, length, dtype=dtype)
    for i in range(size):
        start, stop = i * length // size, -(-(i + 1) * length // size)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def conv1d_by_conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Convolve as a picture of one row."""
    row = {"stride": 1, "padding": 0, "dilation": 1}
    for name, fill in row.items():
        value = arguments.get(name, fill)
        if not isinstance(value, str):
            arguments[name] = (fill, value[0] if isinstance(value, tuple) else value)
    return F.conv2d(input.unsqueeze(-2), weight.unsqueeze(-2), bias, **arguments).squeeze(-2)


def flatten_by_reshape(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Reshape to the product of the sizes."""
    shape = tuple(input.shape) or (1,)
    start, end = start_dim % len(shape), end_dim % len(shape)
    whole = torch.Size(shape[start : end + 1]).numel()
    return input.reshape(*shape[:start], whole, *shape[end + 1 :])


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


_SIMPLE = {
    "dilation": False,
    "groups": False,
    "string_padding": False,
    "unbatched": False,
}

_SECOND = {"second_derivatives": True}
_FINITE = {"special_values": False, "second_derivatives": True, "empty": False}

SOUND: tuple[Variant, ...] = (
    *(Variant("torch", name, operator.reference) for name, operator in OPERATORS.items()),
    Variant("torch.nn.Conv2d", "conv2d", torch.nn.Conv2d),
    Variant("torch.nn.MaxPool2d", "max_pool2d", torch.nn.MaxPool2d),
    Variant("torch.nn.BatchNorm2d", "batch_norm", torch.nn.BatchNorm2d),
    Variant("im2col-reversed", "conv2d", im2col_reversed),
    Variant("direct-loop", "conv2d", direct_loop),
    Variant("one-by-one", "conv2d", one_by_one),
    Variant("in-float64", "conv2d", in_float64, {"dtypes": ("float32",), "special_values": False}),
    Variant("numpy-loops", "conv2d", NumpyConvolution, _SIMPLE),
    Variant("gathered", "max_pool2d", max_pool_by_taps),
    Variant("average-by-convolution", "avg_pool2d", average_by_convolution),
    Variant("by-formula", "batch_norm", batch_norm_by_formula, _SECOND),
    Variant("by-where", "relu", relu_by_where),
    Variant("by-sums", "linear", linear_by_sums),
    Variant("by-formula", "cross_entropy", cross_entropy_by_formula, _FINITE),
    Variant("by-logarithms", "softmax", softmax_by_logarithms, _FINITE),
    Variant("shifted", "log_softmax", log_softmax_shifted, _FINITE),
    Variant("by-product", "dropout", dropout_by_product),
    Variant("by-products", "adaptive_avg_pool2d", adaptive_average_by_products, _FINITE),
    Variant("by-conv2d", "conv1d", conv1d_by_conv2d, _SECOND),
    Variant("by-reshape", "flatten", flatten_by_reshape),
    Variant("torch.nn.BatchNorm2d twice", "batch_norm", torch.nn.BatchNorm2d, _SECOND),
    Variant("torch.nn.Linear", "linear", torch.nn.Linear),
    Variant("torch.nn.ReLU", "relu", torch.nn.ReLU),
    Variant("torch.nn.CrossEntropyLoss", "cross_entropy", torch.nn.CrossEntropyLoss),
    Variant("torch.nn.Dropout", "dropout", torch.nn.Dropout),
    Variant("torch.nn.Dropout2d", "dropout2d", torch.nn.Dropout2d),
    Variant("torch.nn.Flatten", "flatten", torch.nn.Flatten),
    Variant("torch.nn.AdaptiveAvgPool2d", "adaptive_avg_pool2d", torch.nn.AdaptiveAvgPool2d),
    Variant("torch.nn.LogSoftmax", "log_softmax", torch.nn.LogSoftmax),
    Variant("torch.nn.Conv1d", "conv1d", torch.nn.Conv1d),
)
