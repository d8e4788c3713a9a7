"""max_unpool1d, max_unpool2d and max_unpool3d: how their cases are drawn."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import FLOATS
from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.calling import Call
from scratch_conv.parity.operators.operator import Picking
from scratch_conv.parity.operators.pooling.one_and_three_dimensional import for_each_axis, image_sizes

_DEFAULTS = {"stride": None, "padding": 0, "output_size": None}


class MaxUnpool2d(Picking):
    """torch.nn.functional.max_unpool2d: every result is copied, or is zero, hence exact.

    The indices in an image are distinct: of several elements at one index torch leaves open which stays.
    """

    name = "max_unpool2d"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.MaxUnpool2d
    axes: ClassVar[int] = 2
    signature = ("input", "indices")
    inputs = signature
    arguments = tuple(_DEFAULTS)
    defaults = _DEFAULTS
    dtypes = FLOATS
    linear = frozenset({"input"})
    signed_zeros = True

    @property
    def reference(self) -> Call:
        """Torch's own, of contiguous indices: the backward pass of torch 2.14 refuses most others."""
        torchs = getattr(torch.nn.functional, self.name)

        def call(input: Tensor, indices: Tensor, **arguments: Any) -> Any:
            return torchs(input, indices.contiguous(), **arguments)

        return call

    def draw_case(self, draw: Drawing) -> Case:
        batch, channels = draw.batch(), draw.integer(1, 3)
        lengths = (draw.integer(1, 6) for _ in range(self.axes))
        shape = draw.lengthen((*batch, channels, *lengths), image_sizes(self.axes))
        given = {
            "kernel_size": self._numbers(draw, "kernel_size", 1, 4),
            "stride": self._stride(draw),
            "padding": self._numbers(draw, "padding", 0, 1),
        }
        if not self._holds(self.default_size(shape, given), shape):
            given["padding"] = 0
        size = self.default_size(shape, given)
        if draw.supports.functional and draw.takes("output_size") and draw.boolean():
            size = self._near(draw, shape, size, self._each(given)[1])
            leading = (7, 7) if draw.boolean() else ()  # which torch leaves out
            given["output_size"] = (*leading, *size)
        case = self.complete(draw, {"input": shape, "indices": shape}, given, differentiable=("input",))
        indices = replace(case.tensors["indices"], kind="places", high=math.prod(size), dtype="int64")
        if case.wanted:
            indices = replace(indices, layout="contiguous")
        case = replace(case, arrays=(("input", case.tensors["input"]), ("indices", indices)))
        return case if all(shape) else replace(case, order=1)  # torch 2.14 differentiates nothing once

    def _numbers(self, draw: Drawing, name: str, low: int, high: int) -> Any:
        """Draw one int for all axes, or one for each; `low` where it is not claimed."""
        fixed = draw.fixed(name)
        if fixed is not None or not draw.takes(name):
            return low if fixed is None else fixed
        if draw.supports.rectangular and name not in draw.supports.square and draw.boolean():
            return tuple(draw.integer(low, high) for _ in range(self.axes))
        return draw.integer(low, high)

    def _stride(self, draw: Drawing) -> Any:
        """Draw the stride; mostly that of windows side by side."""
        needed = draw.fixed("stride") is not None or "stride" in draw.supports.square
        if draw.takes("stride") and (needed or draw.boolean()):
            return self._numbers(draw, "stride", 1, 3)
        return None

    def _each(self, given: dict[str, Any]) -> list[tuple[int, ...]]:
        """Return kernel_size, stride and padding for each axis."""
        stride = given["kernel_size"] if given["stride"] is None else given["stride"]
        numbers = (given["kernel_size"], stride, given["padding"])
        return [for_each_axis(each, self.axes) for each in numbers]

    def default_size(self, shape: tuple[int, ...], given: dict[str, Any]) -> tuple[int, ...]:
        """Return the size of the output where none is given."""
        axes = zip(shape[-self.axes :], *self._each(given), strict=True)
        return tuple((length - 1) * s + k - 2 * p for length, k, s, p in axes)

    def _near(
        self, draw: Drawing, shape: tuple[int, ...], size: tuple[int, ...], stride: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Draw an output_size that torch takes, and that holds an image of this shape."""
        near = tuple(
            draw.integer(max(1, each - s + 1), each + s - 1) for each, s in zip(size, stride, strict=True)
        )
        return near if self._holds(near, shape) else size

    def _holds(self, size: tuple[int, ...], shape: tuple[int, ...]) -> bool:
        """Return whether an output has a place for each element of an image."""
        return min(size) > 0 and math.prod(size) >= math.prod(shape[-self.axes :])

    def draw_invalid_case(self, draw: Drawing) -> Case:
        """Draw a call without gradients: of an output of no pixels torch has none."""
        return super().draw_invalid_case(draw.claiming(gradients=False))

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shape, axes = case.shapes["input"], self.axes
        indices = case.tensors["indices"]
        beyond, below = replace(indices, kind="offset"), replace(indices, kind="integers")
        bad: list[dict[str, Any]] = [
            {"kernel_size": 2.5},
            {"kernel_size": -99},
            {"kernel_size": (2,) * (axes + 1)},
            {"kernel_size": ()},
            {"stride": (1,) * (axes - 1)},
            {"stride": 0},
            {"padding": 99},
            {"padding": "same"},
            {"output_size": 4},
            {"output_size": (4,) * (axes + 1)},
            {"output_size": (999,) * axes},
            {"output_size": ("4",) * axes},
        ]
        return [
            *(case.changed(**each) for each in bad if all(map(draw.takes, each))),
            *(replace(case, arrays=(*case.arrays[:1], ("indices", each))) for each in (beyond, below)),
            *(
                case.reshaped("input", each).reshaped("indices", each)
                for each in ((1, 1, *shape), shape[-axes:], (*shape[:-1], 0))
            ),
            case.reshaped("indices", (*shape[:-1], shape[-1] + 1)),
            case.retyped("indices", "int32"),
            case.retyped("input", "int64"),
        ]


class MaxUnpool1d(MaxUnpool2d):
    """torch.nn.functional.max_unpool1d."""

    name = "max_unpool1d"
    module = torch.nn.MaxUnpool1d
    axes = 1
    batched_axes = 3


class MaxUnpool3d(MaxUnpool2d):
    """torch.nn.functional.max_unpool3d."""

    name = "max_unpool3d"
    module = torch.nn.MaxUnpool3d
    axes = 3
    batched_axes = 5


OPERATORS = (MaxUnpool1d(), MaxUnpool2d(), MaxUnpool3d())
