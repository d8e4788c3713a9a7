"""The speed of single layers, forward and backward, compared: `python -m benchmarks.layers`.

The others are torch (oneDNN), JAX if it is installed, im2col with tensordot as in Chainer, a strided view of
all windows with einsum, and on a small case plain loops; a matrix product shows the upper limit. All are
timed in turn in one process. Prints tables; writes layers.json and layers.png to benchmarks/results.
"""

from benchmarks.measuring import (
    KERNELS,
    OURS,
    RESULTS,
    TORCH,
    Options,
    Times,
    in_turn,
    keep,
    machine,
    matrix_product_speed,
    options,
    restart_for_measuring,
)

if __name__ == "__main__":
    restart_for_measuring()

from collections.abc import Callable
from math import prod
from pathlib import Path
from statistics import geometric_mean
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

import scratch_conv as sc
from benchmarks.layer_cases import CASES, Case
from benchmarks.other_ways import Im2col, Jax, Loops, Slide, Windows
from scratch_conv import kernels

# Batch, channels in, channels out, height = width, and the arguments of conv2d; and its origin.
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
    ("ResNet-18 downsampling 2", 16, 128, 256, 28, 3, {"padding": 1, "stride": 2}),
    ("ResNet-18 downsampling 3", 16, 256, 512, 14, 3, {"padding": 1, "stride": 2}),
    ("ResNet-18 shortcut", 16, 64, 128, 56, 1, {"stride": 2}),
    ("ResNet-18 shortcut 2", 16, 128, 256, 28, 1, {"stride": 2}),
    ("ResNet-18 shortcut 3", 16, 256, 512, 14, 1, {"stride": 2}),
    ("VGG-11 stage 1", 128, 3, 64, 32, 3, {"padding": 1}),
    ("VGG-11 stage 2", 128, 64, 128, 16, 3, {"padding": 1}),
    ("VGG-11 stage 3", 128, 128, 256, 8, 3, {"padding": 1}),
    ("VGG-11 stage 3, second", 128, 256, 256, 8, 3, {"padding": 1}),
    ("VGG-11 stage 4", 128, 256, 512, 4, 3, {"padding": 1}),
    ("VGG-11 stage 4, second", 128, 512, 512, 4, 3, {"padding": 1}),
    ("VGG-11 stage 5", 128, 512, 512, 2, 3, {"padding": 1}),
    ("bottleneck 1x1", 16, 64, 256, 56, 1, {}),
    ("bottleneck 1x1 back", 16, 256, 64, 56, 1, {}),
    ("bottleneck 1x1, stage 3", 16, 1024, 256, 14, 1, {}),
    ("bottleneck 1x1, stride 2", 16, 256, 512, 56, 1, {"stride": 2}),
    ("5x5 stem", 16, 3, 64, 112, 5, {"padding": 2, "stride": 2}),
    ("dilated", 16, 64, 64, 28, 3, {"padding": 2, "dilation": 2}),
    ("5x5", 16, 32, 64, 28, 5, {"padding": 2}),
    ("grouped", 16, 128, 128, 28, 3, {"padding": 1, "groups": 32}),
    ("depthwise", 16, 128, 128, 28, 3, {"padding": 1, "groups": 128}),
    ("MobileNet depthwise 1", 8, 32, 32, 112, 3, {"padding": 1, "groups": 32}),
    ("MobileNet depthwise 2", 8, 64, 64, 112, 3, {"padding": 1, "stride": 2, "groups": 64}),
    ("MobileNet depthwise 7", 8, 512, 512, 14, 3, {"padding": 1, "groups": 512}),
]

# A case that plain loops over pixels finish within a second.
SMALL: list[tuple[str, int, int, int, int, int, dict[str, int]]] = [
    ("small", 1, 3, 8, 8, 3, {"padding": 1}),
]

# The function, batch, channels, height = width, and its arguments; and its origin.
POOLINGS: list[tuple[str, str, int, int, int, dict[str, Any]]] = [
    ("simple-cnn 1", "max_pool2d", 128, 32, 32, {"kernel_size": 2}),
    ("simple-cnn 2", "max_pool2d", 128, 64, 16, {"kernel_size": 2}),
    ("simple-cnn 3", "max_pool2d", 128, 128, 8, {"kernel_size": 2}),
    ("VGG-11", "max_pool2d", 8, 64, 224, {"kernel_size": 2}),
    ("ResNet-18", "max_pool2d", 8, 64, 112, {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("AlexNet", "max_pool2d", 32, 64, 55, {"kernel_size": 3, "stride": 2}),
    ("Inception", "max_pool2d", 16, 192, 28, {"kernel_size": 3, "stride": 1, "padding": 1}),
    ("LeNet", "avg_pool2d", 128, 6, 28, {"kernel_size": 2}),
    ("DenseNet transition", "avg_pool2d", 16, 128, 56, {"kernel_size": 2}),
    ("Inception average", "avg_pool2d", 16, 192, 28, {"kernel_size": 3, "stride": 1, "padding": 1}),
    ("ResNet-18 head", "adaptive_avg_pool2d", 128, 512, 7, {"output_size": 1}),
]

PASSES = ("forward", "backward")
Passes = dict[str, Callable[[], object]]


class Layer(NamedTuple):
    """A layer in torch and in ours, its operands, and other ways to compute it."""

    function: str
    torchs: Callable[..., Tensor]
    ours: Callable[..., Tensor]
    operands: list[Tensor]
    others: Callable[[Tensor], dict[str, Passes]]
    """By name: the forward and the backward pass, for a gradient of the output."""
    operations: int
    """Floating point operations of the forward pass, or 0 if they are not mainly products."""


def main() -> None:
    """Measure, print tables, and write the raw figures and a chart."""
    given = options(__doc__, rounds=7, seconds=0.2)
    if without_case():
        raise SystemExit(f"add to benchmarks/layer_cases.py a case for {', '.join(without_case())}")
    console = Console(highlight=False, width=160)
    console.print(machine(), soft_wrap=True)
    limit = matrix_product_speed()
    console.print(f"A matrix product, 1024 x 1024 x 1024: {limit / 1e9:.0f} GFLOP/s")
    groups: dict[str, dict[str, Layer]] = {
        "small convolution": {case[0]: convolution(*case[1:], loops=True) for case in SMALL},
        "convolution": {case[0]: convolution(*case[1:]) for case in CONVOLUTIONS},
        "pooling": {f"{case[0]} {case[1]}": pooling(*case[1:]) for case in POOLINGS},
        "others": {case.name: other(case) for case in CASES},
    }
    measured = {}
    for group, layers in groups.items():
        if given.openmp_as_found:  # which only affects torch's threads
            layers = {name: layer._replace(others=lambda _: {}) for name, layer in layers.items()}
        chosen = list(layers.items())[: 2 if given.quick else None]
        measured[group] = {name: measure(layer, given) for name, layer in chosen}
        operations = {name: layer.operations for name, layer in layers.items()}
        console.print(table(group, measured[group], operations, limit))
    console.print(by_function(groups, measured))
    raw = {
        group: {name: {way: both[way].seconds for way in PASSES} for name, both in layers.items()}
        for group, layers in measured.items()
    }
    name = given.name("layers")
    console.print(f"Raw figures: {keep(name, {'matrix product': limit, **raw})}", soft_wrap=True)
    console.print(f"Chart: {draw(measured, RESULTS / f'{name}.png')}", soft_wrap=True)


def convolution(
    batch: int,
    ins: int,
    outs: int,
    size: int,
    kernel_size: int,
    arguments: dict[str, Any],
    loops: bool = False,
) -> Layer:
    """Describe a convolution of `batch` images; with `loops`, plain loops are among the other ways."""
    groups = arguments.get("groups", 1)
    slide = Slide(kernel_size, **{name: value for name, value in arguments.items() if name != "groups"})
    x, w = torch.randn(batch, ins, size, size), torch.randn(outs, ins // groups, kernel_size, kernel_size)
    positions = slide.count(size + 2 * slide.padding)

    def others(grad_output: Tensor) -> dict[str, Passes]:
        dy, *arrays = (tensor.detach().numpy() for tensor in (grad_output, x, w))
        (images, weights), window = arrays, window_of(slide)
        ways: dict[str, Any] = {"im2col": Im2col, "windows": Windows} if groups == 1 else {}
        ways |= {"loops": Loops} if loops else {}
        passes: dict[str, Passes] = {
            name: {
                "forward": lambda way=way: way.convolve(*arrays, slide),  # type: ignore[misc]
                "backward": lambda way=way: way.convolve_backward(dy, *arrays, slide),  # type: ignore[misc]
            }
            for name, way in ways.items()
        }
        if Jax.installed:
            passes["jax"] = Jax.passes(Jax.convolution(slide, groups), dy, *arrays)
        if passes:
            passes[KERNELS] = {
                "forward": lambda: kernels.conv2d(images, weights, None, window, groups),
                "backward": lambda: (
                    kernels.conv2d_grad_input(dy, weights, (size, size), window, groups),
                    kernels.conv2d_grad_weight(dy, images, window, groups),
                ),
            }
        return passes

    return Layer(
        "conv2d",
        lambda *tensors: F.conv2d(*tensors, **arguments),
        lambda *tensors: sc.functional.conv2d(*tensors, **arguments),
        [x.requires_grad_(), w.requires_grad_(), torch.randn(outs, requires_grad=True)],
        others,
        2 * batch * outs * positions**2 * prod(w.shape[1:]),
    )


def pooling(function: str, batch: int, channels: int, size: int, arguments: dict[str, Any]) -> Layer:
    """Describe a pooling of `batch` images; there are other ways of max pooling only."""
    x = torch.randn(batch, channels, size, size, requires_grad=True)

    def others(grad_output: Tensor) -> dict[str, Passes]:
        if function != "max_pool2d":
            return {}
        slide = Slide(arguments["kernel_size"], arguments.get("stride", arguments["kernel_size"]))
        slide = slide._replace(padding=arguments.get("padding", 0))
        dy, array = grad_output.numpy(), x.detach().numpy()
        ways: dict[str, Any] = {"im2col": Im2col, "windows": Windows}
        passes: dict[str, Passes] = {
            name: {
                "forward": lambda way=way: way.max_pool(array, slide),  # type: ignore[misc]
                "backward": lambda way=way: way.max_pool_backward(dy, array, slide),  # type: ignore[misc]
            }
            for name, way in ways.items()
        }
        if Jax.installed:
            passes["jax"] = Jax.passes(Jax.max_pooling(slide), dy, array)
        window = window_of(slide)

        def backward() -> object:
            """Find the maxima again, as the others do: which get only the input."""
            _, indices = kernels.max_pool2d(array, window, False)
            return kernels.max_pool2d_scatter(dy, indices, array.shape[2:], window)

        passes[KERNELS] = {
            "forward": lambda: kernels.max_pool2d(array, window, False),
            "backward": backward,
        }
        return passes

    return Layer(
        function,
        lambda x: getattr(F, function)(x, **arguments),
        lambda x: getattr(sc.functional, function)(x, **arguments),
        [x],
        others,
        0,
    )


def window_of(slide: Slide) -> kernels.Window:
    """Return a square window for the kernels."""
    kernel_size, stride, padding, dilation = ((size, size) for size in slide)
    return kernels.Window(kernel_size, stride, (padding, padding), dilation)


def other(case: Case) -> Layer:
    """Describe a call of any function."""
    operands = {name: drawn(given).requires_grad_() for name, given in case.operands.items()}
    arguments = {name: given() if callable(given) else given for name, given in case.arguments.items()}

    def calls(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *tensors: function(**dict(zip(operands, tensors, strict=True)), **arguments)

    torchs = getattr(F, case.function, None) or getattr(torch, case.function)  # flatten
    ours = getattr(sc.functional, case.function)
    return Layer(case.function, calls(torchs), calls(ours), [*operands.values()], lambda _: {}, 0)


def drawn(given: Any) -> Tensor:
    """Return a tensor of normal random numbers of a shape, or what is drawn by the case itself."""
    return given() if callable(given) else torch.randn(given)


def without_case() -> list[str]:
    """Return our functions that no case calls."""
    called = {"conv2d", *(case[1] for case in POOLINGS), *(case.function for case in CASES)}
    return sorted({*sc.functional.__all__} - called)


def measure(layer: Layer, given: Options) -> dict[str, Times]:
    """Time the forward pass, and the backward pass with respect to every operand."""
    ways = {OURS: layer.ours, TORCH: layer.torchs}
    outputs = {name: way(*layer.operands) for name, way in ways.items()}
    grad_output = torch.randn_like(outputs[TORCH])
    others = layer.others(grad_output)

    def forward(way: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: way(*layer.operands)

    def backward(output: Tensor) -> Callable[[], object]:
        return lambda: torch.autograd.grad(output, layer.operands, grad_output, retain_graph=True)

    programs: dict[str, Passes] = {
        "forward": {name: forward(way) for name, way in ways.items()},
        "backward": {name: backward(output) for name, output in outputs.items()},
    }
    return {
        way: in_turn(
            programs[way] | {name: passes[way] for name, passes in others.items()},
            given.rounds,
            given.seconds,
        )
        for way in PASSES
    }


def table(group: str, layers: dict[str, dict[str, Times]], operations: dict[str, int], limit: float) -> Table:
    """Return a table of the others' time / ours, forward | backward: the median, for torch also the extremes.

    Torch is compared with our layers in torch, other functions of arrays with our kernels. For a convolution
    the last column is the speed of our forward pass as a fraction of a matrix product's.
    """
    others = [name for name in _names(layers) if name not in (TORCH, OURS, KERNELS)]
    has_products = any(operations[name] for name in layers)
    shown = Table(title=f"{group}: the others' time / ours", header_style="")
    for column in (
        "",
        *(f"{TORCH} {way}" for way in PASSES),
        *others,
        *(["of a product"] if has_products else []),
    ):
        shown.add_column(column, justify="right" if column else "left")
    for name, both in layers.items():
        cells = [str(both[way]) for way in PASSES]
        cells += [_pair(both, other) if other in both["forward"].seconds else "" for other in others]
        if has_products:
            cells.append(f"{operations[name] / both['forward'].median(OURS) / limit:.0%}")
        shown.add_row(name, *cells)
    torchs = [f"{_mean(layers, way, TORCH):.2f}" for way in PASSES]
    means = [" | ".join(f"{_mean(layers, way, other, KERNELS):.2f}" for way in PASSES) for other in others]
    shown.add_row("geometric mean", *torchs, *means, style="bold")
    return shown


def by_function(
    groups: dict[str, dict[str, Layer]], measured: dict[str, dict[str, dict[str, Times]]]
) -> Table:
    """Return a table of torch's time / ours of each function: the geometric mean over its cases."""
    functions: dict[str, dict[str, dict[str, Times]]] = {}
    for group, layers in measured.items():
        for name, both in layers.items():
            functions.setdefault(groups[group][name].function, {})[f"{group} {name}"] = both
    shown = Table("", "cases", *PASSES, title="each function: torch's time / ours", header_style="")
    for function, layers in sorted(functions.items()):
        means = [f"{_mean(layers, way, TORCH):.2f}" for way in PASSES]
        shown.add_row(function, str(len(layers)), *means)
    return shown


def _names(layers: dict[str, dict[str, Times]]) -> list[str]:
    """Return the names of the ways that were timed, in order."""
    return list(dict.fromkeys(name for both in layers.values() for name in both["forward"].seconds))


def _pair(both: dict[str, Times], other: str) -> str:
    return " | ".join(f"{both[way].ratio(other, KERNELS):.2f}" for way in PASSES)


def _mean(layers: dict[str, dict[str, Times]], way: str, other: str, ours: str = OURS) -> float:
    """Return the geometric mean over the layers that the other way computes."""
    computed = [both[way] for both in layers.values() if other in both[way].seconds]
    return geometric_mean(times.ratio(other, ours) for times in computed)


def draw(measured: dict[str, dict[str, dict[str, Times]]], path: Path) -> Path:
    """Draw torch's time over ours, a bar for each layer and pass, on a logarithmic axis around 1."""
    from matplotlib.figure import Figure

    rows = [
        (f"{name} ({group})", both) for group, layers in measured.items() for name, both in layers.items()
    ]
    figure = Figure(figsize=(9, 1 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    positions = range(len(rows))
    for offset, way in ((-0.2, "forward"), (0.2, "backward")):
        difference = [both[way].ratio() - 1 for _, both in rows]
        axes.barh([position + offset for position in positions], difference, 0.4, left=1, label=way)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(positions, [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first at the top, without empty bands
    axes.set_xlabel("torch's time / ours: to the right of 1 we are faster")
    axes.legend()
    figure.savefig(path, dpi=120)
    return path


if __name__ == "__main__":
    main()
