"""The speed of single layers against torch's, forward and backward: `python -m benchmarks.layers`."""

from benchmarks.measuring import Times, in_turn, keep, machine, start_anew_for_measuring

if __name__ == "__main__":
    start_anew_for_measuring()

import argparse
from collections.abc import Callable
from dataclasses import asdict
from statistics import geometric_mean
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

import scratch_conv as sc

# Batch, channels in, channels out, height = width, and the arguments of conv2d; with where it comes from.
CONVOLUTIONS: list[tuple[str, int, int, int, int, int, dict[str, int]]] = [
    ("simple-cnn 1", 128, 3, 32, 32, 3, {"padding": 1}),
    ("simple-cnn 2", 128, 32, 64, 16, 3, {"padding": 1}),
    ("simple-cnn 3", 128, 64, 128, 8, 3, {"padding": 1}),
    ("ResNet-18 stem", 8, 3, 64, 224, 7, {"padding": 3, "stride": 2}),
    ("ResNet-18 stage 1", 16, 64, 64, 56, 3, {"padding": 1}),
    ("ResNet-18 stage 2", 16, 128, 128, 28, 3, {"padding": 1}),
    ("ResNet-18 stage 3", 16, 256, 256, 14, 3, {"padding": 1}),
    ("ResNet-18 stage 4", 16, 512, 512, 7, 3, {"padding": 1}),
    ("ResNet-18 downsampling", 16, 64, 128, 56, 3, {"padding": 1, "stride": 2}),
    ("bottleneck 1x1", 16, 64, 256, 56, 1, {}),
    ("dilated", 16, 64, 64, 28, 3, {"padding": 2, "dilation": 2}),
    ("5x5", 16, 32, 64, 28, 5, {"padding": 2}),
    ("grouped", 16, 128, 128, 28, 3, {"padding": 1, "groups": 32}),
    ("depthwise", 16, 128, 128, 28, 3, {"padding": 1, "groups": 128}),
]

# Batch, channels, height = width, and the arguments of max_pool2d.
POOLINGS: list[tuple[str, int, int, int, dict[str, int]]] = [
    ("simple-cnn 1", 128, 32, 32, {"kernel_size": 2}),
    ("simple-cnn 2", 128, 64, 16, {"kernel_size": 2}),
    ("simple-cnn 3", 128, 128, 8, {"kernel_size": 2}),
    ("ResNet-18", 8, 64, 112, {"kernel_size": 3, "stride": 2, "padding": 1}),
]

# The name of the function, the shape of the input and of the other operands, and the further arguments.
OTHERS: list[tuple[str, list[tuple[int, ...]], dict[str, Any]]] = [
    ("relu", [(128, 32, 32, 32)], {}),
    ("linear", [(128, 2048), (256, 2048), (256,)], {}),
    ("linear", [(128, 256), (10, 256), (10,)], {}),
    ("batch_norm", [(128, 32, 32, 32), (32,), (32,)], {"training": True}),
    ("batch_norm", [(128, 128, 8, 8), (128,), (128,)], {"training": True}),
    ("dropout", [(128, 32, 32, 32)], {}),
    ("softmax", [(128, 10)], {"dim": 1}),
    ("log_softmax", [(4096, 1000)], {"dim": 1}),
    ("cross_entropy", [(128, 10)], {"target": torch.arange(128) % 10}),
]


def main() -> None:
    """Measure, print a table and keep the raw figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often both are timed in turn")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each timing")
    options = parser.parse_args()
    console = Console(highlight=False)
    console.print(machine(), soft_wrap=True)
    measured: dict[str, dict[str, dict[str, Times]]] = {"convolution": {}, "max pooling": {}, "others": {}}
    for name, *shape in CONVOLUTIONS:
        measured["convolution"][name] = measure(convolution(*shape), options.rounds, options.seconds)
    for name, *pooled in POOLINGS:
        measured["max pooling"][name] = measure(pooling(*pooled), options.rounds, options.seconds)
    for function, shapes, arguments in OTHERS:
        name = f"{function} of {' x '.join(map(str, shapes[0]))}"
        measured["others"][name] = measure(
            other(function, shapes, arguments), options.rounds, options.seconds
        )
    for operation, layers in measured.items():
        console.print(table(operation, layers))
    raw = {
        operation: {
            name: {way: asdict(times) for way, times in both.items()} for name, both in layers.items()
        }
        for operation, layers in measured.items()
    }
    console.print(f"Raw figures: {keep('layers', raw)}", soft_wrap=True)


class Layer(NamedTuple):
    """An operation of torch's, the same of ours, and the operands of both."""

    torchs: Callable[..., Tensor]
    ours: Callable[..., Tensor]
    operands: list[Tensor]


def convolution(batch: Any, ins: Any, outs: Any, size: Any, kernel_size: Any, arguments: Any) -> Layer:
    """Describe a convolution of `batch` pictures."""
    weight = torch.randn(outs, ins // arguments.get("groups", 1), kernel_size, kernel_size)
    operands = [torch.randn(batch, ins, size, size), weight, torch.randn(outs)]
    return Layer(
        lambda *tensors: F.conv2d(*tensors, **arguments),
        lambda *tensors: sc.functional.conv2d(*tensors, **arguments),
        [operand.requires_grad_() for operand in operands],
    )


def pooling(batch: Any, channels: Any, size: Any, arguments: Any) -> Layer:
    """Describe a max pooling of `batch` pictures."""
    return Layer(
        lambda x: F.max_pool2d(x, **arguments),
        lambda x: sc.functional.max_pool2d(x, **arguments),
        [torch.randn(batch, channels, size, size, requires_grad=True)],
    )


def other(function: str, shapes: list[tuple[int, ...]], arguments: dict[str, Any]) -> Layer:
    """Describe a call of one of the other functions; the statistics of batch_norm are not kept."""
    absent = (None, None) if function == "batch_norm" else ()

    def calls(library: Any) -> Callable[..., Tensor]:
        return lambda x, *rest: getattr(library, function)(x, *absent, *rest, **arguments)

    operands = [torch.randn(shape, requires_grad=True) for shape in shapes]
    return Layer(calls(F), calls(sc.functional), operands)


def measure(layer: Layer, rounds: int, seconds: float) -> dict[str, Times]:
    """Time the forward pass, and the backward pass to every operand."""
    torchs, ours, operands = layer
    outputs = torchs(*operands), ours(*operands)
    grad_output = torch.randn_like(outputs[0])

    def backward(output: Tensor) -> Callable[[], object]:
        return lambda: torch.autograd.grad(output, operands, grad_output, retain_graph=True)

    return {
        "forward": in_turn(lambda: torchs(*operands), lambda: ours(*operands), rounds, seconds),
        "backward": in_turn(backward(outputs[0]), backward(outputs[1]), rounds, seconds),
    }


def table(operation: str, layers: dict[str, dict[str, Times]]) -> Table:
    """Lay out torch's time over ours: the median and the extremes of the rounds."""
    shown = Table(f"{operation}: torch's time / ours", "forward", "backward")
    for name, both in layers.items():
        shown.add_row(name, str(both["forward"]), str(both["backward"]))
    means = [geometric_mean(both[way].ratio for both in layers.values()) for way in ("forward", "backward")]
    shown.add_row("geometric mean", *(f"{mean:.2f}" for mean in means), style="bold")
    return shown


if __name__ == "__main__":
    main()
