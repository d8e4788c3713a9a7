"""Convolution by one product for all tap rows: what it accepts, how it is cut up, and where it is used."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from convolution_algorithms import assert_gives_what_im2col_does, numbers, operations
from drawn_arrays import laid_out
from hypothesis import given
from hypothesis import strategies as st

from scratch_conv import kernels
from scratch_conv.kernels import Window, threads
from scratch_conv.kernels.convolution import choosing, im2col, kn2row, mec
from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.windows import Pair

pytestmark = pytest.mark.mutation

PADDED = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
LONG = PADDED._replace(kernel_size=(3, 30))
WIDE = PADDED._replace(kernel_size=(7, 7))


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, Pair]:
    """Draw a window of stride 1 and an image size with at least one output; padding may crop.

    Every other one leaves as many columns as there were.
    """
    kernel_size, paddings = draw(st.tuples(*[st.integers(1, 5)] * 2)), st.integers(-2, 4)
    dilation = draw(st.tuples(*[st.integers(1, 3)] * 2))
    rows, columns = (draw(st.tuples(paddings, paddings)) for _ in range(2))
    reach = (kernel_size[1] - 1) * dilation[1]
    if draw(st.booleans()):
        before = draw(st.integers(-1, reach + 1))
        columns = before, reach - before
    height, width = (
        max(1, (kernel_size[axis] - 1) * dilation[axis] + 1 - sum(padding)) + draw(st.integers(0, 6))
        for axis, padding in enumerate((rows, columns))
    )
    return Window(kernel_size, (1, 1), (rows, columns), dilation), (height, width)


@contextmanager
def cut_up(block_bytes: int, num_threads: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(num_threads):
        patch.setattr(kn2row, "_BLOCK_BYTES", block_bytes)
        patch.setattr(threads, "_WORTH_A_THREAD", 1)
        yield


CUTS = st.tuples(st.sampled_from([1, 3000, 2**22]), st.integers(1, 3))
LAYOUTS = st.sampled_from([(0, 1, 2, 3), (0, 2, 3, 1)])


@given(windows(), st.integers(1, 5), st.integers(1, 3), LAYOUTS, CUTS, st.integers(0, 2**32 - 1))
def test_products_give_what_im2col_does(
    drawn: tuple[Window, Pair],
    n: int,
    groups: int,
    order: tuple[int, ...],
    cuts: tuple[int, int],
    seed: int,
) -> None:
    """By themselves: MEC, which takes over where something is not finite, computes nothing."""
    window, size = drawn
    rng = np.random.default_rng(seed)
    ins, outs = rng.integers(1, 4, 2)
    x = laid_out(numbers(rng, n, groups * ins, *size), order)
    w = numbers(rng, groups * outs, ins, *window.kernel_size)
    bias = numbers(rng, groups * outs)
    with cut_up(*cuts), pytest.MonkeyPatch.context() as patch:
        for name in ("conv", "conv_grad_weight", "conv_grad_input"):
            patch.delattr(mec, name)
        assert_gives_what_im2col_does(kn2row, rng, x, w, bias, window, groups, order)


@given(windows(), CUTS, st.sampled_from([np.inf, -np.inf, np.nan]), st.integers(0, 2**32 - 1))
def test_what_is_not_finite_stays_where_it_belongs(
    drawn: tuple[Window, Pair], cuts: tuple[int, int], number: float, seed: int
) -> None:
    """In a weight, it meets the zeros of the padding as it does in `im2col`."""
    window, size = drawn
    rng = np.random.default_rng(seed)
    x, w = numbers(rng, 3, 2, *size), numbers(rng, 2, 2, *window.kernel_size)
    grad_output = numbers(rng, *mec.conv(x, w, None, window, 1).shape)
    spoilt = [x, w, grad_output][rng.integers(3)]
    spoilt.flat[rng.integers(spoilt.size)] = number
    with cut_up(*cuts), np.errstate(all="ignore"):
        bias = x.dtype.type([1, 2])
        for operation, operands in operations(x, w, bias, grad_output, window, 1).items():
            actual, expected = (getattr(module, operation)(*operands) for module in (kn2row, mec))
            np.testing.assert_array_equal(actual, expected, strict=True)


@given(st.integers(1, 40), st.sampled_from([0, 2000, 9000]), CUTS)
def test_blocks_fit_and_are_as_many_for_each_thread(
    n: int, weights_bytes: int, cuts: tuple[int, int]
) -> None:
    block_bytes, num_threads = cuts
    x, image_bytes = np.empty((n, 2, 5, 4), np.float32), (2 * 3 + 4 * 3) * 5 * 4 * 4
    with cut_up(*cuts):
        blocks = kn2row._blocks(x, 4, PADDED, weights_bytes, 4)
    assert [image for block in blocks for image in range(n)[block]] == list(range(n))
    most = max(1, max(block_bytes, weights_bytes) // image_bytes)
    turns = -(-n // (most * num_threads))
    assert blocks[0].stop == -(-n // (turns * num_threads)) <= most
    assert len(blocks) <= turns * num_threads


@pytest.mark.parametrize("size", [(0, 2), (2, 0)])
def test_of_images_without_pixels_the_bias_is_left(size: Pair) -> None:
    x, w, bias = (
        np.ones((3, 2, *size), np.float32),
        np.ones((4, 2, 3, 3), np.float32),
        np.arange(4, dtype=np.float32),
    )
    window = PADDED._replace(padding=((2, 2), (2, 2)))
    y = kn2row.conv(x, w, bias, window, 1)
    np.testing.assert_array_equal(y, im2col.conv(x, w, bias, window, 1), strict=True)
    assert not kn2row.conv_grad_weight(y, x, window, 1).any()
    assert kn2row.conv_grad_input(y, w, size, window, 1).shape == x.shape


def shapes(batch: int = 8, size: int = 28, window: Window = PADDED, **others: Any) -> Shapes:
    output_size = window.output_size((size, size))
    asked = Shapes(batch, 32, 32, (size, size), output_size, window, 1, np.dtype(np.float32))
    return asked._replace(**others)


@pytest.mark.parametrize(
    ("asked", "accepted"),
    [
        (shapes(), True),
        (shapes(window=PADDED._replace(dilation=(2, 3))), True),
        (shapes(window=PADDED._replace(stride=(1, 2))), False),
        (shapes(window=PADDED._replace(stride=(2, 1))), False),
        (shapes(groups=4), True),
        (shapes(dtype=np.dtype(np.complex64)), True),
        (shapes(dtype=np.dtype(np.int64)), False),
        # 4 bytes for 2 · 32 · 3 numbers at each of 2**23 / 768 pixels.
        (shapes(size=104), True),
        (shapes(size=105), False),
        # 4 bytes for 32 · (30 + 3) numbers at each of 28 · 44 pixels, but backwards of 28 · 71.
        (shapes(window=LONG, input_size=(28, 70), output_size=(28, 43)), True),
        (shapes(window=LONG, input_size=(28, 71), output_size=(28, 44)), False),
    ],
)
def test_it_is_for_images_that_fit_into_memory_at_stride_1(asked: Shapes, accepted: bool) -> None:
    """What it does not accept is computed by another algorithm, though it be forced."""
    assert kn2row.accepts(asked) is accepted
    with kernels.convolution_algorithm("kn2row"):
        assert (choosing._algorithm(asked) is kn2row) is accepted


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (shapes(), kn2row),
        (shapes(channels=31), mec),
        (shapes(out_channels=31), mec),
        (shapes(groups=2), mec),
        (shapes(window=PADDED._replace(kernel_size=(1, 3))), mec),
        (shapes(batch=2), kn2row),
        (shapes(batch=1), mec),
        (shapes(size=112), mec),
        (shapes(window=PADDED._replace(stride=(2, 2)), size=56), mec),
    ],
)
def test_it_is_used_for_many_channels_and_an_image_for_every_thread(
    asked: Shapes, expected: ModuleType
) -> None:
    with kernels.using_num_threads(2):
        assert choosing._algorithm(asked) is expected


@pytest.mark.parametrize(
    ("window", "size", "forwards", "backwards"),
    [
        (PADDED, 20, kn2row, kn2row),
        (PADDED._replace(padding=((0, 0), (0, 0))), 20, kn2row, kn2row),
        (WIDE, 20, kn2row, kn2row),  # 16 rows of 20
        (WIDE, 19, mec, kn2row),
        (WIDE._replace(padding=((5, 5), (5, 5))), 16, kn2row, kn2row),  # 20 rows of 16
        (WIDE._replace(padding=((5, 5), (5, 5))), 15, kn2row, mec),
    ],
)
def test_it_is_used_where_it_multiplies_few_rows_that_no_output_meets(
    window: Window, size: int, forwards: ModuleType, backwards: ModuleType
) -> None:
    asked = shapes(batch=64, size=size, window=window)
    with kernels.using_num_threads(2), pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "_NARROW", 0)
        assert choosing._algorithm(asked) is forwards
        assert choosing._algorithm(asked, backwards=True) is backwards
