"""Activations."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import (
    Activation,
    PReLU,
    ReLU,
    ReLUInPlace,
    call,
    refuse_backward_after_writes,
    reshaped,
)
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import autocast, overridable, replaces
from scratch_conv.kernels import keeps_output

__all__ = [
    "celu",
    "elu",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "tanh",
]

_SELU = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
"""alpha and scale (Klambauer et al., Self-Normalizing Neural Networks, 2017)."""


@replaces(F.relu, torch.relu, Tensor.relu)
@overridable
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """Take the positive part of every element, as `torch.nn.functional.relu` does.

    Args:
        input: of any shape, real or whole numbers.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns:
        max(input, 0), of the shape, the dtype and the strides of the input; NaN stays NaN.

    Raises:
        TypeError: the input is not a tensor.
        RuntimeError: it is not on the CPU; or it is a leaf that requires a gradient, and `inplace`.
        NotImplementedError: it is bool or complex.
    """
    arguments.tensors("relu", input=input)
    if input.dtype == torch.bool or input.dtype.is_complex:
        raise NotImplementedError(f"relu is not implemented for {input.dtype}")
    if input.dim() > arguments.MOST_DIMENSIONS:
        output: Tensor = reshaped(relu(input.reshape(-1)), input.shape)
        return input.copy_(output) if inplace else output
    if inplace and ReLUInPlace.fits_in_place(input):
        # To copy the output over it would take a twentieth of a training step of ResNet-18.
        return ReLUInPlace.apply(input)
    output = call(ReLU, input)
    return input.copy_(output) if inplace else output


@replaces(torch.relu_, Tensor.relu_)
def _relu_(input: Any) -> Any:
    return relu(input, inplace=True)


@replaces(F.leaky_relu)
@overridable
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """Scale down every negative element, as `torch.nn.functional.leaky_relu` does.

    Args:
        input: of any shape, of floating point.
        negative_slope: the factor below zero.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns:
        input where it is positive, else negative_slope · input,
        of the shape, the dtype and the strides of the input.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: it is not on the CPU, or is a leaf that requires a gradient, and `inplace`.
        NotImplementedError: it is of whole numbers, bool or complex.
    """
    negative_slope = arguments.number("leaky_relu", "negative_slope", negative_slope)
    return _computed("leaky_relu", "leaky_relu", input, (negative_slope,), inplace)


@replaces(F.leaky_relu_)
def _leaky_relu_(input: Any, negative_slope: Any = 0.01) -> Any:
    return leaky_relu(input, negative_slope, inplace=True)


@replaces(F.elu)
@overridable
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Bend every negative element towards -alpha, as `torch.nn.functional.elu` does.

    Args:
        input: of any shape, of floating point.
        alpha: how far below zero the result goes at most.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns:
        input where it is positive, else alpha · (exp(input) - 1),
        of the shape, the dtype and the strides of the input.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: it is not on the CPU, or is a leaf that requires a gradient, and `inplace`.
        NotImplementedError: it is of whole numbers, bool or complex.
    """
    alpha = arguments.number("elu", "alpha", alpha)
    return _computed("elu", "elu", input, (alpha, 1.0, 1.0), inplace)


@replaces(F.elu_)
def _elu_(input: Any, alpha: Any = 1.0) -> Any:
    return elu(input, alpha, inplace=True)


@replaces(F.selu, torch.selu)
@overridable
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Apply elu with the constants that keep mean and variance, as `torch.nn.functional.selu` does.

    Args:
        input: of any shape, of floating point.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns:
        scale · elu(input, alpha) with alpha = 1.6733 and scale = 1.0507,
        of the shape, the dtype and the strides of the input.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: it is not on the CPU, or is a leaf that requires a gradient, and `inplace`.
        NotImplementedError: it is of whole numbers, bool or complex.
    """
    return _computed("selu", "elu", input, (*_SELU, 1.0), inplace)


@replaces(torch.selu_)
def _selu_(input: Any) -> Any:
    return selu(input, inplace=True)


@replaces(F.celu, torch.celu)
@overridable
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Apply elu to input / alpha, times alpha, as `torch.nn.functional.celu` does.

    Args:
        input: of any shape, of floating point.
        alpha: how far below zero the result goes at most, other than 0.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns:
        input where it is positive, else alpha · (exp(input / alpha) - 1),
        of the shape, the dtype and the strides of the input.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: the input is not on the CPU; or it is a leaf that requires a gradient, and `inplace`;
            or alpha is 0.
        NotImplementedError: it is of whole numbers, bool or complex.
    """
    alpha = arguments.number("celu", "alpha", alpha)
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _computed("celu", "elu", input, (alpha, 1.0, 1 / alpha), inplace)


@replaces(torch.celu_)
def _celu_(input: Any, alpha: Any = 1.0) -> Any:
    return celu(input, alpha, inplace=True)


@replaces(F.gelu)
@overridable
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """Weight every element by the normal distribution, as `torch.nn.functional.gelu` does.

    Args:
        input: of any shape, of floating point.
        approximate: 'none', or 'tanh' for input · (1 + tanh(√(2/π) (input + 0.044715 input³))) / 2.

    Returns:
        input · Φ(input); or the other form,
        of the shape, the dtype and the strides of the input.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: the input is not on the CPU; or `approximate` is another word.
        NotImplementedError: it is of whole numbers, bool or complex.
    """
    if not isinstance(approximate, str):
        raise TypeError(f"gelu(): argument 'approximate' must be str, not {type(approximate).__name__}")
    arguments.tensors("gelu", input=input)
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh, but got {approximate!r}.")
    return _computed("gelu", "gelu" if approximate == "none" else "gelu_tanh", input, (), False)


@replaces(F.silu, real=True)
@overridable
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """Weight every element by its sigmoid (swish), as `torch.nn.functional.silu` does.

    Args:
        input: of any shape, of floating point.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns:
        input / (1 + exp(-input)),
        of the shape, the dtype and the strides of the input.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: it is not on the CPU, or is a leaf that requires a gradient, and `inplace`.
        NotImplementedError: it is of whole numbers, bool or complex.
    """
    return _computed("silu", "silu", input, (), inplace)


@replaces(F.mish)
@overridable
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """Weight every element by the hyperbolic tangent of its softplus, as `torch.nn.functional.mish` does.

    Args:
        input: of any shape, of floating point.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns:
        input · tanh(log(1 + exp(input))),
        of the shape, the dtype and the strides of the input.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: it is not on the CPU, or is a leaf that requires a gradient, and `inplace`.
        NotImplementedError: it is of whole numbers, bool or complex.
    """
    return _computed("mish", "mish", input, (), inplace)


@replaces(F.hardsigmoid)
@overridable
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """Approximate the sigmoid of every element by three lines, as `torch.nn.functional.hardsigmoid` does.

    Args:
        input: of any shape, of floating point.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns:
        min(max(input + 3, 0), 6) / 6,
        of the shape, the dtype and the strides of the input.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: it is not on the CPU, or is a leaf that requires a gradient, and `inplace`.
        NotImplementedError: it is of whole numbers, bool or complex.
    """
    return _computed("hardsigmoid", "hardsigmoid", input, (), inplace)


@replaces(F.hardswish)
@overridable
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """Weight every element by its hardsigmoid, as `torch.nn.functional.hardswish` does.

    Args:
        input: of any shape, of floating point.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns:
        input · min(max(input + 3, 0), 6) / 6,
        of the shape, the dtype and the strides of the input.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: it is not on the CPU, or is a leaf that requires a gradient, and `inplace`.
        NotImplementedError: it is of whole numbers, bool or complex.
    """
    return _computed("hardswish", "hardswish", input, (), inplace)


@replaces(F.softplus)
@overridable
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Take a smooth positive part of every element, as `torch.nn.functional.softplus` does.

    Args:
        input: of any shape, of floating point.
        beta: how sharply it bends.
        threshold: the value of beta · input beyond which the input itself is returned.

    Returns:
        log(1 + exp(beta · input)) / beta, or the input itself beyond the threshold,
        of the shape, the dtype and the strides of the input.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: the input is not on the CPU.
        NotImplementedError: it is of whole numbers, bool or complex.
    """
    beta = arguments.number("softplus", "beta", beta)
    threshold = arguments.number("softplus", "threshold", threshold)
    return _computed("softplus", "softplus", input, (beta, threshold), False)


@replaces(F.hardtanh)
@overridable
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """Limit every element to an interval, as `torch.nn.functional.hardtanh` does.

    Args:
        input: of any shape, real or whole numbers.
        min_val: the least value.
        max_val: the greatest.
        inplace: whether to write the result over the input, and to return that same tensor.

    Returns:
        min(max(input, min_val), max_val), of the shape, the dtype and the strides of the input.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: min_val is greater than max_val.
        RuntimeError: the input is not on the CPU; or it is a leaf that requires a gradient, and `inplace`; or
            a limit is negative, for a dtype without a sign, or beyond the dtype.
        NotImplementedError: it is bool or complex.
    """
    low = arguments.number("hardtanh", "min_val", min_val)
    high = arguments.number("hardtanh", "max_val", max_val)
    if low > high:
        raise ValueError(f"min_val cannot be greater than max_val, but got {min_val} and {max_val}")
    return _limited("hardtanh", input, low, high, inplace)


@replaces(F.hardtanh_)
def _hardtanh_(input: Any, min_val: Any = -1.0, max_val: Any = 1.0) -> Any:
    return hardtanh(input, min_val, max_val, inplace=True)


@replaces(F.relu6)
@overridable
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Limit every element to the interval from 0 to 6, as `torch.nn.functional.relu6` does.

    Args, Returns and Raises are those of `hardtanh`.
    """
    return _limited("relu6", input, 0.0, 6.0, inplace)


@replaces(torch.sigmoid, Tensor.sigmoid, torch.special.expit, F.sigmoid, real=True)
@overridable
def sigmoid(input: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-input)) of every element, as `torch.nn.functional.sigmoid` does.

    Args:
        input: of any shape, real; whole numbers and bool become numbers of the default dtype.

    Returns:
        The sigmoid, of the shape and the strides of the input.

    Raises:
        TypeError: the input is not a tensor.
        RuntimeError: it is not on the CPU.
        NotImplementedError: it is complex.
    """
    return _computed("sigmoid", "sigmoid", input, (), False, whole=True)


@replaces(torch.sigmoid_, Tensor.sigmoid_, real=True)
def _sigmoid_(input: Any) -> Any:
    return _computed("sigmoid_", "sigmoid", input, (), True, whole=True)


@replaces(torch.tanh, Tensor.tanh, F.tanh, real=True)
@overridable
def tanh(input: Tensor) -> Tensor:
    """Return the hyperbolic tangent of every element, as `torch.nn.functional.tanh` does.

    Args, Returns and Raises are those of `sigmoid`.
    """
    return _computed("tanh", "tanh", input, (), False, whole=True)


@replaces(torch.tanh_, Tensor.tanh_, real=True)
def _tanh_(input: Any) -> Any:
    return _computed("tanh_", "tanh", input, (), True, whole=True)


@replaces(F.softsign, real=True)
@overridable
def softsign(input: Tensor) -> Tensor:
    """Return input / (1 + |input|), as `torch.nn.functional.softsign` does.

    Args, Returns and Raises are those of `sigmoid`; but a bool input is not implemented.
    """
    return _computed("softsign", "softsign", input, (), False, whole=True)


@replaces(F.prelu, Tensor.prelu)
@overridable
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """Scale every negative element by a learnt factor, as `torch.nn.functional.prelu` does.

    Args:
        input: (N, C, *), or of any shape for a single factor; of floating point.
        weight: (C,), or (1,) or () for all channels; of the input's dtype.

    Returns:
        The input where it is positive, else weight · input, of the shape and the strides of the input.

    Raises:
        TypeError: an argument is not a tensor.
        RuntimeError: shapes or dtypes do not fit, or a tensor is not on the CPU.
        NotImplementedError: the input is of whole numbers, bool or complex.
    """
    arguments.tensors("prelu", input=input, weight=weight)
    if torch.is_autocast_enabled("cpu"):
        input, weight = autocast(input), autocast(weight)
    if input.dtype != weight.dtype:
        raise RuntimeError(
            f"prelu: Type promoting not supported. Got {input.dtype} and {weight.dtype} for the weight"
        )
    if weight.dim() > 1:
        raise RuntimeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.dim()}"
        )
    channels = input.shape[1] if input.dim() > 1 else 1
    if weight.numel() != 1 and (input.dim() == 0 or weight.numel() != channels):
        raise RuntimeError(
            f"prelu: Mismatch of parameter numbers and input channel size. Found parameter numbers = "
            f"{weight.numel()} and channel size = {channels if input.dim() else None}"
        )
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"prelu is not implemented for {input.dtype}")
    axes = min(input.dim(), arguments.MOST_DIMENSIONS)
    rows = input if axes == input.dim() else input.reshape(*input.shape[:2], -1)
    shape = [-1 if axis == 1 or rows.dim() == 1 else 1 for axis in range(rows.dim())]
    output: Tensor = call(PReLU, rows, weight.reshape(shape))
    return output if rows is input else reshaped(output, input.shape)


def _limited(function: str, input: Tensor, low: float, high: float, inplace: bool) -> Tensor:
    arguments.tensors(function, input=input)
    if input.dtype in _WHOLE:
        info = torch.iinfo(input.dtype)
        if low < 0 == info.min:
            raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
        if not info.min <= low <= high <= info.max:
            raise RuntimeError(f"{function}: value cannot be converted to {input.dtype} without overflow")
    return _computed(function, "hardtanh", input, (low, high), inplace, whole=None)


_WHOLE = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)


def _computed(
    function: str,
    name: str,
    input: Tensor,
    parameters: tuple[float, ...],
    inplace: bool,
    *,
    whole: bool | None = False,
) -> Tensor:
    """Call one of the family of activations.

    Args:
        function: its name in messages.
        name: its name in the family.
        input: the tensor.
        parameters: those of the family.
        inplace: whether to write over the input.
        whole: whether whole numbers are taken, as such of the default dtype; None: as such.
    """
    arguments.tensors(function, input=input)
    floating = input.dtype.is_floating_point
    refused = input.dtype == torch.bool and (whole is None or function == "softsign")
    if input.dtype.is_complex or refused or not (floating or whole is not False):
        raise NotImplementedError(f"{function} is not implemented for {input.dtype}")
    if whole and not floating:
        if inplace:
            raise RuntimeError(
                f"{function}: result type Float can't be cast to the input's type {input.dtype}"
            )
        input = input.to(torch.get_default_dtype())
    if not inplace:
        return _called(name, input, parameters)
    # What the derivative is computed from is about to be written over.
    written = torch.is_grad_enabled() and input.requires_grad and not keeps_output(name)
    output = _called(name, input.clone() if written else input, parameters)
    input.copy_(output)
    if name in _FROM_THE_RESULT:
        refuse_backward_after_writes(input, input)
    return input


_FROM_THE_RESULT = ("elu", "leaky_relu", "sigmoid", "tanh")
"""Those of which torch, in place, keeps the result for the backward pass."""


def _called(name: str, input: Tensor, parameters: tuple[float, ...]) -> Tensor:
    if input.dim() > arguments.MOST_DIMENSIONS:
        return reshaped(_called(name, input.reshape(-1), parameters), input.shape)
    output: Tensor = call(Activation, input, name, list(parameters))
    return output
