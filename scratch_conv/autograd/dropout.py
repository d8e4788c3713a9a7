"""Dropout as a Function, for a mask that is drawn already."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.batching import vmap_elementwise
from scratch_conv.autograd.operators import call, operator, register_derivatives, register_fake
from scratch_conv.autograd.tensors import to_array, to_tensor, to_tensor_like

__all__ = ["AlphaDrop", "Drop"]


@operator
def drop(input: Tensor, mask: Tensor, p: float) -> Tensor:
    array = to_array(input)
    # Rounded as torch rounds it: once in the precision that is computed in, once to the tensor's own.
    scale = to_tensor(np.array(array.dtype.type(1) / array.dtype.type(1 - p)), input)
    return to_tensor_like(kernels.drop(array, to_array(mask), float(scale)), input)


@register_fake(drop)
def _(input: Any, mask: Any, p: float) -> Tensor:
    return torch.empty_like(input)


class Drop(Function):
    """y = x · mask / (1 - p): linear in x, and its own transpose."""

    forward = staticmethod(torch.ops.scratch_conv.drop.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, mask, ctx.p = inputs
        # One tensor more than torch's, whose mask is divided by 1 - p: where a checkpoint is recomputed by
        # torch, it refuses to take that mask for ours.
        ctx.save_for_backward(mask, mask.new_empty(0))
        ctx.save_for_forward(mask)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        mask, _ = ctx.saved_tensors
        return call(Drop, grad_output, mask, ctx.p), None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        (mask,) = ctx.saved_tensors
        return call(Drop, input_t, mask, ctx.p)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *operands: Any) -> Any:
        return vmap_elementwise(Drop, info, in_dims, *operands)


register_derivatives(Drop)


@operator
def alpha_drop(input: Tensor, mask: Tensor, p: float, adds: bool) -> Tensor:
    scale, *added = kernels.alpha_numbers(p)
    output = kernels.alpha_drop(to_array(input), to_array(mask), scale, *(added if adds else (0.0, 0.0)))
    return to_tensor_like(output, input)


@register_fake(alpha_drop)
def _(input: Any, mask: Any, p: float, adds: bool) -> Tensor:
    return torch.empty_like(input)


class AlphaDrop(Function):
    """y = x · mask · scale + one of two numbers: its derivative is itself with nothing added."""

    forward = staticmethod(torch.ops.scratch_conv.alpha_drop.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, mask, ctx.p, _ = inputs
        ctx.save_for_backward(mask, mask.new_empty(0))  # the last as dropout's
        ctx.save_for_forward(mask)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        mask, _ = ctx.saved_tensors
        return call(AlphaDrop, grad_output, mask, ctx.p, False), None, None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        (mask,) = ctx.saved_tensors
        return call(AlphaDrop, input_t, mask, ctx.p, False)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *operands: Any) -> Any:
        return vmap_elementwise(AlphaDrop, info, in_dims, *operands)


register_derivatives(AlphaDrop)
