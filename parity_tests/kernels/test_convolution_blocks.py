"""How convolutions cut their work: into blocks that fit into memory, enough for every thread."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
import test_convolution
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scratch_bounds import (
    BYTES,
    assert_as_many_as_fit,
    assert_planes_or_blocks_fit,
    scratch_taken,
    taken_beside_results,
)

from scratch_conv import kernels
from scratch_conv.kernels import Window, threads
from scratch_conv.kernels.convolution import banded, im2col, kn2row, mec, winograd
from scratch_conv.kernels.windows import Array, Pair, effective_kernel_size

pytestmark = pytest.mark.mutation


class Layer(NamedTuple):
    """The operands of a convolution; their values don't matter here."""

    x: Array
    w: Array
    window: Window
    groups: int

    @property
    def output_size(self) -> Pair:
        return self.window.output_size((self.x.shape[2], self.x.shape[3]))

    @property
    def grad_output(self) -> Array:
        return np.ones((len(self.x), len(self.w), *self.output_size), dtype=self.x.dtype)

    def operations(self, algorithm: str) -> dict[str, Callable[[], Array]]:
        """Return the convolution and its two large gradients, to be computed by one thread."""

        def by(operation: Callable[..., Array], *arguments: object) -> Callable[[], Array]:
            def run() -> Array:
                with kernels.convolution_algorithm(algorithm), kernels.using_num_threads(1):
                    return operation(*arguments)

            return run

        x, w, *rest = self
        return {
            "forward": by(kernels.conv2d, x, w, None, *rest),
            "grad_weight": by(kernels.conv2d_grad_weight, self.grad_output, x, *rest),
            "grad_input": by(kernels.conv2d_grad_input, self.grad_output, w, x.shape[2:], *rest),
        }


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Draw a convolution whose batch, channels, rows and columns all differ often."""
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel_size, stride, dilation = draw(pairs), *(draw(st.just((1, 1)) | pairs) for _ in range(2))
    n, ins, outs, groups = draw(st.integers(1, 20)), *(draw(st.integers(1, 4)) for _ in range(3))
    height, width = (
        effective_kernel_size(kernel_size[axis], dilation[axis]) + draw(st.integers(0, 12)) for axis in (0, 1)
    )
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    window = Window(kernel_size, stride, ((0, 0), (0, 0)), dilation)
    x: Array = np.ones((n, ins * groups, height, width), dtype=dtype)
    return Layer(x, np.ones((outs * groups, ins, *kernel_size), dtype=dtype), window, groups)


@contextmanager
def cut_up(block_bytes: int, few_columns: int) -> Iterator[None]:
    """Cut the work into blocks so small that each way to cut it is taken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(im2col, "_BLOCK_BYTES", block_bytes)
        patch.setattr(mec, "_BLOCK_BYTES", block_bytes)
        patch.setattr(mec, "_MOST_BYTES", 4 * block_bytes)
        patch.setattr(mec, "_FEW_COLUMNS", few_columns)
        patch.setattr(banded, "_TOGETHER_BYTES", block_bytes)
        patch.setattr(banded, "_BLOCK_BYTES", 4 * block_bytes)
        patch.setattr(kn2row, "_BLOCK_BYTES", block_bytes)
        patch.setattr(threads, "_WORTH_A_THREAD", 1)
        yield


@pytest.mark.parametrize("algorithm", test_convolution.EXACT)
@pytest.mark.parametrize("cuts", [(1, 16), (30, 1), (300, 512), (2_000, 16)])
def test_results_do_not_depend_on_the_blocks(algorithm: str, cuts: tuple[int, int]) -> None:
    """With 30 bytes a block has a row of outputs, which may meet padding only."""
    with cut_up(*cuts):
        test_convolution.test_conv2d_is_its_definition(algorithm)
        test_convolution.test_conv2d_gradients_are_its_transposes(algorithm)


@pytest.mark.parametrize("algorithm", ["im2col", "mec", "kn2row", "winograd"])
def test_products_are_of_the_operands_type(algorithm: str) -> None:
    """Factors and memory of float64 would cost time, and the results, of float32 again, would not show it."""
    window, groups, x, w = test_convolution.FEW_TO_MANY
    grad_output = test_convolution.convolve_by_loops(x, w, window, groups)
    multiply = np.matmul

    def noted(a: Array, b: Array, out: Array | None = None) -> Array:
        product: Array = multiply(a, b, out=out)
        assert [array.dtype for array in (a, b, product)] == [np.float32] * 3
        return product

    with (
        cut_up(1, 1),
        kernels.convolution_algorithm(algorithm),
        kernels.using_num_threads(1),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(winograd, "_BLOCK_BYTES", (1, 2**24))
        patch.setattr(np, "matmul", noted)
        kernels.conv2d(x, w, None, window, groups)
        kernels.conv2d_grad_input(grad_output, w, x.shape[2:], window, groups)
        kernels.conv2d_grad_weight(grad_output, x, window, groups)


@pytest.mark.parametrize("algorithm", ["im2col", "mec", "kn2row"])
def test_sums_of_threads_that_are_infinite_raise_no_warning(algorithm: str) -> None:
    """Of infinities of both signs it would be "invalid value encountered in add"."""
    window = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    x, grad_output = np.ones((2, 16, 32, 28, 28), np.float32)
    grad_output[0, 0, 14, 14], grad_output[-1, 0, 14, 14] = np.inf, -np.inf
    with kernels.convolution_algorithm(algorithm), kernels.using_num_threads(2):
        grad_weight = kernels.conv2d_grad_weight(grad_output, x, window, 1)
    assert np.isnan(grad_weight[0]).all()


MORE_WEIGHTS_THAN_COLUMNS = Layer(
    np.ones((6, 1, 2, 2), dtype=np.float32),
    np.ones((4, 1, 2, 2), dtype=np.float32),
    Window((2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    1,
)


@given(layers(), BYTES)
@example(MORE_WEIGHTS_THAN_COLUMNS, 128)  # bytes of the products of two images
def test_im2col_lowers_as_many_images_at_a_time_as_fit(layer: Layer, block_bytes: int) -> None:
    """In memory that all its operations share; but those of one tap are not copied at all."""
    assume(not im2col.is_pointwise(layer.window))
    column = layer.x.shape[1] * math.prod(layer.window.kernel_size) * layer.x.itemsize
    image = max(column * math.prod(layer.output_size), layer.x[0].nbytes)
    operations = layer.operations("im2col")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(im2col, "_BLOCK_BYTES", block_bytes)
        taken = {name: scratch_taken(operation) for name, operation in operations.items()}
        in_all = scratch_taken(*operations.values())
    # Of the gradient of the weight there is a product for each image, too.
    with_product = max(image, layer.w.nbytes)
    products = max(1, min(len(layer.x), block_bytes // with_product)) * layer.w.nbytes
    taken["grad_weight"] -= products
    # And the outputs are made as many at a time as are still in cache when the bias is added.
    column_of_outputs = len(layer.w) * layer.x.itemsize
    with_outputs = max(image, column_of_outputs * math.prod(layer.output_size))
    bytes_each = {
        "forward": (with_outputs, with_outputs),
        "grad_weight": (with_product, image),
        "grad_input": (image, image),
    }
    for name, memory in taken.items():
        count = len(layer.x) if bytes_each[name][0] <= block_bytes else 1
        assert_planes_or_blocks_fit(memory, column, count, layer.output_size, bytes_each[name], block_bytes)
    assert in_all == max(taken.values()) + products


def test_im2col_adds_up_the_pixels_of_each_image_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of the same image write to the same pixels; those of other images go to other threads."""
    window = Window((2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1))
    given_out: list[list[im2col.Block]] = []
    monkeypatch.setattr(im2col, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(im2col, "parallel", lambda work, lists: given_out.extend(lists))
    im2col.conv_grad_input(np.ones((3, 1, 4, 4)), np.ones((1, 1, 2, 2)), (5, 5), window, 1)
    images = [[block.images for block in blocks] for blocks in given_out]
    assert images == [[slice(image, image + 1)] * 16 for image in range(3)]


@contextmanager
def mec_cutting(block_bytes: int, few_columns: int, num_threads: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(num_threads):
        patch.setattr(mec, "_BLOCK_BYTES", block_bytes)
        patch.setattr(threads, "_WORTH_A_THREAD", 1)
        patch.setattr(mec, "_FEW_COLUMNS", few_columns)
        yield


def blocks_of(layer: Layer) -> list[mec.Block]:
    return mec._blocks(layer.x, layer.w.shape, layer.window, layer.groups, layer.output_size)


def stacks(layer: Layer) -> bool:
    """Return whether copying the lowered pixels for all tap rows is less than adding the products of each."""
    height, outs = layer.window.kernel_size[0], len(layer.w) // layer.groups
    return layer.w[0].size < (height - 1) * 2 * outs


def skips(window: Window) -> bool:
    """Return whether tap columns skip pixels that others meet: the images are copied first then."""
    steps = zip(window.stride, window.kernel_size, strict=True)
    return window.stride != (1, 1) and window.dilation == (1, 1) and all(step <= size for step, size in steps)


def bytes_of_a_row(layer: Layer) -> tuple[int, int, int, int]:
    """Count what MEC needs for one row of outputs: the pixels, lowered and stacked, and the outputs."""
    stride, dilation, height = layer.window.stride[0], layer.window.dilation[0], layer.window.kernel_size[0]
    remainders = {i * dilation % stride for i in range(height)}
    width = layer.output_size[1] * layer.x.itemsize
    columns = layer.x.shape[1] * layer.window.kernel_size[1] * width
    stacked = columns * height + layer.groups * width  # and ones, for a bias
    images = layer.x.shape[1] * math.prod(layer.window.stride) * width * skips(layer.window)
    return images, columns * len(remainders), stacked * stacks(layer), len(layer.w) * width


CUTS = st.sampled_from([1, 2_000, 20_000, 2**22]), st.sampled_from([1, 16, 100, 512]), st.integers(1, 3)

FEW_TO_MANY = Layer(
    np.ones((1, 2, 16, 9), dtype=np.float32),
    np.ones((16, 1, 3, 2), dtype=np.float32),
    Window((3, 2), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    2,
)
"""Channels, so that the lowered pixels of all tap rows are copied together."""

SKIPPING = Layer(
    np.ones((1, 2, 41, 9), dtype=np.float32),
    np.ones((2, 2, 3, 2), dtype=np.float32),
    Window((3, 2), (2, 1), ((0, 0), (0, 0)), (1, 1)),
    1,
)
"""Pixels, so that the images are copied first."""


@given(layers(), *CUTS)
@example(FEW_TO_MANY, 20_000, 1, 1)
@example(SKIPPING, 2_000, 1, 1)
def test_mec_cuts_blocks_that_fit_and_are_not_smaller_than_needed(
    layer: Layer, block_bytes: int, few_columns: int, num_threads: int
) -> None:
    n, (height, width) = len(layer.x), layer.output_size
    with mec_cutting(block_bytes, few_columns, num_threads):
        blocks = blocks_of(layer)
    done = [
        (image, row)
        for block in blocks
        for image in range(n)[block.images]
        for row in range(height)[block.region.rows]
    ]
    assert sorted(done) == list(np.ndindex(n, height))

    if len(layer.w) == layer.groups:
        few_columns = 1
    copied, lowered, stacked, sums = bytes_of_a_row(layer)
    row_bytes = copied + lowered + stacked + 2 * sums
    rows = max(block.region.rows.stop - block.region.rows.start for block in blocks)
    assert rows == height or (rows + 1) * row_bytes > block_bytes
    assert rows == height or rows * width >= few_columns
    assert rows * row_bytes <= block_bytes or (rows - 1) * width < few_columns

    side = max(block.side for block in blocks)
    assert side == 1 or 1 < side <= min(few_columns / (height * width), n / num_threads)
    assert side + 1 > min(few_columns / (height * width), n / num_threads)
    whole: set[Pair] = set()
    rests: set[Pair] = set()
    for block in blocks:
        count = block.images.stop - block.images.start
        assert count % block.side == 0
        (whole if block.side == side else rests).add((block.images.start, count))
    assert len(rests) <= 1  # fewer images than lie side by side
    assert all(count < side for _, count in rests)

    most = side
    while rows == height and (most + side) * rows * row_bytes <= block_bytes:
        most += side
    turns = -(-n // (most * num_threads))
    assert len(whole) <= turns * num_threads
    largest = max(count for _, count in whole)
    assert largest <= most
    assert (largest - side) * turns * num_threads < n  # fewer images each would leave some for a further turn


@pytest.mark.parametrize(("batch", "sharing"), [(1, 1), (25, 1), (26, 2)])
def test_mec_uses_the_threads_that_work_is_worth_a_thread(
    batch: int, sharing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each thread's takes at least half a MiB, which is 12.8 of these images."""
    window = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    x, w = np.ones((batch, 32, 8, 8), dtype=np.float32), np.ones((32, 32, 3, 3), dtype=np.float32)
    monkeypatch.setattr(mec, "_BLOCK_BYTES", 2**22)  # all of them fit into a block
    with kernels.using_num_threads(4):
        blocks = blocks_of(Layer(x, w, window, 1))
    side = max(block.side for block in blocks)
    assert len({block.images.start for block in blocks if block.side == side}) == sharing


@given(layers(), st.sampled_from([1, 500, 2_000, 20_000]), st.sampled_from([1, 16, 512]))
def test_mec_cuts_rows_that_are_too_long(layer: Layer, most_bytes: int, few_columns: int) -> None:
    """However few columns that leaves."""
    with mec_cutting(1, few_columns, 1), pytest.MonkeyPatch.context() as patch:
        patch.setattr(mec, "_MOST_BYTES", most_bytes)
        blocks = blocks_of(layer)
    done = np.zeros((len(layer.x), *layer.output_size), dtype=int)
    for block in blocks:
        done[block.images, block.region.rows, block.region.columns] += 1
        assert block.region.columns.stop <= layer.output_size[1]
    assert (done == 1).all()
    height, width = layer.window.kernel_size[0], layer.output_size[1]
    below = (height - 1) * layer.window.dilation[0] // layer.window.stride[0]
    copied, lowered, stacked, sums = (part // width for part in bytes_of_a_row(layer))
    column = copied + lowered + stacked + 2 * sums
    columns = max(block.region.columns.stop - block.region.columns.start for block in blocks)
    assert columns == 1 or columns * (1 + below) * column <= most_bytes
    assert columns == width or (columns + 1) * (1 + below) * column > most_bytes
    for block in blocks:
        rows = block.region.rows.stop - block.region.rows.start
        needed = block.side * columns * (column * rows + lowered * below)
        assert needed <= 2 * most_bytes or columns == rows == block.side == 1


@given(layers(), *CUTS)
def test_mec_gives_the_rows_of_one_image_to_one_thread(
    layer: Layer, block_bytes: int, few_columns: int, num_threads: int
) -> None:
    """Those write to the same pixels in the gradient of the input; other images go to other threads."""
    with mec_cutting(block_bytes, few_columns, num_threads):
        blocks = blocks_of(layer)
    together = mec._by_images(blocks)
    assert [block for group in together for block in group] == blocks
    firsts = [{block.images.start for block in group} for group in together]
    assert [len(first) for first in firsts] == [1] * len(together)
    assert len(set.union(*firsts)) == len(together)


@given(layers(), *CUTS[:2])
def test_mec_takes_the_memory_that_its_blocks_count_on(
    layer: Layer, block_bytes: int, few_columns: int
) -> None:
    """And the rows that the last taps of a block meet below it. Its operations share the lowered pixels."""
    x, w, window, groups = layer
    _, lowered, stacked, sums = bytes_of_a_row(layer)
    with mec_cutting(block_bytes, few_columns, 1), pytest.MonkeyPatch.context() as patch:
        patch.setattr(mec, "_MANY_MORE", 0)  # the gradient of the input is no convolution
        block = blocks_of(layer)[0]
        operations = layer.operations("mec")
        taken = {name: scratch_taken(operation) for name, operation in operations.items()}
        in_all = scratch_taken(*operations.values())
    rows, images = block.region.rows.stop - block.region.rows.start, block.images.stop - block.images.start
    height = window.kernel_size[0]
    below = (height - 1) * window.dilation[0] // window.stride[0]
    lowered *= (rows + below) * images
    stacked *= rows * images
    sums *= rows * images
    added = sums if height > 1 and not stacks(layer) else 0  # a product that is added to the sums
    sums = sums if block.side > 1 else 0  # otherwise they are the output
    columns = x.shape[1] * window.kernel_size[1]
    multiplied = columns * height + groups if stacks(layer) else columns
    weights = multiplied * len(w) // groups * images // block.side * x.itemsize
    products = columns * rows * layer.output_size[1] * images * x.itemsize
    read = math.prod(axis.stop - axis.start for axis in block.region.reads)
    copied = read * x.shape[1] * images * x.itemsize * skips(window)
    assert taken["forward"] == copied + lowered + stacked + sums + added
    assert taken["grad_weight"] == copied + lowered + stacked + weights
    assert taken["grad_input"] == lowered + products
    assert in_all == copied + lowered + stacked + sums + max(added, weights, products)


@given(layers())
def test_mec_multiplies_into_memory_that_it_has(layer: Layer) -> None:
    """Fresh memory for each product would cost more than a pass over it."""
    multiply = np.matmul

    def noted(a: Array, b: Array, out: Array | None = None) -> Array:
        assert out is not None
        product: Array = multiply(a, b, out=out)
        return product

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "matmul", noted)
        for operation in layer.operations("mec").values():
            operation()


def test_mec_keeps_products_of_one_term_each_from_the_blas() -> None:
    """A depthwise convolution with a column of taps has one of each output channel and tap row."""
    window = Window((2, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
    layer = Layer(np.ones((2, 3, 5, 4)), np.ones((3, 1, 2, 1)), window, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(np, "matmul")
        assert (layer.operations("mec")["forward"]() == 2).all()


@given(layers(), st.integers(1, 4))
def test_mec_carries_gradients_back_by_a_convolution_where_that_is_faster(
    layer: Layer, many_more: int
) -> None:
    """At stride 1, or by phases without dilation, unless the outputs are many more."""
    convolved: list[Window] = []
    convolve = mec._convolve

    def noted(x: Array, w: Array, bias: None, window: Window, groups: int, y: Array) -> None:
        convolved.append(window)
        convolve(x, w, bias, window, groups, y)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mec, "_MANY_MORE", many_more)
        patch.setattr(mec, "_convolve", noted)
        layer.operations("mec")["grad_input"]()
    few_outputs = len(layer.w) <= many_more * layer.x.shape[1]
    apart = (1, 1) in (layer.window.stride, layer.window.dilation)  # each pixel meets taps of one phase
    assert bool(convolved) == (apart and few_outputs)
    assert all(window.stride == (1, 1) for window in convolved)


def test_mec_convolves_outputs_back_without_memory_for_each_phase() -> None:
    """Of a 2x2 stride each phase has a quarter of the pixels, here of 16 MiB."""
    window = Window((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    grad_output, w = np.ones((64, 4, 64, 64), np.float32), np.ones((4, 4, 3, 3), np.float32)
    with kernels.using_num_threads(1), pytest.MonkeyPatch.context() as patch:
        patch.setattr(mec, "_BLOCK_BYTES", 2**18)
        taken = taken_beside_results(lambda: mec.conv_grad_input(grad_output, w, (128, 128), window, 1))
    assert taken <= 2**20, taken


@given(st.tuples(*[st.integers(1, 4)] * 4), st.tuples(*[st.integers(1, 9)] * 2), BYTES)
def test_pointwise_products_take_as_much_at_a_time_as_fits(
    sizes: tuple[int, int, int, int], size: Pair, block_bytes: int
) -> None:
    """Outputs: whole images or pixels of one; gradients of the weight: one for each image."""
    n, groups, ins, outs = sizes
    x: Array = np.ones((n, groups * ins, *size), dtype=np.float32)
    layer = Layer(
        x,
        np.ones((groups * outs, ins, 1, 1), dtype=np.float32),
        Window((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)),
        groups,
    )
    operations = layer.operations("im2col")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(im2col, "_BLOCK_BYTES", block_bytes)
        assert scratch_taken(operations["forward"]) == scratch_taken(operations["grad_input"]) == 0
        weight = layer.w.nbytes
        most = max(weight, x[0].nbytes)
        assert_as_many_as_fit(scratch_taken(operations["grad_weight"]), weight, n, most, block_bytes)
        assert (operations["grad_weight"]() == n * size[0] * size[1]).all()  # of all blocks
        shapes: list[im2col.Block] = []
        patch.setattr(im2col, "parallel", lambda work, blocks: shapes.extend(blocks))
        operations["forward"]()
    outputs = groups * outs * 4 * math.prod(size)
    axes = zip(*((block.images, *block.windows) for block in shapes), strict=True)
    images, rows, columns = (max(part.stop - part.start for part in axis) for axis in axes)
    assert_as_many_as_fit(images, 1, n, max(outputs, x[0].nbytes), block_bytes)
    planes = images * rows * columns
    assert_planes_or_blocks_fit(planes, 1, images, size, (outputs, outputs), block_bytes)


def test_pointwise_gradients_of_the_weight_are_one_product_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small a block is, as no columns are copied for it."""
    x, window = np.ones((2, 1, 3, 3)), Window((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
    multiply, products = np.matmul, list[Array]()

    def noted(a: Array, b: Array, out: Array) -> None:
        products.append(multiply(a, b, out=out).copy())

    monkeypatch.setattr(im2col, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(np, "matmul", noted)
    with kernels.using_num_threads(1):
        im2col.conv_grad_weight(x, x, window, 1)
    np.testing.assert_array_equal(products, np.full((2, 1, 1, 1, 1), 9))


@given(st.integers(1, 5), st.integers(1, 3), st.sampled_from([1, 100, 2**21]), st.integers(1, 3))
def test_the_gradient_of_a_bias_does_not_depend_on_its_blocks(
    n: int, outs: int, block_bytes: int, num_threads: int
) -> None:
    grad_output = np.random.default_rng(n).standard_normal((n, outs, 3, 4)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch, kernels.using_num_threads(num_threads):
        patch.setattr(im2col, "_BLOCK_BYTES", block_bytes)
        grad_bias = kernels.conv_grad_bias(grad_output)
        cut: list[slice] = []
        patch.setattr(im2col, "parallel", lambda work, blocks: cut.extend(blocks))
        kernels.conv_grad_bias(grad_output)
    np.testing.assert_array_equal(grad_bias, grad_output.sum(axis=(2, 3)).sum(axis=0))
    images = max(block.stop - block.start for block in cut)
    assert_as_many_as_fit(images, 1, n, grad_output[0].nbytes, block_bytes)


@pytest.mark.parametrize("size", [(1024, 1024), (1, 2**20), (2**20, 1)])
@pytest.mark.parametrize("operation", ["conv2d", "conv2d_grad_weight", "conv2d_grad_input"])
def test_no_temporary_memory_of_im2col_grows_with_a_plane(
    operation: str, size: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With blocks of a sixty-fourth of the plane, less than half of it is taken beside the results."""
    x = np.random.default_rng(0).standard_normal((1, 1, *size)).astype(np.float32)
    kernel_size = min(size[0], 3), min(size[1], 3)
    window = Window(kernel_size, (1, 1), ((kernel_size[0] // 2,) * 2, (kernel_size[1] // 2,) * 2), (1, 1))
    w, one = np.ones((1, 1, *kernel_size), np.float32), x[0, 0, 0, :1]
    by: dict[str, Callable[[], Array]] = {
        "conv2d": lambda: im2col.conv(x, w, one, window, 1),
        "conv2d_grad_weight": lambda: im2col.conv_grad_weight(x, x, window, 1),
        "conv2d_grad_input": lambda: im2col.conv_grad_input(x, w, size, window, 1),
    }
    monkeypatch.setattr(im2col, "_BLOCK_BYTES", 2**16)
    with kernels.using_num_threads(1):
        taken = taken_beside_results(by[operation])
    assert taken <= 2**21, taken
