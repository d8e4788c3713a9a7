"""What the operators' case strategies draw alike: dtypes, shapes, layouts, arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from hypothesis import strategies as st

from scratch_conv.parity.drawing.arrays import Array, Kind, Layout
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import COMPLEX, FLOATS, INTEGERS, Supports

T = TypeVar("T")
Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

_KINDS: tuple[Kind, ...] = ("counting", "integers", "normal", "integers", "normal", "graded")
_INTEGER_KINDS: tuple[Kind, ...] = ("counting", "integers", "integers")
_LAYOUTS: tuple[Layout, ...] = ("contiguous", "channels_last", "transposed", "sliced", "expanded")
_AXES = (1, 2, 3, 4, 5, 2, 3, 4, 4, 0)  # in the order of shrinking, the most telling ones more often
_SEEDS = st.integers(0, 2**16 - 1)


def draw_dtype(draw: Draw, supports: Supports, dtypes: tuple[str, ...]) -> str:
    """Draw one of the dtypes that torch's operator takes and the candidate claims.

    Raises:
        ValueError: there is none.
    """
    both = [name for name in supports.dtypes if name in dtypes]
    if not both:
        raise ValueError(f"supports: torch takes {', '.join(dtypes)} here, got dtypes {supports.dtypes}")
    dtype: str = draw(st.sampled_from(both))
    return dtype


def draw_kind(draw: Draw, supports: Supports, dtype: str = "float32") -> Kind:
    """Draw what the tensors hold; one case in eight holds special values, where they are supported."""
    kinds = _KINDS if dtype in (*FLOATS, *COMPLEX) else _INTEGER_KINDS
    kind: Kind = draw(st.sampled_from((*kinds, "zeros", "special") if supports.special_values else kinds))
    return kind


def draw_pair(draw: Draw, supports: Supports, low: int, high: int) -> int | tuple[int, int]:
    """Draw an argument for height and width: one int for both, or a pair."""
    value: int = draw(st.integers(low, high))
    if supports.rectangular and draw(st.booleans()):
        return value, draw(st.integers(low, high))
    return value


def as_pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width)."""
    return value if isinstance(value, tuple) else (value, value)


def draw_length(draw: Draw, least: int, most: int = 7) -> int:
    """Draw a height or width: `least`, which is at least 1, and `most` more at most."""
    return max(1, least) + int(draw(st.integers(0, most)))


def draw_batch(draw: Draw, supports: Supports) -> tuple[int, ...]:
    """Draw the batch axis: one size, none for an unbatched input."""
    sizes: list[tuple[int, ...]] = [(1,), (2,), (3,), (5,)]
    sizes += [()] if supports.unbatched else []
    sizes += [(0,)] if supports.empty else []
    batch: tuple[int, ...] = draw(st.sampled_from(sizes))
    return batch


def draw_shape(draw: Draw, supports: Supports, least: int, most: int, longest: int) -> tuple[int, ...]:
    """Draw a shape of up to `most` axes, at least `least` without unbatched inputs; one in eight is empty."""
    most = most if supports.further_axes else least
    numbers = [n for n in _AXES if (supports.unbatched or n >= least) and n <= most]
    shape = [draw(st.integers(1, longest)) for _ in range(draw(st.sampled_from(numbers)))]
    if shape and supports.empty and draw(st.integers(0, 7)) == 7:
        shape[draw(st.integers(0, len(shape) - 1))] = 0
    return tuple(shape)


def draw_pool_padding(draw: Draw, supports: Supports, kernel_size: tuple[int, int]) -> int | tuple[int, int]:
    """Draw a padding; torch allows half of the kernel at most."""
    if not supports.takes("padding"):
        return 0
    if kernel_size[0] == kernel_size[1]:
        return draw_pair(draw, supports, 0, kernel_size[0] // 2)
    return draw(st.integers(0, kernel_size[0] // 2)), draw(st.integers(0, kernel_size[1] // 2))


def draw_arrays(
    draw: Draw, supports: Supports, shapes: dict[str, tuple[int, ...]], kind: Kind
) -> tuple[tuple[tuple[str, Array], ...], Array]:
    """Draw the layouts and the seed of a case's tensors and of the incoming gradient."""
    seed = draw(_SEEDS)
    names = [*shapes, "grad_output"]
    layouts: dict[str, Layout] = dict.fromkeys(names, "contiguous")
    if supports.layouts and draw(st.booleans()):
        layouts = {name: draw(st.sampled_from(_LAYOUTS)) for name in names}
    arrays = {
        name: Array(shapes.get(name, ()), kind, layouts[name], seed + i) for i, name in enumerate(names)
    }
    incoming = arrays.pop("grad_output")
    return tuple(arrays.items()), incoming


def draw_wanted(
    draw: Draw, supports: Supports, names: tuple[str, ...], dtype: str = "float32"
) -> tuple[tuple[str, ...], int]:
    """Draw which gradients are wanted, and whether their derivatives are; integers have none."""
    if not supports.gradients or dtype in (*INTEGERS, "bool"):
        return (), 1
    wanted = tuple(name for name in names if draw(st.booleans()))
    second = supports.second_derivatives and wanted and draw(st.booleans())
    return wanted, 2 if second else 1


def draw_inplace(draw: Draw, supports: Supports, case: Case) -> Case:
    """Draw whether a call writes into its input, which torch refuses where elements share memory."""
    if not supports.takes("inplace") or not draw(st.booleans()):
        return case
    if case.tensors["input"].layout == "expanded":
        case = case.arranged("input", "contiguous")
    return case.changed(inplace=True)


def given_arguments(arguments: dict[str, Any], defaults: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return the arguments that differ from torch's defaults."""
    return tuple((name, value) for name, value in arguments.items() if value != defaults.get(name, ...))


def some_tap_meets(length: int, stride: int, padding: int, dilation: int, kernel_size: int) -> bool:
    """Return whether a pixel of an axis is met by a tap at some position of the window."""
    extent = dilation * (kernel_size - 1) + 1
    corners = range(-padding, length + padding - extent + 1, stride)
    taps = {corner + tap for corner in corners for tap in range(0, extent, dilation)}
    return stride == 1 or bool(taps & set(range(length)))
