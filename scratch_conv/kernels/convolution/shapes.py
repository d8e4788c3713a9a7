"""The shapes of a convolution's operands: what an algorithm is chosen by."""

from typing import Any, NamedTuple

from scratch_conv.kernels.windows import Pair, Window


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
