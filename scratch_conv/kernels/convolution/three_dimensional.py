"""Convolution of volumes and its derivatives, by those of images.

    y[n, o, d] = Σ_i w[o, :, i] * x[n, :, d·stride + i·dilation]

(x already padded; * is the convolution of planes, summed over channels). So the planes that lie under the
taps along the depth are channels: the planes of a volume (C, D, H, W) become OD images (C·KD, H, W), one for
each position of the window along the depth, and the weights (O, C/G·KD, KH, KW). Each result is a sum of the
same terms.

Where the window has one tap in a plane that meets each pixel in turn, volumes are images (D, H·W) of as many
rows as planes, and nothing is copied.

Shapes, for G groups: x (N, C, D, H, W), w (O, C/G, KD, KH, KW), y (N, O, OD, OH, OW). Arrays may be strided
in any way and are never written to; both operands have the same dtype, and the result has it too.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from scratch_conv.kernels.convolution.choosing import conv2d, conv2d_grad_input, conv2d_grad_weight
from scratch_conv.kernels.convolution.im2col import is_pointwise
from scratch_conv.kernels.threads import parallel
from scratch_conv.kernels.windows import Array, Size, Window, plane_blocks

__all__ = ["conv3d", "conv3d_grad_input", "conv3d_grad_weight", "conv_transpose3d"]

_BLOCK_BYTES = 2**23
"""The images of a block take so much memory at most, unless one of them takes more.

A block is some volumes, or if one takes more, some of the positions along the depth of one volume.
"""


def conv3d(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Convolve x (N, C, D, H, W) with w (O, C/G, KD, KH, KW) into y (N, O, OD, OH, OW), adding bias (O,)."""
    size = window.output_size(x.shape[2:])
    if _is_pointwise_in_planes(window):
        return conv2d(_rows(x), _rows(w), bias, _along_depth(window), groups).reshape(len(x), len(w), *size)
    y = np.empty((len(x), len(w), *size), dtype=x.dtype)
    for block in _blocks(x, size, window):
        images = conv2d(_unfold(x, block, window), _planes(w), bias, _in_planes(window), groups)
        block.of(y)[...] = _volumes(images, block)
    return y


def conv3d_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Return the gradient with respect to w (O, C/G, KD, KH, KW), for that of y (N, O, OD, OH, OW)."""
    shape = (grad_output.shape[1], x.shape[1] // groups, *window.kernel_size)
    if _is_pointwise_in_planes(window):
        return conv2d_grad_weight(_rows(grad_output), _rows(x), _along_depth(window), groups).reshape(shape)
    grad_weight = np.zeros(shape, dtype=x.dtype)
    for block in _blocks(x, grad_output.shape[2:], window):
        grads, images = _images(grad_output, block), _unfold(x, block, window)
        grad_weight += conv2d_grad_weight(grads, images, _in_planes(window), groups).reshape(shape)
    return grad_weight


def conv3d_grad_input(grad_output: Array, w: Array, input_size: Size, window: Window, groups: int) -> Array:
    """Return the gradient with respect to x (N, C, *input_size), for that of y (N, O, OD, OH, OW).

    The gradients of the images are added to the planes that these consist of.
    """
    depth, height, width = input_size
    shape = (len(grad_output), groups * w.shape[1], *input_size)
    if _is_pointwise_in_planes(window):
        size, rows = (depth, height * width), _along_depth(window)
        return conv2d_grad_input(_rows(grad_output), _rows(w), size, rows, groups).reshape(shape)
    grad_input = np.zeros(shape, dtype=w.dtype)
    for block in _blocks(grad_input, grad_output.shape[2:], window):
        grads = _images(grad_output, block)
        images = conv2d_grad_input(grads, _planes(w), (height, width), _in_planes(window), groups)
        _fold(images, grad_input, block, window)
    return grad_input


def conv_transpose3d(
    x: Array, w: Array, bias: Array | None, output_size: Size, window: Window, groups: int
) -> Array:
    """Return y (N, C, *output_size) for x (N, O, OD, OH, OW) and w (O, C/G, KD, KH, KW), adding bias (C,).

    The letters are those of the convolution whose transpose it is: x has the shape of its output.
    """
    y = conv3d_grad_input(x, w, output_size, window, groups)
    if bias is not None:
        columns = bias[:, None, None, None]
        parallel(lambda volume: np.add(volume, columns, out=volume), y)
    return y


class _Block(NamedTuple):
    """Some volumes, and some of the window's positions along the depth of these."""

    volumes: slice
    positions: slice

    def of(self, y: Array) -> Array:
        """View the block's outputs in y (N, O, OD, OH, OW)."""
        return y[self.volumes, :, self.positions]

    def taps(self, window: Window, depth: int) -> Iterator[tuple[slice, slice]]:
        """Yield for each tap along the depth the positions, counted in the block, and the planes it meets."""
        window, count = (
            window.starting_at(self.positions.start, 0, 0),
            self.positions.stop - self.positions.start,
        )
        for tap in range(window.kernel_size[0]):
            yield window.inside(0, tap, depth, count)


def _blocks(x: Array, size: Size, window: Window) -> list[_Block]:
    """Cut the work on volumes shaped as x, with outputs of this size, into blocks."""
    n, channels, _, *plane = x.shape
    image_bytes = channels * window.kernel_size[0] * max(plane[0] * plane[1], size[1] * size[2]) * x.itemsize
    blocks = plane_blocks((n, size[0]), n * size[0] * image_bytes, _BLOCK_BYTES)
    return [_Block(volumes, positions) for volumes, positions in blocks]


def _unfold(x: Array, block: _Block, window: Window) -> Array:
    """Return a block's images (n·OD, C·KD, H, W): the planes of x under each tap along the depth."""
    volumes = x[block.volumes]
    n, channels, depth, *plane = volumes.shape
    count, taps = block.positions.stop - block.positions.start, window.kernel_size[0]
    met = list(block.taps(window, depth))
    if taps == 1 and met[0][0] == slice(0, count):  # without a copy where the block is of one volume
        return volumes[:, :, met[0][1]].swapaxes(1, 2).reshape(n * count, channels, *plane)
    images = np.empty((n, count, channels, taps, *plane), dtype=x.dtype)

    def work(tap: int) -> None:
        positions, planes = met[tap]
        images[:, : positions.start, :, tap] = images[:, positions.stop :, :, tap] = 0
        images[:, positions, :, tap] = volumes[:, :, planes].swapaxes(1, 2)

    parallel(work, range(taps))
    return images.reshape(n * count, channels * taps, *plane)


def _fold(images: Array, x: Array, block: _Block, window: Window) -> None:
    """Add a block's images (n·OD, C·KD, H, W) to the planes of x that `_unfold` makes them from."""
    volumes = x[block.volumes]
    n, channels, depth, *plane = volumes.shape
    count, taps = block.positions.stop - block.positions.start, window.kernel_size[0]
    by_tap = images.reshape(n, count, channels, taps, *plane).swapaxes(1, 2)
    for tap, (positions, planes) in enumerate(block.taps(window, depth)):
        volumes[:, :, planes] += by_tap[:, :, positions, tap]


def _images(y: Array, block: _Block) -> Array:
    """Reshape a block's outputs (n, O, OD, OH, OW) to images (n·OD, O, OH, OW)."""
    outputs = block.of(y).swapaxes(1, 2)
    n, count, *image = outputs.shape
    return outputs.reshape(n * count, *image)


def _volumes(images: Array, block: _Block) -> Array:
    """View images (n·OD, O, OH, OW) as a block's outputs (n, O, OD, OH, OW)."""
    count = block.positions.stop - block.positions.start
    return images.reshape(len(images) // count, count, *images.shape[1:]).swapaxes(1, 2)


def _planes(w: Array) -> Array:
    """Reshape weights (O, C/G, KD, KH, KW) to (O, C/G·KD, KH, KW)."""
    outs, channels, taps, *plane = w.shape
    return w.reshape(outs, channels * taps, *plane)


def _rows(x: Array) -> Array:
    """Reshape (N, C, D, H, W) to (N, C, D, H·W)."""
    n, channels, depth, height, width = x.shape
    return x.reshape(n, channels, depth, height * width)


def _is_pointwise_in_planes(window: Window) -> bool:
    return is_pointwise(_in_planes(window))


def _in_planes(window: Window) -> Window:
    """Return the window along height and width."""
    kernel_size, stride, padding, dilation = window
    return Window(kernel_size[1:], stride[1:], padding[1:], dilation[1:])


def _along_depth(window: Window) -> Window:
    """Return the window over planes as rows, whose other axis has one tap."""
    kernel_size, stride, padding, dilation = window
    return Window((kernel_size[0], 1), (stride[0], 1), (padding[0], (0, 0)), (dilation[0], 1))
