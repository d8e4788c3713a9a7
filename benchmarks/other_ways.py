"""Other ways to compute layers, each with its derivatives, to compare ours with.

In NumPy, as tutorials and libraries do it: `Im2col` copies the pixels under each tap of the kernel and calls
`tensordot` (as Chainer does), `Windows` takes a strided view of all windows and calls `einsum`, and `Loops`
is the definition. `Jax` compiles with XLA for the CPU, if JAX is installed.

Shapes: x (N, C, H, W), w (O, C, KH, KW), dy (N, O, OH, OW). Windows are square. The ways in NumPy have no
groups.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Slide(NamedTuple):
    """The arguments of a square sliding window."""

    kernel_size: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @property
    def effective_kernel_size(self) -> int:
        """The number of pixels from the first tap to the last, both included."""
        return self.dilation * (self.kernel_size - 1) + 1

    def count(self, size: int) -> int:
        """Return the number of positions on an axis of this size, padding included."""
        return (size - self.effective_kernel_size) // self.stride + 1

    def pad(self, x: Array, value: float = 0.0) -> Array:
        """Return images padded with a value."""
        return np.pad(x, ((0, 0), (0, 0), *[(self.padding,) * 2] * 2), constant_values=value)

    def met(self, i: int, j: int, padded: Array) -> Array:
        """Return a view of the pixels (N, C, OH, OW) under a tap in padded images."""
        rows, columns = (
            slice(first, first + self.stride * self.count(size), self.stride)
            for first, size in zip((i * self.dilation, j * self.dilation), padded.shape[2:], strict=True)
        )
        return padded[:, :, rows, columns]


class Im2col:
    """Copies of the pixels under each tap, (N, C, KH, KW, OH, OW), and sums over them."""

    @staticmethod
    def columns(x: Array, slide: Slide, padding_value: float = 0.0) -> Array:
        """Return a copy of the pixels under each tap."""
        padded, taps = slide.pad(x, padding_value), (slide.kernel_size,) * 2
        size = slide.count(padded.shape[2]), slide.count(padded.shape[3])
        columns = np.empty((*x.shape[:2], *taps, *size), dtype=x.dtype)
        for i, j in np.ndindex(*taps):
            columns[:, :, i, j] = slide.met(i, j, padded)
        return columns

    @staticmethod
    def images(columns: Array, size: tuple[int, int], slide: Slide) -> Array:
        """Add the values for each tap to the pixels under it: the transpose of `columns`."""
        height, width = (length + 2 * slide.padding for length in size)
        padded = np.zeros((*columns.shape[:2], height, width), dtype=columns.dtype)
        for i, j in np.ndindex(*columns.shape[2:4]):
            slide.met(i, j, padded)[...] += columns[:, :, i, j]
        return padded[:, :, slide.padding : height - slide.padding, slide.padding : width - slide.padding]

    @classmethod
    def convolve(cls, x: Array, w: Array, slide: Slide) -> Array:
        """Return the convolution."""
        y = np.tensordot(cls.columns(x, slide), w, ((1, 2, 3), (1, 2, 3)))
        return np.moveaxis(y, 3, 1)

    @classmethod
    def convolve_backward(cls, dy: Array, x: Array, w: Array, slide: Slide) -> tuple[Array, Array]:
        """Return the gradients of x and w."""
        dw = np.tensordot(dy, cls.columns(x, slide), ((0, 2, 3), (0, 4, 5)))
        columns = np.moveaxis(np.tensordot(w, dy, (0, 1)), 3, 0)
        return cls.images(columns, x.shape[2:], slide), dw

    @classmethod
    def max_pool(cls, x: Array, slide: Slide) -> Array:
        """Return the maximum under each window."""
        columns = cls.columns(x, slide, -np.inf)
        return columns.max(axis=(2, 3))

    @classmethod
    def max_pool_backward(cls, dy: Array, x: Array, slide: Slide) -> Array:
        """Return the gradient of x."""
        columns = cls.columns(x, slide, -np.inf)
        shape = columns.shape
        indices = columns.reshape(*shape[:2], -1, *shape[4:]).argmax(axis=2)
        grads = np.zeros((*shape[:2], slide.kernel_size**2, *shape[4:]), dtype=dy.dtype)
        np.put_along_axis(grads, indices[:, :, None], dy[:, :, None], axis=2)
        return cls.images(grads.reshape(shape), x.shape[2:], slide)


class Windows:
    """A strided view of all windows, (N, C, OH, OW, KH, KW), and sums over it."""

    @staticmethod
    def windows(padded: Array, slide: Slide) -> Array:
        """Return a view of each window of padded images."""
        every = sliding_window_view(padded, (slide.effective_kernel_size,) * 2, axis=(2, 3))
        step, dilation = slide.stride, slide.dilation
        windows: Array = every[:, :, ::step, ::step, ::dilation, ::dilation]
        return windows

    @classmethod
    def convolve(cls, x: Array, w: Array, slide: Slide) -> Array:
        """Return the convolution."""
        windows = cls.windows(slide.pad(x), slide)
        y: Array = np.einsum("nchwij,ocij->nohw", windows, w, optimize=True)
        return y

    @classmethod
    def convolve_backward(cls, dy: Array, x: Array, w: Array, slide: Slide) -> tuple[Array, Array]:
        """Return the gradients of x and w; dx is dy, spread by the stride, convolved with flipped w."""
        dw = np.einsum("nohw,nchwij->ocij", dy, cls.windows(slide.pad(x), slide), optimize=True)
        margin, step = slide.effective_kernel_size - 1, slide.stride
        height, width = (size + 2 * slide.padding + margin for size in x.shape[2:])
        spread = np.zeros((*dy.shape[:2], height, width), dtype=dy.dtype)
        rows, columns = dy.shape[2:]
        spread[:, :, margin : margin + step * rows : step, margin : margin + step * columns : step] = dy
        inner = spread[:, :, slide.padding : height - slide.padding, slide.padding : width - slide.padding]
        windows = cls.windows(inner, slide._replace(stride=1))
        dx = np.einsum("nohwij,ocij->nchw", windows, w[:, :, ::-1, ::-1], optimize=True)
        return dx, dw

    @classmethod
    def max_pool(cls, x: Array, slide: Slide) -> Array:
        """Return the maximum under each window."""
        y: Array = cls.windows(slide.pad(x, -np.inf), slide).max(axis=(4, 5))
        return y

    @classmethod
    def max_pool_backward(cls, dy: Array, x: Array, slide: Slide) -> Array:
        """Return the gradient of x, scattered by index."""
        padded = slide.pad(x, -np.inf)
        windows = cls.windows(padded, slide)
        taps = windows.reshape(*dy.shape, -1).argmax(axis=4)
        n, c, p, q = np.ix_(*map(np.arange, dy.shape))
        rows = p * slide.stride + taps // slide.kernel_size
        columns = q * slide.stride + taps % slide.kernel_size
        grads = np.zeros_like(padded)
        np.add.at(grads, (n, c, rows, columns), dy)
        height, width = padded.shape[2:]
        return grads[:, :, slide.padding : height - slide.padding, slide.padding : width - slide.padding]


class Loops:
    """The definition, pixel by pixel; for small cases."""

    @staticmethod
    def convolve(x: Array, w: Array, slide: Slide) -> Array:
        """Return the convolution."""
        padded = slide.pad(x)
        size = slide.count(padded.shape[2]), slide.count(padded.shape[3])
        y = np.zeros((len(x), len(w), *size), dtype=x.dtype)
        for n, o, p, q in np.ndindex(*y.shape):
            for c, i, j in np.ndindex(*w.shape[1:]):
                row = p * slide.stride + i * slide.dilation
                column = q * slide.stride + j * slide.dilation
                y[n, o, p, q] += padded[n, c, row, column] * w[o, c, i, j]
        return y

    @staticmethod
    def convolve_backward(dy: Array, x: Array, w: Array, slide: Slide) -> tuple[Array, Array]:
        """Return the gradients of x and w."""
        padded = slide.pad(x)
        grad_padded, dw = np.zeros_like(padded), np.zeros_like(w)
        for n, o, p, q in np.ndindex(*dy.shape):
            for c, i, j in np.ndindex(*w.shape[1:]):
                pixel = n, c, p * slide.stride + i * slide.dilation, q * slide.stride + j * slide.dilation
                grad_padded[pixel] += dy[n, o, p, q] * w[o, c, i, j]
                dw[o, c, i, j] += dy[n, o, p, q] * padded[pixel]
        height, width = padded.shape[2:]
        inner = slice(slide.padding, height - slide.padding), slice(slide.padding, width - slide.padding)
        return grad_padded[:, :, inner[0], inner[1]], dw


class Jax:
    """XLA's convolution and pooling for the CPU, each pass compiled; both use all cores."""

    installed = find_spec("jax") is not None

    @staticmethod
    def passes(layer: Callable[..., Any], dy: Array, *operands: Array) -> dict[str, Callable[[], Any]]:
        """Compile a layer of JAX's, and its backward pass for every operand, for arrays like these."""
        import jax

        def backward(dy: Any, *operands: Any) -> Any:
            return jax.vjp(layer, *operands)[1](dy)

        compiled = jax.jit(layer), jax.jit(backward)
        on_device = [jax.numpy.asarray(array) for array in (dy, *operands)]
        return {
            "forward": lambda: jax.block_until_ready(compiled[0](*on_device[1:])),
            "backward": lambda: jax.block_until_ready(compiled[1](*on_device)),
        }

    @staticmethod
    def convolution(slide: Slide, groups: int) -> Callable[..., Any]:
        """Return the convolution as a function of x and w."""
        import jax

        return lambda x, w: jax.lax.conv_general_dilated(
            x,
            w,
            window_strides=(slide.stride,) * 2,
            padding=[(slide.padding,) * 2] * 2,
            rhs_dilation=(slide.dilation,) * 2,
            feature_group_count=groups,
        )

    @staticmethod
    def max_pooling(slide: Slide) -> Callable[..., Any]:
        """Return max pooling as a function of x."""
        import jax

        return lambda x: jax.lax.reduce_window(
            x,
            -np.inf,
            jax.lax.max,
            window_dimensions=(1, 1, *[slide.kernel_size] * 2),
            window_strides=(1, 1, *[slide.stride] * 2),
            padding=[(0, 0), (0, 0), *[(slide.padding,) * 2] * 2],
        )
