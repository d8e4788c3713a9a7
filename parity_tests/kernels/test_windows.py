"""The window arithmetic against counting: every position and every pixel of it, one at a time."""

import math
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
from hypothesis import assume, example, given
from hypothesis import strategies as st

from scratch_conv.kernels import Window
from scratch_conv.kernels.windows import (
    Array,
    axis_blocks,
    effective_kernel_size,
    pad,
    plane_blocks,
    same_padding,
)

SMALL = st.integers(1, 4)
FEW = st.integers(0, 4)


class Axis(NamedTuple):
    """A window, and an image that it slides over, along one axis."""

    kernel_size: int
    stride: int
    padding: tuple[int, int]
    dilation: int
    size: int

    def met(self, position: int) -> list[int]:
        """List the pixels of the padded axis that the window meets at a position."""
        return [position * self.stride + i * self.dilation for i in range(self.kernel_size)]


@st.composite
def axes(draw: st.DrawFn, pooling: bool = False) -> Axis:
    """Draw an axis on which the window has at least one position; pooling pads by half a kernel at most."""
    kernel_size, stride, dilation = draw(SMALL), draw(SMALL), draw(SMALL)
    most = kernel_size // 2 if pooling else 4
    padding = draw(st.integers(0, most)), draw(st.integers(0, most))
    size = max(1, effective_kernel_size(kernel_size, dilation) - sum(padding)) + draw(st.integers(0, 8))
    return Axis(kernel_size, stride, padding, dilation, size)


AXES = axes()


def window(rows: Axis, columns: Axis) -> Window:
    return Window(
        kernel_size=(rows.kernel_size, columns.kernel_size),
        stride=(rows.stride, columns.stride),
        padding=(rows.padding, columns.padding),
        dilation=(rows.dilation, columns.dilation),
    )


@given(AXES, AXES)
def test_output_size_counts_the_windows_that_fit(rows: Axis, columns: Axis) -> None:
    expected = []
    for axis in (rows, columns):
        room = sum(axis.padding) + axis.size
        expected.append(sum(axis.met(position)[-1] < room for position in range(room)))
    sizes = rows.size, columns.size
    assert window(rows, columns).output_size(sizes) == tuple(expected)
    assert window(rows, columns).output_size(sizes, ceil_mode=False) == tuple(expected)


@given(axes(pooling=True), axes(pooling=True))
def test_with_ceil_mode_a_last_window_hangs_over_if_it_starts_inside(rows: Axis, columns: Axis) -> None:
    """A further window is wanted while the one before it leaves pixels of the padded axis at the end."""
    expected = []
    for axis in (rows, columns):
        before, after = axis.padding
        room = before + axis.size + after
        count = 1
        while axis.met(count - 1)[-1] < room - 1 and axis.met(count)[0] < before + axis.size:
            count += 1
        expected.append(count)
    assert window(rows, columns).output_size((rows.size, columns.size), ceil_mode=True) == tuple(expected)


@given(SMALL, SMALL, st.integers(1, 9))
def test_same_padding_keeps_the_size_and_puts_an_uneven_pixel_at_the_end(
    kernel_size: int, dilation: int, size: int
) -> None:
    before, after = same_padding(kernel_size, dilation)
    assert before + size + after - effective_kernel_size(kernel_size, dilation) + 1 == size
    assert after - before in (0, 1)


@given(AXES, AXES)
def test_is_non_overlapping_where_no_pixel_is_met_twice(rows: Axis, columns: Axis) -> None:
    if window(rows, columns).is_non_overlapping():
        for axis in (rows, columns):
            pixels = [pixel for position in range(10) for pixel in axis.met(position)]
            assert len(set(pixels)) == len(pixels)


@given(AXES, AXES)
def test_positions_side_by_side_are_just_apart(rows: Axis, columns: Axis) -> None:
    rows, columns = (
        axis._replace(stride=effective_kernel_size(axis.kernel_size, axis.dilation))
        for axis in (rows, columns)
    )
    assert window(rows, columns).is_non_overlapping()
    closer = rows._replace(stride=rows.stride - 1), columns._replace(stride=columns.stride - 1)
    assert not window(closer[0], columns).is_non_overlapping()
    assert not window(rows, closer[1]).is_non_overlapping()


@given(AXES, AXES)
def test_view_shows_each_tap_the_pixels_that_it_meets(rows: Axis, columns: Axis) -> None:
    """Of an image that is itself strided, and without a copy; to read only, as pixels appear repeatedly."""
    height, width = (axis.met(0)[-1] + axis.size for axis in (rows, columns))
    image = np.arange(2 * 3 * height * width).reshape(2, width, height, 3).transpose(0, 3, 2, 1)
    size = window(rows, columns)._replace(padding=((0, 0), (0, 0))).output_size(image.shape[2:])
    view = window(rows, columns).view(image, size)
    assert np.shares_memory(view, image)
    assert not view.flags.writeable
    for i, j, p, q in np.ndindex(view.shape[2:]):
        expected = image[:, :, rows.met(p)[i], columns.met(q)[j]]
        np.testing.assert_array_equal(view[:, :, i, j, p, q], expected)


@given(AXES, AXES, st.tuples(SMALL, SMALL))
def test_a_window_that_ends_earlier_meets_the_last_pixel_that_it_is_given(
    rows: Axis, columns: Axis, fewer: tuple[int, int]
) -> None:
    sizes, whole = (rows.size, columns.size), window(rows, columns)
    counts = tuple(max(1, count - less) for count, less in zip(whole.output_size(sizes), fewer, strict=True))
    ended = whole.ending_after(counts, sizes)
    assert ended.output_size(sizes) == counts
    for axis, described in enumerate((rows, columns)):
        before, after = ended.padding[axis]
        assert before == described.padding[0]
        assert described.met(counts[axis] - 1)[-1] == before + sizes[axis] + after - 1


PADS = st.tuples(st.tuples(FEW, FEW), st.tuples(FEW, FEW))


@example(((0, 1), (0, 0)), np.float32)
@given(PADS, st.sampled_from([np.float16, np.float32, np.float64, np.int64]))
def test_pad_surrounds_with_zeros_of_the_same_type(padding: tuple[tuple[int, int], ...], dtype: type) -> None:
    x: Array = np.arange(1, 25, dtype=dtype).reshape(1, 2, 3, 4)
    padded = pad(x, (padding[0], padding[1]))
    np.testing.assert_array_equal(padded, np.pad(x, ((0, 0), (0, 0), *padding)), strict=True)
    assert (padded is x) == (padding == ((0, 0), (0, 0)))


@given(st.lists(AXES, min_size=1, max_size=3), st.integers(0, 99))
def test_a_window_has_any_number_of_axes(drawn: list[Axis], seed: int) -> None:
    """Each axis is treated as if it were the only one."""
    whole = Window(
        kernel_size=tuple(axis.kernel_size for axis in drawn),
        stride=tuple(axis.stride for axis in drawn),
        padding=tuple(axis.padding for axis in drawn),
        dilation=tuple(axis.dilation for axis in drawn),
    )
    alone = [Window((axis.kernel_size,), (axis.stride,), (axis.padding,), (axis.dilation,)) for axis in drawn]
    sizes, axes = tuple(axis.size for axis in drawn), range(len(drawn))
    counts = whole.output_size(sizes)
    assert counts == tuple(alone[axis].output_size((sizes[axis],))[0] for axis in axes)
    assert whole.is_non_overlapping() == all(axis.is_non_overlapping() for axis in alone)
    position = [seed % count for count in counts]
    for moved, expected in (
        (whole.starting_at(*position), [alone[i].starting_at(position[i]) for i in axes]),
        (whole.ending_after(counts, sizes), [alone[i].ending_after((counts[i],), (sizes[i],)) for i in axes]),
        (whole.backwards(sizes, counts), [alone[i].backwards((sizes[i],), (counts[i],)) for i in axes]),
    ):
        assert moved.padding == tuple(each.padding[0] for each in expected)
    x = np.random.default_rng(seed).integers(1, 9, (2, 1, *sizes))
    padded = pad(x, whole.padding)
    np.testing.assert_array_equal(padded, np.pad(x, ((0, 0), (0, 0), *whole.padding)))
    columns = np.zeros((2, 1, *whole.kernel_size, *counts), dtype=int)
    for tap, offsets in zip(whole.taps(sizes, counts), np.ndindex(*whole.kernel_size), strict=True):
        index: tuple[Any, ...] = (slice(None), slice(None), *offsets)
        columns[index][tap.windows] = x[tap.pixels]
    np.testing.assert_array_equal(whole.view(padded, counts), columns)


@example((3,), ((-5, 10),))
@given(st.tuples(FEW, FEW), st.tuples(*[st.tuples(st.integers(-5, 4), st.integers(-5, 4))] * 2))
def test_negative_padding_crops(size: tuple[int, ...], padding: tuple[tuple[int, int], ...]) -> None:
    """Also more than there is, on one side of an axis that is padded on the other."""
    assume(all(count + sum(sides) >= 0 for count, sides in zip(size, padding, strict=True)))
    x = np.arange(1, 1 + math.prod(size)).reshape(1, 1, *size)
    padded = pad(x, padding)
    assert padded.shape[2:] == tuple(count + sum(sides) for count, sides in zip(size, padding, strict=True))
    for index in np.ndindex(padded.shape[2:]):
        pixel = tuple(i - before for i, (before, _) in zip(index, padding, strict=True))
        inside = all(0 <= i < count for i, count in zip(pixel, size, strict=True))
        assert padded[0, 0][index] == (x[0, 0][pixel] if inside else 0)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.sampled_from([1, 4, 9, 1000]))
def test_blocks_of_planes_fit_and_follow_each_other_in_memory(size: list[int], block_bytes: int) -> None:
    numbers = np.arange(math.prod(size), dtype=np.int8).reshape(size)
    cut = [numbers[block] for block in plane_blocks(tuple(size), numbers.nbytes, block_bytes)]
    assert [int(number) for block in cut for number in block.ravel()] == numbers.ravel().tolist()
    assert all(block.flags.c_contiguous and block.nbytes in range(1, block_bytes + 1) for block in cut)
    assert len(cut) <= 1 or all(a.nbytes + b.nbytes > block_bytes or len(size) > 1 for a, b in pairwise(cut))


@given(st.integers(0, 100), st.integers(0, 1) | st.integers(0, 40), st.integers(1, 100))
def test_blocks_are_as_large_as_fits(count: int, bytes_each: int, block_bytes: int) -> None:
    cut = axis_blocks(count, bytes_each, block_bytes)
    assert [number for block in cut for number in range(count)[block]] == list(range(count))
    lengths = [block.stop - block.start for block in cut]
    each = max(1, bytes_each)  # what has no bytes counts as if it had one
    assert all(length == 1 or 1 < length <= block_bytes / each for length in lengths)
    assert all(length + 1 > block_bytes / each for length in lengths[:-1])


@given(AXES, AXES)
def test_phases_meet_the_same_pixels_as_the_window(rows: Axis, columns: Axis) -> None:
    """Each tap is in one phase, and at each position meets there the pixel that it meets in the window."""
    whole = window(rows, columns)._replace(dilation=(1, 1))
    sizes = rows.size, columns.size
    pixels = np.arange(rows.size * columns.size).reshape(sizes)
    taps = np.arange(rows.kernel_size * columns.kernel_size).reshape(whole.kernel_size)
    meetings = []
    for phase in whole.phases():
        assert phase.window.stride == phase.window.dilation == (1, 1)
        assert [after for _, after in phase.window.padding] == [0, 0]
        part, numbers = pixels[phase.pixels], taps[phase.taps]
        assert numbers.shape == phase.window.kernel_size
        (top, _), (left, _) = phase.window.padding
        for (i, j), (row, column) in product(np.ndindex(*numbers.shape), np.ndindex(*part.shape)):
            meetings.append((numbers[i, j], row + top - i, column + left - j, part[row, column]))
    expected = []
    (top, _), (left, _) = whole.padding
    for (i, j), (row, column) in product(np.ndindex(*taps.shape), np.ndindex(*sizes)):
        p, below = divmod(row + top - i, whole.stride[0])
        q, beside = divmod(column + left - j, whole.stride[1])
        if below == beside == 0:
            expected.append((taps[i, j], p, q, pixels[row, column]))
    assert sorted(meetings) == sorted(expected)


@given(AXES, AXES)
def test_at_stride_1_outputs_convolve_back_to_inputs_with_the_taps_turned(rows: Axis, columns: Axis) -> None:
    whole = window(rows, columns)._replace(stride=(1, 1))
    sizes = rows.size, columns.size
    outputs = whole.output_size(sizes)
    backwards = whole.backwards(sizes, outputs)
    assert backwards.output_size(outputs) == sizes
    for axis in (0, 1):
        for tap in range(whole.kernel_size[axis]):
            turned = whole.kernel_size[axis] - 1 - tap
            inputs = np.arange(outputs[axis]) + tap * whole.dilation[axis] - whole.padding[axis][0]
            for position, pixel in enumerate(inputs):
                back = pixel + turned * whole.dilation[axis] - backwards.padding[axis][0]
                assert back == position


@given(AXES, AXES)
def test_what_is_under_a_position_is_what_its_taps_meet(rows: Axis, columns: Axis) -> None:
    whole, sizes = window(rows, columns), (rows.size, columns.size)
    for axis, described in enumerate((rows, columns)):
        for position in range(whole.output_size(sizes)[axis]):
            met = [pixel - described.padding[0] for pixel in described.met(position)]
            taps, pixels = whole.under(axis, position, described.size)
            inside = [(tap, pixel) for tap, pixel in enumerate(met) if 0 <= pixel < described.size]
            found = zip(range(100)[taps], range(100)[pixels], strict=True)
            assert list(found) == inside
