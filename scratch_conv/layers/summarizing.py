"""The table of a network's layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from copy import deepcopy

import numpy as np

from scratch_conv.layers.layer import Layer

__all__ = ["summary_table"]

_HEADINGS = ("layer", "output shape", "parameters", "as a dense layer", "multiplications", "receptive field")


def summary_table(layers: Iterable[Layer], input_shape: tuple[int, ...]) -> str:
    """Return a table of layers in sequence, for the shape of one input, (C, H, W) or (I,).

    Columns besides the output shape and the number of parameters:
        as a dense layer: the parameters of a dense layer from all inputs of a convolution to all its outputs:
            it shows what sharing a small filter among all positions saves.
        multiplications: of weights with inputs, for one image.
        receptive field: the pixels of the input, padding included, that one output depends on. It is f = 1 at
            first; a window of k pixels with stride s makes it f + (k - 1) · j, where j, the product of all
            strides before, is how many pixels the window's own pixels lie apart.
    """
    rows, parameters, products = [_HEADINGS, ("input", _shape(input_shape), *[""] * 4)], 0, 0
    field, apart = [1, 1], [1, 1]
    for layer, output_shape in _run(layers, input_shape):
        for window in layer.windows():
            for axis in (0, 1):
                field[axis] += (window.effective_kernel_size[axis] - 1) * apart[axis]
                apart[axis] *= window.stride[axis]
        count, multiplied = sum(each.size for each in layer.parameters.values()), _multiplications(layer)
        cells = (
            f"{count:,}",
            _dense(layer, input_shape, output_shape),
            f"{multiplied:,}" if multiplied else "",
        )
        seen = _shape(tuple(field)) if len(output_shape) == 3 else ""
        rows.append((repr(layer), _shape(output_shape), *cells, seen))
        input_shape, parameters, products = output_shape, parameters + count, products + multiplied
    rows.append(("all", "", f"{parameters:,}", "", f"{products:,}", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _run(layers: Iterable[Layer], input_shape: tuple[int, ...]) -> Iterator[tuple[Layer, tuple[int, ...]]]:
    """Yield copies of the layers that have computed an image of zeros, and the shapes of their outputs."""
    x = np.zeros((1, *input_shape), np.float32)
    for layer in layers:
        copied = deepcopy(layer).eval()
        x = copied.forward(x)
        yield copied, x.shape[1:]


def _multiplications(layer: Layer) -> int:
    """Return the products of weights and inputs in the last forward pass: a filter's, once a position."""
    weight, shape = layer.parameters.get("weight"), layer.output_shape
    own = 0 if weight is None or weight.ndim < 2 or shape is None else weight.size * math.prod(shape[2:])
    return own + sum(map(_multiplications, layer.children.values()))


def _dense(layer: Layer, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> str:
    """Return the number of weights and biases of a dense layer instead of a convolution."""
    convolves = any(parameter.ndim == 4 for parameter in layer.parameters.values())
    return f"{(math.prod(input_shape) + 1) * math.prod(output_shape):,}" if convolves else ""


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    return [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
