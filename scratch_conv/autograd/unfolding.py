"""Sliding blocks as Functions: two linear maps, of which each is the transpose of the other."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.batching import fold, unfold
from scratch_conv.autograd.operators import call, operator, register_derivatives, register_fake, window_of
from scratch_conv.autograd.tensors import empty, to_array, to_bits, to_tensor_in
from scratch_conv.kernels import Window

__all__ = ["Col2Im", "Im2Col"]


@operator
def im2col(
    input: Tensor,
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Tensor:
    columns = kernels.im2col(to_bits(input), _window(kernel_size, dilation, padding, stride))
    return to_tensor_in(columns, input, torch.contiguous_format)


@operator
def col2im(
    input: Tensor,
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Tensor:
    window = _window(kernel_size, dilation, padding, stride)
    images = kernels.col2im(to_array(input), tuple(output_size), window)
    return to_tensor_in(images, input, torch.contiguous_format)


def _window(
    kernel_size: Sequence[int], dilation: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> Window:
    vertical, horizontal = padding
    return window_of(kernel_size, stride, (vertical, vertical, horizontal, horizontal), dilation)


@register_fake(im2col)
def _(input: Tensor, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Tensor:
    n, channels, height, width = input.shape
    blocks = _window(kernel_size, dilation, padding, stride).output_size((height, width))
    return empty(input, (n, channels * prod(kernel_size), prod(blocks)))


@register_fake(col2im)
def _(input: Tensor, output_size: Any, kernel_size: Any, *rest: Any) -> Tensor:
    return empty(input, (input.shape[0], input.shape[1] // prod(kernel_size), *output_size))


class Im2Col(Function):
    """Each block of pixels as a column."""

    forward = staticmethod(torch.ops.scratch_conv.im2col.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, *ctx.window = inputs
        ctx.input_size = input.shape[2:]

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        return call(Col2Im, grad_output, ctx.input_size, *ctx.window), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        return call(Im2Col, input_t, *ctx.window)

    @staticmethod
    def vmap(info: Any, in_dims: Any, input: Tensor, *window: Any) -> Any:
        columns = call(Im2Col, fold(input, in_dims[0], 0, info.batch_size), *window)
        return unfold(columns, 0, info.batch_size), 0


class Col2Im(Function):
    """Each pixel as the sum over the columns that it is in."""

    forward = staticmethod(torch.ops.scratch_conv.col2im.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, ctx.output_size, *ctx.window = inputs

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        return call(Im2Col, grad_output, *ctx.window), None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        return call(Col2Im, input_t, ctx.output_size, *ctx.window)

    @staticmethod
    def vmap(info: Any, in_dims: Any, input: Tensor, *rest: Any) -> Any:
        images = call(Col2Im, fold(input, in_dims[0], 0, info.batch_size), *rest)
        return unfold(images, 0, info.batch_size), 0


for _function in (Im2Col, Col2Im):
    register_derivatives(_function)
