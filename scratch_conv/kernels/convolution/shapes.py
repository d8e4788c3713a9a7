"""What an algorithm for two-dimensional convolution is chosen by, and what it must provide."""

from typing import Any, NamedTuple, Protocol

from scratch_conv.kernels.windows import Array, Pair, Window

__all__ = ["Algorithm", "Shapes"]


class Shapes(NamedTuple):
    """The shapes of x (N, C, H, W), w (O, C/G, KH, KW) and y (N, O, OH, OW), and their dtype."""

    batch: int
    channels: int
    out_channels: int
    input_size: Pair
    output_size: Pair
    window: Window
    groups: int
    dtype: Any


class Algorithm(Protocol):
    """A way to compute a convolution and its derivatives: a module with these functions.

    Their operands and results are those of `im2col`.
    """

    def accepts(self, shapes: Shapes) -> bool:
        """Return whether the algorithm computes a convolution of such shapes."""

    def conv(self, x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
        """Return y, with the bias added."""

    def conv_grad_weight(self, grad_output: Array, x: Array, window: Window, groups: int) -> Array:
        """Return the gradient with respect to w."""

    def conv_grad_input(
        self, grad_output: Array, w: Array, input_size: Pair, window: Window, groups: int
    ) -> Array:
        """Return the gradient with respect to x."""
