"""interpolate: how its cases are drawn, and a derived bound of its rounding errors."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import assume
from torch import Tensor

from scratch_conv.parity.drawing.arrays import INTEGER_KINDS
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.sizes import BATCHES, CHANNELS, LENGTHS
from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.calling import Call, Values
from scratch_conv.parity.operators.operator import Bound, Operator, derived_bounds, exact
from scratch_conv.parity.operators.rounding import (
    accumulator_of,
    exactly_summable,
    relative,
    smallest_subnormal,
    unit_roundoff,
)

_DEFAULTS: dict[str, Any] = {
    "size": None,
    "scale_factor": None,
    "mode": "nearest",
    "align_corners": None,
    "recompute_scale_factor": None,
    "antialias": False,
}
_MODES = {1: ("linear", "area"), 2: ("bilinear", "bicubic", "area"), 3: ("trilinear", "area")}
_NEAREST = ("nearest", "nearest-exact")
_FACTORS = (2, 1.5, 0.5, 3, 0.75, 2.3, 1.25, 0.4)
_LINEAR, _CUBIC, _ANTIALIASED = 0.0, -0.75, -0.5  # a of the kernel, none for the linear one
_STEEPEST = 1.5  # more than the greatest slope of these kernels: 1.35, at 3/5 for a = -3/4


class Interpolate(Operator):
    """torch.nn.functional.interpolate: along each axis a sparse matrix W.

    With u the unit roundoff, a coordinate c = s (i + 1/2) - 1/2 is a quotient, a product and a difference: it
    errs by at most 5 u (|c| + 1). Torch rounds it to float32 before it rounds down, which moves one that lies
    so little below a whole number up to that. Its distance to a pixel errs by 3 u more.

    A weight is K(c - k), where K is no steeper than 3/2: by that times the error of the distance its own is
    bounded, and by that of Horner's rule, gamma_6 Σ|a_i||x|^i (Higham, Accuracy and Stability of Numerical
    Algorithms, section 5.1). Two or more that belong to the same pixel, at the border, are added: 2 u. That
    is true across whole numbers too, as K is continuous and 0 at its ends. With antialiasing distances are
    divided by the stretch of the kernel, and weights by their sum, which errs as a sum does.

    So a computed matrix lies within E of W. A result is Σ W₁ W₂ .. x over at most n terms, each of which goes
    through at most n + 3 roundings, and lies within

        Σ (|W₁| + E₁) (|W₂| + E₂) .. |x| (1 + gamma_(n+3)) - Σ |W₁| |W₂| .. |x|

    of it; the gradient likewise, by the transposes; n η is added for what underflows. With a scale that is a
    whole number of parts of a power of two, weights are as well, and whole numbers times them are exact.
    """

    name = "interpolate"
    module = torch.nn.Upsample
    batched_axes = 3
    signature = ("input",)
    arguments = tuple(_DEFAULTS)
    defaults = _DEFAULTS
    dtypes = (*FLOATS, "uint8")
    linear = frozenset({"input"})
    invalid_arguments = (
        {"size": -1, "scale_factor": None},
        {"size": 2.5, "scale_factor": None},
        {"size": (2, 2, 2, 2), "scale_factor": None},
        {"size": 2, "scale_factor": 2},
        {"size": None, "scale_factor": None},
        {"size": None, "scale_factor": -1},
        {"size": None, "scale_factor": 1j},
        {"mode": "cubic"},
        {"mode": "nearest", "align_corners": True},
    )

    @property
    def other_ways(self) -> tuple[Call, ...]:
        """In float32: in half precision torch rounds a tiny weight to 0, which an infinity may meet."""

        def in_float32(input: Tensor, **arguments: Any) -> Tensor:
            narrow = input.dtype in (torch.float16, torch.bfloat16)
            wide: Tensor = F.interpolate(input.float() if narrow else input, **arguments)
            return wide.to(input.dtype)

        return (in_float32,)

    def draw_case(self, draw: Drawing) -> Case:
        fixed = [axes for axes, modes in _MODES.items() if draw.fixed("mode") in modes]
        axes = draw.size("axes", 2 + min(fixed, default=1), 2 + max(fixed, default=3)) - 2
        of_bytes, half = draw.dtype == "uint8", draw.dtype in ("float16", "bfloat16")
        mode = draw.argument("mode", *_NEAREST, *(() if of_bytes else _MODES[axes] * 2))
        batches = [1, 2, 3] if draw.supports.batches else [1]
        batch = draw.choice(batches + ([0] if draw.supports.empty else []))
        shape = (batch, draw.integer(1, 5), *(draw.integer(1, 7) for _ in range(axes)))
        ranges = {-axis: LENGTHS for axis in range(1, axes + 1)}
        shape = draw.lengthen(shape, ranges | {-axes - 1: CHANNELS, -axes - 2: BATCHES})
        arguments = {"mode": mode, **self._draw_sizes(draw, shape[2:])}
        if mode not in (*_NEAREST, "area"):
            arguments["align_corners"] = draw.argument("align_corners", None, True, False)
            may_widen = mode in ("bilinear", "bicubic") and not half and draw.supports.functional
            if (
                may_widen
                and draw.argument("antialias", False, True)
                and _output_size(shape, arguments)[1] > 1
            ):
                arguments["antialias"] = True  # Torch 2.14 computes one row alone where a row is one pixel.
        if not _is_unambiguous(shape, arguments):
            assume(draw.takes("size") or draw.fixed("scale_factor") is None)
            given = {"size": tuple(shape[2:])} if draw.takes("size") else {"scale_factor": 2}
            arguments |= {"size": None, "scale_factor": None, "recompute_scale_factor": None, **given}
        return self.complete(draw, {"input": shape}, arguments)

    def _draw_sizes(self, draw: Drawing, lengths: tuple[int, ...]) -> dict[str, Any]:
        """Draw the output's size, or factors by which every axis keeps a pixel."""
        several = draw.supports.rectangular and draw.boolean()
        by_size = draw.boolean() if draw.takes("size") and draw.takes("scale_factor") else draw.takes("size")
        if by_size or draw.fixed("size") is not None:
            sizes = tuple(draw.integer(1, min(40, 2 * length + 2)) for length in lengths)
            return {"size": draw.argument("size", sizes if several else sizes[0])}
        factors = tuple(draw.choice([f for f in _FACTORS if f * length >= 1]) for length in lengths)
        one = max(factors) if min(lengths) * min(factors) < 1 else factors[0]
        one = one if min(lengths) * one >= 1 else 2
        again = draw.argument("recompute_scale_factor", None, True)
        return {
            "scale_factor": draw.argument("scale_factor", factors if several else one),
            "recompute_scale_factor": again,
        }

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shape = case.shapes["input"]
        shapes = [shape[:2], (*shape[:-1], 0)]
        if case.keywords.get("mode") != "area":  # which averages no channels to none
            shapes.append((2, 0, *shape[2:]))
        changes = [case.reshaped("input", bad) for bad in shapes]
        return [*changes, case.retyped("input", "int64"), case.retyped("input", "complex64")]

    def bounds(self, case: Case, values: Values, results: dict[str, Tensor]) -> dict[str, Bound]:
        if case.dtype == "uint8":
            return {name: exact(value) for name, value in results.items()}
        bounds = derived_bounds(results, case.torch_dtype, lambda dtype: _errors(case, values, dtype))
        axes, most = _axes(case), torch.finfo(accumulator_of(case.torch_dtype)).max
        parts = math.prod(each.parts for each in axes)
        whole = parts and case.kinds() <= INTEGER_KINDS
        for name, magnitude in _magnitudes(axes, values).items():
            if name in results and whole and exactly_summable(magnitude * parts, case.torch_dtype):
                bounds[name] = exact(results[name])
        for name, (matrices, operand) in _sums(axes, values, unit_roundoff(torch.float32)).items():
            if name in results:
                sums_before_division = operand * 2 * math.prod(each.most for each in axes)
                bounds[name].overflow |= _may_overflow(matrices, sums_before_division, most)
        return bounds


@dataclass
class _Axis:
    """The matrix of an axis.

    Attributes:
        weights: W (outputs, inputs), float64.
        errors: returns E for a unit roundoff.
        parts: how many parts the whole numbers are of which all weights consist; 0 if there are none.
        most: what sums may exceed their results by, before they are divided.
    """

    weights: Tensor
    errors: Any
    parts: int
    most: int = 1


def _output_size(shape: tuple[int, ...], arguments: dict[str, Any]) -> tuple[int, ...]:
    """Return the size of the output."""
    given = arguments.get("size") or arguments["scale_factor"]
    each = given if isinstance(given, tuple) else (given,) * (len(shape) - 2)
    if arguments.get("size"):
        return each
    return tuple(int(length * factor) for length, factor in zip(shape[2:], each, strict=True))


def _factors(axes: int, arguments: dict[str, Any]) -> tuple[float, ...]:
    """Return the factor of each axis that counts, 0 where the sizes do."""
    given = arguments.get("scale_factor")
    if given is None or arguments.get("recompute_scale_factor"):
        return (0.0,) * axes
    return given if isinstance(given, tuple) else (given,) * axes


def _is_unambiguous(shape: tuple[int, ...], arguments: dict[str, Any]) -> bool:
    """Return whether all of torch's kernels agree which pixels are the nearest.

    Torch 2.14 has two, which round differently, and one takes factors near 1 and 2 for these; gradients are
    computed by that one always.
    """
    mode = arguments["mode"]
    if mode not in _NEAREST:
        return True
    outputs, factors = _output_size(shape, arguments), _factors(len(shape) - 2, arguments)
    for inputs, size, factor in zip(shape[2:], outputs, factors, strict=True):
        given: Any = {"scale_factor": float(factor)} if factor else {"size": size}
        given_2d: Any = {name: (1, each) for name, each in given.items()}
        places = []
        for dtype in (torch.float32, torch.float64):
            row = torch.arange(inputs, dtype=dtype).expand(1, 4, inputs)
            image = row.unsqueeze(2).contiguous(memory_format=torch.channels_last)
            places.append(F.interpolate(row, mode=mode, **given)[0, 0].double())
            places.append(F.interpolate(image, mode=mode, **given_2d)[0, 0, 0].double())
        if not all(torch.equal(each, places[0]) for each in places):
            return False
    return True


def _axes(case: Case) -> list[_Axis]:
    """Return the matrices of a call."""
    shape, arguments = case.shapes["input"], case.keywords
    mode = arguments.get("mode", "nearest")
    sizes = zip(shape[2:], _output_size(shape, arguments), _factors(len(shape) - 2, arguments), strict=True)
    if mode in _NEAREST:
        return [_picking(*each, mode) for each in sizes]
    if mode == "area":
        return [_averaging(inputs, outputs) for inputs, outputs, _ in sizes]
    aligned, antialias = bool(arguments.get("align_corners")), bool(arguments.get("antialias"))
    a = _LINEAR if mode != "bicubic" else _ANTIALIASED if antialias else _CUBIC
    make = _antialiased if antialias else _weighted
    return [
        make(inputs, outputs, _scale(inputs, outputs, factor, aligned), a, aligned)
        for inputs, outputs, factor in sizes
    ]


def _scale(inputs: int, outputs: int, factor: float, aligned: bool) -> float:
    if aligned:
        return (inputs - 1) / (outputs - 1) if outputs > 1 else 0.0
    return 1 / factor if factor > 0 else inputs / outputs


def _picking(inputs: int, outputs: int, factor: float, mode: str) -> _Axis:
    given: Any = {"scale_factor": float(factor)} if factor else {"size": outputs}
    places = F.interpolate(torch.arange(inputs, dtype=torch.float64)[None, None], mode=mode, **given)[0, 0]
    weights = torch.nn.functional.one_hot(places.long(), inputs).double()
    return _Axis(weights, lambda u: torch.zeros_like(weights), 1)


def _averaging(inputs: int, outputs: int) -> _Axis:
    weights, most = torch.zeros(outputs, inputs, dtype=torch.float64), 1
    for i in range(outputs):
        start, stop = i * inputs // outputs, -(-(i + 1) * inputs // outputs)
        weights[i, start:stop], most = 1 / (stop - start), max(most, stop - start)
    return _Axis(weights, lambda u: 3 * u * weights, 0, most)


def _weighted(inputs: int, outputs: int, scale: float, a: float, aligned: bool) -> _Axis:
    """Return the matrix of a linear or cubic kernel around each coordinate."""
    if inputs == outputs and a == _LINEAR:  # as it is, whatever the factor
        weights = torch.eye(inputs, dtype=torch.float64)
        return _Axis(weights, lambda u: torch.zeros_like(weights), 1)
    numbers = torch.arange(outputs, dtype=torch.float64)
    places = scale * numbers if aligned else scale * (numbers + 0.5) - 0.5
    if a == _LINEAR:
        places = places.clamp(0, inputs - 1)
    taps = torch.arange(-2, inputs + 2, dtype=torch.float64)  # those outside belong to the outermost pixels
    distances = (places[:, None] - taps).abs()
    pixels = taps.clamp(0, inputs - 1).long()

    def gathered(each: Tensor) -> Tensor:
        return torch.zeros(outputs, inputs, dtype=torch.float64).index_add(1, pixels, each)

    def errors(u: float) -> Tensor:
        to_next = places.ceil() - places
        moved = torch.where(to_next <= 2.0**-24 * (places.abs() + 1), to_next, 0)
        off = 5 * u * (places.abs() + 1) + moved + 3 * u
        return gathered(_kernel_errors(distances, off[:, None], a, u))

    weights = gathered(_kernel(distances, a))
    return _Axis(weights, errors, _parts(scale, a))


def _antialiased(inputs: int, outputs: int, scale: float, a: float, aligned: bool) -> _Axis:
    """Return the matrix of a kernel that is as much wider as the axis shrinks."""
    stretch = max(scale, 1.0)
    centers = scale * (torch.arange(outputs, dtype=torch.float64) + 0.5)
    offsets = torch.arange(inputs, dtype=torch.float64) + 0.5 - centers[:, None]
    distances = offsets.abs() / stretch
    shares = _kernel(distances, a)
    total = shares.sum(1, keepdim=True)

    def errors(u: float) -> Tensor:
        off = (4 * u * (centers + 1)[:, None] + 2 * u * offsets.abs()) / stretch + 4 * u * distances
        wrong = _kernel_errors(distances, off, a, u)
        of_total = wrong.sum(1, keepdim=True) + relative(inputs, u) * shares.abs().sum(1, keepdim=True)
        return (wrong + shares.abs() * of_total / total) / (total - of_total) + 3 * u * shares.abs() / total

    return _Axis(shares / total, errors, 0)


def _kernel(distances: Tensor, a: float, sign: float = 1.0) -> Tensor:
    """Return K at distances that are not negative; with the sign -1, Σ|a_i||x|^i of its polynomials."""
    x = distances
    if a == _LINEAR:
        return (1 - sign * x) * (x < 1)
    near = (a + 2) * x**3 - sign * (a + 3) * x**2 + 1
    far = sign * a * x**3 - 5 * a * x**2 + sign * 8 * a * x - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0))


def _kernel_errors(distances: Tensor, off: Tensor, a: float, u: float) -> Tensor:
    """Return how far the weights at distances that are `off` by so much may lie from K."""
    met = distances < (1 if a == _LINEAR else 2) + off
    inner = distances.clamp(max=1 - 1e-9 if a == _LINEAR else 2 - 1e-9)
    horner = relative(8, u) * _kernel(inner, a, -1.0).abs()
    return (_STEEPEST * off + horner + 2 * u) * met


def _parts(scale: float, a: float) -> int:
    """Return how many parts the weights of such coordinates consist of, as a power of two; 0 if of none."""
    for power in range(6):
        if (scale * 2**power).is_integer():
            return int(2 ** (power + 1) if a == _LINEAR else 2 ** (3 * (power + 1) + 2))
    return 0


def _along(matrices: list[Tensor], x: Tensor) -> Tensor:
    """Apply a matrix to each axis of (N, C, ...), none of which meets an infinity on the way."""
    factor = 2.0**-64 if x.numel() and float(x.max()) > 2.0**960 else 1.0
    x = x * factor
    for axis, matrix in enumerate(matrices, 2):
        x = torch.tensordot(x, matrix, ([axis], [1])).movedim(-1, axis)
    return x / factor


def _sums(
    axes: list[_Axis], values: Values, wider: float | None = None
) -> dict[str, tuple[list[Tensor], Tensor]]:
    """Return |W| of each axis, or |W| + E for a unit roundoff, and |x|, of which each result is a sum."""
    matrices = [each.weights.abs() + (0 if wider is None else each.errors(wider)) for each in axes]
    sums = {"output": (matrices, _size(values.tensors["input"]))}
    if values.grad_output is not None:
        sums["grad_input"] = [matrix.mT for matrix in matrices], _size(values.grad_output)
    if values.directions:
        sums["second_grad_output"] = matrices, _size(values.directions["input"])
    return sums


def _magnitudes(axes: list[_Axis], values: Values, wider: float | None = None) -> dict[str, Tensor]:
    """Return Σ|W₁||W₂|..|x| for each result."""
    return {name: _along(*sum) for name, sum in _sums(axes, values, wider).items()}


def _may_overflow(matrices: list[Tensor], operand: Tensor, most: float) -> Tensor:
    """Return for each result whether sums along some of the axes, in whatever order, may exceed the most."""
    found = _along(matrices, torch.zeros_like(operand)) > 0
    if operand.numel() and float(operand.max()) * math.prod(float(m.sum(1).max()) for m in matrices) <= most:
        return found
    for some in itertools.product((True, False), repeat=len(matrices)):
        first = [m if now else torch.eye(m.shape[1]).double() for m, now in zip(matrices, some, strict=True)]
        then = [
            torch.eye(len(m)).double() if now else (m != 0).double()
            for m, now in zip(matrices, some, strict=True)
        ]
        found |= _along(then, (~(_along(first, operand) <= most)).double()) > 0
    return found


def _size(x: Tensor) -> Tensor:
    return x.double().abs().nan_to_num(0.0, 0.0)


def _errors(case: Case, values: Values, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the bound of the error of each result that is computed in `dtype`."""
    axes, u = _axes(case), unit_roundoff(dtype)
    right, wider = _magnitudes(axes, values), _magnitudes(axes, values, u)
    mode = case.keywords.get("mode", "nearest")
    errors = {"second_input": torch.zeros_like(values.tensors["input"])}
    for name, size in right.items():
        direction = 1 if name != "grad_input" else 0
        terms = math.prod(int((each.weights != 0).sum(direction).max()) for each in axes)
        roundings = terms - 1 if mode in _NEAREST else terms + 3
        if roundings == 0:
            errors[name] = torch.zeros_like(size)
            continue
        bound = wider[name] * (1 + relative(roundings, u)) - size
        errors[name] = (bound + roundings * smallest_subnormal(dtype) * (size != 0)).nan_to_num(torch.inf)
    return errors


OPERATORS = (Interpolate(),)
