"""Learned filters: four of 3x3 learn to distinguish vertical from horizontal lines."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scratch_conv.demos.showing import add_scale, explain, save_figure, show_image, show_signed, show_table
from scratch_conv.kernels.windows import Array
from scratch_conv.layers import (
    Adam,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    ReLU,
    Sequential,
    accuracy,
    fit,
    predict,
)
from scratch_conv.training.data.lines import BACKGROUND, CLASSES, SIZE, TEST_COUNT, TRAIN_COUNT, draw_lines

EPOCHS = 10


def run(seed: int, out: Path) -> None:
    """Train the network; print its accuracy, and write a figure to a folder."""
    explain(
        """Four filters of 3x3 random weights are to learn vertical from horizontal lines. Compare them before
        and after in the figure: whoever knows edges knows what to expect."""
    )
    rng = np.random.default_rng(seed)
    (images, labels), (tests, test_labels) = draw(seed), draw(seed, test=True)
    network = build(rng)
    network.summary((1, SIZE, SIZE))
    before, first = _accuracies(network, tests, test_labels), _filters(network)
    fit(network, images, labels, EPOCHS, optimizer=Adam(network, lr=0.02), rng=rng)
    after, last = _accuracies(network, tests, test_labels), _filters(network)
    show_table(
        f"Accuracy on {TEST_COUNT:,} test images",
        ("lines", "before", "after"),
        [(name, f"{before[name]:.1%}", f"{after[name]:.1%}") for name in before],
    )
    _draw(network, tests, test_labels, first, last, out / "lines.png")
    explain(
        """Red and blue lie side by side or one above the other in the trained filters: they have become what
        people make by hand for edges (`scratch-conv demo edges`). Nothing said so but the labels."""
    )


def draw(seed: int, *, test: bool = False) -> tuple[Array, Array]:
    """Draw lines for training or testing: images (N, 1, 8, 8) with the background at 0, and labels (N,)."""
    images, labels = draw_lines(TEST_COUNT if test else TRAIN_COUNT, seed, test=test)
    return images.astype(np.float32) / 255 - BACKGROUND, labels


def build(rng: np.random.Generator) -> Sequential:
    """Return a network of four filters: 114 parameters."""
    return Sequential(Conv2D(1, 4, 3, rng=rng), ReLU(), MaxPool2D(2), Flatten(), Dense(36, 2, rng=rng))


def _accuracies(network: Sequential, images: Array, labels: Array) -> dict[str, float]:
    """Return the accuracy for each kind of line, and for all."""
    kinds = {name: labels == index for index, name in enumerate(CLASSES)}
    each = {name: accuracy(network, images[chosen], labels[chosen]) for name, chosen in kinds.items()}
    return {**each, "all": accuracy(network, images, labels)}


def _filters(network: Sequential) -> Array:
    """Return a copy of the first layer's filters, (4, 3, 3)."""
    return network.state["0.weight"][:, 0].copy()


def _draw(network: Sequential, images: Array, labels: Array, before: Array, after: Array, path: Path) -> None:
    figure = Figure((9.5, 4.8), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.9))
    samples, learned = parts
    samples.suptitle("test images with the network's predictions")
    guesses = predict(network, images[:8]).argmax(axis=1)
    for axes, image, guess, label in zip(
        samples.subplots(1, 8), images[:8, 0], guesses, labels, strict=False
    ):
        show_image(axes, image, CLASSES[guess] + ("" if guess == label else "?!"))
    rows = learned.subplots(2, 4)
    most = float(max(abs(before).max(), abs(after).max()))
    for when, row, filters in zip(("before", "after"), rows, (before, after), strict=True):
        row[0].set_ylabel(f"{when} training")
        for number, (axes, weights) in enumerate(zip(row, filters, strict=True), 1):
            show_signed(axes, weights, f"filter {number}", most)
    add_scale(learned, rows.flat, "weight")
    save_figure(figure, path)
