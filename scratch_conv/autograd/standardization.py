"""What a batch's own statistics make of it, differentiable any number of times.

With n elements a channel, the mean μ, the variance σ² and s = 1 / √(σ² + ε), `Normalize` returns
x̂ = (x - μ) · s and s. The derivatives of every normalization by such statistics are products with both of
them, summed over channels, and the map

    B(g) = s · (g - Σ g / n - x̂ · Σ g x̂ / n).

B is its own transpose, and the derivatives of x̂ and s along x' are B(x') and -s² · Σ x̂ x' / n.

Tensors: input (N, C, *), as the caller has it: so autograd sees writes to what is saved. A channel's numbers
are (C,), and (1, C, 1, ...) in the products. Arrays are (N, C, L).
"""

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd._torch_internals import suggested_memory_format
from scratch_conv.autograd.batching import fold, unfold
from scratch_conv.autograd.operators import call, operator, register_derivatives, register_fake
from scratch_conv.autograd.products import product
from scratch_conv.autograd.tensors import empty, to_array, to_tensor
from scratch_conv.kernels.windows import Array

__all__: list[str] = []


@operator
def normalize(input: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    output, _, variance = kernels.batch_norm(pixels(input), None, None, eps)
    inverse = kernels.inverse_deviation(variance, eps)
    return as_input(output, input), torch.from_numpy(inverse)


@register_fake(normalize)
def _(input: Any, eps: float) -> tuple[Tensor, Tensor]:
    return empty_like(input), of_channels_like(input)


def pixels(input: Tensor) -> Array:
    """Return an array (N, C, L)."""
    return to_array(input).reshape(*input.shape[:2], prod(input.shape[2:]))


def as_input(pixels: Array, input: Tensor) -> Tensor:
    """Return an array (N, C, L) as a tensor of the input's shape and memory format."""
    return to_tensor(pixels.reshape(input.shape), input, format_of(input))


def format_of(input: Tensor) -> torch.memory_format:
    return torch.contiguous_format if input.is_contiguous() else suggested_memory_format(input)


def empty_like(input: Tensor) -> Tensor:
    return empty(input, input.shape, format_of(input))


def of_channels_like(input: Tensor) -> Tensor:
    """Return an uninitialized tensor of one number a channel, in float32 at least."""
    dtype = torch.promote_types(input.dtype, torch.float32)
    return input.new_empty(input.shape[1], dtype=dtype)


class ByChannel(Function):
    """A function that treats each channel alone: vmap merges the batch of calls into the channels."""

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, *operands: Any) -> Any:
        size = info.batch_size
        folded = [
            operand
            if not isinstance(operand, Tensor)
            else fold(operand, dim, 1 if operand.dim() - (dim is not None) > 1 else 0, size)
            for operand, dim in zip(operands, in_dims, strict=True)
        ]
        outputs = call(cls, *folded)
        if isinstance(outputs, Tensor):
            return unfold(outputs, 1, size), 1
        dims = tuple(1 if output.dim() > 1 else 0 for output in outputs)
        return tuple(unfold(output, dim, size) for output, dim in zip(outputs, dims, strict=True)), dims


class Normalize(ByChannel):
    """x̂ and s, of a batch: dx = B(dx̂) - s² · x̂ · ds / n."""

    forward = staticmethod(torch.ops.scratch_conv.normalize.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(ctx: Any, grad_normal: Tensor, grad_inverse: Tensor) -> Any:
        normal, inverse = ctx.saved_tensors
        inverse, grad_inverse = beside(inverse, normal), beside(grad_inverse, normal)
        through_inverse = product(_square(inverse), grad_inverse, inverse.shape, -1.0, _count(normal))
        by_inverse = product(normal, through_inverse, normal.shape)
        return centred(grad_normal, normal, inverse) + by_inverse, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, _: Any) -> Any:
        normal, inverse = ctx.saved_tensors
        inverse = beside(inverse, normal)
        along = channel_sum(input_t, normal, -1.0, _count(normal))
        inverse_t = product(_square(inverse), along, inverse.shape)
        return centred(input_t, normal, inverse), inverse_t.reshape(normal.shape[1])


def centred(g: Tensor, normal: Tensor, inverse: Tensor) -> Tensor:
    """Return B(g), see the module's docstring."""
    return product(_uncorrelated(g, normal), inverse, normal.shape)


def _uncorrelated(g: Tensor, normal: Tensor) -> Tensor:
    """Subtract from g its mean and its projection on x̂: g - Σ g / n - x̂ · Σ g x̂ / n."""
    n = _count(normal)
    along = channel_sum(g, normal, divisor=n)
    return g - channel_sum(g, divisor=n) - product(normal, along, normal.shape)


def channel_sum(a: Tensor, b: Tensor | None = None, factor: float = 1.0, divisor: int = 1) -> Tensor:
    """Return Σ a · b · factor / divisor for each channel, (1, C, 1, ...)."""
    ones = (1,) * a.dim()
    return product(a, a.new_ones(ones) if b is None else b, (1, a.shape[1], *ones[2:]), factor, divisor)


def _square(inverse: Tensor) -> Tensor:
    return product(inverse, inverse, inverse.shape)


def weighted(g: Tensor, weight: Tensor | None) -> Tensor:
    return g if weight is None else product(g, beside(weight, g), g.shape)


def spread(of_channels: Tensor | None, like: Tensor) -> Tensor:
    """Repeat a channel's numbers (C,) for all pixels; zeros where there are none."""
    return torch.zeros_like(like) if of_channels is None else beside(of_channels, like).expand(like.shape)


def beside(of_channels: Tensor, like: Tensor) -> Tensor:
    """View (C,) as (1, C, 1, ...), with as many dimensions as another tensor."""
    return of_channels.reshape(1, like.shape[1], *[1] * (like.dim() - 2))


def _count(input: Tensor) -> int:
    """Return n, the elements of a channel."""
    return max(1, input.shape[0] * prod(input.shape[2:]))


register_derivatives(Normalize)
