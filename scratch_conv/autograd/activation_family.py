"""The family of activations as two Functions: one of the family, and a product with one of its derivatives.

PReLU, whose slope below zero is learnt, has Functions of its own.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.batching import vmap_elementwise
from scratch_conv.autograd.operators import (
    beside_zeros,
    call,
    operator,
    register_derivatives,
    register_fake,
    wanted,
)
from scratch_conv.autograd.products import product
from scratch_conv.autograd.tensors import to_array, to_tensor_like

__all__ = ["Activation", "PReLU"]


@operator
def activation(input: Tensor, name: str, parameters: Sequence[float]) -> Tensor:
    return to_tensor_like(kernels.activation(to_array(input), name, *parameters), input)


@operator
def activation_slope(
    values: Tensor, saved: Tensor, name: str, order: int, parameters: Sequence[float]
) -> Tensor:
    products = kernels.activation_slope(to_array(values), to_array(saved), name, order, *parameters)
    return to_tensor_like(products, values)


@operator
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    return to_tensor_like(kernels.prelu(to_array(input), to_array(weight)), input)


@operator
def prelu_slope(values: Tensor, input: Tensor, weight: Tensor) -> Tensor:
    return to_tensor_like(kernels.prelu_slope(to_array(values), to_array(input), to_array(weight)), values)


@operator
def negative_gate(values: Tensor, input: Tensor) -> Tensor:
    return to_tensor_like(kernels.negative_gate(to_array(values), to_array(input)), values)


@register_fake(activation)
@register_fake(activation_slope)
@register_fake(prelu)
@register_fake(prelu_slope)
@register_fake(negative_gate)
def _(values: Any, *_: Any) -> Tensor:
    return torch.empty_like(values)


class Activation(Function):
    """y = f(x), of a name and parameters: dx = slope(dy), of the first order."""

    forward = staticmethod(torch.ops.scratch_conv.activation.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        input, ctx.name, ctx.parameters = inputs
        saved = output if kernels.keeps_output(ctx.name) else input
        ctx.save_for_backward(saved)
        ctx.save_for_forward(saved)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        (saved,) = ctx.saved_tensors
        return call(ActivationSlope, grad_output, saved, ctx.name, 1, ctx.parameters), None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        (saved,) = ctx.saved_tensors
        return call(ActivationSlope, input_t, saved, ctx.name, 1, ctx.parameters)

    @staticmethod
    def vmap(info: Any, in_dims: Any, input: Tensor, *rest: Any) -> Any:
        return call(Activation, input, *rest), in_dims[0]


class ActivationSlope(Function):
    """z = v · s⁽ⁿ⁻¹⁾(x), of order n: dv = dz · s⁽ⁿ⁻¹⁾(x), dx = dz · v · s⁽ⁿ⁾(x)."""

    forward = staticmethod(torch.ops.scratch_conv.activation_slope.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        values, saved, ctx.name, ctx.order, ctx.parameters = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(values, saved)
        ctx.save_for_forward(values, saved)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        values, saved = ctx.saved_tensors
        wants_values, wants_saved = wanted(ctx)
        to_values = _slope(ctx, grad, saved) if wants_values else None
        to_saved = _slope(ctx, product(grad, values, grad.shape), saved, 1) if wants_saved else None
        return to_values, to_saved, None, None, None

    @staticmethod
    def jvp(ctx: Any, values_t: Tensor | None, saved_t: Tensor | None, *_: Any) -> Any:
        values, saved = ctx.saved_tensors
        along_values = None if values_t is None else _slope(ctx, values_t, saved)
        if saved_t is None:
            return along_values
        along_saved = _slope(ctx, product(saved_t, values, values.shape), saved, 1)
        return along_saved if along_values is None else along_values + along_saved

    @staticmethod
    def vmap(info: Any, in_dims: Any, *operands: Any) -> Any:
        return vmap_elementwise(ActivationSlope, info, in_dims, *operands)


def _slope(ctx: Any, values: Tensor, saved: Tensor, more: int = 0) -> Any:
    return call(ActivationSlope, values, saved, ctx.name, ctx.order + more, ctx.parameters)


class _OfChannels(Function):
    """A function of tensors of one shape, and of a weight of a shape that broadcasts to it."""

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, *operands: Any) -> Any:
        return vmap_elementwise(cls, info, in_dims, *operands)


class PReLU(_OfChannels):
    """y = k · x, with k = 1 where x > 0, else the weight: dx = k · dy, dw = Σ dy · x where x is not > 0."""

    forward = staticmethod(torch.ops.scratch_conv.prelu.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        input, weight = ctx.saved_tensors
        wants_input, wants_weight = wanted(ctx)
        to_input = call(PReLUSlope, grad_output, input, weight) if wants_input else None
        to_weight = _below(grad_output, input, input, weight.shape) if wants_weight else None
        return to_input, beside_zeros(to_weight, weight)

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor | None, weight_t: Tensor | None) -> Any:
        input, weight = ctx.saved_tensors
        return _tangent(input, input, weight, input_t, weight_t)


class PReLUSlope(_OfChannels):
    """z = k · v: dv = k · dz, dw = Σ dz · v where x is not positive."""

    forward = staticmethod(torch.ops.scratch_conv.prelu_slope.default)
    setup_context = staticmethod(PReLU.setup_context)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        values, input, weight = ctx.saved_tensors
        wants_values, wants_input, wants_weight = wanted(ctx)
        to_values = call(PReLUSlope, grad, input, weight) if wants_values else None
        to_input = torch.zeros_like(input) if wants_input else None  # k is constant but for its corner
        to_weight = _below(grad, values, input, weight.shape) if wants_weight else None
        return to_values, to_input, to_weight

    @staticmethod
    def jvp(ctx: Any, values_t: Tensor | None, _: Any, weight_t: Tensor | None) -> Any:
        values, input, weight = ctx.saved_tensors
        return _tangent(values, input, weight, values_t, weight_t)


def _below(a: Tensor, b: Tensor, input: Tensor, shape: Any) -> Tensor:
    """Return Σ a · b where the input is not positive, of a weight's shape."""
    return product(call(NegativeGate, a, input), call(NegativeGate, b, input), shape)


def _tangent(
    values: Tensor, input: Tensor, weight: Tensor, values_t: Tensor | None, weight_t: Tensor | None
) -> Tensor:
    """Return the tangent of k · v."""
    tangent = torch.zeros_like(values) if values_t is None else call(PReLUSlope, values_t, input, weight)
    if weight_t is None:
        return tangent
    return tangent + product(call(NegativeGate, values, input), weight_t, values.shape)


class NegativeGate(Function):
    """z = v where x is not positive, else 0: linear in v, and its own transpose."""

    forward = staticmethod(torch.ops.scratch_conv.negative_gate.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, input = inputs
        ctx.save_for_backward(input)
        ctx.save_for_forward(input)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (input,) = ctx.saved_tensors
        return call(NegativeGate, grad, input), None

    @staticmethod
    def jvp(ctx: Any, values_t: Tensor | None, _: Any) -> Any:
        (input,) = ctx.saved_tensors
        return torch.zeros_like(input) if values_t is None else call(NegativeGate, values_t, input)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *operands: Any) -> Any:
        return vmap_elementwise(NegativeGate, info, in_dims, *operands)


for _function in (Activation, ActivationSlope, PReLU, PReLUSlope, NegativeGate):
    register_derivatives(_function)
