"""Convolution lowered along one axis: MEC, memory-efficient convolution (Cho and Brand, 2017).

Of the two axes only the columns are lowered: for each tap column j, `lowered` holds the pixels that it meets,

    lowered[c, j, h, q] = x[c, h, q·stride + j·dilation]                      (x already padded)

in every row h of an image. The rows that a tap row i meets are then contiguous in it, and can be multiplied
without a copy:

    y[o, p, q] = Σ_i Σ_{c, j} w[o, c, i, j] · lowered[c, j, p·stride + i·dilation, q]

That copies KW times the input instead of KH·KW times, and the derivatives are the same steps transposed.

Refinements: rows are sorted by their remainder modulo the stride, so that those of one tap row stay
contiguous (a convolution for each of the window's phases instead takes 1.2 to 2 times as long); small images
lie side by side, as a product with few columns is slow; and from few channels to many, the pixels of all tap
rows are copied below each other and multiplied at once. Shapes and terms are those of `im2col`.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.scratch_memory import scratch
from scratch_conv.kernels.sums import sum_of_threads
from scratch_conv.kernels.threads import get_num_threads, num_threads_for, parallel
from scratch_conv.kernels.windows import Array, Pair, Window, axis_blocks

__all__ = ["accepts", "conv", "conv_grad_input", "conv_grad_weight", "flipped", "in_order", "move"]

_BLOCK_BYTES = 2**22
"""A block, lowered, with its sums, takes about this much memory.

Where a core's own cache has 2 MiB, 1.5 take 0.9 of the time on one thread, but up to 1.4 times on two.
"""

_MOST_BYTES = 2**24
"""But never more than twice this, even if that leaves only a few columns of a single row."""

_WEIGHTS_BYTES = 2**19
"""Weights are sorted in blocks of this size, one thread each."""

_FEW_COLUMNS = 512
"""Images with fewer windows than this lie side by side: a product with 49 columns ran at 0.6 of its speed."""

_MANY_MORE = 4
"""With more than so many outputs for each input, adding columns back is faster than lowering the outputs."""


def accepts(shapes: Shapes) -> bool:
    """Return whether this algorithm computes such a convolution: any."""
    return True


def conv(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Convolve x (N, C, H, W) with w (O, C/G, KH, KW) into y (N, O, OH, OW)."""
    size = window.output_size((x.shape[2], x.shape[3]))
    y = np.empty((x.shape[0], w.shape[0], *size), dtype=x.dtype)
    _convolve(x, w, bias, window, groups, y)
    return y


def _convolve(x: Array, w: Array, bias: Array | None, window: Window, groups: int, y: Array) -> None:
    """Convolve into y, which may lie in memory in any way."""
    size = (y.shape[2], y.shape[3])
    w_rows = _weight_rows(w, groups)
    if stacks := _stacks(w.shape, groups):
        w_rows, bias = _stacked_weights(w_rows, bias), None
    # For products of one term each the BLAS takes ten times as long.
    multiply = np.multiply if w_rows.shape[3] == 1 else np.matmul

    def work(block: Block) -> None:
        outputs = block.of_outputs(y)
        shape = (len(outputs), *w_rows.shape[1:3], outputs[0, 0].size)
        # Whole rows of one image are summed in y itself.
        in_place = outputs.shape[3:] == (1, size[1]) and y.flags.c_contiguous
        sums = outputs.reshape(shape) if in_place else scratch("sums", shape, x.dtype)
        for i, pixels in enumerate(_lowered_rows(x, block, groups, stacks)):
            if i == 0:
                multiply(w_rows[i], pixels, out=sums)
            else:
                sums += multiply(w_rows[i], pixels, out=scratch("product", shape, x.dtype))
        if bias is not None:
            sums += bias.reshape(*w_rows.shape[1:3], 1)
        if not in_place:
            outputs[:] = sums.reshape(outputs.shape)

    parallel(work, _blocks(x, w.shape, window, groups, size))


def conv_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Return the gradient with respect to w (O, C/G, KH, KW)."""
    outs, channels = grad_output.shape[1] // groups, x.shape[1] // groups
    height, width = window.kernel_size
    shape = (groups * outs, channels, height, width)
    size = (grad_output.shape[2], grad_output.shape[3])
    blocks = _blocks(x, shape, window, groups, size)
    stacks = _stacks(shape, groups)
    threads = max(1, min(get_num_threads(), len(blocks)))
    products = 1 if stacks else height
    rows = height * channels * width + 1 if stacks else channels * width
    sums = np.zeros((threads, groups, products, rows, outs), dtype=x.dtype)

    def work(thread: int) -> None:
        for block in blocks[thread::threads]:
            columns = _rows(block.of_outputs(grad_output), groups).swapaxes(2, 3)
            for i, pixels in enumerate(_lowered_rows(x, block, groups, stacks)):
                product = scratch("product", (len(pixels), groups, rows, outs), x.dtype)
                sums[thread, :, i] += np.matmul(pixels, columns, out=product).sum(axis=0, dtype=x.dtype)

    parallel(work, range(threads))
    total = sum_of_threads(sums)[:, :, : height // products * channels * width]
    total = total.reshape(groups, height, channels, width, outs)
    return in_order(total.transpose(0, 4, 2, 1, 3), 1).reshape(shape)


def conv_grad_input(grad_output: Array, w: Array, input_size: Pair, window: Window, groups: int) -> Array:
    """Return the gradient with respect to x (N, C, H, W) of `input_size` (H, W)."""
    few_outputs = grad_output.shape[1] <= _MANY_MORE * w.shape[1] * groups
    # The outputs are padded with zeros, which an infinite weight would turn into NaN.
    if few_outputs and (1, 1) in (window.stride, window.dilation) and np.isfinite(w).all():
        fill = np.empty if window.stride == (1, 1) else np.zeros  # with strides some pixels meet no tap
        grad_input = fill((grad_output.shape[0], groups * w.shape[1], *input_size), dtype=w.dtype)
        _grad_input_by_convolution(grad_output, w, window, groups, grad_input)
        return grad_input
    grad_input = np.zeros((grad_output.shape[0], groups * w.shape[1], *input_size), dtype=w.dtype)
    size = (grad_output.shape[2], grad_output.shape[3])
    w_columns = _weight_rows(w, groups).swapaxes(2, 3)

    def work(blocks: list[Block]) -> None:
        for block in blocks:
            rows = _rows(block.of_outputs(grad_output), groups)
            lowered = _empty_lowered(grad_input, block)
            lowered[:] = 0
            for i, pixels in enumerate(_tap_rows(lowered, block, groups)):
                pixels += np.matmul(w_columns[i], rows, out=scratch("product", pixels.shape, w.dtype))
            images = block.of_read(grad_input)
            for taps, pixels in block.region.met:
                images[pixels] += lowered[taps]

    parallel(work, _by_images(_blocks(grad_input, w.shape, window, groups, size)))
    return grad_input


def _grad_input_by_convolution(
    grad_output: Array, w: Array, window: Window, groups: int, grad_input: Array
) -> None:
    """Write the gradient with respect to x, a convolution with the flipped kernel at stride 1, to grad_input.

    At a larger stride it is one for each phase of the pixels, with the taps that meet them; pixels that meet
    no tap are left unchanged.
    """
    input_size = grad_input.shape[2], grad_input.shape[3]
    if window.stride == (1, 1):
        backwards = window.backwards(input_size, (grad_output.shape[2], grad_output.shape[3]))
        _convolve(grad_output, flipped(w, groups), None, backwards, groups, grad_input)
        return
    for phase in window.phases():
        pixels = grad_input[phase.pixels]
        _grad_input_by_convolution(grad_output, w[phase.taps], phase.window, groups, pixels)


def flipped(w: Array, groups: int) -> Array:
    """Flip the kernel w (O, C/G, KH, KW), and exchange inputs and outputs: (C, O/G, KH, KW)."""
    outs, channels, *kernel_size = w.shape
    flipped = w.reshape(groups, outs // groups, channels, *kernel_size)[..., ::-1, ::-1].swapaxes(1, 2)
    return flipped.reshape(groups * channels, outs // groups, *kernel_size)


class Block(NamedTuple):
    """Some images, `side` of them side by side, and a region of their outputs."""

    images: slice
    side: int
    region: "Region"

    def of_images(self, x: Array) -> Array:
        """View the block's images of x (N, C, H, W) as (m, C, H, side, W)."""
        images = x[self.images]
        return images.reshape(len(images) // self.side, self.side, *images.shape[1:]).transpose(0, 2, 3, 1, 4)

    def of_read(self, x: Array) -> Array:
        """View what the block reads of x (N, C, H, W) as (m, C, rows, side, columns)."""
        rows, columns = self.region.reads
        return self.of_images(x)[:, :, rows, :, columns]

    def of_outputs(self, y: Array) -> Array:
        """View the block's outputs in y (N, O, OH, OW) as (m, O, rows, side, columns)."""
        return self.of_images(y)[:, :, self.region.rows, :, self.region.columns]


class Region(NamedTuple):
    """Some rows and columns of the outputs of an image, and how the pixels that they need are lowered.

    An index is one into lowered (m, C, KW, remainders, rows of one remainder, side, OW), or into what is
    read of the images (m, C, rows, side, columns).
    """

    rows: slice
    columns: slice
    reads: tuple[slice, slice]
    """The rows and columns of the images that are read."""
    skips: bool
    """Whether these are copied as a whole first: see `_skips`."""
    lowered_shape: tuple[int, int, int, int]
    """KW, remainders, rows of one remainder, OW."""
    met: list[tuple[Any, Any]]
    """For each remainder of rows and tap column: where in lowered the pixels belong, and where they are."""
    padding: list[Any]
    """Where in lowered no pixels are: at the ends of rows, and in rows beyond the first or the last."""
    shifts: tuple[slice, list[int]] | None
    """If rows are as long as those of the outputs: which of lowered they are, and each tap column's shift."""
    tap_rows: list[tuple[int, slice]]
    """For each tap row, the remainder and the rows of it that it meets."""


@lru_cache(maxsize=256)
def _region(window: Window, input_size: Pair, row: int, rows: int, column: int, columns: int) -> Region:
    """Return the region of so many rows and columns that begins at that row and column."""
    remainders, height = _remainders(window), _rows_below(window) + rows
    window = window.starting_at(row, column)
    (top, bottom), (left, right) = window.padding
    seen = [window._replace(padding=((top - rest, bottom), (left, right))) for rest in remainders]
    rows_met = [each.inside(0, 0, input_size[0], height) for each in seen]
    columns_met = [window.inside(1, j, input_size[1], columns) for j in range(window.kernel_size[1])]
    reads = _around_all(rows_met), _around_all(columns_met)
    whole_rows = window.stride == (1, 1) and columns == input_size[1]
    steps = [divmod(i * window.dilation[0], window.stride[0]) for i in range(window.kernel_size[0])]
    return Region(
        rows=slice(row, row + rows),
        columns=slice(column, column + columns),
        reads=reads,
        skips=_skips(window),
        lowered_shape=(window.kernel_size[1], len(remainders), height, columns),
        met=[
            (
                (..., j, number, rows_filled, slice(None), columns_filled),
                (..., _within(reads[0], row_pixels), slice(None), _within(reads[1], column_pixels)),
            )
            for number, (rows_filled, row_pixels) in enumerate(rows_met)
            for j, (columns_filled, column_pixels) in enumerate(columns_met)
        ],
        padding=[
            (..., number, margin, slice(None), slice(None))
            for number, (filled, _) in enumerate(rows_met)
            for margin in _beside(filled, height)
        ]
        + [
            (slice(None), slice(None), j, ..., margin)
            for j, (filled, _) in enumerate(columns_met)
            for margin in _beside(filled, columns)
        ],
        shifts=(rows_met[0][0], [j * window.dilation[1] - left for j in range(window.kernel_size[1])])
        if whole_rows
        else None,
        tap_rows=[(remainders.index(rest), slice(start, start + rows)) for start, rest in steps],
    )


def _around_all(met: list[tuple[slice, slice]]) -> slice:
    """Return the smallest slice that contains all pixels that are met."""
    pixels = [pixels for _, pixels in met if pixels.stop]
    return slice(
        min((each.start for each in pixels), default=0), max((each.stop for each in pixels), default=0)
    )


def _within(read: slice, pixels: slice) -> slice:
    """Return where some pixels are in the slice that is read."""
    return slice(pixels.start - read.start, pixels.stop - read.start, pixels.step) if pixels.stop else pixels


def _beside(filled: slice, length: int) -> list[slice]:
    """Return the slices of an axis before and after one, those that are not empty."""
    margins = slice(0, filled.start or 0), slice(filled.stop, length)
    return [margin for margin in margins if margin.start < margin.stop]


def _blocks(x: Array, w_shape: tuple[int, ...], window: Window, groups: int, size: Pair) -> list[Block]:
    """Cut the work on x (N, C, H, W) into blocks that need `_BLOCK_BYTES` of scratch memory at most.

    Each thread has as many blocks of the same size, if the work is enough for several threads.
    """
    n, channels, *_ = x.shape
    if n == 0 or 0 in size:
        return []
    taps = channels * window.kernel_size[1]
    lowered, sums = taps * len(_remainders(window)), 2 * w_shape[0]
    if _stacks(w_shape, groups):
        lowered += taps * window.kernel_size[0] + groups
    if _skips(window):
        lowered += channels * window.stride[0] * window.stride[1]
    column_bytes = (lowered + sums) * x.itemsize
    columns = min(size[1], max(1, _MOST_BYTES // (column_bytes * (1 + _rows_below(window)))))
    row_bytes = column_bytes * columns
    # A depthwise convolution has a row of weights only, whose product is not faster with many columns.
    few_columns = 1 if groups == w_shape[0] else min(_FEW_COLUMNS, _MOST_BYTES // column_bytes)
    rows = min(size[0], max(1, _BLOCK_BYTES // row_bytes, -(-few_columns // columns)))
    threads = num_threads_for(n * size[0] * row_bytes)
    side = max(1, min(n // threads, few_columns // (size[0] * size[1])))
    many = max(1, _BLOCK_BYTES // (row_bytes * rows * side))
    turns = -(-n // (many * side * threads))
    step = -(-n // (turns * threads * side)) * side
    regions = [
        _region(
            window,
            (x.shape[2], x.shape[3]),
            row,
            min(rows, size[0] - row),
            column,
            min(columns, size[1] - column),
        )
        for row in range(0, size[0], rows)
        for column in range(0, size[1], columns)
    ]
    blocks = []
    for first in range(0, n, step):
        whole = min(step, (n - first) // side * side)
        for images in (slice(first, first + whole), slice(first + whole, min(first + step, n))):
            if images.start < images.stop:
                count = min(side, images.stop - images.start)
                blocks += [Block(images, count, region) for region in regions]
    return blocks


def _by_images(blocks: list[Block]) -> list[list[Block]]:
    """Put blocks of the same images together, as they write to the same pixels."""
    together: dict[int, list[Block]] = {}
    for block in blocks:
        together.setdefault(block.images.start, []).append(block)
    return list(together.values())


def _weight_rows(w: Array, groups: int) -> Array:
    """Sort w (O, C/G, KH, KW) by tap row: (KH, G, O/G, C/G·KW)."""
    out_channels, channels, height, width = w.shape
    by_row = w.reshape(groups, out_channels // groups, channels, height, width).transpose(3, 0, 1, 2, 4)
    return in_order(by_row, 2).reshape(height, groups, out_channels // groups, channels * width)


def in_order(weights: Array, axis: int) -> Array:
    """Copy weights into the order of their axes, in blocks along one of these: it is a slow copy."""
    ordered = np.empty(weights.shape, weights.dtype)
    of_axis, from_axis = np.moveaxis(ordered, axis, 0), np.moveaxis(weights, axis, 0)

    def work(block: slice) -> None:
        of_axis[block] = from_axis[block]

    parallel(work, axis_blocks(len(of_axis), of_axis[:1].nbytes, _WEIGHTS_BYTES))
    return ordered


def _stacks(shape: tuple[int, ...], groups: int) -> bool:
    """Return for weights (O, C/G, KH, KW) whether the lowered pixels of all tap rows are copied together.

    One product takes the place of KH then. From few channels to many, that copy is less than adding up the
    products: 0.5 to 0.8 of the time of a network's first layer.
    """
    outs, channels, height, width = shape
    return height * width * channels < 2 * (height - 1) * outs // groups


def _lowered_rows(x: Array, block: Block, groups: int, stacks: bool) -> Iterator[Array]:
    """Lower a block, and yield the pixels of each tap row as (m, G, C/G·KW, rows·side·OW).

    If it stacks, yield those of all together, and below them a row of ones, which a bias is multiplied by.
    """
    tap_rows = list(_tap_rows(_lower(x, block), block, groups))
    if not stacks:
        yield from tap_rows
        return
    m, _, rows, columns = tap_rows[0].shape
    stacked = scratch("stacked", (m, groups, len(tap_rows) * rows + 1, columns), x.dtype)
    for i, pixels in enumerate(tap_rows):
        stacked[:, :, i * rows : (i + 1) * rows] = pixels
    stacked[:, :, -1] = 1
    yield stacked


def _stacked_weights(w_rows: Array, bias: Array | None) -> Array:
    """Concatenate the weights of all tap rows (KH, G, O/G, C/G·KW), and a bias: (1, G, O/G, K + 1)."""
    _, groups, outs, _ = w_rows.shape
    last = np.zeros((groups, outs, 1), dtype=w_rows.dtype)
    if bias is not None:
        last[:] = bias.reshape(last.shape)
    return np.concatenate([*w_rows, last], axis=2)[None]


def _rows(outputs: Array, groups: int) -> Array:
    """Reshape (m, O, rows, side, OW) to (m, G, O/G, rows·side·OW)."""
    m, channels, rows, side, width = outputs.shape
    return outputs.reshape(m, groups, channels // groups, rows * side * width)


def _remainders(window: Window) -> list[int]:
    """Return the remainders modulo the stride of the rows that the tap rows meet."""
    return sorted({i * window.dilation[0] % window.stride[0] for i in range(window.kernel_size[0])})


def _rows_below(window: Window) -> int:
    """Count the rows of one remainder that the last taps meet below those of the outputs."""
    return (window.kernel_size[0] - 1) * window.dilation[0] // window.stride[0]


def _empty_lowered(x: Array, block: Block) -> Array:
    """Return scratch memory (m, C, KW, remainders, rows of one remainder, side, OW)."""
    *by_row, width = block.region.lowered_shape
    count = (block.images.stop - block.images.start) // block.side
    return scratch("lowered", (count, x.shape[1], *by_row, block.side, width), x.dtype)


def _lower(x: Array, block: Block) -> Array:
    lowered, region = _empty_lowered(x, block), block.region
    if region.shifts and block.side == 1 and x.flags.c_contiguous:
        _lower_shifted(lowered, x[block.images][:, :, region.reads[0]], *region.shifts)
    else:
        images = block.of_read(x)
        if region.skips:
            images, same = scratch("images", images.shape, x.dtype), images
            np.copyto(images, same)
        for taps, pixels in region.met:
            np.copyto(lowered[taps], images[pixels])
    for margin in region.padding:
        lowered[margin] = 0
    return lowered


def _lower_shifted(lowered: Array, images: Array, filled: slice, shifts: list[int]) -> None:
    """Lower rows that are as long as those of the outputs: all of them as one chunk, shifted.

    What a shift moves beyond the end of a row is padding. One chunk is copied in a third of the time of many.
    """
    pixels = images.reshape(*images.shape[:2], images.shape[2] * images.shape[3])
    for j, shift in enumerate(shifts):
        move(pixels, shift, lowered[:, :, j, 0, filled].reshape(pixels.shape))


def move(pixels: Array, shift: int, moved: Array) -> None:
    """Copy rows of pixels (..., K) to others so that each pixel comes `shift` places earlier."""
    kept = max(0, pixels.shape[-1] - abs(shift))
    moved[..., max(0, -shift) :][..., :kept] = pixels[..., max(0, shift) :][..., :kept]


def _skips(window: Window) -> bool:
    """Return whether tap columns skip pixels that others meet.

    The images are copied from memory as a whole first then, in half the time that reading with steps takes.
    """
    overlapping = all(window.stride[axis] <= window.kernel_size[axis] for axis in (0, 1))
    return window.stride != (1, 1) and window.dilation == (1, 1) and overlapping


def _tap_rows(lowered: Array, block: Block, groups: int) -> Iterator[Array]:
    """View, for each tap row, the lowered pixels that it meets, as (m, G, C/G·KW, rows·side·OW)."""
    m, channels, taps, *_, side, width = lowered.shape
    for remainder, rows in block.region.tap_rows:
        met = lowered[:, :, :, remainder, rows]
        yield met.reshape(m, groups, channels // groups * taps, met.shape[3] * side * width)
