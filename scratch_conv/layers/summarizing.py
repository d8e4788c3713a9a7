"""The table of a network's layers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import deepcopy

import numpy as np

from scratch_conv.layers.layer import Layer

__all__ = ["summary_table"]

_HEADINGS = ("layer", "output shape", "parameters", "as a dense layer")


def summary_table(layers: Iterable[Layer], input_shape: tuple[int, ...]) -> str:
    """Return a table of layers in sequence, for the shape of one input, (C, H, W) or (I,).

    The last column is the number of parameters of a dense layer from all inputs of a convolution to all its
    outputs: it shows what sharing a small filter among all positions saves.
    """
    rows, total = [_HEADINGS, ("input", _shape(input_shape), "", "")], 0
    for layer, output_shape in _shapes(layers, input_shape):
        count = sum(parameter.size for parameter in layer.parameters.values())
        dense = _dense(layer, input_shape, output_shape)
        rows.append((repr(layer), _shape(output_shape), f"{count:,}", dense))
        input_shape, total = output_shape, total + count
    rows.append(("all", "", f"{total:,}", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _shapes(layers: Iterable[Layer], input_shape: tuple[int, ...]) -> Iterable[tuple[Layer, tuple[int, ...]]]:
    """Yield the layers with the shape of their output, found by running an image of zeros through them."""
    x = np.zeros((1, *input_shape), np.float32)
    for layer in layers:
        x = deepcopy(layer).eval().forward(x)
        yield layer, x.shape[1:]


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
