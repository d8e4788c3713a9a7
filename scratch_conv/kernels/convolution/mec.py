"""Convolution lowered along one axis: MEC, memory-efficient convolution (Cho and Brand, 2017).

Of the two axes only the columns are lowered: for each tap column j, `lowered` holds the pixels that it meets,

    lowered[c, j, h, q] = x[c, h, q·stride + j·dilation]                      (x already padded)

in every row h of a picture. The rows that a tap row i meets are then one contiguous block of it, which can
be multiplied where it stands:

    y[o, p, q] = Σ_i Σ_{c, j} w[o, c, i, j] · lowered[c, j, p·stride + i·dilation, q]

That copies KW times the input instead of KH·KW times, and the derivatives are the same steps transposed.

Refinements: rows are sorted by their remainder modulo the stride, so that those of one tap row stay
contiguous; small pictures lie side by side, as a product with few columns is slow; and from few channels to
many, the pixels of all tap rows are copied below each other and multiplied at once. Shapes and terms are
those of `im2col`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.geometry import Array, Pair, Window
from scratch_conv.kernels.threads import get_num_threads, parallel, scratch

_BLOCK_BYTES = 2**22
"""A block of work, lowered, with its sums, takes about this much memory, which stays near the core."""

_MOST_BYTES = 2**24
"""But never more than twice this, though it be few columns only, of a single row."""

_FEW_COLUMNS = 512
"""Pictures with fewer windows than this lie side by side: at 49 columns a product ran at 0.6 of its speed."""

_MANY_MORE = 4
"""With so many times more outputs than inputs, adding columns back is faster than lowering the outputs."""


def accepts(shapes: Shapes) -> bool:
    """Tell whether this algorithm computes such a convolution: any."""
    return True


def conv2d(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Convolve x (N, C, H, W) with w (O, C/G, KH, KW) into y (N, O, OH, OW)."""
    size = window.output_size((x.shape[2], x.shape[3]))
    y = np.empty((x.shape[0], w.shape[0], *size), dtype=x.dtype)
    w_rows = _weight_rows(w, groups)
    if stacks := _stacks(w.shape, groups):
        w_rows, bias = _stacked_weights(w_rows, bias), None

    def work(block: Block) -> None:
        part = block.of_outputs(y)
        shape = (len(part), *w_rows.shape[1:3], part[0, 0].size)
        # Whole rows of one picture are summed where they belong.
        in_place = part.shape[3:] == (1, size[1])
        sums = part.reshape(shape) if in_place else scratch("sums", shape, x.dtype)
        for i, pixels in enumerate(_lowered_rows(x, block, groups, stacks)):
            if i == 0:
                np.matmul(w_rows[i], pixels, out=sums)
            else:
                sums += np.matmul(w_rows[i], pixels, out=scratch("product", shape, x.dtype))
        if bias is not None:
            sums += bias.reshape(*w_rows.shape[1:3], 1)
        if not in_place:
            part[:] = sums.reshape(part.shape)

    parallel(work, _blocks(x, w.shape, window, groups, size))
    return y


def conv2d_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to w (O, C/G, KH, KW)."""
    outs, channels = grad_output.shape[1] // groups, x.shape[1] // groups
    height, width = window.kernel_size
    shape = (groups * outs, channels, height, width)
    size = (grad_output.shape[2], grad_output.shape[3])
    blocks = _blocks(x, shape, window, groups, size)
    stacks = _stacks(shape, groups)
    threads = min(get_num_threads(), len(blocks))
    shares = [blocks[first::threads] for first in range(threads)]
    products = 1 if stacks else height
    rows = height * channels * width + 1 if stacks else channels * width
    sums = np.zeros((len(shares), groups, products, rows, outs), dtype=x.dtype)

    def work(share: int) -> None:
        for block in shares[share]:
            columns = _rows(block.of_outputs(grad_output), groups).swapaxes(2, 3)
            for i, pixels in enumerate(_lowered_rows(x, block, groups, stacks)):
                product = scratch("product", (len(pixels), groups, rows, outs), x.dtype)
                sums[share, :, i] += np.matmul(pixels, columns, out=product).sum(axis=0)

    parallel(work, range(len(shares)))
    total = sums.sum(axis=0)[:, :, : height // products * channels * width]
    total = total.reshape(groups, height, channels, width, outs)
    return np.ascontiguousarray(total.transpose(0, 4, 2, 1, 3)).reshape(shape)


def conv2d_grad_input(grad_output: Array, w: Array, input_size: Pair, window: Window, groups: int) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to x (N, C, H, W) of `input_size` (H, W)."""
    few_outputs = grad_output.shape[1] <= _MANY_MORE * w.shape[1] * groups
    # Around the outputs stand zeros, which an infinite weight would turn into NaN.
    if few_outputs and (1, 1) in (window.stride, window.dilation) and np.isfinite(w).all():
        return _grad_input_by_convolution(grad_output, w, input_size, window, groups)
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
            for taps, pixels in _met(lowered, grad_input, block):
                pixels += taps

    parallel(work, _by_pictures(_blocks(grad_input, w.shape, window, groups, size)))
    return grad_input


def _grad_input_by_convolution(
    grad_output: Array, w: Array, input_size: Pair, window: Window, groups: int
) -> Array:
    """At stride 1 the transpose of a convolution is one too, with the weights turned by half a circle.

    At a larger stride it is one for each phase of the pixels, with the taps that meet them.
    """
    if window.stride == (1, 1):
        backwards = window.backwards(input_size, (grad_output.shape[2], grad_output.shape[3]))
        return conv2d(grad_output, _turned(w, groups), None, backwards, groups)
    grad_input = np.zeros((grad_output.shape[0], groups * w.shape[1], *input_size), dtype=w.dtype)
    for phase in window.phases(input_size):
        pixels = grad_input[phase.pixels]
        if 0 not in (*phase.window.kernel_size, *pixels.shape[2:]):
            size = (pixels.shape[2], pixels.shape[3])
            pixels[:] = _grad_input_by_convolution(grad_output, w[phase.taps], size, phase.window, groups)
    return grad_input


def _turned(w: Array, groups: int) -> Array:
    """Turn w (O, C/G, KH, KW) by half a circle, and swap what it maps from and to: (C, O/G, KH, KW)."""
    outs, channels, *kernel_size = w.shape
    turned = w.reshape(groups, outs // groups, channels, *kernel_size)[..., ::-1, ::-1].swapaxes(1, 2)
    return turned.reshape(groups * channels, outs // groups, *kernel_size)


class Block(NamedTuple):
    """A piece of work: pictures, `side` of them side by side, and a part of their outputs."""

    pictures: slice
    side: int
    rows: slice
    columns: slice
    window: Window
    """The window as these rows and columns see it: those before them are like a smaller padding."""

    def of_pictures(self, x: Array) -> Array:
        """View the block's pictures of x (N, C, H, W) as (m, C, H, side, W)."""
        part = x[self.pictures]
        return part.reshape(len(part) // self.side, self.side, *part.shape[1:]).transpose(0, 2, 3, 1, 4)

    def of_outputs(self, y: Array) -> Array:
        """View the block's part of y (N, O, OH, OW) as (m, O, rows, side, columns)."""
        return self.of_pictures(y)[:, :, self.rows, :, self.columns]


def _blocks(x: Array, w_shape: tuple[int, ...], window: Window, groups: int, size: Pair) -> list[Block]:
    """Cut the work on x (N, C, H, W) into blocks that need `_BLOCK_BYTES` of scratch memory at most.

    A batch gives as many blocks to each thread, of the same size.
    """
    n, channels, *_ = x.shape
    if n == 0 or 0 in size:
        return []
    taps = channels * window.kernel_size[1]
    lowered, sums = taps * len(_remainders(window)), 2 * w_shape[0]
    if _stacks(w_shape, groups):
        lowered += taps * window.kernel_size[0] + groups
    column_bytes = (lowered + sums) * x.itemsize
    columns = min(size[1], max(1, _MOST_BYTES // (column_bytes * (1 + _rows_below(window)))))
    row_bytes = column_bytes * columns
    # A depthwise convolution is no product of matrices, and needs no many columns.
    few_columns = 1 if groups == w_shape[0] else min(_FEW_COLUMNS, _MOST_BYTES // column_bytes)
    rows = min(size[0], max(1, _BLOCK_BYTES // row_bytes, -(-few_columns // columns)))
    threads = get_num_threads()
    side = max(1, min(n // threads, few_columns // (size[0] * size[1])))
    many = max(1, _BLOCK_BYTES // (row_bytes * rows * side))
    turns = -(-n // (many * side * threads))
    step = -(-n // (turns * threads * side)) * side
    parts = [
        (slice(row, min(row + rows, size[0])), slice(column, min(column + columns, size[1])))
        for row in range(0, size[0], rows)
        for column in range(0, size[1], columns)
    ]
    blocks = []
    for first in range(0, n, step):
        whole = min(step, (n - first) // side * side)
        for pictures in (slice(first, first + whole), slice(first + whole, min(first + step, n))):
            if pictures.start < pictures.stop:
                count = min(side, pictures.stop - pictures.start)
                blocks += [_block(pictures, count, *part, window) for part in parts]
    return blocks


def _block(pictures: slice, side: int, rows: slice, columns: slice, window: Window) -> Block:
    (top, bottom), (left, right) = window.padding
    above, before = rows.start * window.stride[0], columns.start * window.stride[1]
    seen = window._replace(padding=((top - above, bottom), (left - before, right)))
    return Block(pictures, side, rows, columns, seen)


def _by_pictures(blocks: list[Block]) -> list[list[Block]]:
    """Put together blocks of the same pictures, whose rows write to the same pixels."""
    together: dict[int, list[Block]] = {}
    for block in blocks:
        together.setdefault(block.pictures.start, []).append(block)
    return list(together.values())


def _weight_rows(w: Array, groups: int) -> Array:
    """Sort w (O, C/G, KH, KW) by tap row: (KH, G, O/G, C/G·KW)."""
    out_channels, channels, height, width = w.shape
    by_row = w.reshape(groups, out_channels // groups, channels, height, width).transpose(3, 0, 1, 2, 4)
    return np.ascontiguousarray(by_row).reshape(height, groups, out_channels // groups, channels * width)


def _stacks(shape: tuple[int, ...], groups: int) -> bool:
    """Tell for weights (O, C/G, KH, KW) whether the lowered pixels of all tap rows are copied together.

    One product takes the place of KH then. From few channels to many, that copy is less than adding up the
    products: 0.5 to 0.8 of the time of a network's first layer.
    """
    outs, channels, height, width = shape
    return height * width * channels < 2 * (height - 1) * outs // groups


def _lowered_rows(x: Array, block: Block, groups: int, stacks: bool) -> Iterator[Array]:
    """Lower a block, and give the pixels of each tap row as (m, G, C/G·KW, rows·side·OW).

    Or those of all together, and below them a row of ones, which a bias is multiplied by.
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
    """Put those of all tap rows (KH, G, O/G, C/G·KW) next to each other, and a bias: (1, G, O/G, K + 1)."""
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
    """Give the remainders modulo the stride of the rows that the tap rows meet."""
    return sorted({i * window.dilation[0] % window.stride[0] for i in range(window.kernel_size[0])})


def _rows_below(window: Window) -> int:
    """Count the rows of one remainder that the last taps meet below those of the outputs."""
    return (window.kernel_size[0] - 1) * window.dilation[0] // window.stride[0]


def _empty_lowered(x: Array, block: Block) -> Array:
    """Give scratch memory (m, C, KW, remainders, rows of one remainder, side, OW)."""
    window = block.window
    rows = _rows_below(window) + block.rows.stop - block.rows.start
    width = block.columns.stop - block.columns.start
    count = (block.pictures.stop - block.pictures.start) // block.side
    by_tap = (window.kernel_size[1], len(_remainders(window)))
    return scratch("lowered", (count, x.shape[1], *by_tap, rows, block.side, width), x.dtype)


def _lower(x: Array, block: Block) -> Array:
    lowered = _empty_lowered(x, block)
    whole_rows = lowered.shape[5:] == (1, x.shape[3]) and block.window.stride == (1, 1)
    if whole_rows and x.flags.c_contiguous:
        _lower_whole_rows(lowered, x, block)
    else:
        for taps, pixels in _met(lowered, x, block):
            np.copyto(taps, pixels)
    _clear_padding(lowered, x, block)
    return lowered


def _clear_padding(lowered: Array, x: Array, block: Block) -> None:
    """Write zeros where no pixels are: at the ends of rows, and in rows beyond the first or the last."""
    for number, rows in enumerate(_rows_met(lowered, x, block)):
        _clear_around(lowered[:, :, :, number].swapaxes(3, 5), rows[0])
    for j, columns in enumerate(_columns_met(lowered, x, block)):
        _clear_around(lowered[:, :, j], columns[0])


def _clear_around(array: Array, filled: slice) -> None:
    """Write zeros before and behind a slice of the last axis."""
    if filled.start:
        array[..., : filled.start] = 0
    if filled.stop < array.shape[-1]:
        array[..., filled.stop :] = 0


def _lower_whole_rows(lowered: Array, x: Array, block: Block) -> None:
    """Lower rows that are as long as those of the outputs: all of them as one run, shifted.

    What a shift carries over the end of a row is padding. One run is copied in a third of the time of many.
    """
    ((filled, met),) = _rows_met(lowered, x, block)
    pixels = x[block.pictures][:, :, met]
    pixels = pixels.reshape(*pixels.shape[:2], pixels.shape[2] * x.shape[3])
    for j in range(lowered.shape[2]):
        run = lowered[:, :, j, 0, filled].reshape(pixels.shape)
        shift = j * block.window.dilation[1] - block.window.padding[1][0]
        kept = max(0, pixels.shape[2] - abs(shift))
        run[..., max(0, -shift) :][..., :kept] = pixels[..., max(0, shift) :][..., :kept]


def _met(lowered: Array, x: Array, block: Block) -> Iterator[tuple[Array, Array]]:
    """View, for each remainder of rows and tap column, the lowered pixels and where x has them."""
    pictures = block.of_pictures(x)
    for number, rows in enumerate(_rows_met(lowered, x, block)):
        for j, columns in enumerate(_columns_met(lowered, x, block)):
            yield (
                lowered[:, :, j, number, rows[0], :, columns[0]],
                pictures[:, :, rows[1], :, columns[1]],
            )


def _rows_met(lowered: Array, x: Array, block: Block) -> list[tuple[slice, slice]]:
    """Give, for each remainder of rows, the lowered rows that have pixels, and which of x."""
    (top, bottom), sides = block.window.padding
    shifted = [(top - remainder, bottom) for remainder in _remainders(block.window)]
    windows = [block.window._replace(padding=(rows, sides)) for rows in shifted]
    return [window.inside(0, 0, x.shape[2], lowered.shape[4]) for window in windows]


def _columns_met(lowered: Array, x: Array, block: Block) -> list[tuple[slice, slice]]:
    """Give, for each tap column, the lowered columns that have pixels, and which of x."""
    taps = range(block.window.kernel_size[1])
    return [block.window.inside(1, j, x.shape[3], lowered.shape[6]) for j in taps]


def _tap_rows(lowered: Array, block: Block, groups: int) -> Iterator[Array]:
    """View, for each tap row, the lowered pixels that it meets, as (m, G, C/G·KW, rows·side·OW)."""
    stride, dilation = block.window.stride[0], block.window.dilation[0]
    remainders = _remainders(block.window)
    rows = block.rows.stop - block.rows.start
    m, channels, taps, *_, side, width = lowered.shape
    for i in range(block.window.kernel_size[0]):
        first, remainder = divmod(i * dilation, stride)
        met = lowered[:, :, :, remainders.index(remainder), first : first + rows]
        yield met.reshape(m, groups, channels // groups * taps, rows * side * width)
