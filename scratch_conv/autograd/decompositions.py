"""What the operators are in terms of torch's own, for runtimes that have no NumPy: `torch.onnx.export`.

No layer computes by these. They stand in torch's table of decompositions, which exporters ask when they lower
a graph to the operators that another runtime has; `ExportedProgram.run_decompositions` takes a table, too.

All operators are registered before.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from scratch_conv.autograd import _torch_internals as internals
from scratch_conv.kernels import alpha_numbers

__all__: list[str] = []

aten, ours = torch.ops.aten, torch.ops.scratch_conv


def _decomposes(operator: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(decomposition: Callable[..., Any]) -> Callable[..., Any]:
        internals.register_decomposition(operator, decomposition)
        return decomposition

    return register


@_decomposes(ours.conv2d.default)
@_decomposes(ours.conv3d.default)
def _(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    channels_last: bool,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Any:
    sides, none = list(padding[::2]), [0] * len(stride)
    even = sides == list(padding[1::2]) and min(sides) >= 0
    if not even:
        input, sides = aten.constant_pad_nd(input, _from_the_last(padding)), none
    return aten.convolution(input, weight, bias, stride, sides, dilation, False, none, groups)


@_decomposes(ours.conv_transpose2d.default)
@_decomposes(ours.conv_transpose3d.default)
def _(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    output_size: Sequence[int],
    channels_last: bool,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Any:
    before, none = list(padding[::2]), [0] * len(stride)
    axes = zip(input.shape[2:], weight.shape[2:], output_size, stride, before, dilation, strict=True)
    more = [size - ((n - 1) * s - 2 * p + d * (k - 1) + 1) for n, k, size, s, p, d in axes]
    fits = [0 <= m < max(s, d) for m, s, d in zip(more, stride, dilation, strict=True)]
    if all(fits) and min(before) >= 0:
        return aten.convolution(input, weight, bias, stride, before, dilation, True, more, groups)
    whole = aten.convolution(input, weight, None, stride, none, dilation, True, none, groups)
    cuts: list[int] = []
    for first, size, have in zip(before, output_size, whole.shape[2:], strict=True):
        cuts += [-first, size - have + first]
    cut = aten.constant_pad_nd(whole, _from_the_last(cuts))
    return cut if bias is None else cut + bias.reshape(-1, *[1] * len(stride))


def _from_the_last(padding: Sequence[int]) -> list[int]:
    """Return padding before and after each axis as torch takes it: of the last axis first."""
    pairs = zip(padding[::2], padding[1::2], strict=True)
    return [size for sides in reversed([*pairs]) for size in sides]


@_decomposes(ours.linear.default)
def _(input: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
    output = aten.bmm(input, weight.transpose(1, 2))
    return output if bias is None else output + bias.unsqueeze(1)


@_decomposes(ours.max_pool2d.default)
def _(
    input: Tensor,
    ceil_mode: bool,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Any:
    sides = [padding[0], padding[2]]
    output, indices = aten.max_pool2d_with_indices(input, kernel_size, stride, sides, dilation, ceil_mode)
    return output, indices.to(torch.int32)


@_decomposes(ours.max_pool2d_indices.default)
def _(indices: Tensor) -> Any:
    return indices.to(torch.int64)


@_decomposes(ours.pad_constant.default)
def _(input: Tensor, padding: Sequence[int], value: float, channels_last: bool) -> Any:
    return aten.constant_pad_nd(input, padding, value)


@_decomposes(ours.pad_edges.default)
def _(input: Tensor, padding: Sequence[int], mode: str, channels_last: bool) -> Any:
    return aten.pad(input, padding, mode)


@_decomposes(ours.pixel_shuffle.default)
def _(input: Tensor, factor: int, channels_last: bool) -> Any:
    return aten.pixel_shuffle(input, factor)


@_decomposes(ours.pixel_unshuffle.default)
def _(input: Tensor, factor: int, channels_last: bool) -> Any:
    return aten.pixel_unshuffle(input, factor)


@_decomposes(ours.channel_shuffle.default)
def _(input: Tensor, groups: int, channels_last: bool) -> Any:
    return aten.channel_shuffle(input, groups)


@_decomposes(ours.im2col.default)
def _(input: Tensor, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    return aten.im2col(input, kernel_size, dilation, padding, stride)


@_decomposes(ours.col2im.default)
def _(input: Tensor, output_size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    return aten.col2im(input, output_size, kernel_size, dilation, padding, stride)


@_decomposes(ours.avg_pool2d.default)
def _(
    input: Tensor,
    output_size: Sequence[int],
    channels_last: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Any:
    sides = [padding[0], padding[2]]
    floors = [
        (length + 2 * side - kernel) // step + 1
        for length, side, kernel, step in zip(input.shape[2:], sides, kernel_size, stride, strict=True)
    ]
    ceil_mode = list(output_size) != floors
    return aten.avg_pool2d(input, kernel_size, stride, sides, ceil_mode, count_include_pad, divisor_override)


@_decomposes(ours.adaptive_avg_pool2d.default)
def _(input: Tensor, output_size: Sequence[int], channels_last: bool) -> Any:
    return aten.adaptive_avg_pool2d(input, output_size)


@_decomposes(ours.max_pool3d.default)
def _(
    input: Tensor,
    channels_last: bool,
    gradient_channels_last: bool,
    ceil_mode: bool,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Any:
    window = (kernel_size, stride, padding[::2], dilation)
    output, indices = aten.max_pool3d_with_indices(input, *window, ceil_mode)
    return output, indices.to(torch.int32)


@_decomposes(ours.adaptive_max_pool.default)
def _(input: Tensor, output_size: Sequence[int], channels_last: bool) -> Any:
    pool = aten.adaptive_max_pool2d if input.dim() == 4 else aten.adaptive_max_pool3d
    output, indices = pool(input, output_size)
    return output, indices.to(torch.int32)


@_decomposes(ours.picked_indices.default)
def _(indices: Tensor, channels_last: bool) -> Any:
    return indices.to(torch.int64)


@_decomposes(ours.max_unpool.default)
def _(input: Tensor, indices: Tensor, output_size: Sequence[int], channels_last: bool) -> Any:
    if len(output_size) == 2:
        return aten.max_unpool2d(input, indices, output_size)
    return aten.max_unpool3d(input, indices, output_size, [1, 1, 1], [0, 0, 0])


@_decomposes(ours.avg_pool3d.default)
def _(
    input: Tensor,
    output_size: Sequence[int],
    channels_last: bool,
    count_include_pad: bool,
    divisor_override: int | None,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Any:
    sides = padding[::2]
    floors = [
        (length + 2 * side - kernel) // step + 1
        for length, side, kernel, step in zip(input.shape[2:], sides, kernel_size, stride, strict=True)
    ]
    ceil_mode = list(output_size) != floors
    return aten.avg_pool3d(input, kernel_size, stride, sides, ceil_mode, count_include_pad, divisor_override)


@_decomposes(ours.adaptive_avg_pool3d.default)
def _(input: Tensor, output_size: Sequence[int], channels_last: bool) -> Any:
    return aten.adaptive_avg_pool3d(input, output_size)


@_decomposes(ours.interpolate.default)
def _(
    input: Tensor,
    output_size: Sequence[int],
    channels_last: bool,
    mode: str,
    align_corners: bool,
    antialias: bool,
    scales: Sequence[float],
    in_float32: bool,
) -> Any:
    torchs = internals.interpolation(mode, len(output_size), antialias)
    corners = [] if mode.startswith("nearest") else [align_corners]
    return torchs(input, output_size, *corners, *(scale or None for scale in scales))


@_decomposes(ours.batch_norm_inference.default)
def _(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float
) -> Any:
    return aten.batch_norm(input, weight, bias, mean, variance, False, 0.0, eps, False)


@_decomposes(ours.batch_norm.default)
def _(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    eps: float,
) -> Any:
    wide = input.to(torch.promote_types(input.dtype, torch.float32))
    others, shape = [0, *range(2, input.dim())], (1, -1, *[1] * (input.dim() - 2))
    variance, mean = aten.var_mean.correction(wide, others, correction=0)
    output = (wide - mean.reshape(shape)) * (variance + eps).rsqrt().reshape(shape)
    output = output if weight is None else output * weight.reshape(shape)
    output = output if bias is None else output + bias.reshape(shape)
    return output.to(input.dtype), mean, variance


@_decomposes(ours.layer_norm.default)
def _(input: Tensor, weight: Tensor | None, bias: Tensor | None, axes: int, eps: float) -> Any:
    output = aten.layer_norm(input, input.shape[input.dim() - axes :], weight, bias, eps)
    return output, *_mean_and_variance(input, list(range(-axes, 0)), keepdim=True)


@_decomposes(ours.group_norm.default)
def _(input: Tensor, weight: Tensor | None, bias: Tensor | None, groups: int, eps: float) -> Any:
    output = aten.group_norm(input, groups, weight, bias, eps)
    samples, channels, *sizes = input.shape
    rows = input.reshape(samples, groups, channels // groups * prod(sizes))
    return output, *_mean_and_variance(rows, [2])


@_decomposes(ours.instance_norm.default)
def _(input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
    output = aten.instance_norm(input, weight, bias, None, None, True, 0.0, eps, False)
    return output, *_mean_and_variance(input, list(range(2, input.dim())))


@_decomposes(ours.local_response_norm.default)
def _(input: Tensor, size: int, alpha: float, beta: float, k: float) -> Any:
    squares = (input * input).reshape(input.shape[0], 1, input.shape[1], -1)
    padded = aten.constant_pad_nd(squares, [0, 0, size // 2, (size - 1) // 2])
    means = aten.avg_pool2d(padded, [size, 1], [1, 1]).reshape(input.shape)
    return input / (means * alpha + k) ** beta


def _mean_and_variance(input: Tensor, axes: list[int], keepdim: bool = False) -> tuple[Tensor, Tensor]:
    wide = input.to(torch.promote_types(input.dtype, torch.float32))
    variance, mean = aten.var_mean.correction(wide, axes, correction=0, keepdim=keepdim)
    return mean, variance


@_decomposes(ours.relu.default)
def _(input: Tensor) -> Any:
    return aten.relu(input)


_ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "elu": aten.elu,
    "gelu": aten.gelu,
    "gelu_tanh": lambda x: aten.gelu(x, approximate="tanh"),
    "hardsigmoid": aten.hardsigmoid,
    "hardswish": aten.hardswish,
    "hardtanh": aten.hardtanh,
    "leaky_relu": aten.leaky_relu,
    "mish": aten.mish,
    "sigmoid": aten.sigmoid,
    "silu": aten.silu,
    "softplus": aten.softplus,
    "softsign": lambda x: x / (x.abs() + 1),
    "tanh": aten.tanh,
}


@_decomposes(ours.activation.default)
def _(input: Tensor, name: str, parameters: Sequence[float]) -> Any:
    return _ACTIVATIONS[name](input, *parameters)


@_decomposes(ours.prelu.default)
def _(input: Tensor, weight: Tensor) -> Any:
    return torch.where(input > 0, input, input * weight)


@_decomposes(ours.alpha_drop.default)
def _(input: Tensor, mask: Tensor, p: float, adds: bool) -> Any:
    scale, kept, dropped = alpha_numbers(p)
    return input * (mask * scale) + (mask * (kept - dropped) + dropped if adds else 0)


@_decomposes(ours.drop.default)
def _(input: Tensor, mask: Tensor, p: float) -> Any:
    return input * mask * (1 / (1 - p))


@_decomposes(ours.softmax.default)
def _(input: Tensor, dim: int) -> Any:
    return aten.softmax(input, dim)


@_decomposes(ours.log_softmax.default)
def _(input: Tensor, dim: int) -> Any:
    return aten.log_softmax(input, dim)


@_decomposes(ours.nll.default)
def _(logarithms: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, smoothing: float) -> Any:
    kept, classes = target != ignore_index, logarithms.shape[1]
    index = torch.where(kept, target, 0).to(torch.int64)
    losses = aten.gather(logarithms, 1, index.unsqueeze(1)).squeeze(1) * (smoothing - 1)
    losses = losses if weight is None else losses * weight.reshape(-1)[index]
    if smoothing > 0:
        weighted = logarithms if weight is None else logarithms * weight.reshape(1, -1, 1)
        losses = losses - weighted.sum(1) * (smoothing / classes)
    return torch.where(kept, losses, 0)


@_decomposes(ours.total_weight.default)
def _(target: Tensor, weight: Tensor | None, ignore_index: int, count: int, dtype: torch.dtype) -> Any:
    kept = target != ignore_index
    if weight is None:
        return kept.to(dtype).sum().reshape(1, 1)
    index = torch.where(kept, target, 0).to(torch.int64)
    return torch.where(kept, weight.reshape(-1)[index].to(dtype), 0).sum().reshape(1, 1)


@_decomposes(ours.quotient.default)
def _(values: Tensor, divisors: Tensor) -> Any:
    return values / divisors


@_decomposes(ours.smooth_labels.default)
def _(probabilities: Tensor, smoothing: float) -> Any:
    return probabilities * (1 - smoothing) + smoothing / max(1, probabilities.shape[1])


_LOSSES: dict[str, Callable[..., Any]] = {
    "absolute": lambda x, t: (x - t).abs(),
    "bce": lambda x, t: (t - 1) * (-x).log1p().clamp(min=-100) - t * x.log().clamp(min=-100),
    "huber": lambda x, t, delta: _smooth(x - t, delta) * delta,
    "logits": lambda x, t: (1 - t) * x + _softplus(-x),
    "negatives": lambda x, t: (1 - t) * _softplus(x),
    "positives": lambda x, t: t * _softplus(-x),
    "smooth_absolute": lambda x, t, beta: _smooth(x - t, beta),
    "square": lambda x, t: (x - t) * (x - t),
}


def _smooth(difference: Tensor, beta: float) -> Tensor:
    size = difference.abs()
    return torch.where(size < beta, size * size / (2 * beta), size - beta / 2)


def _softplus(x: Tensor) -> Tensor:
    return x.clamp(min=0) + (-x.abs()).exp().log1p()


@_decomposes(ours.pair_loss.default)
def _(
    input: Tensor,
    target: Tensor,
    values: Tensor | None,
    name: str,
    orders: Sequence[int],
    parameters: Sequence[float],
    shape: Sequence[int],
    divisor: int,
) -> Any:
    losses = _LOSSES[name](input, target, *parameters)
    losses = losses if values is None else losses * values
    return losses.sum_to_size(list(shape)) / divisor


@_decomposes(ours.difference.default)
def _(input: Tensor, target: Tensor) -> Any:
    return input - target


@_decomposes(ours.ratio.default)
def _(values: Tensor, divisors: Tensor) -> Any:
    return values / divisors


@_decomposes(ours.matrix_product.default)
def _(a: Tensor, b: Tensor) -> Any:
    return aten.bmm(a, b)


@_decomposes(ours.summed_product.default)
def _(a: Tensor, b: Tensor, shape: Sequence[int], factor: float, divisor: int) -> Any:
    return (a * b * (factor / divisor)).sum_to_size(list(shape))
