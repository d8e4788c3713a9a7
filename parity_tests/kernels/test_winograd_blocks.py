"""How Winograd's algorithm cuts its work: into strips and blocks that fit, enough for every thread."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import pytest
import test_winograd
from hypothesis import example, given
from hypothesis import strategies as st
from test_winograd import PADDED

from scratch_conv import kernels
from scratch_conv.kernels import threads
from scratch_conv.kernels.convolution import winograd, winograd_transforms
from scratch_conv.kernels.threads import local
from scratch_conv.kernels.windows import Array, Pair

pytestmark = pytest.mark.mutation


@contextmanager
def cut_up(strip_tiles: int, fewest: int, same_lines: int, num_threads: int) -> Iterator[None]:
    """Cut axes into such strips of tiles, images into such blocks, and lay such planes apart."""
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


@pytest.mark.parametrize("cuts", [(3, 1, 1, 1), (4, 3_000, 2**10, 2), (5, 30_000, 1, 3)])
def test_results_do_not_depend_on_the_blocks(
    cuts: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not finite comes from direct sums, and nothing else does."""
    with cut_up(*cuts):
        test_winograd.test_what_is_not_finite_stays_where_it_belongs()
        monkeypatch.setattr(winograd, "mec", ModuleType("no direct sums"))
        test_winograd.test_a_convolution_is_as_near_as_stated()
        test_winograd.test_gradients_are_as_near_as_stated()


@pytest.mark.parametrize(("batch", "outs", "threads"), [(6, 32, 1), (7, 32, 2), (1, 141, 1), (1, 142, 2)])
def test_work_is_shared_out_where_it_is_worth_a_thread(batch: int, outs: int, threads: int) -> None:
    """A thread's values, 36 of each tile and channel and of each weight, take at least half a MiB."""
    rows, columns, _ = winograd_transforms.transformed_axes((16, 16), PADDED, np.dtype(np.float32))
    with kernels.using_num_threads(2):
        by_thread = winograd._by_thread((batch, 32, 16, 16), outs, rows, columns, 4)
    assert len(by_thread) == threads
    memory = 36 * 4 * (16 * batch * (32 + outs) + 32 * outs)
    assert (memory >= 2 * 2**19) == (threads == 2)


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
    buffers: dict[str, Array] = local.buffers
    taken = {name: buffer.nbytes for name, buffer in buffers.items() if name not in ("weights", "product")}
    assert sum(taken.values()) <= 2**25
    values = 36 * channels * -(-size // 4) * min(winograd_transforms.STRIP_TILES, -(-size // 4)) * 4
    assert taken["pixels"] % values == 0
    assert math.isclose(taken["pixels"], taken["sums"])


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


@pytest.mark.parametrize(("width", "copies"), [(16, 2), (17, 1), (256, 2)])
def test_planes_that_share_lines_of_the_cache_are_copied_first(
    width: int, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planes of 16 rows that begin a multiple of 1024 bytes apart."""
    x = np.ones((1, 2, 16, width), np.float32)
    rows, columns, _ = winograd_transforms.transformed_axes((16, width), PADDED, x.dtype)
    copied, copy = list[Array](), np.copyto

    def copyto(to: Array, source: Array) -> None:
        copied.append(to)
        copy(to, source)

    monkeypatch.setattr(np, "copyto", copyto)
    winograd_transforms.transform("pixels", x, rows.evaluate[0], columns.evaluate)
    assert [array.dtype for array in copied] == [np.float32] * copies
