"""Depthwise convolution by banded matrices: what it accepts, how it is cut up, and where it is used."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from convolution_algorithms import assert_gives_what_im2col_does, numbers, operations
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Window, threads
from scratch_conv.kernels.convolution import banded, choosing, mec
from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.threads import local
from scratch_conv.kernels.windows import Array, Pair

pytestmark = pytest.mark.mutation

PADDED = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
ROW = Window((1, 3), (1, 1), ((0, 0), (1, 1)), (1, 1))
SIZES = st.integers(1, 7)


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, Pair]:
    """Draw a window that is accepted, and an image size with at least one output; padding may crop."""
    kernel_size, paddings = draw(st.tuples(*[st.integers(1, 5)] * 2)), st.integers(-2, 4)
    padding = draw(st.tuples(*[st.tuples(paddings, paddings)] * 2))
    dilation = 1, draw(st.integers(1, 3))
    height, width = (
        max(1, (kernel_size[axis] - 1) * dilation[axis] + 1 - sum(padding[axis])) + draw(SIZES) - 1
        for axis in (0, 1)
    )
    return Window(kernel_size, (1, 1), padding, dilation), (height, width)


@contextmanager
def cut_up(together_bytes: int, block_bytes: int, num_threads: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(num_threads):
        patch.setattr(banded, "_TOGETHER_BYTES", together_bytes)
        patch.setattr(banded, "_BLOCK_BYTES", block_bytes)
        patch.setattr(threads, "_WORTH_A_THREAD", 1)
        yield


CUTS = st.tuples(st.sampled_from([1, 500, 2**17]), st.sampled_from([1, 3000, 2**22]), st.integers(1, 3))


@given(windows(), st.integers(0, 5), st.integers(1, 5), CUTS, st.integers(0, 2**32 - 1))
def test_products_give_what_im2col_does(
    drawn: tuple[Window, Pair], n: int, channels: int, cuts: tuple[int, int, int], seed: int
) -> None:
    """By themselves: MEC, which takes over where something is not finite, is not there."""
    window, size = drawn
    rng = np.random.default_rng(seed)
    x, w = numbers(rng, n, channels, *size), numbers(rng, channels, 1, *window.kernel_size)
    with cut_up(*cuts), pytest.MonkeyPatch.context() as patch:
        patch.setattr(banded, "mec", ModuleType("no other way"))
        bias = x.dtype.type(range(channels))
        assert_gives_what_im2col_does(banded, rng, x, w, bias, window, channels)


@given(windows(), CUTS, st.sampled_from([np.inf, -np.inf, np.nan]), st.integers(0, 2**32 - 1))
def test_what_is_not_finite_stays_where_it_belongs(
    drawn: tuple[Window, Pair], cuts: tuple[int, int, int], number: float, seed: int
) -> None:
    """Zeros of the matrices and between images would make NaN of an infinity anywhere in a row.

    Those of the padding do in MEC, for a tap that meets nothing else; here there is no product with these.
    """
    window, size = drawn
    rng = np.random.default_rng(seed)
    x, w = numbers(rng, 3, 2, *size), numbers(rng, 2, 1, *window.kernel_size)
    grad_output = numbers(rng, *mec.conv(x, w, None, window, 2).shape)
    spoilt = [x, w, grad_output][rng.integers(3)]
    spoilt.flat[rng.integers(spoilt.size)] = number
    with cut_up(*cuts), np.errstate(all="ignore"):
        bias = x.dtype.type([1, 2])
        for operation, operands in operations(x, w, bias, grad_output, window, 2).items():
            actual, expected = (getattr(module, operation)(*operands) for module in (banded, mec))
            numeric = ~np.isnan(expected)
            np.testing.assert_array_equal(actual[numeric], expected[numeric], strict=True)


@given(windows(), st.integers(1, 3), st.integers(1, 3))
def test_windows_meet_no_memory_that_was_not_written(
    drawn: tuple[Window, Pair], n: int, channels: int
) -> None:
    """Those of outputs that are left out neither: a NaN times zero would be one."""
    window, size = drawn
    x = np.ones((n, channels, *size), np.float32)
    layout = banded._layout(window, size, window.output_size(size))
    banded._windows(x, layout)
    for buffer in local.buffers.values():
        buffer.view(np.uint8).fill(255)  # a NaN
    seen = banded._windows(x, layout)
    assert np.isfinite(seen).all()
    assert not seen.flags.writeable  # as they overlap


@given(st.integers(0, 9), st.integers(1, 40), st.integers(1, 20), CUTS)
def test_blocks_are_whole_and_block_lists_have_channels_of_their_own(
    n: int, channels: int, side: int, cuts: tuple[int, int, int]
) -> None:
    x = np.empty((n, channels, side, side), dtype=np.float32)
    layout = banded._layout(PADDED, (side, side), (side, side))
    together_bytes, block_bytes, num_threads = cuts
    with cut_up(*cuts):
        lists = banded._block_lists(x, layout)
    done, owners = np.zeros((n, channels), dtype=int), np.zeros(channels, dtype=int)
    for blocks in lists:
        owners[blocks[0][1]] += 1
        for images, part in blocks:
            assert part == blocks[0][1]
            done[images, part] += 1
            run = (images.stop - images.start) * 4 * layout.image_numbers
            assert images.stop - images.start == 1 or run <= together_bytes
            each = run + 4 * layout.band_numbers
            assert part.stop - part.start == 1 or (part.stop - part.start) * each <= block_bytes
    assert (done == 1).all()
    assert (owners == 1).all() or n == 0
    # As few turns as fit, and in each no thread has more channels than an even division leaves to one.
    if n:
        images, part = lists[0][0]
        each = 4 * ((images.stop - images.start) * layout.image_numbers + layout.band_numbers)
        turns = -(-channels // (max(1, block_bytes // each) * num_threads))
        assert part.stop - part.start == -(-channels // (turns * num_threads))


@pytest.mark.parametrize("n", [1, 8, 64, 256])
def test_blocks_of_work_for_few_threads_have_whole_bounds(n: int) -> None:
    layout = banded._layout(PADDED, (14, 14), (14, 14))
    with kernels.using_num_threads(8):
        lists = banded._block_lists(np.empty((n, 64, 14, 14), np.float32), layout)
    assert {type(part.stop) for blocks in lists for _, part in blocks} == {int}


def shapes(batch: int = 8, size: int = 14, window: Window = PADDED, **others: Any) -> Shapes:
    output_size = window.output_size((size, size))
    asked = Shapes(batch, 128, 128, (size, size), output_size, window, 128, np.dtype(np.float32))
    return asked._replace(**others)


@pytest.mark.parametrize(
    ("asked", "accepted"),
    [
        (shapes(), True),
        (shapes(window=PADDED._replace(dilation=(1, 2))), True),
        (shapes(window=PADDED._replace(dilation=(2, 1))), False),
        (shapes(window=PADDED._replace(stride=(1, 2))), False),
        (shapes(window=PADDED._replace(stride=(2, 1))), False),
        (shapes(out_channels=256), False),
        (shapes(groups=64), False),
        (shapes(channels=256), False),
        (shapes(dtype=np.dtype(np.complex64)), True),
        (shapes(dtype=np.dtype(np.int64)), False),
        # 4 bytes for 309 rows of pixels and of outputs, and for three matrices of three rows of pixels.
        (shapes(size=308), True),
        (shapes(size=309), False),
        # Just as much: 768 rows of 512 pixels and 512 outputs, and a matrix of 512 x 512.
        (shapes(window=ROW, input_size=(768, 512), output_size=(768, 512)), True),
        (shapes(window=ROW, input_size=(769, 512), output_size=(769, 512)), False),
    ],
)
def test_it_is_for_small_steps_of_one_channel_each(asked: Shapes, accepted: bool) -> None:
    """What it does not accept is computed by another algorithm, though it be forced."""
    assert banded.accepts(asked) is accepted
    with kernels.convolution_algorithm("banded"):
        assert (choosing._algorithm(asked) is banded) is accepted


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (shapes(), banded),
        (shapes(batch=5), banded),
        (shapes(batch=4), mec),  # of 56 rows
        (shapes(batch=4, size=16), banded),
        (shapes(batch=5, input_size=(12, 14), output_size=(12, 14)), mec),
        (shapes(batch=3, size=28), banded),
        (shapes(batch=2, size=28), mec),
        (shapes(size=29), mec),
    ],
)
def test_it_is_used_for_many_rows_of_narrow_images(asked: Shapes, expected: ModuleType) -> None:
    assert choosing._algorithm(asked) is expected


def test_products_are_of_the_operands_type() -> None:
    """Factors of float64 would cost time, and the results, of float32 again, would not show it."""
    x, w = np.ones((2, 3, 4, 4), np.float32), np.ones((3, 1, 3, 3), np.float32)
    multiply = np.matmul

    def noted(a: Array, b: Array, out: Array) -> Array:
        assert [array.dtype for array in (a, b, out)] == [np.float32] * 3
        product: Array = multiply(a, b, out=out)
        return product

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "matmul", noted)
        for result in (
            banded.conv(x, w, None, PADDED, 3),
            banded.conv_grad_weight(x, x, PADDED, 3),
            banded.conv_grad_input(x, w, (4, 4), PADDED, 3),
        ):
            assert result.dtype == np.float32
