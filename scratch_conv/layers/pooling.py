"""The pooling layers."""

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array
from scratch_conv.layers.expecting import expect_gradient, expect_input
from scratch_conv.layers.layer import Layer
from scratch_conv.layers.sliding import Size, output_size, pooling_window


class MaxPool2D(Layer):
    """Keeps the greatest pixel under each position of a window.

        y[n, c, p, q] = max_{i, j} x[n, c, p·stride + i, q·stride + j]

    The gradient goes back to the pixel that won, and to no other.

    Shapes: x (N, C, H, W), y (N, C, OH, OW).

    Arguments:
        kernel_size: the window's size, one number or (KH, KW).
        stride: the step from one position to the next; by default the window's size.
        padding: how many rows and columns surround the images, none of which ever wins.
        dilation: the step from one pixel under the window to the next.
        ceil_mode: whether a last window may hang over the end of the image.

    Raises:
        ValueError: an argument is below its least, or the padding over half the window; on a call, x has
            another shape than the layer takes.
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
        """Pool x (N, C, H, W) into y (N, C, OH, OW), and remember which pixel of each window won."""
        expect_input(self, x, "N", "C", "H", "W")
        output_size(self, self.window, x.shape[2:], self.ceil_mode)
        self.input_size = x.shape[2:]
        y, self.winners = kernels.max_pool2d(x, self.window, self.ceil_mode)
        self.output_shape = y.shape
        return y

    def backward(self, dy: Array) -> Array:
        """Carry dy (N, C, OH, OW) back to x (N, C, H, W)."""
        expect_gradient(self, dy)
        return kernels.max_pool2d_scatter(dy, self.winners, self.input_size, self.window)

    def branches(self) -> list[Array]:
        """Tell which pixel of each window won."""
        return [self.winners]


class AvgPool2D(Layer):
    """Takes the average under each position of a window.

        y[n, c, p, q] = Σ_{i, j} x[n, c, p·stride + i, q·stride + j] / (KH · KW)

    The gradient goes back to all pixels of the window in equal parts.

    Shapes: x (N, C, H, W), y (N, C, OH, OW).

    Arguments:
        kernel_size: the window's size, one number or (KH, KW).
        stride: the step from one position to the next; by default the window's size.
        padding: how many rows and columns of zeros surround the images.
        ceil_mode: whether a last window may hang over the end of the image.
        count_include_pad: whether the zeros of the padding count as pixels.

    Raises:
        ValueError: an argument is below its least, or the padding over half the window; on a call, x has
            another shape than the layer takes.
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
        """Pool x (N, C, H, W) into y (N, C, OH, OW)."""
        expect_input(self, x, "N", "C", "H", "W")
        self.input_size = x.shape[2:]
        size = output_size(self, self.window, self.input_size, self.ceil_mode)
        self.output_shape = (*x.shape[:2], *size)
        return kernels.avg_pool2d(x, size, self.window, self.count_include_pad, None)

    def backward(self, dy: Array) -> Array:
        """Carry dy (N, C, OH, OW) back to x (N, C, H, W)."""
        expect_gradient(self, dy)
        return kernels.avg_pool2d_grad_input(dy, self.input_size, self.window, self.count_include_pad, None)
