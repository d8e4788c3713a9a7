"""Layers made of layers: a sequence, and a residual block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scratch_conv.kernels.windows import Array, Window
from scratch_conv.layers.activation import ReLU
from scratch_conv.layers.convolution import Conv2D
from scratch_conv.layers.initialization import Initialization, he_normal
from scratch_conv.layers.layer import Layer
from scratch_conv.layers.normalization import BatchNorm2D
from scratch_conv.layers.runs import passes
from scratch_conv.layers.saving import read_arrays, write_arrays
from scratch_conv.layers.summarizing import summary_table

__all__ = ["ResidualBlock", "Sequential"]


class Sequential(Layer):
    """Layers in sequence: each one's output is the next one's input.

    Args:
        layers: in order, each only once. Their names are "0", "1", "2", ...

    Raises:
        TypeError: one of them is not a layer.
        ValueError: one of them occurs twice.
    """

    def __init__(self, *layers: Layer) -> None:
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(f"expected layers, each an argument of its own; got {type(layer).__name__}")
        inside = [each for layer in layers for each in _within(layer)]
        for number, each in enumerate(inside):
            if each in inside[:number]:
                raise ValueError(f"{each!r} occurs twice, but keeps the data of one forward pass only")
        self.layers = list(layers)

    def forward(self, x: Array) -> Array:
        """Return the output of the last layer."""
        for each in passes(self.layers):
            x = each.forward(x)
        return x

    def backward(self, dy: Array) -> Array:
        """Return the gradient with respect to x, through all layers in reverse."""
        for each in reversed([*passes(self.layers)]):
            dy = each.backward(dy)
        return dy

    @property
    def children(self) -> dict[str, Layer]:
        """The layers, by their indices."""
        return {str(index): layer for index, layer in enumerate(self.layers)}

    def __getitem__(self, index: int) -> Layer:
        return self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"

    def summary(self, input_shape: tuple[int, ...]) -> None:
        """Print a table of the layers for inputs of a shape (C, H, W) or (I,), without the batch.

        It shows each layer's output shape, its number of parameters, how many a dense layer would need
        instead of a convolution, the multiplications for one image, and how many pixels an output depends on.

        Raises:
            ValueError: the shape has an axis for the batch too, or does not fit a layer.
        """
        if len(input_shape) not in (1, 3):
            expected = "expected the shape of one input without the batch, (C, H, W) or (I,)"
            raise ValueError(f"summary: {expected}; got {input_shape}")
        print(summary_table(self, input_shape))

    def save(self, path: str | Path) -> None:
        """Write all parameters and statistics to an .npz file, completely or not at all."""
        write_arrays(path, self.state)

    def load(self, path: str | Path) -> None:
        """Read what `save` wrote, for a network of the same layers.

        Raises:
            ValueError: the file is damaged, or of another network; the network is not changed.
            OSError: the file cannot be opened.
        """
        state = self.state
        for name, array in read_arrays(path, state).items():
            state[name][...] = array


def _within(layer: Layer) -> list[Layer]:
    """Return a layer and all layers inside it."""
    return [layer, *(each for child in layer.children.values() for each in _within(child))]


class ResidualBlock(Layer):
    """Two convolutions whose output is added to their input (He et al., Deep residual learning, 2016).

        y = ReLU(F(x) + x),    F = Conv2D, BatchNorm2D, ReLU, Conv2D, BatchNorm2D

    The gradient of a sum is the gradient of both its terms, so dx is that through F plus that along the
    shortcut. Where F changes the shape, the shortcut is a convolution of 1x1 with a BatchNorm2D.

    Shapes: x (N, C, H, W), y (N, O, H / stride, W / stride), rounded up.

    Args:
        in_channels: C.
        out_channels: O.
        stride: the step of the first convolution.
        init: draws the initial weights.
        rng: the generator of random numbers, or its seed; a fresh one by default.
        dtype: of the parameters.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        init: Initialization = he_normal,
        rng: np.random.Generator | int | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride
        rng = np.random.default_rng(rng)
        drawn: dict[str, Any] = {"bias": False, "init": init, "rng": rng, "dtype": dtype}
        self.conv1 = Conv2D(in_channels, out_channels, 3, stride, padding=1, **drawn)
        self.bn1 = BatchNorm2D(out_channels, dtype=dtype)
        self.relu1 = ReLU()
        self.conv2 = Conv2D(out_channels, out_channels, 3, padding=1, **drawn)
        self.bn2 = BatchNorm2D(out_channels, dtype=dtype)
        self.relu2 = ReLU()
        self.downsample: Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            shortcut = Conv2D(in_channels, out_channels, 1, stride, **drawn)
            self.downsample = Sequential(shortcut, BatchNorm2D(out_channels, dtype=dtype))

    def forward(self, x: Array) -> Array:
        """Return ReLU(F(x) + x)."""
        inner = self.relu1.forward(self.bn1.forward(self.conv1.forward(x)))
        residual = self.bn2.forward(self.conv2.forward(inner))
        shortcut = x if self.downsample is None else self.downsample.forward(x)
        return self.relu2.forward(residual + shortcut)

    def backward(self, dy: Array) -> Array:
        """Return the gradient with respect to x, through F and along the shortcut."""
        dsum = self.relu2.backward(dy)
        dinner = self.conv2.backward(self.bn2.backward(dsum))
        dx = self.conv1.backward(self.bn1.backward(self.relu1.backward(dinner)))
        return dx + (dsum if self.downsample is None else self.downsample.backward(dsum))

    def windows(self) -> list[Window]:
        """Return the windows of F, which see at least as much as the shortcut."""
        return [self.conv1.window, self.conv2.window]

    @property
    def children(self) -> dict[str, Layer]:
        """The layers inside, by their names."""
        inner = ("conv1", "bn1", "relu1", "conv2", "bn2", "relu2", "downsample")
        return {name: getattr(self, name) for name in inner if getattr(self, name) is not None}
