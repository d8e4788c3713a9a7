"""How pooling cuts its work: into blocks that fit the memory meant for them, with the same results."""

from collections.abc import Callable

import numpy as np
import pytest
import test_pooling
from hypothesis import given, settings
from hypothesis import strategies as st
from scratch_bounds import BYTES, assert_as_many_as_fit, assert_planes_or_blocks_fit, scratch_taken
from test_pooling import windows

from scratch_conv import kernels
from scratch_conv.kernels import Window
from scratch_conv.kernels.pooling import average as average_pooling
from scratch_conv.kernels.pooling import maximum as max_pooling
from scratch_conv.kernels.windows import Array, Pair, effective_kernel_size

pytestmark = pytest.mark.mutation


@pytest.mark.parametrize("block_bytes", [1, 20, 100, 500])
@pytest.mark.parametrize(
    "definition",
    [
        test_pooling.test_max_pool2d_is_its_definition,
        test_pooling.test_max_pool2d_derivatives_follow_the_indices,
        test_pooling.test_avg_pool2d_and_its_derivative_are_their_definitions,
        test_pooling.test_adaptive_avg_pool2d_and_its_derivative_are_their_definitions,
    ],
)
def test_results_do_not_depend_on_the_blocks(
    definition: Callable[[], None], block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of a few planes, of rows of one, of columns of one row, of one window."""
    for module in (average_pooling, max_pooling):
        monkeypatch.setattr(module, "_BLOCK_BYTES", block_bytes)
    definition()


@pytest.mark.parametrize(
    "definition",
    [
        test_pooling.test_max_pool2d_is_its_definition,
        test_pooling.test_max_pool2d_derivatives_follow_the_indices,
    ],
)
def test_one_axis_after_the_other_has_the_same_maxima(
    definition: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(max_pooling, "is_large", lambda *_: True)
    definition()


@st.composite
def planes(draw: st.DrawFn) -> tuple[Array, Window]:
    """Draw images whose batch, channels, rows and columns all differ often, and a window on them."""
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel_size, stride, dilation = draw(pairs), *(draw(st.just((1, 1)) | pairs) for _ in range(2))
    height, width = (
        effective_kernel_size(kernel_size[axis], dilation[axis]) + draw(st.integers(0, 12)) for axis in (0, 1)
    )
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    x: Array = np.ones((draw(st.integers(1, 6)), draw(st.integers(1, 6)), height, width), dtype=dtype)
    return x, Window(kernel_size, stride, ((0, 0), (0, 0)), dilation)


@given(planes(), BYTES)
def test_pooling_takes_as_many_planes_at_a_time_as_fit(drawn: tuple[Array, Window], block_bytes: int) -> None:
    x, window = drawn
    y, indices = kernels.max_pool2d(x, window, ceil_mode=False)
    plane, size = x[0, 0], (y.shape[2], y.shape[3])
    count = x.shape[0] * x.shape[1]
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(1):
        patch.setattr(max_pooling, "_BLOCK_BYTES", block_bytes)
        taken = {
            "pooling": scratch_taken(lambda: kernels.max_pool2d(x, window, ceil_mode=False)),
            "scatter": scratch_taken(lambda: kernels.max_pool2d_scatter(y, indices, plane.shape, window)),
            "gather": scratch_taken(lambda: kernels.max_pool2d_gather(x, indices, window)),
        }
    # The places of the maxima; for windows of several taps the pixels, which are better, their places.
    several = window.kernel_size != (1, 1)
    taken_each = {"pooling": 1 + (x.itemsize + 1 + 1) * several, "scatter": 8, "gather": 8}  # indices
    for name, memory in taken.items():
        bytes_each = plane.nbytes, plane.nbytes
        assert_planes_or_blocks_fit(memory, taken_each[name], count, size, bytes_each, block_bytes)


@settings(max_examples=max(150, settings().max_examples))
@given(planes(), st.booleans(), BYTES)
def test_average_pooling_takes_as_many_planes_at_a_time_as_fit(
    drawn: tuple[Array, Window], whole: bool, block_bytes: int
) -> None:
    x, window = drawn[0], drawn[1]._replace(dilation=(1, 1))
    height, width = x.shape[2:]
    if whole:
        window = window._replace(kernel_size=(height, width))
    size = window.output_size((height, width))
    y = np.ones((*x.shape[:2], *size), dtype=x.dtype)
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(1):
        patch.setattr(average_pooling, "_BLOCK_BYTES", block_bytes)
        forward = scratch_taken(lambda: kernels.avg_pool2d(x, size, window, True, None))
        backward = scratch_taken(
            lambda: kernels.avg_pool2d_grad_input(y, (height, width), window, True, None)
        )
    itemsize, count, plane = x.itemsize, x.shape[0] * x.shape[1], x[0, 0].nbytes
    whole = window.kernel_size == (height, width)
    one_axis = whole or (window.kernel_size[1] == 1 and size[1] == width)  # each column has its own windows
    sums, quotients = (size[0] * columns * itemsize for columns in (width, size[1]))
    if one_axis:  # the sums are the outputs
        assert forward == 0
    if sums <= block_bytes:
        if not one_axis:
            assert_as_many_as_fit(forward, sums, count, max(plane, sums), block_bytes)
        taken_each = quotients if one_axis else quotients + sums
        assert_as_many_as_fit(backward, taken_each, count, max(plane, sums), block_bytes)
        return
    rows, columns = rows_and_columns(size, sums, block_bytes)
    met = (columns - 1) * window.stride[1] + window.kernel_size[1]  # from the first window's to the last's
    assert forward == (0 if one_axis else rows * met * itemsize)
    rows, columns = rows_and_columns((height, width), sums, block_bytes)
    over = [
        max(windows_over(window, axis, first, first + step, size[axis]) for first in range(0, length, step))
        for axis, length, step in ((0, height, rows), (1, width, columns))
    ]
    assert backward <= over[0] * (over[1] + (not one_axis) * columns) * itemsize


def rows_and_columns(size: Pair, plane_bytes: int, block_bytes: int) -> Pair:
    """Count the rows of a plane that fit into a block, or the columns of one row."""
    row = plane_bytes // size[0]
    if row <= block_bytes:
        return min(size[0], block_bytes // max(1, row)), size[1]
    return 1, min(size[1], max(1, block_bytes // max(1, row // size[1])))


def windows_over(window: Window, axis: int, first: int, stop: int, count: int) -> int:
    """Count the windows over some pixels of an axis without padding."""
    starts = np.arange(count) * window.stride[axis]
    return int(((starts < stop) & (starts + window.kernel_size[axis] > first)).sum())


@given(windows(), st.booleans())
def test_average_pooling_knows_where_windows_leave_pixels_out_or_overlap(
    drawn: tuple[Window, Pair], ceil_mode: bool
) -> None:
    window, size = drawn[0]._replace(dilation=(1, 1)), drawn[1]
    output_size = window.output_size(size, ceil_mode)
    axes = average_pooling._axes(window, size, output_size, True)
    for axis, described in enumerate((axes.rows, axes.columns)):
        over = np.zeros(size[axis], dtype=int)
        for position in range(output_size[axis]):
            start = position * window.stride[axis] - window.padding[axis][0]
            over[max(0, start) : max(0, start + window.kernel_size[axis])] += 1
        assert described.covered == (over >= 1).all()
        assert described.non_overlapping == (over <= 1).all()


def test_a_divisor_that_all_windows_have_is_one_number() -> None:
    assert average_pooling._bins(6, 3).divisors.tolist() == [2]
    assert average_pooling._bins(5, 3).divisors.tolist() == [2, 3, 2]
    assert average_pooling._bins(5, 0).divisors.tolist() == []


@given(st.integers(0, 3), st.lists(st.integers(1, 3), max_size=4))
def test_indices_of_equal_steps_are_a_slice(first: int, steps: list[int]) -> None:
    numbers = np.cumsum([first, *steps])
    index = average_pooling._as_slice(numbers)
    np.testing.assert_array_equal(np.arange(20)[index], numbers)
    assert isinstance(index, slice) == (len(set(steps)) <= 1)
