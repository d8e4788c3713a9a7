"""Winograd's algorithm against the plain one, by the bound that it states, and where it is used."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Window, scratch_memory, threads
from scratch_conv.kernels.convolution import choosing, im2col, mec, winograd, winograd_transforms
from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.windows import Array, Pair, effective_kernel_size, pad

SIZES = st.integers(1, 3) | st.integers(4, 24)
PADS = st.tuples(st.integers(-2, 3), st.integers(-2, 3))
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
        """Give the output without a bias, and how far it may lie from the true one."""
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
        """Give the gradient of the weight, and how far it may lie from the true one."""
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


def cut(pictures: Array, rows: Array, columns: Array) -> Array:
    """Cut pictures into tiles (n, c, rows of tiles, columns of tiles, i, j); beyond their ends is zero."""
    whole = np.zeros((*pictures.shape[:2], rows.max() + 1, columns.max() + 1))
    height, width = (min(whole.shape[axis], pictures.shape[axis]) for axis in (2, 3))
    whole[:, :, :height, :width] = pictures[:, :, :height, :width]
    return whole[:, :, rows[:, :, None, None], columns].swapaxes(3, 4)


def transformed(tiles: Array, rows: Array, columns: Array) -> Array:
    """Transform the absolute values along the last two axes."""
    return np.einsum("ip,...pq,jq->...ij", rows, np.abs(tiles), columns)


@st.composite
def convolutions(draw: st.DrawFn) -> Drawn:
    """Draw pictures with at least one output; a batch of none included."""
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


@contextmanager
def cut_up(strip_tiles: int, fewest: int, same_lines: int, num_threads: int) -> Iterator[None]:
    """Cut axes into such strips of tiles, pictures into such blocks, and lay such planes apart."""
    winograd_transforms.transformed_axes.cache_clear()
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(num_threads):
        for module in (winograd, winograd_transforms):
            patch.setattr(module, "STRIP_TILES", strip_tiles)
        patch.setattr(winograd, "_BLOCK_BYTES", (fewest, 2**24))
        patch.setattr(winograd_transforms, "_SAME_LINES", same_lines)
        patch.setattr(threads, "_WORTH_A_THREAD", 1)
        yield
    winograd_transforms.transformed_axes.cache_clear()


CUTS = st.tuples(
    st.integers(3, 5),
    st.sampled_from([1, 3_000, 30_000, 2**21]),
    st.sampled_from([1, 2**10]),
    st.integers(1, 3),
)


@pytest.mark.parametrize(("batch", "outs", "threads"), [(6, 32, 1), (7, 32, 2), (1, 141, 1), (1, 142, 2)])
def test_work_is_shared_out_where_it_is_worth_a_thread(batch: int, outs: int, threads: int) -> None:
    """A thread's values, 36 of each tile and channel and of each weight, take at least half a MiB."""
    rows, columns, _ = winograd_transforms.transformed_axes((16, 16), PADDED, np.dtype(np.float32))
    with kernels.using_num_threads(2):
        by_thread = winograd._by_thread((batch, 32, 16, 16), outs, rows, columns, 4)
    assert len(by_thread) == threads
    memory = 36 * 4 * (16 * batch * (32 + outs) + 32 * outs)
    assert (memory >= 2 * 2**19) == (threads == 2)


@contextmanager
def by_winograd_alone() -> Iterator[None]:
    """Take away the direct sums, which would put right whatever did not come out finite."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "mec", ModuleType("no direct sums"))
        yield


def assert_within(got: Array, expected: Array, bound: Array, dtype: np.dtype[Any]) -> None:
    assert got.dtype == dtype
    assert got.shape == expected.shape
    assert (np.abs(got - expected) <= bound).all()


@given(convolutions(), CUTS, st.booleans())
@example(Drawn((2, 3, 30, 1), 2, PADDED, np.dtype(np.float32), 0), (4, 1, 2**10, 2), True)
@example(Drawn((4, 1, 27, 15), 1, CROPPED, np.dtype(np.float64), 842), (4, 2**21, 2**10, 1), False)
def test_a_convolution_is_as_near_as_stated(
    drawn: Drawn, cuts: tuple[int, int, int, int], turned: bool
) -> None:
    """For operands that lie in memory in any order."""
    x = np.ascontiguousarray(drawn.x.transpose(2, 3, 0, 1)).transpose(2, 3, 0, 1) if turned else drawn.x
    w = np.ascontiguousarray(drawn.w.transpose(3, 2, 0, 1)).transpose(2, 3, 1, 0) if turned else drawn.w
    expected, bound = drawn.forward()
    with cut_up(*cuts), by_winograd_alone():
        plain = winograd.conv(x, w, None, drawn.window, 1)
        biased = winograd.conv(x, w, drawn.bias, drawn.window, 1)
    assert_within(plain, expected, bound, drawn.x.dtype)
    rounding = gamma(1, drawn.x.dtype) * (np.abs(expected) + bound + 4)
    assert_within(biased, expected + drawn.bias[:, None, None], bound + rounding, drawn.x.dtype)


@given(convolutions(), CUTS)
def test_gradients_are_as_near_as_stated(drawn: Drawn, cuts: tuple[int, int, int, int]) -> None:
    """That of the input is a convolution of the outputs back to it, whose bound is that of any other."""
    size = drawn.x.shape[2], drawn.x.shape[3]
    expected, bound = drawn.grad_weight()
    with cut_up(*cuts), by_winograd_alone():
        grad_weight = winograd.conv_grad_weight(drawn.grad_output, drawn.x, drawn.window, 1)
        grad_input = winograd.conv_grad_input(drawn.grad_output, drawn.w, size, drawn.window, 1)
    assert_within(grad_weight, expected, bound, drawn.x.dtype)
    back = drawn.window.backwards(size, drawn.size)
    turned = Drawn((1, 1, *drawn.size), 1, back, drawn.x.dtype, 0)
    turned.x, turned.w = drawn.grad_output, drawn.w[:, :, ::-1, ::-1].swapaxes(0, 1)
    assert_within(grad_input, *turned.forward(), drawn.x.dtype)


def special(drawn: Drawn, values: list[float], seed: int) -> None:
    """Put one of the values into each operand, or into some of them."""
    rng = np.random.default_rng(seed)
    for operand in (drawn.x, drawn.w, drawn.grad_output):
        if operand.size and rng.random() < 0.6:
            operand.flat[rng.integers(operand.size)] = rng.choice(values)


@given(convolutions(), CUTS, st.booleans(), st.integers(0, 2**32 - 1))
def test_what_is_not_finite_stays_where_it_belongs(
    drawn: Drawn, cuts: tuple[int, int, int, int], huge: bool, seed: int
) -> None:
    """Results that are not finite, or overflow on the way, are those of direct sums."""
    largest = float(np.finfo(drawn.x.dtype).max)
    special(drawn, [largest, -largest] if huge else [np.inf, -np.inf, np.nan], seed)
    x, w, bias, grad_output, window = drawn.x, drawn.w, drawn.bias, drawn.grad_output, drawn.window
    size = x.shape[2], x.shape[3]
    with cut_up(*cuts), np.errstate(all="ignore"):
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


def shapes(
    batch: int = 8,
    channels: int = 32,
    outs: int = 32,
    size: int = 16,
    window: Window = PADDED,
    groups: int = 1,
) -> Shapes:
    height, width = window.output_size((size, size))
    return Shapes(batch, channels, outs, (size, size), (height, width), window, groups, np.dtype(np.float32))


def test_what_decides_is_what_an_operation_is_given() -> None:
    """Its shapes, the same for the three of a convolution, and the numbers of both operands."""
    window = Window((3, 2), (1, 2), ((0, 1), (2, 0)), (1, 1))
    x, w, y = (np.ones(shape, dtype=np.float32) for shape in ((9, 10, 7, 15), (4, 5, 3, 2), (9, 4, 6, 8)))
    asked: list[tuple[Shapes, tuple[Array, ...]]] = []

    def noted(shapes: Shapes, _: ModuleType, *operands: Array) -> ModuleType:
        asked.append((shapes, operands))
        return im2col

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "_algorithm", noted)
        kernels.conv2d(x, w, None, window, 2)
        kernels.conv2d_grad_weight(y, x, window, 2)
        kernels.conv2d_grad_input(y, w, (7, 15), window, 2)
    expected = Shapes(9, 10, 4, (7, 15), (6, 8), window, 2, np.dtype(np.float32))
    assert [shapes for shapes, _ in asked] == [expected] * 3
    operands = [{id(operand) for operand in operands} for _, operands in asked]
    assert operands == [{id(x), id(w)}, {id(x), id(y)}, {id(w), id(y)}]


FRACTIONS = np.full((1, 1), 0.5)
WHOLE = np.full((1, 1), 3.0)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (shapes(), winograd),
        (shapes(channels=31), mec),
        (shapes(outs=31), mec),
        (shapes(batch=2), winograd),  # of 16 tiles each
        (shapes(batch=1), mec),
        (shapes(batch=31, size=4), mec),
        (shapes(batch=32, size=4), winograd),
    ],
)
def test_winograd_is_used_where_it_is_fast_and_near(asked: Shapes, expected: ModuleType) -> None:
    assert choosing._algorithm(asked, im2col, FRACTIONS, FRACTIONS) is expected


@pytest.mark.parametrize(
    ("batch", "expected"), [(1, "small"), (28, "small"), (29, "winograd"), (57, "winograd")]
)
def test_what_is_small_is_computed_by_what_starts_soonest(batch: int, expected: str) -> None:
    """At most 65,536 numbers of columns; 32 channels x 9 taps x 8 windows x 28 pictures are 64,512."""
    asked = shapes(batch, 32, 32, 8)._replace(input_size=(2, 4), output_size=(2, 4))
    small = ModuleType("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "_ENOUGH_FOR_WINOGRAD", 1)
        module = {"small": small, "winograd": winograd}[expected]
        assert choosing._algorithm(asked, small, FRACTIONS) is module


@pytest.mark.parametrize(("batch", "expected"), [(2, im2col), (3, mec)])
def test_just_65536_numbers_of_columns_are_few(batch: int, expected: ModuleType) -> None:
    """32 channels x 4 taps x 256 windows x 2 pictures."""
    asked = shapes(batch, size=17, window=Window((2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1)))
    assert choosing._algorithm(asked, im2col, FRACTIONS) is expected


@pytest.mark.parametrize(
    ("size", "stride", "groups", "expected"),
    [
        (18, (2, 2), 1, mec),  # 81 outputs
        (20, (2, 2), 1, im2col),
        (32, (2, 2), 1, im2col),
        (34, (2, 2), 1, mec),
        (20, (2, 2), 2, mec),
        (14, (2, 1), 1, im2col),
        (14, (1, 2), 1, im2col),
        (14, (1, 1), 1, mec),
    ],
)
def test_strides_with_some_outputs_copy_columns(
    size: int, stride: Pair, groups: int, expected: ModuleType
) -> None:
    window = PADDED._replace(stride=stride)
    asked = shapes(64, 31, 31)._replace(
        input_size=(size, size), output_size=window.output_size((size, size)), window=window, groups=groups
    )
    assert choosing._algorithm(asked, ModuleType("small"), FRACTIONS) is expected


def test_small_convolutions_copy_columns_but_not_for_the_gradient_of_the_input() -> None:
    x, w, called = np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), list[str]()
    with pytest.MonkeyPatch.context() as patch:
        for module in (im2col, mec):
            for operation in ("conv", "conv_grad_weight", "conv_grad_input"):
                name = f"{module.__name__.rsplit('.', 1)[-1]}.{operation}"
                patch.setattr(module, operation, lambda *_, name=name: called.append(name))
        kernels.conv2d(x, w, None, PADDED, 1)
        kernels.conv2d_grad_weight(x, x, PADDED, 1)
        kernels.conv2d_grad_input(x, w, (4, 4), PADDED, 1)
    assert called == ["im2col.conv", "im2col.conv_grad_weight", "mec.conv_grad_input"]


def test_a_single_tap_is_one_product() -> None:
    window = Window((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
    assert choosing._algorithm(shapes(window=window), mec, FRACTIONS) is im2col
    assert choosing._algorithm(shapes(window=window, groups=2), mec, FRACTIONS) is im2col
    for other in (
        window._replace(kernel_size=(1, 2)),
        window._replace(kernel_size=(2, 1)),
        window._replace(stride=(1, 2)),
        window._replace(stride=(2, 1)),
        window._replace(padding=((0, 1), (0, 0))),
        window._replace(padding=((0, 0), (-1, 0))),
    ):
        assert choosing._algorithm(shapes(batch=32, size=40, window=other), im2col, FRACTIONS) is mec


def test_whole_numbers_are_summed_directly() -> None:
    soon, later = np.array([[1.0, 2.5], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 4.5]])
    for operands, expected in (
        ((WHOLE, WHOLE), mec),
        ((WHOLE, FRACTIONS), mec),
        ((FRACTIONS, WHOLE), mec),
        ((later, FRACTIONS), winograd),
        ((soon, FRACTIONS), winograd),
        ((np.full((1, 1), np.inf), FRACTIONS), mec),
    ):
        assert choosing._algorithm(shapes(), im2col, *operands) is expected
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 10, (8, 32, 16, 16)).astype(np.float32)
    w = rng.integers(-9, 10, (32, 32, 3, 3)).astype(np.float32)
    y = kernels.conv2d(x, w, None, PADDED, 1)
    np.testing.assert_array_equal(y, im2col.conv(x, w, None, PADDED, 1))
    grad_weight = kernels.conv2d_grad_weight(y, x, PADDED, 1)
    np.testing.assert_array_equal(grad_weight, im2col.conv_grad_weight(y, x, PADDED, 1))
    grad_input = kernels.conv2d_grad_input(y, w, (16, 16), PADDED, 1)
    np.testing.assert_array_equal(grad_input, im2col.conv_grad_input(y, w, (16, 16), PADDED, 1))


def test_fractions_show_in_the_first_plane() -> None:
    """The others are not read."""
    read: list[int] = []
    rint = np.rint

    def noted(numbers: Array) -> Array:
        read.append(numbers.size)
        return rint(numbers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "rint", noted)
        assert choosing._algorithm(shapes(), im2col, np.full((8, 32, 16, 16), 0.5)) is winograd
    assert read == [16 * 16]


def test_winograd_can_be_switched_off() -> None:
    assert kernels.winograd_enabled()
    for enabled, expected in ((False, mec), (True, winograd)):
        with kernels.using_winograd(enabled):
            assert kernels.winograd_enabled() is enabled
            assert choosing._algorithm(shapes(), im2col, FRACTIONS) is expected
        assert kernels.winograd_enabled()
    with pytest.raises(ArithmeticError), kernels.using_winograd(False):
        raise ArithmeticError
    assert kernels.winograd_enabled()
    with pytest.raises(TypeError, match=r"^expected True or False, got 'off'$"):
        kernels.enable_winograd("off")  # type: ignore[arg-type]
    assert kernels.winograd_enabled()
    kernels.enable_winograd(False)
    try:
        assert choosing._algorithm(shapes(), im2col, FRACTIONS) is mec
    finally:
        kernels.enable_winograd(True)


@pytest.mark.parametrize(
    ("changed", "accepted"),
    [
        (shapes(1, 1, 1, 3), True),
        (shapes(window=PADDED._replace(kernel_size=(3, 5))), True),
        (shapes(window=PADDED._replace(kernel_size=(5, 3), dilation=(4, 4))), True),
        (shapes(window=PADDED._replace(kernel_size=(3, 1))), False),
        (shapes(window=PADDED._replace(kernel_size=(4, 3))), False),
        (shapes(window=PADDED._replace(kernel_size=(3, 7))), False),
        (shapes(window=PADDED._replace(stride=(1, 2))), False),
        (shapes(window=PADDED._replace(stride=(2, 1))), False),
        (shapes(window=PADDED._replace(dilation=(1, 5))), False),
        (shapes(window=PADDED._replace(dilation=(5, 1))), False),
        (shapes(groups=2), False),
        (shapes()._replace(dtype=np.dtype(np.float64)), True),
        (shapes()._replace(dtype=np.dtype(np.complex64)), False),
        (shapes()._replace(dtype=np.dtype(np.int64)), False),
    ],
)
def test_winograd_is_for_small_steps_of_real_numbers(changed: Shapes, accepted: bool) -> None:
    """What it does not accept is computed by another algorithm, though it be forced."""
    assert winograd.accepts(changed) is accepted
    other = mec if changed.window.stride == (1, 1) else im2col
    with kernels.convolution_algorithm("winograd"):
        assert choosing._algorithm(changed, mec, WHOLE) is (winograd if accepted else other)


def test_a_row_of_tiles_must_fit_into_memory() -> None:
    """Just fit: of 8x8 values a tile, for 5x5 taps."""
    tile_bytes, most = 64 * 2 * 4, winograd._BLOCK_BYTES[1]
    tiles, rest = divmod(most, tile_bytes * winograd_transforms.STRIP_TILES)
    assert rest == 0
    padded = PADDED._replace(kernel_size=(5, 5), padding=((2, 2), (2, 2)))
    asked = shapes(1, 1, 1, window=padded)._replace(input_size=(16, 4 * tiles), output_size=(16, 4 * tiles))
    assert winograd.accepts(asked)
    assert not winograd.accepts(asked._replace(input_size=(16, 4 * tiles + 1)))


CHANNELS = st.integers(1, 9) | st.integers(10, 99)


@given(st.integers(1, 40), st.tuples(*[st.integers(1, 60)] * 2), CHANNELS, CHANNELS, CUTS)
@example(2, (4, 4), 1, 2, (4, 1, 2**10, 2))  # just as many tiles as outputs
def test_threads_have_as_much_work_and_their_blocks_fit(
    n: int, size: Pair, ins: int, outs: int, cuts: tuple[int, int, int, int]
) -> None:
    """Of fewer tiles than outputs each thread computes some of the outputs, otherwise some of the blocks."""
    strip_tiles, fewest, _, num_threads = cuts
    with cut_up(*cuts):
        rows, columns, _ = winograd_transforms.transformed_axes(size, PADDED, np.dtype(np.float32))
        by_thread = winograd._by_thread((n, ins, *size), outs, rows, columns, 4)
    assert all(part.tiles.stop - part.tiles.start <= strip_tiles for part in rows.evaluate)
    done = np.zeros((n, rows.tiles, outs), dtype=int)
    adding = np.zeros((num_threads, outs), dtype=int)
    for thread in by_thread:
        adding[thread.sums, thread.outputs] += 1
        for block in thread.blocks:
            assert block.evaluate.tiles == block.interpolate.tiles
            done[block.images, block.evaluate.tiles, thread.outputs] += 1
    assert (done == 1).all()
    assert (adding <= 1).all()  # no two threads to the same sums

    few_tiles = n * rows.tiles * columns.tiles < outs
    most_outs = -(-outs // num_threads) if few_tiles else outs
    all_outs = [thread.outputs.stop - thread.outputs.start for thread in by_thread]
    assert all_outs[:-1] == [most_outs] * (len(by_thread) - 1)
    assert all_outs[-1] <= most_outs

    blocks = by_thread[0].blocks if few_tiles else [block for thread in by_thread for block in thread.blocks]
    counts = {block.images.start: block.images.stop - block.images.start for block in blocks}
    assert max(counts.values()) - min(counts.values()) <= 1
    values = rows.points * columns.points * 4
    fitting = max(fewest, values * ins * most_outs)
    each = values * (ins + most_outs) * columns.tiles * min(rows.tiles, strip_tiles)
    assert max(counts.values()) == 1 or max(counts.values()) * each <= fitting
    at_a_time = 1 if few_tiles else num_threads
    turns = -(-n // (max(1, fitting // each) * at_a_time))
    assert len(counts) == min(n, turns * at_a_time)


@pytest.mark.parametrize("operation", ["forward", "grad_weight", "grad_input"])
@pytest.mark.parametrize(("n", "channels", "size"), [(64, 64, 8), (2, 256, 14), (1, 16, 200)])
def test_scratch_memory_is_bounded(operation: str, n: int, channels: int, size: int) -> None:
    """Transformed weights apart."""
    x = np.ones((n, channels, size, size), dtype=np.float32)
    w = np.ones((channels, channels, 3, 3), dtype=np.float32)
    kernels.free_scratch()
    with kernels.using_num_threads(1):
        if operation == "forward":
            winograd.conv(x, w, None, PADDED, 1)
        elif operation == "grad_weight":
            winograd.conv_grad_weight(x, x, PADDED, 1)
        else:
            winograd.conv_grad_input(x, w, (size, size), PADDED, 1)
    buffers: dict[str, Array] = scratch_memory._local.buffers
    taken = {name: buffer.nbytes for name, buffer in buffers.items() if name not in ("weights", "product")}
    assert sum(taken.values()) <= 2**25
    values = 36 * channels * -(-size // 4) * min(winograd_transforms.STRIP_TILES, -(-size // 4)) * 4
    assert taken["pixels"] % values == 0
    assert math.isclose(taken["pixels"], taken["sums"])


@pytest.mark.parametrize("operation", ["forward", "grad_weight"])
def test_cropped_pixels_take_no_memory(operation: str) -> None:
    """What is convolved back to a picture with wide padding is cropped. Without it, 42 MiB would be taken."""
    window = PADDED._replace(padding=((1, 1), (-990, -1000)))
    x, w = np.ones((16, 32, 8, 2000), dtype=np.float32), np.ones((32, 32, 3, 3), dtype=np.float32)
    grad_output = np.ones((16, 32, 8, 8), dtype=np.float32)
    kernels.free_scratch()
    with kernels.using_num_threads(1):
        if operation == "forward":
            winograd.conv(x, w, None, window, 1)
        else:
            winograd.conv_grad_weight(grad_output, x, window, 1)
    assert sum(buffer.nbytes for buffer in scratch_memory._local.buffers.values()) <= 2**23


@given(st.integers(1, 90), st.integers(1, 4), st.sampled_from([3, 5]))
def test_axes_are_cut_into_few_even_strips_of_small_tiles(outputs: int, dilation: int, taps: int) -> None:
    """A strip holds whole turns of as many tiles as the dilation; short axes have tiles of two outputs."""
    axis = winograd_transforms._axis(outputs, outputs, taps, 0, dilation, np.dtype(np.float32))
    step = 2 if outputs <= 2 * dilation else 4
    turns = -(-outputs // (step * dilation))
    assert axis.points == step + taps - 1
    assert axis.tiles == turns * dilation
    lengths = [(part.tiles.stop - part.tiles.start) / dilation for part in axis.evaluate]
    longest = winograd_transforms.STRIP_TILES // dilation
    assert sum(lengths) == turns
    assert max(lengths) <= longest
    assert max(lengths) - min(lengths) <= 1
    assert len(lengths) == -(-turns // longest)
