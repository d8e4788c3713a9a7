"""What the operators draw their cases with: shapes, layouts, values and arguments, within the claims."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hypothesis import strategies as st

from scratch_conv.parity.drawing.arrays import Array, Kind, Layout
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import COMPLEX, FLOATS, INTEGERS, Supports
from scratch_conv.parity.drawing.sizes import BATCHES, CHANNELS, FEW, LENGTHS, MUCH, Sizes, fitted

T = TypeVar("T")
K = TypeVar("K")

_KINDS: tuple[Kind, ...] = ("counting", "integers", "normal", "integers", "normal", "graded")
_INTEGER_KINDS: tuple[Kind, ...] = ("counting", "integers", "integers")
_LAYOUTS: tuple[Layout, ...] = ("contiguous", "channels_last", "transposed", "sliced", "expanded")
_AXES = (1, 2, 3, 4, 5, 2, 3, 4, 4, 0)  # in the order of shrinking, the most telling ones more often

IMAGES: dict[int, Sizes] = {-4: BATCHES, -3: CHANNELS, -2: LENGTHS, -1: LENGTHS}
"""How large the axes of images may be."""


@dataclass(frozen=True)
class Drawing:
    """Draws the parts of a case, within what a candidate claims.

    Attributes:
        draw: Hypothesis' draw function.
        supports: the claims.
        dtype: the name of the case's dtype.
        thresholds: sizes next to these are drawn in every case, where the operator has any that reach so far.
    """

    draw: Callable[[st.SearchStrategy[Any]], Any]
    supports: Supports
    dtype: str
    thresholds: tuple[int, ...] = ()

    def takes(self, argument: str) -> bool:
        """Return whether the candidate has torch's argument of that name."""
        return self.supports.takes(argument)

    def claiming(self, **claims: Any) -> Drawing:
        """Return a Drawing with some claims replaced."""
        return replace(self, supports=replace(self.supports, **claims))

    def boolean(self) -> bool:
        """Draw True or False."""
        return self.draw(st.booleans())

    def integer(self, low: int, high: int) -> int:
        """Draw an integer from `low` to `high`, both included."""
        return self.draw(st.integers(low, high))

    def choice(self, values: Sequence[T]) -> T:
        """Draw one of some values."""
        return values[self.integer(0, len(values) - 1)]  # half the time of Hypothesis' sampled_from

    def argument(self, name: str, *values: T) -> T:
        """Draw one of some values for an argument; the first, torch's default, where it is not claimed."""
        if name in dict(self.supports.fixed):
            return self.fixed(name)
        return self.choice(values) if self.takes(name) else values[0]

    def fixed(self, name: str) -> Any:
        """Return the one value that an argument or size has in every call, None where it varies."""
        return self.supports.fixed_at(name)

    def size(self, name: str, low: int, high: int) -> int:
        """Draw one of a layer's sizes, such as its number of channels, unless it has one value."""
        value = self.fixed(name)
        return self.integer(low, high) if value is None else value

    def pair(self, name: str, low: int, high: int | tuple[int, int]) -> int | tuple[int, int]:
        """Draw an argument for height and width: one int for both, or a pair; `low` where it is not claimed.

        Args:
            name: the argument.
            low: the least value, torch's default.
            high: the greatest value, or that for the height and that for the width.
        """
        fixed = self.fixed(name)
        if fixed is not None or not self.takes(name):
            return low if fixed is None else fixed
        vertical, horizontal = as_pair(high)
        whole = name in self.supports.square
        value = self.integer(low, min(vertical, horizontal) if whole else vertical)
        if not whole and (vertical != horizontal or (self.supports.rectangular and self.boolean())):
            return value, self.integer(low, horizontal)
        return value

    def optional_pair(self, name: str, low: int, high: int) -> int | tuple[int, int] | None:
        """Draw a pair as above, or None, torch's default."""
        needed = self.fixed(name) is not None or (self.takes(name) and name in self.supports.square)
        if needed or (self.takes(name) and self.boolean()):
            return self.pair(name, low, high)
        return None

    def present(self, name: str) -> bool:
        """Draw whether a call has a tensor that torch does not require; never where it is not claimed."""
        fixed = self.fixed(name)
        return self.takes(name) and self.boolean() if fixed is None else bool(fixed)

    def configuration(
        self, known: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Draw the arguments of a layer of known networks: of one that is claimed; mostly of none.

        Args:
            known: the arguments that are not at their defaults, of each layer.
            defaults: torch's defaults of the others.
        """
        claimed = [
            each
            for each in known
            if all(self.takes(name) and self._may_be(name, value) for name, value in each.items())
        ]
        for name, value in self.supports.fixed:
            claimed = [each for each in claimed if {**defaults, **each}.get(name, value) == value]
        if not claimed:
            return {}
        place = self.integer(0, 5 * len(claimed) - 1)
        return {} if place < 3 * len(claimed) else claimed[place % len(claimed)]

    def _may_be(self, name: str, value: Any) -> bool:
        """Return whether an argument may have this value: not every layer takes a number for each axis."""
        rectangular = self.supports.rectangular and name not in self.supports.square
        return rectangular or not isinstance(value, tuple) or len({*value}) == 1

    def enlarged(self, sizes: Mapping[K, Sizes]) -> dict[K, int]:
        """Draw sizes that are large: mostly none, else one by its name, or all of them, which is rare."""
        names: list[K] = [name for name in sizes if self.fixed(str(name)) is None]
        if not names:
            return {}
        near = {name: sizes[name].near(self.thresholds) for name in names if self.thresholds}
        if any(near.values()):
            name = self.choice([each for each in names if near[each]])
            return {name: self.choice(near[name])}
        ways = 2 * len(names) + 1
        place = self.integer(0, 3 * ways - 1) - 2 * ways
        if place < 0:
            return {}
        large = names if place == 2 * len(names) else [names[place // 2]]
        return {name: self.draw(sizes[name].strategy) for name in large}

    def lengthened(
        self, shape: tuple[int, ...], large: Mapping[int, int], least: Sequence[int] = (), taps: int = 1
    ) -> tuple[int, ...]:
        """Return a shape with some axes as large as was drawn; the others then become smaller.

        Args:
            shape: the shape, with sizes that are small.
            large: the large sizes by their axes, counted from the end.
            least: how long the last axes have to be; 1 where nothing is said.
            taps: how many products there are of each element.
        """
        floor = {axis - len(least): each for axis, each in enumerate(least)}
        kept = {axis: max(size, floor.get(axis, 1)) for axis, size in large.items()}
        sizes = {axis: shape[axis] for axis in range(-len(shape), 0)} | kept
        several = len(large) > 1
        limits, work = (floor, MUCH) if several else (floor | kept, FEW)
        return tuple(fitted(sizes, limits, lambda each: taps * math.prod(each.values()), work).values())

    def lengthen(self, shape: tuple[int, ...], sizes: Mapping[int, Sizes]) -> tuple[int, ...]:
        """Draw whether axes of a shape are large, those that `sizes` has, counted from the end."""
        axes = len(shape) if self.supports.batches else len(shape) - 1
        present = {axis: each for axis, each in sizes.items() if -axis <= axes}
        return shape if 0 in shape else self.lengthened(shape, self.enlarged(present))

    def batch(self) -> tuple[int, ...]:
        """Draw the batch axis: one size, none for an unbatched input."""
        sizes: list[tuple[int, ...]] = [(1,), (2,), (3,), (5,)] if self.supports.batches else [(1,)]
        sizes += [()] if self.supports.unbatched else []
        sizes += [(0,)] if self.supports.empty else []
        return self.choice(sizes)

    def shape(self, least: int, most: int, longest: int) -> tuple[int, ...]:
        """Draw a shape of up to `most` axes, of `least` or more without unbatched inputs; 1 in 8 is empty."""
        most = most if self.supports.further_axes else least
        numbers = [n for n in _AXES if (self.supports.unbatched or n >= least) and n <= most]
        number = self.choice(numbers) if self.fixed("axes") is None else self.fixed("axes")
        shape = [self.integer(1, longest) for _ in range(number)]
        shape[:1] = shape[:1] if self.supports.batches else [1] * len(shape[:1])
        if shape and self.supports.empty and self.integer(0, 7) == 7:
            shape[self.integer(0, len(shape) - 1)] = 0
        return tuple(shape)

    def kind(self) -> Kind:
        """Draw what the tensors hold; one case in eight holds special values, where they are supported."""
        kinds = _KINDS if self.dtype in (*FLOATS, *COMPLEX) else _INTEGER_KINDS
        return self.choice((*kinds, "zeros", "special") if self.supports.special_values else kinds)

    def arrays(self, shapes: dict[str, tuple[int, ...]], kind: Kind) -> tuple[dict[str, Array], Array]:
        """Draw the layouts and the seed of a case's tensors and of the incoming gradient."""
        seed = self.seed()
        names = [*shapes, "grad_output"]
        layouts: dict[str, Layout] = dict.fromkeys(names, "contiguous")
        if self.supports.layouts and self.boolean():
            layouts = {name: self.choice(_LAYOUTS) for name in names}
        arrays = {
            name: Array(shapes.get(name, ()), kind, layouts[name], seed + i) for i, name in enumerate(names)
        }
        incoming = arrays.pop("grad_output")
        return arrays, incoming

    def seed(self) -> int:
        """Draw the seed of a generator."""
        return self.integer(0, 2**16 - 1)

    def wanted(self, names: Iterable[str]) -> tuple[tuple[str, ...], int]:
        """Draw which gradients are wanted, and whether their derivatives are; integers have none."""
        if not self.supports.gradients or self.dtype in (*INTEGERS, "bool"):
            return (), 1
        names = tuple(name for name in names if name not in self.supports.constants)
        mask = self.integer(0, 2 ** len(names) - 1)
        wanted = tuple(name for place, name in enumerate(names) if mask >> place & 1)
        second = self.supports.second_derivatives and wanted and self.boolean()
        return wanted, 2 if second else 1

    def inplace(self, case: Case) -> Case:
        """Draw whether a call writes into its input, which torch refuses where elements share memory."""
        if not self.takes("inplace") or not self.boolean():
            return case
        if case.tensors["input"].layout == "expanded":
            case = case.arranged("input", "contiguous")
        return case.changed(inplace=True)


@st.composite
def drawn(
    draw: Callable[[st.SearchStrategy[Any]], Any],
    draw_case: Callable[[Drawing], Case],
    supports: Supports,
    dtypes: tuple[str, ...],
    thresholds: tuple[int, ...] = (),
) -> Case:
    """Return a strategy of the cases that a function draws.

    Args:
        draw: Hypothesis' own.
        draw_case: draws a case.
        supports: the claims of a candidate.
        dtypes: the names of the dtypes that torch's operator takes.
        thresholds: see `Drawing`.

    Raises:
        ValueError: the candidate claims none of the dtypes.
    """
    both = [name for name in supports.dtypes if name in dtypes]
    if not both:
        raise ValueError(f"supports: torch takes {', '.join(dtypes)} here, got dtypes {supports.dtypes}")
    return draw_case(Drawing(draw, supports, draw(st.sampled_from(both)), thresholds))


def remainders(
    lengths: Sequence[int], kernel_size: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[int, ...]:
    """Return how many rows, columns, ... at the end no window reaches, for arguments as torch takes them."""
    kernel_size, dilation = (_for_each(lengths, each) for each in (kernel_size, dilation))
    stride = kernel_size if stride is None else _for_each(lengths, stride)
    if padding == "same":
        return (0,) * len(lengths)
    padding = _for_each(lengths, 0 if padding == "valid" else padding)
    axes = zip(lengths, kernel_size, stride, padding, dilation, strict=True)
    return tuple((length + 2 * p - d * (k - 1) - 1) % s for length, k, s, p, d in axes)


def _for_each(lengths: Sequence[int], value: Any) -> tuple[int, ...]:
    """Return an argument's value for each axis: one value is that of all."""
    values = value if isinstance(value, tuple) else (value,)
    return values * len(lengths) if len(values) == 1 else values


def as_pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width)."""
    return value if isinstance(value, tuple) else (value, value)


def some_tap_meets(length: int, stride: int, padding: int, dilation: int, kernel_size: int) -> bool:
    """Return whether a pixel of an axis is met by a tap at some position of the window."""
    extent = dilation * (kernel_size - 1) + 1
    corners = range(-padding, length + padding - extent + 1, stride)
    taps = {corner + tap for corner in corners for tap in range(0, extent, dilation)}
    return stride == 1 or bool(taps & set(range(length)))
