"""Every layer's backward pass against central differences of its forward pass."""

import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from scratch_conv.demos.showing import BLUE, RED, explain, save_figure, show_table
from scratch_conv.layers import (
    AvgPool2D,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    GradientCheck,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    ResidualBlock,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    gradient_check,
)
from scratch_conv.layers.gradient_checking import BOUND

SHAPE = (2, 4, 6, 5)  # of the input of every layer, and of every network


def layers(rng: np.random.Generator) -> dict[str, Layer]:
    """Return a layer of each kind, in each of its modes, and a residual network."""
    first = Conv2D(4, 3, 3, padding=1, rng=rng)
    return {
        "Conv2D": Conv2D(4, 3, 3, rng=rng),
        "Conv2D, strided and dilated": Conv2D(4, 3, 3, stride=2, padding=2, dilation=2, rng=rng),
        "Conv2D in two groups": Conv2D(4, 6, (3, 2), groups=2, rng=rng),
        "MaxPool2D": MaxPool2D(2),
        "MaxPool2D, overlapping": MaxPool2D(3, stride=1, padding=1),
        "AvgPool2D": AvgPool2D(2),
        "GlobalAvgPool2D": GlobalAvgPool2D(),
        "BatchNorm2D in training": BatchNorm2D(4),
        "BatchNorm2D in evaluation": BatchNorm2D(4).eval(),
        "LayerNorm": LayerNorm((6, 5)),
        "ReLU": ReLU(),
        "LeakyReLU": LeakyReLU(),
        "Sigmoid": Sigmoid(),
        "Tanh": Tanh(),
        "Softmax": Softmax(),
        "Dropout": Dropout(0.5, rng=rng),
        "Flatten and Dense": Sequential(Flatten(), Dense(120, 5, rng=rng)),
        "ResidualBlock": ResidualBlock(4, 4, rng=rng),
        "ResidualBlock with a shortcut": ResidualBlock(4, 6, stride=2, rng=rng),
        "a residual network": Sequential(
            *(first, BatchNorm2D(3), ReLU(), ResidualBlock(3, 3, rng=rng), ResidualBlock(3, 4, 2, rng=rng)),
            *(MaxPool2D(2), Flatten(), Dense(4, 3, rng=rng), Softmax()),
        ),
    }


def run(seed: int, out: Path) -> bool:
    """Check every layer; print a table, write a figure to a folder, and return whether all pass."""
    explain(
        f"""Each pixel and each weight is changed a little in both directions; the difference of the outputs
        is the derivative, whatever the formula says. Look whether an error comes near the bound,
        {BOUND:g}. It takes about ten seconds."""
    )
    rng = np.random.default_rng(seed)
    began = time.perf_counter()
    checks = {
        name: gradient_check(_used(layer, rng), rng.standard_normal(SHAPE))
        for name, layer in layers(rng).items()
    }
    show_table(
        f"Worst relative error of a gradient, in float64 ({time.perf_counter() - began:.1f} s)",
        ("layer", "error", "at", ""),
        [_row(name, check) for name, check in checks.items()],
    )
    _draw(checks, out / "gradcheck.png")
    explain(
        """What is left are the errors of the differences, not of the layers: they grow with the number of
        operations that are differentiated at once. A formula that is off by a factor of 2 has an error of
        0.5."""
    )
    return all(check.passed for check in checks.values())


def _used(layer: Layer, rng: np.random.Generator) -> Layer:
    """Change parameters and statistics from their initial values: a weight of 1 hides that it is not used."""
    for array in layer.state.values():
        if array.dtype.kind == "f":
            array += rng.uniform(0, 0.5, array.shape).astype(array.dtype)
    return layer


def _row(name: str, check: GradientCheck) -> tuple[str, ...]:
    worst = check.element
    element = f"{worst.name}[{','.join(map(str, worst.index))}]"
    verdict = "passed" if check.passed else "FAILED"
    return name, f"{worst.error:.1e}", element, verdict


def _draw(checks: dict[str, GradientCheck], path: Path) -> None:
    figure = Figure((9, 0.32 * len(checks) + 1), layout="constrained")
    axes = figure.subplots()
    names = list(reversed(checks))
    errors = [max(checks[name].error, 1e-16) for name in names]
    axes.barh(names, errors, color=[BLUE if checks[name].passed else RED for name in names], left=1e-16)
    axes.axvline(BOUND, color=RED, linestyle="--", label="bound")
    axes.set(xscale="log", xlim=(1e-13, 1e-3), xlabel="worst relative error of a gradient", ylabel="layer")
    axes.margins(y=0.02)
    axes.set_axisbelow(True)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper right")
    save_figure(figure, path)
