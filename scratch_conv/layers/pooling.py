"""The pooling layers."""

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array, Window
from scratch_conv.layers.expecting import expect_gradient, expect_input
from scratch_conv.layers.layer import Layer
from scratch_conv.layers.sliding import Size, output_size, pooling_window

__all__ = ["AvgPool2D", "GlobalAvgPool2D", "MaxPool2D"]


class MaxPool2D(Layer):
    """Takes the maximum under each position of a window.

        y[n, c, p, q] = max_{i, j} x[n, c, p·stride + i, q·stride + j]

    The gradient goes to the pixel with the maximum only.

    Shapes: x (N, C, H, W), y (N, C, OH, OW).

    Args:
        kernel_size: the size of the window, one number or (KH, KW).
        stride: the step from one position to the next; by default the kernel size.
        padding: the number of rows and columns of minus infinity around the images.
        dilation: the step from one pixel under the window to the next.
        ceil_mode: whether the last window may extend beyond the end of the image.

    Raises:
        ValueError: an argument is too small, or the padding over half the window; on a call, x has the wrong
            shape.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode
        self.window = pooling_window(kernel_size, self.stride, padding, dilation)

    def forward(self, x: Array) -> Array:
        """Return y (N, C, OH, OW) for x (N, C, H, W), and keep the index of each maximum."""
        expect_input(self, x, "N", "C", "H", "W")
        output_size(self, self.window, x.shape[2:], self.ceil_mode)
        self.input_size = x.shape[2:]
        y, self.indices = kernels.max_pool2d(x, self.window, self.ceil_mode)
        self.output_shape = y.shape
        return y

    def backward(self, dy: Array) -> Array:
        """Return the gradient with respect to x."""
        expect_gradient(self, dy)
        return kernels.max_pool2d_scatter(dy, self.indices, self.input_size, self.window)

    def branches(self) -> list[Array]:
        """Return the index of each window's maximum."""
        return [self.indices]


class AvgPool2D(Layer):
    """Takes the average under each position of a window.

        y[n, c, p, q] = Σ_{i, j} x[n, c, p·stride + i, q·stride + j] / (KH · KW)

    The gradient is divided equally among all pixels of the window.

    Shapes: x (N, C, H, W), y (N, C, OH, OW).

    Args:
        kernel_size: the size of the window, one number or (KH, KW).
        stride: the step from one position to the next; by default the kernel size.
        padding: the number of rows and columns of zeros around the images.
        ceil_mode: whether the last window may extend beyond the end of the image.
        count_include_pad: whether the zeros of the padding count as pixels.

    Raises:
        ValueError: an argument is too small, or the padding over half the window; on a call, x has the wrong
            shape.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad
        self.window = pooling_window(kernel_size, self.stride, padding)

    def forward(self, x: Array) -> Array:
        """Return y (N, C, OH, OW) for x (N, C, H, W)."""
        expect_input(self, x, "N", "C", "H", "W")
        self.input_size = x.shape[2:]
        size = output_size(self, self.window, self.input_size, self.ceil_mode)
        self.output_shape = (*x.shape[:2], *size)
        return kernels.avg_pool2d(x, size, self.window, self.count_include_pad, None)

    def backward(self, dy: Array) -> Array:
        """Return the gradient with respect to x."""
        expect_gradient(self, dy)
        return kernels.avg_pool2d_grad_input(dy, self.input_size, self.window, self.count_include_pad, None)


class GlobalAvgPool2D(Layer):
    """Takes the average of each channel of an image.

        y[n, c, 0, 0] = Σ_{i, j} x[n, c, i, j] / (H · W)

    The gradient is divided equally among all pixels. Before a classifier it replaces dense layers of as many
    weights as there are pixels (Lin, Chen and Yan, Network in network, 2014).

    Shapes: x (N, C, H, W), y (N, C, 1, 1).

    Raises:
        ValueError: on a call, x has the wrong shape.
    """

    def forward(self, x: Array) -> Array:
        """Return y (N, C, 1, 1) for x (N, C, H, W)."""
        expect_input(self, x, "N", "C", "H", "W")
        self.input_size = x.shape[2:]
        self.output_shape = (*x.shape[:2], 1, 1)
        return kernels.adaptive_avg_pool2d(x, (1, 1))

    def backward(self, dy: Array) -> Array:
        """Return the gradient with respect to x."""
        expect_gradient(self, dy)
        return kernels.adaptive_avg_pool2d_grad_input(dy, self.input_size)

    def windows(self) -> list[Window]:
        """Return the window that was over the whole image in the last forward pass."""
        return [Window(self.input_size, (1, 1), ((0, 0), (0, 0)), (1, 1))]
