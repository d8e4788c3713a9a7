"""Two-dimensional max pooling and its derivatives.

    y[n, c, p, q] = max_{i, j} x[n, c, p·stride + i·dilation - padding, q·stride + j·dilation - padding]

over the taps (i, j) that don't fall into the padding. Pooling remembers which tap the maximum was at;
its derivative sends each gradient back there (a scatter), and the derivative of the scatter reads from there
(a gather). Scatter and gather are each other's transposes: every order of derivative is one of them.

Shapes: x (N, C, H, W), y (N, C, OH, OW). `taps` (N, C, OH, OW) are numbers in reading order, i · KW + j, in
the smallest type that holds them: a byte where torch keeps an int64 place in the picture.
"""

from typing import Any

import numpy as np

from scratch_conv.kernels.geometry import Array, Pair, Window, pieces
from scratch_conv.kernels.threads import parallel, scratch

MOST_TAPS_IN_A_BYTE = 2**8
"""A window of more taps than this numbers them in int32."""

_PIECE_BYTES = 2**19
"""Pictures are pooled so many at a time that a piece stays in the core's own cache between the passes."""


def max_pool2d(x: Array, window: Window, ceil_mode: bool) -> tuple[Array, Array]:
    """Take the maximum under each window of x (N, C, H, W): gives y (N, C, OH, OW) and its taps.

    Among equal maxima the first in reading order wins, and NaN wins over every number; of several NaN the
    last wins (the order in which torch compares). Where all is padding or -inf, y is -inf.
    """
    size = window.output_size((x.shape[2], x.shape[3]), ceil_mode)
    y = np.empty((*x.shape[:2], *size), dtype=x.dtype)
    taps = np.empty(y.shape, dtype=_tap_type(window))

    x_planes, y_planes, tap_planes = _planes(x), _planes(y), _planes(taps)

    def work(piece: slice) -> None:
        _maxima(x_planes[piece], y_planes[piece], tap_planes[piece], window)

    parallel(work, _pieces(x_planes))
    return y, taps


def _maxima(x: Array, y: Array, taps: Array, window: Window) -> None:
    """Go through the taps in reading order, keeping the maximum so far and the tap that it was at.

    As later taps have larger numbers, the tap of the last improvement is itself a maximum: no masked write.
    """
    y[:] = -np.inf if y.dtype.kind == "f" else np.iinfo(y.dtype).min
    taps[:] = _first_taps_inside(window, _size(y))
    for tap in window.taps(_size(x), _size(y)):
        best, best_taps = y[tap.windows], taps[tap.windows]
        # Contiguous, each pass below runs at several times the speed that it has on strided pixels.
        pixels = scratch("pixels", best.shape, x.dtype)
        np.copyto(pixels, x[tap.pixels])
        better = scratch("better", best.shape, np.bool_)
        number = scratch("number", best.shape, taps.dtype)
        np.greater(pixels, best, out=better)
        np.maximum(pixels, best, out=best)
        np.multiply(better, taps.dtype.type(tap.number), out=number)
        np.maximum(number, best_taps, out=best_taps)
    if np.isnan(y).any():
        _find_nans(x, taps, window)


def _find_nans(x: Array, taps: Array, window: Window) -> None:
    """Point at the last NaN of each window that has one (a comparison with NaN never was an improvement)."""
    for tap in window.taps(_size(x), _size(taps)):
        np.copyto(taps[tap.windows], tap.number, where=np.isnan(x[tap.pixels]))


def max_pool2d_scatter(grad_output: Array, taps: Array, input_size: Pair, window: Window) -> Array:
    """Carry the gradient of y (N, C, OH, OW) back to x (N, C, H, W): dx[pixel of the maximum] += dy."""
    grad_input = np.empty((*grad_output.shape[:2], *input_size), dtype=grad_output.dtype)
    grad_planes, tap_planes, pixel_planes = _planes(grad_output), _planes(taps), _planes(grad_input)
    batch = _pieces(pixel_planes)
    if window.dilation == (1, 1):
        most = len(pixel_planes[batch[0]]) if batch else 0
        corners = np.arange(most)[:, None, None] * (input_size[0] * input_size[1])
        corners = corners + _corners(window, _size(taps), input_size[1])

    def work(piece: slice) -> None:
        pixels = pixel_planes[piece]
        pixels[...] = 0
        if window.dilation == (1, 1):
            _scatter_by_place(grad_planes[piece], tap_planes[piece], pixels, window, corners[: len(pixels)])
        else:  # such a window may lie in the padding altogether, with its tap at no pixel
            _scatter_by_tap(grad_planes[piece], tap_planes[piece], pixels, window)

    parallel(work, batch)
    return grad_input


def _scatter_by_place(grad_output: Array, taps: Array, pixels: Array, window: Window, corners: Array) -> None:
    """Write each gradient to its place in memory, overlapping windows in turns in which none overlap.

    The `corners` are the places of the windows' first taps in the flattened pixels.
    """
    places = scratch("places", taps.shape, np.int64)
    np.take(_from_corner(window, pixels.shape[2]), taps, out=places, mode="clip")  # checked indices cost more
    places += corners
    flat = pixels.reshape(-1)
    turns = [-(-window.kernel_size[axis] // window.stride[axis]) for axis in (0, 1)]
    for row, column in np.ndindex(*turns):
        turn = np.s_[:, row :: turns[0], column :: turns[1]]
        if turns == [1, 1]:
            flat[places.reshape(-1)] = grad_output.reshape(-1)  # half the time of an addition
        else:
            flat[places[turn].reshape(-1)] += grad_output[turn].reshape(-1)


def _scatter_by_tap(grad_output: Array, taps: Array, pixels: Array, window: Window) -> None:
    """Add the gradients whose maximum was at one tap, tap by tap: within a tap no pixel is met twice."""
    for tap in window.taps(_size(pixels), _size(taps)):
        met = pixels[tap.pixels]
        met += _chosen(grad_output[tap.windows], taps[tap.windows], tap.number)


def max_pool2d_gather(x: Array, taps: Array, window: Window) -> Array:
    """Read x (N, C, H, W) where the maxima were: gives y (N, C, OH, OW), y = x[pixel of the maximum]."""
    y = np.zeros(taps.shape, dtype=x.dtype)

    x_planes, tap_planes, y_planes = _planes(x), _planes(taps), _planes(y)

    def work(piece: slice) -> None:
        for tap in window.taps(_size(x), _size(taps)):
            outputs = y_planes[piece][tap.windows]
            outputs += _chosen(x_planes[piece][tap.pixels], tap_planes[piece][tap.windows], tap.number)

    parallel(work, _pieces(x_planes))
    return y


def max_pool2d_indices(taps: Array, width: int, window: Window) -> Array:
    """Turn taps into places in the flattened picture of this width, row · W + column, as int64.

    This is what `torch.nn.functional.max_pool2d(..., return_indices=True)` gives.
    """
    return _from_corner(window, width)[taps] + _corners(window, _size(taps), width)


def _from_corner(window: Window, width: int) -> Array:
    """Give for each tap how far it is from the window's first one in a flattened picture of this width."""
    i, j = np.divmod(np.arange(window.kernel_size[0] * window.kernel_size[1]), window.kernel_size[1])
    return i * window.dilation[0] * width + j * window.dilation[1]


def _corners(window: Window, output_size: Pair, width: int) -> Array:
    """Give the place of each window's first tap, (OH, OW), in a flattened picture of this width."""
    (top, _), (left, _) = window.padding
    rows = np.arange(output_size[0], dtype=np.int64) * window.stride[0] - top
    columns = np.arange(output_size[1], dtype=np.int64) * window.stride[1] - left
    return rows[:, None] * width + columns


def _chosen(values: Array, taps: Array, number: int) -> Array:
    """Give the values whose maximum was at this tap, and zero for the others.

    By their bits: a product with 0 or 1 would turn an infinity into NaN, and a masked copy is slower.
    """
    bits = np.dtype(f"i{values.dtype.itemsize}")
    chosen = scratch("chosen", values.shape, bits)
    np.copyto(chosen, taps == number)
    np.negative(chosen, out=chosen)
    np.bitwise_and(chosen, np.ascontiguousarray(values).view(bits), out=chosen)
    return chosen.view(values.dtype)


def _first_taps_inside(window: Window, output_size: Pair) -> Array:
    """Give each window's first tap that is not above or left of the picture: what wins if all is -inf."""
    rows, columns = (
        -(np.minimum(np.arange(output_size[axis]) * window.stride[axis] - window.padding[axis][0], 0))
        for axis in (0, 1)
    )
    i = -(-rows // window.dilation[0])
    j = -(-columns // window.dilation[1])
    return i[:, None] * window.kernel_size[1] + j


def _tap_type(window: Window) -> Any:
    return np.uint8 if window.kernel_size[0] * window.kernel_size[1] <= MOST_TAPS_IN_A_BYTE else np.int32


def _planes(pictures: Array) -> Array:
    """Reshape (N, C, H, W) to (N·C, H, W): pooling treats every channel alike."""
    n, c, h, w = pictures.shape
    return pictures.reshape(n * c, h, w)


def _size(pictures: Array) -> Pair:
    return pictures.shape[-2], pictures.shape[-1]


def _pieces(planes: Array) -> list[slice]:
    return pieces(planes.shape[0], planes[:1].nbytes, _PIECE_BYTES)
