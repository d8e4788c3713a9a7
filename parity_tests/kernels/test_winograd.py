"""Winograd's algorithm against the plain one, by the bound that it states, and where it is used."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Window
from scratch_conv.kernels.convolution import im2col, mec, winograd, winograd_transforms
from scratch_conv.kernels.threads import local
from scratch_conv.kernels.windows import Array, effective_kernel_size, pad

SIZES = st.integers(1, 3) | st.integers(4, 24)
PADS = st.tuples(st.integers(-2, 3), st.integers(-2, 3))
THREADS = st.integers(1, 3)
DTYPES = st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)])
PADDED = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
CROPPED = PADDED._replace(padding=((-2, -1), (2, 2)))


@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("taps", [3, 5])
def test_transforms_compute_a_short_filter(outputs: int, taps: int) -> None:
    """Σ_p A[p, i] G[p, j] B[p, k] is 1 where tap j of output i meets pixel k = i + j, else 0."""
    a, g, b = winograd_transforms.matrices(outputs, taps)
    filters = np.einsum("pi,pj,pk->ijk", a, g, b)
    i, j, k = np.indices(filters.shape)
    np.testing.assert_allclose(filters, k == i + j, rtol=0, atol=1e-13)


class Drawn:
    """A convolution of whole numbers, its gradients, and their bounds."""

    def __init__(self, shape: tuple[int, ...], outs: int, window: Window, dtype: Any, seed: int):
        rng = np.random.default_rng(seed)

        def integers(*shape: int) -> Array:
            return rng.integers(-4, 5, shape).astype(dtype)

        self.x, self.w = integers(*shape), integers(outs, shape[1], *window.kernel_size)
        self.bias = integers(outs)
        self.window = window
        self.size = window.output_size((shape[2], shape[3]))
        self.grad_output = integers(shape[0], outs, *self.size)

    def __repr__(self) -> str:
        return f"Drawn({self.x.shape}, {len(self.w)}, {self.window}, {self.x.dtype})"

    def forward(self) -> tuple[Array, Array]:
        """Return the output without a bias, and how far it may be from the true one."""
        rows, columns = self._tiles()
        pixels = transformed(
            cut(pad(self.x, self.window.padding), rows.pixels, columns.pixels), rows.b, columns.b
        )
        weights = transformed(self.w, rows.g, columns.g)
        values = np.einsum("ncabij,ocij->noabij", pixels, weights)
        tiles = np.einsum("noabij,ip,jq->noapbq", values, rows.a, columns.a)
        bound = np.zeros((*values.shape[:2], rows.outputs.max() + 1, columns.outputs.max() + 1))
        bound[:, :, rows.outputs[:, :, None, None], columns.outputs] = tiles
        terms = self.x.shape[1] + math.prod(self.window.kernel_size) + 40
        exact = im2col.conv(self.x.astype(np.float64), self.w.astype(np.float64), None, self.window, 1)
        return exact, gamma(terms, self.x.dtype) * bound[:, :, : self.size[0], : self.size[1]]

    def grad_weight(self) -> tuple[Array, Array]:
        """Return the gradient of the weight, and how far it may be from the true one."""
        rows, columns = self._tiles()
        pixels = transformed(
            cut(pad(self.x, self.window.padding), rows.pixels, columns.pixels), rows.b, columns.b
        )
        grads = transformed(cut(self.grad_output, rows.outputs, columns.outputs), rows.a, columns.a)
        values = np.einsum("ncabij,noabij->ocij", pixels, grads)
        bound = np.einsum("ocij,ip,jq->ocpq", values, rows.g, columns.g)
        terms = len(self.x) * len(rows.outputs) * len(columns.outputs) + 110
        grad_output, x = self.grad_output.astype(np.float64), self.x.astype(np.float64)
        exact = im2col.conv_grad_weight(grad_output, x, self.window, 1)
        return exact, gamma(terms, self.x.dtype) * bound

    def _tiles(self) -> list["Tiles"]:
        return [Tiles(self.size[i], self.window.kernel_size[i], self.window.dilation[i]) for i in (0, 1)]


def gamma(terms: int, dtype: np.dtype[Any]) -> float:
    u = np.finfo(dtype).eps / 2
    return float(terms * u / (1 - terms * u))


class Tiles:
    """The tiles along an axis: where their pixels and outputs are, and the transforms' absolute values."""

    def __init__(self, outputs: int, taps: int, dilation: int):
        step = 2 if outputs <= 2 * dilation else 4
        origins = np.array([
            first + phase for first in range(0, outputs, step * dilation) for phase in range(dilation)
        ])  # fmt: skip
        self.pixels = origins[:, None] + np.arange(step + taps - 1) * dilation
        self.outputs = origins[:, None] + np.arange(step) * dilation
        self.a, self.g, self.b = (np.abs(matrix) for matrix in winograd_transforms.matrices(step, taps))


def cut(images: Array, rows: Array, columns: Array) -> Array:
    """Cut images into tiles (n, c, rows of tiles, columns of tiles, i, j); beyond their ends is zero."""
    whole = np.zeros((*images.shape[:2], rows.max() + 1, columns.max() + 1))
    height, width = (min(whole.shape[axis], images.shape[axis]) for axis in (2, 3))
    whole[:, :, :height, :width] = images[:, :, :height, :width]
    return whole[:, :, rows[:, :, None, None], columns].swapaxes(3, 4)


def transformed(tiles: Array, rows: Array, columns: Array) -> Array:
    """Transform the absolute values along the last two axes."""
    return np.einsum("ip,...pq,jq->...ij", rows, np.abs(tiles), columns)


@st.composite
def convolutions(draw: st.DrawFn) -> Drawn:
    """Draw images with at least one output; a batch of none included."""
    taps, steps = st.sampled_from([3, 5]), st.integers(1, 3)
    window = Window(
        draw(st.just((3, 3)) | st.tuples(taps, taps)),
        (1, 1),
        draw(st.tuples(PADS, PADS)),
        draw(st.just((1, 1)) | st.tuples(steps, steps)),
    )
    height, width = (
        max(
            1,
            effective_kernel_size(window.kernel_size[axis], window.dilation[axis])
            - sum(window.padding[axis]),
        )
        + draw(SIZES)
        - 1
        for axis in (0, 1)
    )
    shape = draw(st.integers(0, 5)), draw(st.integers(1, 4)), height, width
    return Drawn(shape, draw(st.integers(1, 4)), window, draw(DTYPES), draw(st.integers(0, 2**32 - 1)))


def assert_within(got: Array, expected: Array, bound: Array, dtype: np.dtype[Any]) -> None:
    assert got.dtype == dtype
    assert got.shape == expected.shape
    assert (np.abs(got - expected) <= bound).all()


@given(convolutions(), THREADS, st.booleans())
@example(Drawn((2, 3, 30, 1), 2, PADDED, np.dtype(np.float32), 0), 2, True)
@example(Drawn((4, 1, 27, 15), 1, CROPPED, np.dtype(np.float64), 842), 1, False)
def test_a_convolution_is_as_near_as_stated(drawn: Drawn, num_threads: int, reordered: bool) -> None:
    """For operands with their axes in any order in memory."""
    x = np.ascontiguousarray(drawn.x.transpose(2, 3, 0, 1)).transpose(2, 3, 0, 1) if reordered else drawn.x
    w = np.ascontiguousarray(drawn.w.transpose(3, 2, 0, 1)).transpose(2, 3, 1, 0) if reordered else drawn.w
    expected, bound = drawn.forward()
    with kernels.using_num_threads(num_threads):
        plain = winograd.conv(x, w, None, drawn.window, 1)
        biased = winograd.conv(x, w, drawn.bias, drawn.window, 1)
    assert_within(plain, expected, bound, drawn.x.dtype)
    rounding = gamma(1, drawn.x.dtype) * (np.abs(expected) + bound + 4)
    assert_within(biased, expected + drawn.bias[:, None, None], bound + rounding, drawn.x.dtype)


@given(convolutions(), THREADS)
def test_gradients_are_as_near_as_stated(drawn: Drawn, num_threads: int) -> None:
    """That of the input is a convolution of the outputs back to it, whose bound is that of any other."""
    size = drawn.x.shape[2], drawn.x.shape[3]
    expected, bound = drawn.grad_weight()
    with kernels.using_num_threads(num_threads):
        grad_weight = winograd.conv_grad_weight(drawn.grad_output, drawn.x, drawn.window, 1)
        grad_input = winograd.conv_grad_input(drawn.grad_output, drawn.w, size, drawn.window, 1)
    assert_within(grad_weight, expected, bound, drawn.x.dtype)
    back = drawn.window.backwards(size, drawn.size)
    flipped = Drawn((1, 1, *drawn.size), 1, back, drawn.x.dtype, 0)
    flipped.x, flipped.w = drawn.grad_output, drawn.w[:, :, ::-1, ::-1].swapaxes(0, 1)
    assert_within(grad_input, *flipped.forward(), drawn.x.dtype)


def special(drawn: Drawn, values: list[float], seed: int) -> None:
    """Put one of the values into each operand, or into some of them."""
    rng = np.random.default_rng(seed)
    for operand in (drawn.x, drawn.w, drawn.grad_output):
        if operand.size and rng.random() < 0.6:
            operand.flat[rng.integers(operand.size)] = rng.choice(values)


@given(convolutions(), THREADS, st.booleans(), st.integers(0, 2**32 - 1))
def test_what_is_not_finite_stays_where_it_belongs(
    drawn: Drawn, num_threads: int, huge: bool, seed: int
) -> None:
    """Results that are not finite, or overflow on the way, are those of direct sums."""
    largest = float(np.finfo(drawn.x.dtype).max)
    special(drawn, [largest, -largest] if huge else [np.inf, -np.inf, np.nan], seed)
    x, w, bias, grad_output, window = drawn.x, drawn.w, drawn.bias, drawn.grad_output, drawn.window
    size = x.shape[2], x.shape[3]
    with kernels.using_num_threads(num_threads), np.errstate(all="ignore"):
        for got, expected in (
            (winograd.conv(x, w, bias, window, 1), mec.conv(x, w, bias, window, 1)),
            (
                winograd.conv_grad_weight(grad_output, x, window, 1),
                mec.conv_grad_weight(grad_output, x, window, 1),
            ),
            (
                winograd.conv_grad_input(grad_output, w, size, window, 1),
                mec.conv_grad_input(grad_output, w, size, window, 1),
            ),
        ):
            np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
            if not np.isfinite(expected).all():
                np.testing.assert_array_equal(got, expected)


def test_a_transform_may_overflow_where_the_result_does_not() -> None:
    x: Array = np.zeros((1, 1, 6, 6), dtype=np.float32)
    x[0, 0, ::2] = np.finfo(np.float32).max
    w: Array = np.full((1, 1, 3, 3), 0.1, dtype=np.float32)
    small: Array = np.full((1, 1, 6, 6), 1e-3, dtype=np.float32)
    for got, expected in (
        (winograd.conv(x, w, None, PADDED, 1), mec.conv(x, w, None, PADDED, 1)),
        (
            winograd.conv_grad_weight(small, x, PADDED, 1),
            mec.conv_grad_weight(small, x, PADDED, 1),
        ),
        (
            winograd.conv_grad_input(x, w, (6, 6), PADDED, 1),
            mec.conv_grad_input(x, w, (6, 6), PADDED, 1),
        ),
    ):
        assert np.isfinite(expected).all()
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("operation", ["forward", "grad_weight"])
def test_cropped_pixels_take_no_memory(operation: str) -> None:
    """What is convolved back to a image with wide padding is cropped. Without it, 42 MiB would be taken."""
    window = PADDED._replace(padding=((1, 1), (-990, -1000)))
    x, w = np.ones((16, 32, 8, 2000), dtype=np.float32), np.ones((32, 32, 3, 3), dtype=np.float32)
    grad_output = np.ones((16, 32, 8, 8), dtype=np.float32)
    kernels.free_scratch()
    with kernels.using_num_threads(1):
        if operation == "forward":
            winograd.conv(x, w, None, window, 1)
        else:
            winograd.conv_grad_weight(grad_output, x, window, 1)
    assert sum(buffer.nbytes for buffer in local.buffers.values()) <= 2**23
