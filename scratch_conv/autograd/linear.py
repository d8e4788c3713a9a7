"""The dense layer as a Function; its derivatives are products of matrices.

Tensors have G groups: input (G, M, I), weight (G, O, I), bias (G, O), output (G, M, O).
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from scratch_conv import kernels
from scratch_conv.autograd.batching import fold, unfold
from scratch_conv.autograd.bilinear import BilinearWithBias
from scratch_conv.autograd.operators import (
    call,
    flop_formula,
    operator,
    register_derivatives,
    register_fake,
    wanted,
)
from scratch_conv.autograd.products import MatrixProduct, total
from scratch_conv.autograd.tensors import to_array, to_array_if_any, to_tensor

__all__ = ["Linear"]


@operator
def linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return to_tensor(kernels.linear(to_array(input), to_array(weight), to_array_if_any(bias)), input)


@register_fake(linear)
def _(input: Any, weight: Any, bias: Any) -> Tensor:
    return input.new_empty(input.shape[0], input.shape[1], weight.shape[1])


@flop_formula("linear")
def _(input: Sequence[int], weight: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return 2 * prod(out_shape) * weight[-1]


class Linear(BilinearWithBias):
    """y = x·wᵀ + b: dx = dy·w, dw = dyᵀ·x, db = Σ dy."""

    forward = staticmethod(torch.ops.scratch_conv.linear.default)

    @staticmethod
    def spread(bias: Tensor) -> Tensor:
        return bias.unsqueeze(1)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        wants_input, wants_weight, *wants_bias = wanted(ctx)
        grad_input = grad_weight = grad_bias = None
        # At most once, as a checkpoint asks; and not for the bias alone, which needs neither.
        operands: Any = ctx.saved_tensors if wants_input or wants_weight else (None, None)
        if wants_input:
            grad_input = call(MatrixProduct, grad_output, operands[1].conj())
        if wants_weight:
            grad_weight = call(MatrixProduct, grad_output.mT, operands[0].conj())
        if any(wants_bias):
            grad_bias = total(grad_output, 1).squeeze(1)
        return grad_input, grad_weight, grad_bias

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, input: Tensor, weight: Tensor, *rest: Any) -> Any:
        size, (input_dim, weight_dim, bias_dim), (bias,) = info.batch_size, in_dims, rest
        if weight_dim is None and bias_dim is None:
            return unfold(call(cls, fold(input, input_dim, 1, size), weight, bias), 1, size), 1
        input, weight = fold(input, input_dim, 0, size), fold(weight, weight_dim, 0, size)
        bias = None if bias is None else fold(bias, bias_dim, 0, size)
        return unfold(call(cls, input, weight, bias), 0, size), 0


register_derivatives(Linear)
