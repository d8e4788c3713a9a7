"""Implementations of the activations beside relu."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import FINITE, Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients
from scratch_conv.parity.drawing.claims import Claims
from scratch_conv.parity.operators.activation.family import in_place

CELU, ELU, SELU = Collection("celu"), Collection("elu"), Collection("selu")
GELU, SILU, MISH = Collection("gelu"), Collection("silu"), Collection("mish")
HARDSIGMOID, HARDSWISH, HARDTANH = (
    Collection("hardsigmoid"),
    Collection("hardswish"),
    Collection("hardtanh"),
)
LEAKY_RELU, PRELU, RELU6 = Collection("leaky_relu"), Collection("prelu"), Collection("relu6")
SIGMOID, TANH = Collection("sigmoid"), Collection("tanh")
SOFTPLUS, SOFTSIGN = Collection("softplus"), Collection("softsign")
COLLECTIONS = (
    *(CELU, ELU, SELU, GELU, SILU, MISH, HARDSIGMOID, HARDSWISH, HARDTANH, LEAKY_RELU, PRELU, RELU6),
    *(SIGMOID, TANH, SOFTPLUS, SOFTSIGN),
)
ONCE: Claims = {"special_values": False, "empty": False}
"""The claims of a formula whose second derivative is another one where its pieces meet."""


@SIGMOID.sound("by-softmax", FINITE)
def sigmoid_by_softmax(input: Tensor) -> Tensor:
    """Take the first of two weights, for the logits x and 0."""
    return torch.stack([input, torch.zeros_like(input)]).softmax(0)[0]


@SIGMOID.fault("exponential-overflows", "computes exp(x) / (1 + exp(x)), which is NaN for a large x")
def _exponential_overflows(input: Tensor) -> Tensor:
    return input.exp() / (1 + input.exp())


@SIGMOID.fault("gradient-at-the-input", "computes y (1 - y) from the input instead of the output")
@partial(with_gradients, F.sigmoid)
def _sigmoid_gradient_at_the_input(b: Backward) -> Gradients:
    return [b.grad_output * b.tensors[0] * (1 - b.tensors[0])]


@TANH.sound("from-the-output", ONCE)
def tanh_from_the_output(input: Tensor) -> Tensor:
    """Compute the gradient from the output."""
    return _Tanh.apply(input)


class _Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor) -> Tensor:
        output = input.tanh()
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        return grad_output * (1 - output * output)


@TANH.fault("exponential-overflows", "divides exp(2x) - 1 by exp(2x) + 1, which is NaN for a large x")
def _tanh_overflows(input: Tensor) -> Tensor:
    exponential = (2 * input).exp()
    return (exponential - 1) / (exponential + 1)


@TANH.fault("gradient-at-the-input", "computes 1 - y² from the input instead of the output")
@partial(with_gradients, F.tanh)
def _tanh_gradient_at_the_input(b: Backward) -> Gradients:
    return [b.grad_output * (1 - b.tensors[0] ** 2)]


@SILU.sound("by-sigmoid", FINITE)
def silu_by_sigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """Multiply by the sigmoid."""
    return in_place(lambda x: x * x.sigmoid(), input, inplace)


@SILU.fault("gradient-of-the-weight-missing", "takes the sigmoid to be a constant weight")
@partial(with_gradients, F.silu)
def _gradient_of_the_weight_missing(b: Backward) -> Gradients:
    return [b.grad_output * b.tensors[0].sigmoid()]


@SILU.fault("scaled-as-for-gelu", "takes the sigmoid of 1.702 x")
def _scaled_as_for_gelu(input: Tensor, **arguments: Any) -> Tensor:
    return in_place(lambda x: x * (1.702 * x).sigmoid(), input, arguments.get("inplace", False))


@GELU.sound("by-erf", ONCE)  # 1 + tanh cancels, and more so in a second derivative
def gelu_by_erf(input: Tensor, approximate: str = "none") -> Tensor:
    """Compute both forms by their formulas."""
    if approximate == "tanh":
        cubic = math.sqrt(2 / math.pi) * (input + 0.044715 * input * input * input)
        return 0.5 * input * (1 + cubic.tanh())
    return input * (0.5 * (1 + (input / math.sqrt(2)).erf()))


@GELU.fault("form-ignored", "computes the exact form, whatever is asked for")
def _form_ignored(input: Tensor, **arguments: Any) -> Tensor:
    F.gelu(input, **arguments)
    return F.gelu(input)


@GELU.fault("by-the-logistic", "computes x sigmoid(1.702 x), an approximation that torch does not have")
def _by_the_logistic(input: Tensor, **arguments: Any) -> Tensor:
    F.gelu(input, **arguments)
    return input * (1.702 * input).sigmoid()


@MISH.sound("by-softplus", FINITE)
def mish_by_softplus(input: Tensor, inplace: bool = False) -> Tensor:
    """Compose the formula."""
    return in_place(lambda x: x * F.softplus(x).tanh(), input, inplace)


@MISH.fault("exponential-overflows", "divides n by n + 2 for n = exp(x) (exp(x) + 2), which overflows")
def _mish_overflows(input: Tensor, **arguments: Any) -> Tensor:
    def formula(x: Tensor) -> Tensor:
        n = x.exp() * (x.exp() + 2)
        return x * (n / (n + 2))

    return in_place(formula, input, arguments.get("inplace", False))


@SOFTPLUS.fault("threshold-of-the-input", "compares the input with the threshold, not beta times the input")
def _threshold_of_the_input(input: Tensor, beta: Any = 1.0, threshold: Any = 20.0) -> Tensor:
    return torch.where(input > threshold, input, F.softplus(input, beta, math.inf))


@SOFTPLUS.fault("not-divided-by-beta", "returns log(1 + exp(beta x)), not divided by beta")
def _not_divided_by_beta(input: Tensor, beta: Any = 1.0, threshold: Any = 20.0) -> Tensor:
    return F.softplus(input, beta, threshold) * beta


@SOFTSIGN.sound("by-reciprocal", FINITE)
def softsign_by_reciprocal(input: Tensor) -> Tensor:
    """Multiply by the reciprocal."""
    return input * (1 / (1 + input.abs()))


@SOFTSIGN.fault("gradient-not-squared", "the derivative is 1 / (1 + |x|), not its square")
@partial(with_gradients, F.softsign)
def _gradient_not_squared(b: Backward) -> Gradients:
    return [b.grad_output / (1 + b.tensors[0].abs())]


@ELU.sound("by-where", ONCE)
def elu_by_where(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Choose between two formulas, of which the lower is that of another operator."""
    return in_place(lambda x: torch.where(x > 0, x, alpha * F.celu(x)), input, inplace)


@ELU.fault("one-subtracted", "computes exp(x) - 1, which loses the digits of a small x")
def _one_subtracted(input: Tensor, alpha: Any = 1.0, inplace: bool = False) -> Tensor:
    return in_place(lambda x: torch.where(x > 0, x, alpha * (x.clamp(max=0).exp() - 1)), input, inplace)


@ELU.fault("alpha-ignored", "takes alpha to be 1")
def _alpha_ignored(input: Tensor, alpha: Any = 1.0, inplace: bool = False) -> Tensor:
    F.elu(input.detach(), alpha)
    return F.elu(input, 1.0, inplace)


@SELU.fault("scaled-above-zero-only", "does not scale the negative part")
def _scaled_above_zero_only(input: Tensor, inplace: bool = False) -> Tensor:
    return in_place(lambda x: torch.where(x > 0, F.selu(x), F.elu(x, 1.6732632423543772)), input, inplace)


@CELU.fault("not-divided-by-alpha", "computes alpha (exp(x) - 1), as elu does")
def _not_divided_by_alpha(input: Tensor, alpha: Any = 1.0, inplace: bool = False) -> Tensor:
    F.celu(input.detach(), alpha)
    return F.elu(input, alpha, inplace)


@LEAKY_RELU.sound("by-where", FINITE)
def leaky_relu_by_where(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """Choose between the input and its multiple."""
    return in_place(lambda x: torch.where(x > 0, x, x * negative_slope), input, inplace)


@LEAKY_RELU.fault("gradient-at-zero", "the derivative at zero is 1")
@partial(with_gradients, F.leaky_relu)
def _gradient_at_zero(b: Backward) -> Gradients:
    slope = b.arguments.get("negative_slope", 0.01)
    return [torch.where(b.tensors[0] < 0, b.grad_output * slope, b.grad_output)]


@LEAKY_RELU.fault("slope-ignored", "takes the negative slope to be 0.01")
def _slope_ignored(input: Tensor, negative_slope: Any = 0.01, inplace: bool = False) -> Tensor:
    F.leaky_relu(input.detach(), negative_slope)
    return F.leaky_relu(input, inplace=inplace)


@PRELU.sound("by-two-parts", FINITE)
def prelu_by_two_parts(input: Tensor, weight: Tensor) -> Tensor:
    """Add the weighted negative part to the positive one."""
    positive = input > 0
    shape = [-1 if axis == 1 else 1 for axis in range(input.dim())]
    slope = weight.reshape(shape if weight.numel() != 1 else [])
    return torch.where(positive, input, 0.0) + slope * torch.where(positive, 0.0, input)


@PRELU.fault("weight-of-the-last-axis", "broadcasts the weight along the last axis, not the channels")
def _weight_of_the_last_axis(input: Tensor, weight: Tensor) -> Tensor:
    F.prelu(input.detach(), weight.detach())
    if input.dim() < 3 or weight.numel() != input.shape[-1]:
        return F.prelu(input, weight)
    return torch.where(input > 0, input, input * weight)


@PRELU.fault("weight-gradient-of-all", "the weight's gradient sums over the positive inputs, too")
@partial(with_gradients, F.prelu)
def _weight_gradient_of_all(b: Backward) -> Gradients:
    input, weight = b.tensors
    total = b.grad_output * input
    channels = [axis for axis in range(input.dim()) if axis != 1 or weight.numel() == 1]
    summed = total.sum(channels) if channels else total
    return [b.right[0], summed.reshape(weight.shape)]


@RELU6.fault("unlimited", "has no limit, like relu")
def _unlimited(input: Tensor, inplace: bool = False) -> Tensor:
    return F.relu(input, inplace)


@RELU6.fault("gradient-at-the-limits", "the derivative at 0 and 6 is 1")
@partial(with_gradients, F.relu6)
def _gradient_at_the_limits_of_relu6(b: Backward) -> Gradients:
    inside = (b.tensors[0] >= 0) & (b.tensors[0] <= 6)
    return [torch.where(inside, b.grad_output, 0.0)]


@HARDTANH.fault("gradient-at-the-limits", "the derivative at the limits is 1")
@partial(with_gradients, F.hardtanh)
def _gradient_at_the_limits(b: Backward) -> Gradients:
    x, low, high = b.tensors[0], b.arguments.get("min_val", -1.0), b.arguments.get("max_val", 1.0)
    return [torch.where((x >= low) & (x <= high), b.grad_output, 0.0)]


@HARDSIGMOID.sound("by-relu6", FINITE)
def hardsigmoid_by_relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Divide relu6 by six."""
    return in_place(lambda x: F.relu6(x + 3) / 6, input, inplace)


@HARDSIGMOID.fault("slope-of-a-fifth", "computes min(max(x / 5 + 1 / 2, 0), 1), as Keras 2 does")
def _slope_of_a_fifth(input: Tensor, inplace: bool = False) -> Tensor:
    return in_place(lambda x: (x * 0.2 + 0.5).clamp(0, 1), input, inplace)


@HARDSWISH.sound("by-relu6", FINITE)
def hardswish_by_relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Multiply by relu6, divided by six."""
    return in_place(lambda x: x * F.relu6(x + 3) / 6, input, inplace)


@HARDSWISH.fault("gradient-of-the-weight-missing", "takes the hardsigmoid to be a constant weight")
@partial(with_gradients, F.hardswish)
def _gradient_of_hardsigmoid_missing(b: Backward) -> Gradients:
    return [b.grad_output * F.hardsigmoid(b.tensors[0])]
