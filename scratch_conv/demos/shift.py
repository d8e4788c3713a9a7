"""Why weights are shared: shifted digits, classified by two convolutional networks and a dense one."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from scratch_conv.demos.images import normalised
from scratch_conv.demos.showing import BLUE, GREEN, GREY, RED, explain, save_figure, show_image, show_table
from scratch_conv.kernels.windows import Array
from scratch_conv.layers import (
    Adam,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    MaxPool2D,
    ReLU,
    Sequential,
    Softmax,
    accuracy,
    fit,
    predict,
)
from scratch_conv.training.data.datasets import open_images, resolve_dataset

TRAIN_COUNT, TEST_COUNT, EPOCHS = 8_000, 500, 4
MARGIN = 12  # pixels around MNIST's 28x28: no shift moves a digit off, and windows see it whole
SHIFTS = range(9)  # pixels
DIRECTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
COLOURS = {"pooled CNN": GREEN, "CNN": BLUE, "dense": RED}


def run(data_dir: Path | None, seed: int, out: Path) -> None:
    """Train three networks on centred digits, test them on shifted ones; write two figures to a folder.

    Raises:
        InputError: MNIST is not in `data_dir`, or without one cannot be downloaded.
    """
    data = open_images(resolve_dataset("mnist", data_dir), data_dir, TRAIN_COUNT, seed)
    print(data.describe())
    explain(
        """Three networks learn digits in the middle of a wide dark canvas, and are tested on digits that are
        moved. Look how fast each curve falls: all see the same pixels, only elsewhere."""
    )
    rng = np.random.default_rng(seed)
    images, labels = normalised(framed(data.train[0]), "mnist"), data.train[1]
    tests, test_labels = framed(data.test[0][:TEST_COUNT]), data.test[1][:TEST_COUNT]
    networks = {"pooled CNN": build_pooled(rng), "CNN": build_cnn(rng), "dense": build_dense(rng)}
    for name, network in networks.items():
        print(f"Training the {name}{' network' if name == 'dense' else ''}")
        fit(network, images, labels, EPOCHS, optimizer=Adam(network, lr=0.003), rng=rng)
    curves = {
        name: [_accuracy_shifted(network, tests, test_labels, pixels) for pixels in SHIFTS]
        for name, network in networks.items()
    }
    counts = {name: sum(p.size for p in network.parameters.values()) for name, network in networks.items()}
    show_table(
        f"Accuracy on {len(tests):,} test digits, shifted up, down, left and right",
        ("pixels", *(f"{name}, {count:,} parameters" for name, count in counts.items())),
        [(str(pixels), *(f"{curves[name][pixels]:.1%}" for name in networks)) for pixels in SHIFTS],
    )
    _draw_curves(curves, out / "shift.png")
    chosen = [int(np.argmax(test_labels == digit)) for digit in (0, 4, 7)]
    _draw_digits(networks, tests[chosen], test_labels[chosen], out / "shift-digits.png")
    explain(
        """The dense network has a weight for each pixel, and knows digits in the middle alone. Convolutions
        find the same strokes wherever they are, but the CNN's dense head asks where they were found, so it
        falls too. Only when the last maps are averaged, which forgets places, does shift hardly matter."""
    )


def build_pooled(rng: np.random.Generator) -> Sequential:
    """Return three convolutions, whose maps are averaged, and a dense layer: 12,738 parameters."""
    return Sequential(
        *_convolutions(rng),
        *(Conv2D(24, 48, 3, rng=rng), ReLU(), GlobalAvgPool2D()),
        *(Flatten(), Dense(48, 10, rng=rng)),
    )


def build_cnn(rng: np.random.Generator) -> Sequential:
    """Return two convolutions with pooling and two dense layers: 188,402 parameters."""
    return Sequential(
        *_convolutions(rng),
        *(Flatten(), Dense(24 * 11 * 11, 64, rng=rng), ReLU(), Dense(64, 10, rng=rng)),
    )


def build_dense(rng: np.random.Generator) -> Sequential:
    """Return two dense layers: 195,490 parameters."""
    return Sequential(Flatten(), Dense(52 * 52, 72, rng=rng), ReLU(), Dense(72, 10, rng=rng))


def _convolutions(rng: np.random.Generator) -> list[Layer]:
    """Return two convolutions with pooling: from 1x52x52 to 24x11x11."""
    first = [Conv2D(1, 8, 3, rng=rng), ReLU(), MaxPool2D(2)]
    return [*first, Conv2D(8, 24, 3, rng=rng), ReLU(), MaxPool2D(2)]


def framed(images: Array) -> Array:
    """Return images (..., 28, 28) in the middle of a canvas of zeros, (..., 52, 52)."""
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + [(MARGIN, MARGIN)] * 2)


def shifted(images: Array, rows: int, columns: int) -> Array:
    """Return images (..., H, W) shifted down by rows and right by columns, filled up with zeros."""
    result = np.zeros_like(images)
    (to_rows, from_rows), (to_columns, from_columns) = _overlap(rows), _overlap(columns)
    result[..., to_rows, to_columns] = images[..., from_rows, from_columns]
    return result


def _overlap(step: int) -> tuple[slice, slice]:
    """Return where pixels go on an axis, and where they come from."""
    later, earlier = slice(abs(step), None), slice(None, -abs(step) or None)
    return (later, earlier) if step > 0 else (earlier, later)


def _accuracy_shifted(network: Sequential, images: Array, labels: Array, pixels: int) -> float:
    """Return the accuracy on shifted digits, the mean over the directions."""
    each = [
        accuracy(network, normalised(shifted(images, rows * pixels, columns * pixels), "mnist"), labels)
        for rows, columns in DIRECTIONS.values()
    ]
    return float(np.mean(each))


def _draw_curves(curves: Mapping[str, list[float]], path: Path) -> None:
    figure = Figure((7, 4), layout="constrained")
    axes = figure.subplots()
    for name, values in curves.items():
        axes.plot(SHIFTS, values, marker="o", color=COLOURS[name], label=name)
    axes.axhline(0.1, color=GREY, linestyle=":", label="guessing")
    axes.set(xlabel="shift, pixels", ylim=(0, 1.02), title="test accuracy on shifted digits")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def _draw_digits(networks: Mapping[str, Sequential], images: Array, labels: Array, path: Path) -> None:
    """Draw some digits shifted to the right, each with the networks' predictions and probabilities."""
    steps = SHIFTS[::2]
    figure = Figure((11, 3.1 * len(images)), layout="constrained")
    for line, image, label in zip(figure.subplots(len(images), len(steps)), images, labels, strict=True):
        for axes, pixels in zip(line, steps, strict=True):
            moved = shifted(image, 0, pixels)
            show_image(axes, moved[0], f"{pixels} pixels", vmin=0, vmax=255)
            x = normalised(moved[None], "mnist")
            guesses = [f"{name}: {_guess(network, x, label)}" for name, network in networks.items()]
            axes.set_xlabel("\n".join(guesses), fontsize=9)
    save_figure(figure, path)


def _guess(network: Sequential, image: Array, label: int) -> str:
    """Return a network's prediction for an image (1, C, H, W), with its probability."""
    p = Softmax().forward(predict(network, image))[0]
    return f"{p.argmax()}, {p.max():.0%}{'' if p.argmax() == label else ' (wrong)'}"
