"""Calls on which torch is known to be wrong, and which operators therefore do not draw; what is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.drawing.arrays import Array
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.operators.calling import Values

Right: TypeAlias = Callable[[Case, Values], Tensor]
"""Returns what is right of a call, given its tensors in float64 and contiguous."""


class Suspect(NamedTuple):
    """A call on which torch is wrong.

    Attributes:
        case: the call.
        result: the name of the result that is wrong.
        right: returns what is right; None where the operator's definition does.
        rounded: whether that is rounded, as the operator's bounds allow, rather than exact.
        forward: whether it is wrong in forward mode.
    """

    case: Case
    result: str = "output"
    right: Right | None = None
    rounded: bool = False
    forward: bool = False


def _call(like: str, tensors: dict[str, Any], wanted: str = "", order: int = 1, **others: Any) -> Case:
    """Return a case whose tensors are given by their shapes or as arrays; `dtype` is the case's."""
    arrays = {name: each if isinstance(each, Array) else Array(each) for name, each in tensors.items()}
    dtype = others.pop("dtype", "float32")
    grad_output = others.pop("grad_output", Array(()))
    asked = (wanted,) if wanted else ()
    return Case(like, tuple(arrays.items()), tuple(others.items()), dtype, asked, grad_output, order)


def _incoming(values: Values) -> Tensor:
    assert values.grad_output is not None, "a gradient is wanted"
    return values.grad_output


def _zeros(name: str) -> Right:
    return lambda case, values: torch.zeros(case.shapes[name], dtype=torch.float64)


def _celu(case: Case, values: Values) -> Tensor:
    x = values.tensors["input"]
    return _incoming(values) * torch.where(x > 0, 1.0, (x / case.keywords.get("alpha", 1.0)).exp())


def _inside(low: float, high: float) -> Right:
    """Return the gradient of what is cut off; that of NaN passes, as of one number it does in torch."""

    def right(case: Case, values: Values) -> Tensor:
        x = values.tensors["input"]
        return torch.where((x <= low) | (x >= high), 0.0, _incoming(values))

    return right


def _column(case: Case, values: Values) -> Tensor:
    """Return what the transposed image has, whose rows are not one pixel wide."""
    arguments = {**case.keywords, "size": case.keywords["size"][::-1]}
    return F.interpolate(values.tensors["input"].mT.contiguous(), **arguments).mT.contiguous()


def _transpose_of_nearest(case: Case, values: Values) -> Tensor:
    """Return the sums of the incoming gradients of the pixels that were copied from one."""
    x = values.tensors["input"]
    places = F.interpolate(torch.arange(x.numel(), dtype=torch.float64).reshape(x.shape), **case.keywords)
    grad = torch.zeros(x.numel(), dtype=torch.float64)
    return grad.index_add(0, places.long().flatten(), _incoming(values).flatten()).reshape(x.shape)


def _circular(case: Case, values: Values) -> Tensor:
    before, after = case.keywords["pad"][:2]
    kept = values.tensors["input"][..., : after or None]
    return kept[..., (torch.arange(before + kept.shape[-1]) - before) % kept.shape[-1]]


def _of_the_bias(case: Case, values: Values) -> Tensor:
    """Return the derivative of the bias's gradient, a sum, along a direction."""
    return values.directions["bias"].expand(case.shapes["input"])


def _sum_over_rows(case: Case, values: Values) -> Tensor:
    return _incoming(values).sum(0)


_POINT = {"input": (1, 3, 1, 1)}
_STEEP: dict[str, Any] = {"input": Array((9,), "zeros"), "weight": Array((1,), "integers", seed=3)}
_SPECIAL = {"input": Array((2, 40), "special", seed=3)}
_NARROW: dict[str, Any] = {"size": (4, 1), "antialias": True}
_STATISTICS = {"input": (2, 3), "running_mean": (3,), "running_var": (3,), "weight": (3,)}
_SLICED = Array((3,), layout="sliced")
_WIDER_BIAS: dict[str, Any] = {"input": (2, 4), "bias": Array((4,), dtype="float32")}
_IMAGE = Array((4, 2, 2), layout="image")
_LAST = Array((2, 2, 1, 2), layout="channels_last")
_STEPS_OVER: dict[str, Any] = {"kernel_size": (1, 2), "stride": 1, "padding": (0, 1), "dilation": (1, 2)}

SUSPECTS: tuple[Suspect, ...] = (
    # Of every operator vmapped forward mode refuses a tensor whose elements share memory.
    Suspect(
        _call("leaky_relu", {"input": Array((2,), layout="expanded")}, "input", order=2),
        "second_grad_output",
        forward=True,
    ),
    # Each window steps over the pixel, and has no maximum.
    Suspect(_call("max_pool2d", _POINT, "input", **_STEPS_OVER), "grad_input", _zeros("input")),
    # 1 / alpha and 1 / 6 are rounded to single precision.
    Suspect(
        _call("celu", {"input": Array((9,), "integers")}, "input", alpha=1.7, dtype="float64"),
        "grad_input",
        _celu,
        rounded=True,
    ),
    Suspect(_call("hardsigmoid", {"input": (2,)}, "input", dtype="float64"), "grad_input"),
    # At zero the gradient is the weight's, its derivative 1.
    Suspect(
        _call("prelu", _STEEP, "input", order=2),
        "second_grad_output",
    ),
    # The exponential overflows in the derivative of the gradient.
    Suspect(_call("mish", {"input": Array((9,), "graded", seed=2)}, "input", order=2), "second_input"),
    # Of NaN the gradient is another one in a vector than for one number.
    Suspect(_call("hardtanh", _SPECIAL, "input"), "grad_input", _inside(-1.0, 1.0)),
    Suspect(_call("relu6", _SPECIAL, "input"), "grad_input", _inside(0.0, 6.0)),
    # The rows of an output of one column are the first one's.
    *(
        Suspect(
            _call("interpolate", {"input": (1, 2, 6, 3)}, **_NARROW, mode=mode),
            "output",
            _column,
            rounded=True,
        )
        for mode in ("bilinear", "bicubic")
    ),
    # The gradient takes the factor to be 2, the values do not.
    Suspect(
        _call("interpolate", {"input": (1, 1, 90)}, "input", scale_factor=2.004),
        "grad_input",
        _transpose_of_nearest,
    ),
    # Memory is read that was never written.
    Suspect(_call("pad", {"input": (1, 1, 3, 3)}, pad=(3, -1, 0, 0), mode="circular"), "output", _circular),
    Suspect(
        _call("pad", {"input": (1, 1, 3, 4, 4)}, "input", pad=(0, 0, 0, 0, -3, 0), mode="reflect"),
        "grad_input",
        _zeros("input"),
    ),
    # Of channels_last windows of -inf the index is not one of theirs.
    Suspect(
        _call(
            "max_pool3d",
            {"input": Array((1, 2, 3, 3, 3), "special", "channels_last", seed=1, high=2)},
            kernel_size=1,
            return_indices=True,
        ),
        "indices",
        lambda case, values: F.max_pool3d(values.tensors["input"], **case.keywords)[1],
    ),
    # What the forward pass takes, the backward pass refuses.
    Suspect(
        _call("huber_loss", {"input": (3,), "target": Array((3,), "integers", dtype="float64")}, "input"),
        "grad_input",
    ),
    Suspect(
        _call("pixel_shuffle", {"input": (0, 4, 2, 2)}, "input", upscale_factor=2),
        "grad_input",
        _zeros("input"),
    ),
    Suspect(
        _call("channel_shuffle", {"input": (1, 0, 2, 2)}, "input", groups=1), "grad_input", _zeros("input")
    ),
    *(
        Suspect(
            _call(like, {"input": (1, 1, *(3,) * axes)}, "input", output_size=0),
            "grad_input",
            _zeros("input"),
        )
        for like, axes in (
            ("adaptive_avg_pool2d", 2),
            ("adaptive_avg_pool3d", 3),
            ("adaptive_max_pool2d", 2),
            ("adaptive_max_pool3d", 3),
        )
    ),
    Suspect(
        _call("layer_norm", _WIDER_BIAS, "bias", normalized_shape=(4,), dtype="float16"),
        "grad_bias",
        _sum_over_rows,
    ),
    Suspect(
        _call("group_norm", _WIDER_BIAS, "bias", num_groups=2, dtype="float16"), "grad_bias", _sum_over_rows
    ),
    # Nothing keeps its shape, or is taken for one sample at least.
    Suspect(
        _call("pixel_unshuffle", {"input": (0, 1, 4, 4)}, downscale_factor=2),
        "output",
        lambda *_: torch.zeros(0, 4, 2, 2, dtype=torch.float64),
    ),
    Suspect(
        _call("instance_norm", {"input": (0, 3, 2, 2), "weight": (3,), "bias": (3,)}),
        "output",
        _zeros("input"),
    ),
    # The gradient of the bias alone is taken for a constant.
    Suspect(
        _call("batch_norm", {"input": (2, 3), "bias": (3,)}, "bias", order=2, training=True),
        "second_grad_output",
        _of_the_bias,
    ),
    Suspect(
        _call("layer_norm", {"input": (2, 3), "bias": (3,)}, "bias", order=2, normalized_shape=(3,)),
        "second_grad_output",
        _of_the_bias,
    ),
    # The gradients of rows, and of channels_last images, take what a channel has for contiguous.
    *(
        Suspect(_call("batch_norm", _STATISTICS | {sliced: _SLICED}, wanted), f"grad_{wanted}")
        for sliced, wanted in (("weight", "input"), ("running_mean", "weight"), ("running_var", "input"))
    ),
    # Where a view has put the axis of samples before one image, its gradient is taken for contiguous.
    Suspect(
        _call(
            "batch_norm",
            {"input": (1, 2, 2, 2)},
            "input",
            grad_output=Array((), layout="image"),
            training=True,
        ),
        "grad_input",
    ),
    # Of one image in a channels_last batch the other channels' gradients are taken.
    Suspect(
        _call("conv2d", {"input": _IMAGE, "weight": _LAST}, "weight", groups=2, dtype="float64"),
        "grad_weight",
    ),
    # The variance is the difference of two nearly equal numbers.
    Suspect(
        _call("group_norm", {"input": Array((1, 4, 3, 3), "offset", "channels_last")}, num_groups=2), "output"
    ),
)
