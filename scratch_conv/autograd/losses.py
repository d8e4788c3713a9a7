"""The family of losses that compare two tensors by elements, as one Function that is its own derivatives.

Tensors have the same number of axes; on every axis each has either the full size or 1.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd import _torch_internals as internals
from scratch_conv.autograd.operators import call, operator, register_derivatives, register_fake, wanted
from scratch_conv.autograd.products import product
from scratch_conv.autograd.tensors import to_array, to_array_if_any, to_tensor

__all__ = ["Difference", "PairLoss", "Ratio"]


@operator
def difference(input: Tensor, target: Tensor) -> Tensor:
    return _filled(kernels.difference(to_array(input), to_array(target)), _empty(input, target))


@operator
def pair_loss(
    input: Tensor,
    target: Tensor,
    values: Tensor | None,
    name: str,
    orders: Sequence[int],
    parameters: Sequence[float],
    shape: Sequence[int],
    divisor: int,
) -> Tensor:
    arrays = to_array(input), to_array(target), to_array_if_any(values)
    result = kernels.pair_loss(*arrays, name, orders, parameters, shape, divisor)
    return _filled(result, _result(input, target, name, shape))


@operator
def ratio(values: Tensor, divisors: Tensor) -> Tensor:
    return to_tensor(kernels.quotient(to_array(values), to_array(divisors)), values)


@register_fake(difference)
def _(input: Any, target: Any) -> Tensor:
    return _empty(input, target)


@register_fake(pair_loss)
def _(
    input: Any,
    target: Any,
    values: Any,
    name: str,
    orders: Any,
    parameters: Any,
    shape: Any,
    divisor: int,
) -> Tensor:
    return _result(input, target, name, shape)


@register_fake(ratio)
def _(values: Any, divisors: Any) -> Tensor:
    return torch.empty_like(values)


def _empty(first: Tensor, second: Tensor) -> Tensor:
    """Return an uninitialized tensor with the strides of what torch computes of two tensors by elements."""
    if first.shape == second.shape and first.is_contiguous() and second.is_contiguous():
        return torch.empty_like(first, memory_format=torch.contiguous_format)
    full = _broadcast(first.shape, second.shape)
    first, second = first.expand(full), second.expand(full)
    return first.new_empty_strided(full, internals.strides_by_elements(first, second))


def _result(input: Tensor, target: Tensor, name: str, shape: Sequence[int]) -> Tensor:
    """Return an uninitialized result, with the strides of torch's where it is computed by elements."""
    if input.shape != target.shape or tuple(shape) != tuple(input.shape):
        full = _broadcast(input.shape, target.shape)
        return _empty(input, target) if tuple(shape) == tuple(full) else input.new_empty(tuple(shape))
    if name in _FROM_THE_DIFFERENCE:
        return _empty(input, target)
    return torch.empty_like(input if name == "bce" else target)  # with logits, torch begins with 1 - target


def _broadcast(*shapes: Sequence[int]) -> torch.Size:
    return torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]


_FROM_THE_DIFFERENCE = ("absolute", "huber", "smooth_absolute", "square")


def _filled(array: Any, empty: Tensor) -> Tensor:
    """Return an array as a tensor with the strides of an uninitialized one, and of its dtype."""
    tensor = torch.from_numpy(array)
    if tensor.dtype == empty.dtype and tensor.stride() == empty.stride():
        return tensor
    return empty.copy_(tensor)


class PairLoss(Function):
    """c = Σ a · ∂ⁱ∂ʲℓ(x, t) / divisor, of a shape: linear in a, of the next i for dx, of the next j for dt.

    Its arguments: x, t, a or None for 1, the name of ℓ, (i, j), the parameters of ℓ, the shape, the divisor.
    """

    forward = staticmethod(torch.ops.scratch_conv.pair_loss.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, target, values, *ctx.rest = inputs
        ctx.set_materialize_grads(False)
        ctx.values_shape = None if values is None else values.shape
        used = any(ctx.needs_input_grad[:2])
        ctx.save_for_backward(input, target, values if used else None)
        ctx.save_for_forward(input, target, values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        *pair, values = ctx.saved_tensors
        input, target = pair
        wants_input, wants_target, wants_values = (*wanted(ctx), False)[:3]
        given = _product(grad, values) if wants_input or wants_target else grad
        to_input = _derivative(ctx, pair, given, 1, 0, input.shape) if wants_input else None
        to_target = _derivative(ctx, pair, given, 0, 1, target.shape) if wants_target else None
        to_values = _derivative(ctx, pair, grad, 0, 0, ctx.values_shape) if wants_values else None
        return to_input, to_target, to_values, None, None, None, None, None

    @staticmethod
    def jvp(
        ctx: Any, input_t: Tensor | None, target_t: Tensor | None, values_t: Tensor | None, *_: Any
    ) -> Any:
        *pair, values = ctx.saved_tensors
        *_, shape, _ = ctx.rest
        parts = []
        if input_t is not None:
            parts.append(_derivative(ctx, pair, _product(input_t, values), 1, 0, shape))
        if target_t is not None:
            parts.append(_derivative(ctx, pair, _product(target_t, values), 0, 1, shape))
        if values_t is not None:
            parts.append(_derivative(ctx, pair, values_t, 0, 0, shape))
        first, *others = parts
        return sum(others, first)

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, input: Tensor, target: Tensor, values: Tensor | None, *rest: Any
    ) -> Any:
        name, orders, parameters, shape, divisor = rest
        stacked = _stacked(in_dims, input, target, values)
        result = call(PairLoss, *stacked, name, orders, parameters, [info.batch_size, *shape], divisor)
        return result, 0


def _stacked(in_dims: Any, *operands: Tensor | None) -> list[Tensor | None]:
    """Bring the vmapped dimension to the front; operands without one get one of size 1."""
    return [
        operand if operand is None else operand.unsqueeze(0) if dim is None else operand.movedim(dim, 0)
        for operand, dim in zip(operands, in_dims, strict=False)
    ]


def _product(grad: Tensor, values: Tensor | None) -> Tensor:
    if values is None:
        return grad
    return product(grad, values, _broadcast(grad.shape, values.shape))


def _derivative(
    ctx: Any, pair: Sequence[Tensor], given: Tensor, i: int, j: int, shape: Sequence[int]
) -> Tensor:
    """Return the map of a given a, whose orders are i and j more, of a shape; x and t are taken out once."""
    input, target = pair
    name, orders, parameters, _, divisor = ctx.rest
    more = [orders[0] + i, orders[1] + j]
    if name not in _FROM_THE_DIFFERENCE and more[1]:  # linear in the target, on which nothing depends then
        target = target.detach()
    result: Tensor = call(PairLoss, input, target, given, name, more, parameters, list(shape), divisor)
    return result


class Difference(Function):
    """d = x - t: dx = dd, dt = -dd, each summed to its shape."""

    forward = staticmethod(torch.ops.scratch_conv.difference.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.shapes, ctx.full = [each.shape for each in inputs], output.shape
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        one = grad.new_ones((1,) * grad.dim())
        operands = zip(wanted(ctx), ctx.shapes, (1.0, -1.0), strict=True)
        return tuple(product(grad, one, shape, sign) if wants else None for wants, shape, sign in operands)

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor | None, target_t: Tensor | None) -> Any:
        tangents = [
            product(tangent, tangent.new_ones((1,) * tangent.dim()), ctx.full, sign)
            for tangent, sign in ((input_t, 1.0), (target_t, -1.0))
            if tangent is not None
        ]
        first, *others = tangents
        return sum(others, first)

    @staticmethod
    def vmap(info: Any, in_dims: Any, input: Tensor, target: Tensor) -> Any:
        return call(Difference, *_stacked(in_dims, input, target)), 0


class Ratio(Function):
    """y = x / d: dx = dy / d, dd = -dy · y / d."""

    forward = staticmethod(torch.ops.scratch_conv.ratio.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        values, divisors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(values if ctx.needs_input_grad[1] else None, divisors)
        ctx.save_for_forward(values, divisors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        values, divisors = ctx.saved_tensors
        wants_values, wants_divisors = wanted(ctx)
        to_values = call(Ratio, grad, divisors) if wants_values else None
        to_divisors = _of_divisors(grad, values, divisors) if wants_divisors else None
        return to_values, to_divisors

    @staticmethod
    def jvp(ctx: Any, values_t: Tensor | None, divisors_t: Tensor | None) -> Any:
        values, divisors = ctx.saved_tensors
        along_values = None if values_t is None else call(Ratio, values_t, divisors)
        if divisors_t is None:
            return along_values
        along_divisors = _of_divisors(divisors_t, values, divisors)
        return along_divisors if along_values is None else along_values + along_divisors

    @staticmethod
    def vmap(info: Any, in_dims: Any, values: Tensor, divisors: Tensor) -> Any:
        values, divisors = (
            operand.expand(info.batch_size, *operand.shape) if dim is None else operand.movedim(dim, 0)
            for operand, dim in zip((values, divisors), in_dims, strict=True)
        )
        return call(Ratio, values, divisors), 0


def _of_divisors(given: Tensor, values: Tensor, divisors: Tensor) -> Tensor:
    """Return -given · values / divisors²."""
    quotient = call(Ratio, values, divisors)
    result: Tensor = call(Ratio, product(given, quotient, given.shape, -1.0), divisors)
    return result


for _function in (PairLoss, Difference, Ratio):
    register_derivatives(_function)
