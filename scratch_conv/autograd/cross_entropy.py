"""The negative log-likelihood as Functions: a linear map of the logarithms, and its transpose.

Tensors: logarithms (A, K, B), targets and losses (A, B), weights (1, K) or (A, K).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.batching import fold, unfold, vmap_elementwise
from scratch_conv.autograd.operators import (
    batching_nothing_too,
    beside_zeros,
    call,
    operator,
    register_derivatives,
    register_fake,
)
from scratch_conv.autograd.products import product
from scratch_conv.autograd.tensors import to_array, to_array_if_any, to_tensor, to_tensor_like
from scratch_conv.kernels import Classes

__all__ = ["Nll", "Quotient", "SmoothLabels", "total_weight"]


def _classes(target: Tensor, count: int, weight: Tensor | None, ignore_index: int) -> Classes:
    return Classes(to_array(target), count, to_array_if_any(weight), ignore_index)


@operator
def nll(
    logarithms: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, smoothing: float
) -> Tensor:
    classes = _classes(target, logarithms.shape[1], weight, ignore_index)
    return to_tensor(kernels.nll(to_array(logarithms), classes, smoothing), logarithms)


@operator
def nll_grad(
    grad_output: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    smoothing: float,
    count: int,
) -> Tensor:
    classes = _classes(target, count, weight, ignore_index)
    return to_tensor(kernels.nll_grad(to_array(grad_output), classes, smoothing), grad_output)


@operator
def total_weight(
    target: Tensor, weight: Tensor | None, ignore_index: int, count: int, dtype: torch.dtype
) -> Tensor:
    classes = _classes(target, count, weight, ignore_index)
    like = torch.empty((), dtype=dtype)
    return to_tensor(kernels.total_weight(classes, to_array(like).dtype), like)


@operator
def quotient(values: Tensor, divisors: Tensor) -> Tensor:
    return to_tensor(kernels.quotient(to_array(values), to_array(divisors)), values)


@operator
def smooth_labels(probabilities: Tensor, smoothing: float) -> Tensor:
    return to_tensor_like(kernels.smooth_labels(to_array(probabilities), smoothing), probabilities)


@register_fake(nll)
def _(logarithms: Any, target: Any, *rest: Any) -> Tensor:
    return logarithms.new_empty(target.shape)


@register_fake(nll_grad)
def _(grad_output: Any, target: Any, *rest: Any) -> Tensor:
    outer, inner = target.shape
    return grad_output.new_empty(outer, rest[-1], inner)


@register_fake(total_weight)
def _(target: Any, weight: Any, ignore_index: int, count: int, dtype: Any) -> Tensor:
    return target.new_empty((1, 1), dtype=dtype)


@register_fake(quotient)
def _(values: Any, divisors: Any) -> Tensor:
    return torch.empty_like(values)


@register_fake(smooth_labels)
def _(probabilities: Any, smoothing: float) -> Tensor:
    return torch.empty_like(probabilities)


class _OfClasses(Function):
    """A map for given classes, linear in its values: the loss or its transpose."""

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        values, target, weight, ctx.ignore_index, ctx.smoothing, *_ = inputs
        ctx.count = values.shape[1] if values.dim() == 3 else output.shape[1]
        ctx.save_for_backward(target, weight)
        ctx.save_for_forward(target, weight)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, values: Tensor, target: Tensor, *rest: Any) -> Any:
        size, (values_dim, target_dim, weight_dim, *_), (weight, *numbers) = info.batch_size, in_dims, rest
        values, target = fold(values, values_dim, 0, size), fold(target, target_dim, 0, size)
        if weight_dim is not None or (weight is not None and weight.shape[0] != 1):
            rows = target.shape[0] // size
            by_row = weight.movedim(weight_dim, 0) if weight_dim is not None else weight.expand(size, -1, -1)
            weight = by_row.expand(size, rows, -1).flatten(0, 1)
        return unfold(call(cls, values, target, weight, *numbers), 0, size), 0


class Nll(_OfClasses):
    """loss = -w·l[target], smoothed: dl = nll_grad(dloss)."""

    forward = staticmethod(torch.ops.scratch_conv.nll.default)

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        super().setup_context(ctx, inputs, output)
        logarithms, target, weight, *_ = inputs
        ctx.save_for_backward(target, weight, logarithms)  # these because torch saves them

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        *classes, logarithms = ctx.saved_tensors
        gradient = call(NllGrad, grad_output, *classes, ctx.ignore_index, ctx.smoothing, ctx.count)
        return beside_zeros(gradient, logarithms), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, logarithms_t: Tensor, *_: Any) -> Any:
        return call(Nll, logarithms_t, *ctx.saved_tensors, ctx.ignore_index, ctx.smoothing)


class NllGrad(_OfClasses):
    """dl = nll_grad(dloss): linear in dloss; its transpose is the loss."""

    forward = staticmethod(torch.ops.scratch_conv.nll_grad.default)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        to_grad_output = call(Nll, grad, *ctx.saved_tensors, ctx.ignore_index, ctx.smoothing)
        return to_grad_output, None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, grad_output_t: Tensor, *_: Any) -> Any:
        return call(NllGrad, grad_output_t, *ctx.saved_tensors, ctx.ignore_index, ctx.smoothing, ctx.count)


@total_weight.register_vmap
@batching_nothing_too
def _(info: Any, in_dims: Any, target: Tensor, weight: Tensor | None, *rest: Any) -> Any:
    target_dim, weight_dim, *_ = in_dims
    totals = [
        torch.ops.scratch_conv.total_weight(
            target if target_dim is None else target.select(target_dim, number),
            weight if weight is None or weight_dim is None else weight.select(weight_dim, number),
            *rest,
        )
        for number in range(info.batch_size)
    ]
    return torch.stack(totals), 0


class Quotient(Function):
    """y = x / d, for divisors d that are constants: dx = dy / d."""

    forward = staticmethod(torch.ops.scratch_conv.quotient.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, divisors = inputs
        ctx.save_for_backward(divisors)
        ctx.save_for_forward(divisors)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        return call(Quotient, grad_output, *ctx.saved_tensors), None

    @staticmethod
    def jvp(ctx: Any, values_t: Tensor, _: Any) -> Any:
        return call(Quotient, values_t, *ctx.saved_tensors)

    @staticmethod
    def vmap(info: Any, in_dims: Any, values: Tensor, divisors: Tensor) -> Any:
        return vmap_elementwise(Quotient, info, in_dims, values, divisors)


class SmoothLabels(Function):
    """q' = (1 - ε) q + ε / K: dq = (1 - ε) dq'."""

    forward = staticmethod(torch.ops.scratch_conv.smooth_labels.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, ctx.smoothing = inputs

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        return _scaled(grad_output, 1 - ctx.smoothing), None

    @staticmethod
    def jvp(ctx: Any, probabilities_t: Tensor, _: Any) -> Any:
        return _scaled(probabilities_t, 1 - ctx.smoothing)

    @staticmethod
    def vmap(info: Any, in_dims: Any, probabilities: Tensor, smoothing: float) -> Any:
        folded = fold(probabilities, in_dims[0], 0, info.batch_size)
        return unfold(call(SmoothLabels, folded, smoothing), 0, info.batch_size), 0


def _scaled(tensor: Tensor, factor: float) -> Tensor:
    return product(tensor, tensor.new_ones(1, 1, 1), tensor.shape, factor)


for _function in (Nll, NllGrad, Quotient, SmoothLabels):
    register_derivatives(_function)
