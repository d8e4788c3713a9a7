"""Which algorithm computes a convolution."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from scratch_conv.kernels.convolution import im2col, mec
from scratch_conv.kernels.geometry import Array, Pair, Window

ALGORITHMS: dict[str, ModuleType] = {"im2col": im2col, "mec": mec}

_forced: ModuleType | None = None


def conv2d(x: Array, w: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """Convolve x (N, C, H, W) with w (O, C/G, KH, KW) into y (N, O, OH, OW), adding bias (O,)."""
    return _algorithm().conv2d(x, w, bias, window, groups)


def conv2d_grad_weight(grad_output: Array, x: Array, window: Window, groups: int) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to w (O, C/G, KH, KW)."""
    return _algorithm().conv2d_grad_weight(grad_output, x, window, groups)


def conv2d_grad_input(grad_output: Array, w: Array, input_size: Pair, window: Window, groups: int) -> Array:
    """Carry the gradient of y (N, O, OH, OW) back to x (N, C, H, W) of `input_size` (H, W)."""
    return _algorithm().conv2d_grad_input(grad_output, w, input_size, window, groups)


@contextmanager
def convolution_algorithm(name: str) -> Iterator[None]:
    """Compute every convolution in the block by the named algorithm, whatever its shape asks for.

    Raises:
        KeyError: there is no algorithm of that name.
    """
    global _forced
    before, _forced = _forced, ALGORITHMS[name]
    try:
        yield
    finally:
        _forced = before


def _algorithm() -> ModuleType:
    return _forced or mec
