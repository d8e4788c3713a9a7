"""The time of each layer alone, forward and backward, after a training."""

import time
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scratch_conv.kernels.windows import Array
from scratch_conv.layers import Layer, Sequential

REPEATS = 7  # the first of which does not count: it allocates memory


def layer_times(network: nn.Module, images: Tensor, labels: Tensor) -> list[tuple[str, str, float, float]]:
    """Measure each layer of a network in torch alone, with the input that it gets in training.

    A layer that is called several times counts with the sum. The gradients, and the statistics of batch
    normalization, are not those of the training afterwards.

    Returns:
        Of each layer: its name, its type, and the seconds of a forward and of a backward pass, medians.
    """
    calls: list[tuple[str, nn.Module, Tensor, bool]] = []

    def record(name: str, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if len(inputs) == 1 and isinstance(inputs[0], Tensor) and inputs[0].is_floating_point():
            calls.append((name, layer, inputs[0].detach().clone(), inputs[0].requires_grad))

    hooks = [
        module.register_forward_pre_hook(lambda layer, inputs, name=name: record(name, layer, inputs))
        for name, module in network.named_modules()
        if not [*module.children()]
    ]
    network.train()
    F.cross_entropy(network(images), labels)
    for hook in hooks:
        hook.remove()
    rows: dict[str, tuple[str, str, float, float]] = {}
    for name, layer, x, needs_gradient in calls:
        _, kind, forward, backward = rows.get(name, (name, type(layer).__name__, 0.0, 0.0))
        times = [_passes(layer, x, needs_gradient) for _ in range(REPEATS)][1:]
        forwards, backwards = zip(*times, strict=True)
        rows[name] = (name, kind, forward + median(forwards), backward + median(backwards))
    network.zero_grad()
    return list(rows.values())


def _passes(layer: nn.Module, x: Tensor, needs_gradient: bool) -> tuple[float, float]:
    layer.zero_grad()
    x = x.requires_grad_(needs_gradient).clone()  # which a layer that works in place may overwrite
    began = time.perf_counter()
    y = layer(x)
    between = time.perf_counter()
    if not y.requires_grad:
        return between - began, 0.0
    dy = torch.ones_like(y)
    again = time.perf_counter()
    y.backward(dy)
    return between - began, time.perf_counter() - again


def numpy_layer_times(network: Layer, images: Array) -> list[tuple[str, str, float, float]]:
    """Measure each layer of a network in NumPy alone, likewise; no rows unless they are in sequence."""
    rows: list[tuple[str, str, float, float]] = []
    network.train()
    for number, layer in enumerate(network if isinstance(network, Sequential) else ()):
        times = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            y = layer.forward(images)
            between = time.perf_counter()
            layer.backward(y)
            times.append((between - began, time.perf_counter() - between))
        forwards, backwards = zip(*times[1:], strict=True)
        rows.append((str(number), type(layer).__name__, median(forwards), median(backwards)))
        images = y
    return rows
