"""Interpolation, up and down, and its transpose: along each axis a sparse matrix.

    y[i] = Σ_k W[i, k] · x[k]        along rows, then columns, ... : the matrices of different axes commute

Output i lies at the coordinate c of the input, in pixels,

    c = (i + 1/2) · scale - 1/2,     scale = inputs / outputs, or one over a given factor
    c = i · (inputs - 1) / (outputs - 1)                           where the corner pixels are aligned

and takes from the pixels around it, those outside being copies of the outermost: the one that lies there
(nearest), two with the weights 1 - t and t (linear), four by cubic convolution (Keys, Cubic convolution
interpolation for digital image processing, 1981, with a = -3/4), where t is the fraction of c. With
antialiasing the kernel of an axis that shrinks is as much wider, and its weights over the pixels inside are
divided by their sum (a = -1/2 there, as in Pillow).

Coordinates are computed as torch does (ATen/native/UpSample.h), in the precision of the images or in float32,
with one rounding of product and sum: which pixel is the nearest may hang on it.

Interpolation is linear, its derivative is the transpose, and that map's derivative the interpolation again.

Shapes: images are (N, *sizes, C), with one to three axes between; x has the inputs, y the outputs there.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np

from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, axis_blocks, plane_blocks

__all__ = ["Resizing", "interpolate", "interpolate_grad_input"]

Mode = Literal["nearest", "nearest-exact", "linear", "cubic"]

_BLOCK_BYTES = 2**20
"""The images of a block, or some rows of a larger one, stay in the core's own cache between the passes."""

_COLUMNS = 64
"""So many outputs of an axis that lies in a row of memory are one product of matrices."""

_ROWS = 6
"""Of other axes, the outputs of so many inputs: more take more products with zeros, fewer more calls."""

_MOST_INPUTS = 2**6
"""Fewer outputs are, where they take from more inputs than this."""

_FEW = 2**16
"""For axes that are longer nothing is kept for the next call."""

_SMALL = 2**7
"""Of images whose height and width sum to this, torch computes nearest pixels as of channels_last ones."""

_FEW_COPIES = 4
"""So many copies with regular steps take less time than one by indices."""


@dataclass(frozen=True)
class Resizing:
    """How images are interpolated.

    Attributes:
        mode: which pixels an output takes from.
        align_corners: whether the outermost pixels of both lie at the same place.
        antialias: whether the kernel widens where an axis shrinks.
        scales: the factor by which each axis grows, 0 where it follows from the sizes.
        in_float32: whether the indices of nearest pixels are those of torch's kernel for channels_last
            and small images, which computes them in float32.
    """

    mode: Mode
    align_corners: bool
    antialias: bool
    scales: tuple[float, ...]
    in_float32: bool


def interpolate(x: Array, output_size: tuple[int, ...], resizing: Resizing) -> Array:
    """Return images y (N, *output_size, C) for x (N, *input_size, C)."""
    return _along_axes(x, _maps(x.shape[1:-1], output_size, resizing, x.dtype))


def interpolate_grad_input(grad_output: Array, input_size: tuple[int, ...], resizing: Resizing) -> Array:
    """Return the gradient with respect to x (N, *input_size, C): the transpose."""
    maps = _maps(input_size, grad_output.shape[1:-1], resizing, grad_output.dtype)
    return _along_axes(grad_output, [each.transposed for each in maps])


@dataclass(frozen=True, eq=False)
class _Map:
    """A sparse matrix (targets, sources), as triples in the order of the targets.

    Attributes:
        shape: how many targets and sources there are.
        targets: the row of each entry, ascending; int.
        sources: its column.
        weights: its value; None where all are one.
    """

    shape: tuple[int, int]
    targets: Array
    sources: Array
    weights: Array | None

    @cached_property
    def transposed(self) -> "_Map":
        """The matrix (sources, targets)."""
        order = np.argsort(self.sources, kind="stable")
        weights = None if self.weights is None else self.weights[order]
        transposed = _Map(self.shape[::-1], self.sources[order], self.targets[order], weights)
        transposed.__dict__["transposed"] = self
        return transposed

    @cached_property
    def rounds(self) -> list[tuple[Any, Any, Array | None]]:
        """Indices of targets and sources, and weights: no target appears twice within a round."""
        turn = np.arange(len(self.targets)) - np.searchsorted(self.targets, self.targets)
        chosen = [np.flatnonzero(turn == number) for number in range(int(turn.max(initial=-1)) + 1)]
        return [
            (
                _as_slice(self.targets[some]),
                _as_slice(self.sources[some]),
                None if self.weights is None else self.weights[some],
            )
            for some in chosen
        ]

    @cached_property
    def picks(self) -> bool:
        """Whether each target is one source as it is."""
        return self.weights is None and len(self.rounds) == 1 and len(self.targets) == self.shape[0]

    @cached_property
    def copies(self) -> list[tuple[slice, slice]] | None:
        """Slices of targets and sources, of a map that picks, where a few slices are enough."""
        rounds = [(targets, sources) for sources, targets, _ in self.transposed.rounds]
        regular = all(isinstance(each, slice) for pair in rounds for each in pair)
        return rounds if regular and len(rounds) <= _FEW_COPIES else None

    def part(self, start: int, stop: int) -> "tuple[slice, _Map]":
        """Return which sources some targets take from, and the map between these."""
        if (start, stop) == (0, self.shape[0]):
            return slice(0, self.shape[1]), self
        if (start, stop) not in self._parts:
            some = slice(*np.searchsorted(self.targets, (start, stop)))
            met = self.sources[some]
            first, last = (int(met.min()), int(met.max()) + 1) if met.size else (0, 0)
            weights = None if self.weights is None else self.weights[some]
            inner = _Map((stop - start, last - first), self.targets[some] - start, met - first, weights)
            self._parts[start, stop] = slice(first, last), inner
        return self._parts[start, stop]

    @cached_property
    def _parts(self) -> "dict[tuple[int, int], tuple[slice, _Map]]":
        return {}

    def products(self, most: int) -> list[tuple[slice, slice, Array]]:
        """Slices of targets and sources, and the dense matrix between them, for `most` targets each."""
        if most not in self._products:
            self._products[most] = list(self._cut(most))
        return self._products[most]

    @cached_property
    def _products(self) -> dict[int, list[tuple[slice, slice, Array]]]:
        return {}

    def _cut(self, most: int) -> Iterator[tuple[slice, slice, Array]]:
        count, sources = self.shape
        step = max(1, min(most, count * _MOST_INPUTS // max(1, sources)))
        for start in range(0, count, step):
            stop = min(start + step, count)
            met, part = self.part(start, stop)
            assert part.weights is not None
            matrix = np.zeros(part.shape, part.weights.dtype)
            np.add.at(matrix, (part.targets, part.sources), part.weights)
            yield slice(start, stop), met, matrix


def _along_axes(x: Array, maps: list[_Map]) -> Array:
    """Apply one map after the other, those first that shrink an axis."""
    x = np.ascontiguousarray(x)
    growing = [each.shape[0] > each.shape[1] for each in maps]
    order = [axis for axis, grows in enumerate(growing) if not grows]
    order += [axis for axis, grows in reversed(list(enumerate(growing))) if grows]
    y = np.empty((len(x), *(each.shape[0] for each in maps), x.shape[-1]), x.dtype)

    def work(block: tuple[slice, slice]) -> None:
        some, rows = block
        met, of_rows = maps[0].part(rows.start, rows.stop)
        images = x[some, met]
        for number, axis in enumerate(order):
            map = maps[axis] if axis else of_rows
            shape = [*images.shape]
            shape[1 + axis] = map.shape[0]
            last = number == len(order) - 1
            target = y[some, rows] if last else scratch(f"axis {axis}", tuple(shape), x.dtype)
            _apply(map, *(_with_axis(each, 1 + axis) for each in (images, target)))
            images = target

    image_bytes = max(math.prod(x.shape[1:]), math.prod(y.shape[1:])) * x.itemsize
    blocks = axis_blocks(len(x), image_bytes, _BLOCK_BYTES) if x.shape[-1] else []
    rows = plane_blocks((y.shape[1],), image_bytes, _BLOCK_BYTES)
    parallel(work, [(some, part) for some in blocks for (part,) in rows])
    return y


def _with_axis(images: Array, axis: int) -> Array:
    """Reshape to what lies before an axis, the axis, and what lies after it."""
    shape = images.shape
    return images.reshape(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))


def _apply(map: _Map, x: Array, y: Array) -> None:
    """Set y (n, targets, m) to the map of x (n, sources, m)."""
    if map.picks:
        _pick(map, x, y)
    elif map.weights is not None and _all_finite(x):
        _multiply(map, x, y)
    else:  # in a product of matrices, the zeros beside the weights would meet infinities
        _add_up(map, x, y)


def _pick(map: _Map, x: Array, y: Array) -> None:
    if map.copies is None or x.shape[2] > 1:  # rows of memory are copied faster by their indices
        np.take(x, map.sources, axis=1, out=y, mode="clip")
        return
    for targets, sources in map.copies:
        y[:, targets] = x[:, sources]


def _all_finite(x: Array) -> bool:
    """Return whether all numbers are finite, and their sum is: in a fifth of the time of looking at each."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(x.sum()))


def _multiply(map: _Map, x: Array, y: Array) -> None:
    if x.shape[2] == 1:
        rows, results = x[:, :, 0], y[:, :, 0]
        for targets, sources, matrix in map.products(_COLUMNS):
            np.matmul(rows[:, sources], matrix.T, out=results[:, targets])
        return
    each = _ROWS * map.shape[0] // max(1, map.shape[1])
    for targets, sources, matrix in map.products(max(4, min(64, each))):
        np.matmul(matrix, x[:, sources], out=y[:, targets])


def _add_up(map: _Map, x: Array, y: Array) -> None:
    """Add up by the entries of the map alone."""
    rounds = map.rounds
    everywhere = slice(0, map.shape[0], 1)
    whole = [
        sources for targets, sources, _ in rounds[:2] if isinstance(targets, slice) and targets == everywhere
    ]
    if map.weights is None and len(whole) == 2:  # in half the time of three passes
        np.add(x[:, whole[0]], x[:, whole[1]], out=y)
        rounds = rounds[2:]
    else:
        y[...] = 0
    for targets, sources, weights in rounds:
        terms = x[:, sources]
        y[:, targets] += terms if weights is None else terms * weights[:, None]


def _maps(
    input_size: tuple[int, ...], output_size: tuple[int, ...], resizing: Resizing, dtype: Any
) -> list[_Map]:
    """Return the map of each axis."""
    small = len(output_size) == 2 and sum(output_size) <= _SMALL
    in_float32 = resizing.in_float32 or small
    maps = []
    for inputs, outputs, factor in zip(input_size, output_size, resizing.scales, strict=True):
        find = _kept_map if max(inputs, outputs) <= _FEW else _kept_map.__wrapped__
        maps.append(find(inputs, outputs, factor, resizing, in_float32, np.dtype(dtype)))
    return maps


@lru_cache(maxsize=64)
def _kept_map(
    inputs: int, outputs: int, factor: float, resizing: Resizing, in_float32: bool, dtype: Any
) -> _Map:
    """Return the map of an axis, in float32 for whole numbers."""
    real: Any = np.float64 if dtype == np.float64 else np.float32
    if resizing.mode.startswith("nearest"):
        find = _nearest_in_float32 if in_float32 else _nearest
        scale = _scale(inputs, outputs, factor, False, np.float32 if in_float32 else real)
        indices = find(inputs, outputs, scale, resizing.mode == "nearest-exact")
        return _Map((outputs, inputs), np.arange(outputs), indices, None)
    axis = inputs, outputs, _scale(inputs, outputs, factor, resizing.align_corners, real)
    if resizing.antialias:
        indices, weights, taken = _antialiased(*axis, cubic=resizing.mode == "cubic")
    else:
        of_mode = _linear if resizing.mode == "linear" else _cubic
        indices, weights = of_mode(*axis, resizing.align_corners)
        taken = np.ones(indices.shape, bool)
    targets = np.broadcast_to(np.arange(outputs)[:, None], indices.shape)
    return _Map((outputs, inputs), targets[taken], indices[taken], weights[taken])


def _scale(inputs: int, outputs: int, factor: float, align_corners: bool, real: Any) -> Any:
    """Return how far the coordinates of neighbouring outputs lie apart."""
    if align_corners:
        return real(inputs - 1) / real(outputs - 1) if outputs > 1 else real(0)
    return real(1 / factor) if factor > 0 else real(inputs) / real(outputs)


def _coordinates(outputs: int, scale: Any, align_corners: bool) -> Array:
    """Return where the outputs lie among the inputs; in float32 product and sum are rounded once."""
    real, numbers = type(scale), np.arange(outputs, dtype=np.float64)
    if align_corners:
        return scale * numbers.astype(real)
    return (np.float64(scale) * (numbers + 0.5) - 0.5).astype(real)


def _floor(coordinates: Array) -> Array:
    """Round down; torch does that in float32, into which it rounds first."""
    return np.floor(coordinates.astype(np.float32)).astype(np.int64)


def _nearest(inputs: int, outputs: int, scale: Any, exact: bool) -> Array:
    """Return the indices of the nearest pixels, or of those before: torch's older `nearest`."""
    if exact:
        places = np.maximum(_coordinates(outputs, scale, False), 0) + type(scale)(0.5)
    else:
        places = scale * np.arange(outputs, dtype=type(scale))
    return np.minimum(_floor(places), inputs - 1)


def _nearest_in_float32(inputs: int, outputs: int, scale: Any, exact: bool) -> Array:
    """Return them as torch's kernel for channels_last does, which ignores factors near 1 and 2."""
    numbers = np.arange(outputs)
    if exact:
        return np.minimum(_floor((numbers + 0.5) * np.float64(scale)), inputs - 1)
    if outputs in (inputs, 2 * inputs):
        return numbers * inputs // outputs
    return np.minimum(_floor(numbers.astype(np.float32) * scale), inputs - 1)


def _linear(inputs: int, outputs: int, scale: Any, align_corners: bool) -> tuple[Array, Array]:
    """Return indices and weights (outputs, 2)."""
    real = type(scale)
    if inputs == outputs:
        before, fraction = np.arange(outputs), np.zeros(outputs, real)
        after = before
    else:
        places = np.maximum(_coordinates(outputs, scale, align_corners), 0)
        before, fraction = _split(places, inputs)
        after = np.minimum(before + 1, inputs - 1)
    return np.stack([before, after], 1), np.stack([1 - fraction, fraction], 1)


def _cubic(inputs: int, outputs: int, scale: Any, align_corners: bool) -> tuple[Array, Array]:
    """Return indices and weights (outputs, 4)."""
    before, fraction = _split(_coordinates(outputs, scale, align_corners), inputs)
    taps = np.arange(-1, 3)
    distances = np.abs(fraction[:, None] - taps.astype(type(scale)))
    return np.clip(before[:, None] + taps, 0, inputs - 1), _keys(distances, type(scale)(-0.75))


def _split(places: Array, inputs: int) -> tuple[Array, Array]:
    """Return the indices of the pixels before some places, and how far behind those these are."""
    before = np.minimum(_floor(places), inputs - 1)
    return before, np.clip(places - before.astype(places.dtype), 0, 1)


def _keys(distances: Array, a: Any) -> Array:
    """Return the kernel of cubic convolution at distances that are not negative."""
    x = distances
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, x.dtype.type(0)))


def _antialiased(inputs: int, outputs: int, scale: Any, cubic: bool) -> tuple[Array, Array, Array]:
    """Return indices and weights (outputs, taps), and which of the taps there are."""
    real = type(scale)
    if inputs == outputs:  # as it is, whatever the scale
        return np.arange(outputs)[:, None], np.ones((outputs, 1), real), np.ones((outputs, 1), bool)
    stretch = max(scale, real(1))
    support = stretch * real(2 if cubic else 1)
    centers = scale * (np.arange(outputs).astype(real) + real(0.5))
    first = np.maximum((centers - support + real(0.5)).astype(np.int64), 0)
    stop = np.minimum((centers + support + real(0.5)).astype(np.int64), inputs)
    indices = first[:, None] + np.arange(int((stop - first).max(initial=1)))
    distances = np.abs((indices.astype(real) - centers[:, None] + real(0.5)) * (1 / stretch))
    weights = _keys(distances, real(-0.5)) if cubic else np.maximum(1 - distances, real(0))
    taken = indices < stop[:, None]
    sums = np.where(taken, weights, 0).sum(1, keepdims=True, dtype=real)
    return indices, weights / np.where(sums == 0, 1, sums), taken


def _as_slice(numbers: Array) -> Any:
    """Return numbers as a slice where they ascend by equal steps: indexing by it copies nothing."""
    steps = np.diff(numbers)
    step = int(steps.max(initial=1))
    if step < 1 or (steps != step).any():
        return numbers
    return slice(int(numbers[0]), int(numbers[-1]) + 1, step)
