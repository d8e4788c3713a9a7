"""Training and testing a classifier: the loop around the forward and backward passes."""

from __future__ import annotations

import math
import sys
import time

import numpy as np

from scratch_conv.kernels.windows import Array
from scratch_conv.layers.cross_entropy import SoftmaxCrossEntropy
from scratch_conv.layers.expecting import expect_array, expect_counts
from scratch_conv.layers.layer import Layer
from scratch_conv.layers.optimizers import SGD, Adam

__all__ = ["accuracy", "fit", "predict"]


def fit(
    network: Layer,
    images: Array,
    labels: Array,
    epochs: int = 1,
    batch_size: int = 64,
    optimizer: SGD | Adam | None = None,
    *,
    validation: tuple[Array, Array] | None = None,
    rng: np.random.Generator | int | None = None,
    verbose: bool = True,
) -> dict[str, list[float]]:
    """Train a classifier by its softmax cross-entropy, in batches that are shuffled anew for each epoch.

    Args:
        network: returns scores (N, K); it is in training mode afterwards.
        images: (N, ...) of floats.
        labels: (N,) of integers 0 to K - 1.
        epochs: how often each image is seen.
        batch_size: how many images a step takes at most; the batches of an epoch differ by one image.
        optimizer: of this network; Adam with its defaults if there is none.
        validation: images and labels that are not trained on, on which accuracy is measured after each epoch.
        rng: the generator that shuffles, or its seed; a fresh one by default.
        verbose: whether to print a line an epoch, and the step on a terminal.

    Returns:
        One number an epoch of "loss" and "accuracy", the means over its batches as they were trained on, and
        of "validation_accuracy" if there is validation.

    Raises:
        ValueError: there is not one label for each image, there are none, batch_size is zero, or the
            optimizer is another network's.
        TypeError: images or labels are no arrays of floats and integers.
        IndexError: a label is not among the classes.
    """
    expect_counts(epochs=epochs, batch_size=batch_size)
    expect_array(network, "images", images)
    expect_array(network, "labels", labels, of="integers")
    _expect_a_label_each(images, labels)
    if not len(images) > 0 < batch_size:
        raise ValueError(f"expected images, and batches of them; got {len(images)} images, {batch_size=}")
    if validation is not None:
        if len(validation) != 2:
            raise ValueError(f"validation must be images and their labels; got {len(validation)} of these")
        _expect_a_label_each(*validation)
    optimizer = Adam(network) if optimizer is None else optimizer
    if getattr(optimizer, "network", None) is not network:
        raise ValueError("the optimizer is of another network: expected one such as SGD(network, lr=0.01)")
    history: dict[str, list[float]] = {"loss": [], "accuracy": []}
    loss, rng = SoftmaxCrossEntropy(), np.random.default_rng(rng)
    steps = math.ceil(len(images) / batch_size)
    for epoch in range(epochs):
        network.train()
        total, right, start = 0.0, 0, time.perf_counter()
        for step, batch in enumerate(np.array_split(rng.permutation(len(images)), steps)):
            scores = network.forward(images[batch])
            total += float(loss.forward(scores, labels[batch])) * len(batch)
            right += int((scores.argmax(axis=1) == labels[batch]).sum())
            network.backward(loss.backward())
            optimizer.step()
            if verbose and sys.stderr.isatty():
                print(f"\repoch {epoch + 1}/{epochs}: step {step + 1}/{steps} ", end="", file=sys.stderr)
        history["loss"].append(total / len(images))
        history["accuracy"].append(right / len(images))
        if validation is not None:
            history.setdefault("validation_accuracy", []).append(accuracy(network, *validation))
        if verbose:
            _show(epoch, epochs, history, time.perf_counter() - start)
    network.train()
    return history


def predict(network: Layer, images: Array, batch_size: int = 250) -> Array:
    """Return a network's scores (N, K) for images (N, ...), in evaluation mode, a batch at a time.

    Afterwards each layer is in the mode that it was in: a loop by hand goes on in training mode.
    """
    modes = _modes(network)
    network.eval()
    starts = range(0, max(1, len(images)), batch_size)
    try:
        return np.concatenate([network.forward(images[start : start + batch_size]) for start in starts])
    finally:
        for layer, training in modes:
            layer.training = training


def accuracy(network: Layer, images: Array, labels: Array) -> float:
    """Return the share of the images, 0 to 1, whose highest score is that of their label.

    Raises:
        ValueError: there is not one label for each image.
    """
    _expect_a_label_each(images, labels)
    return float((predict(network, images).argmax(axis=1) == labels).mean())


def _modes(layer: Layer) -> list[tuple[Layer, bool]]:
    """Return a layer and all inside it, each with whether it is in training mode."""
    inside = [each for child in layer.children.values() for each in _modes(child)]
    return [(layer, layer.training), *inside]


def _expect_a_label_each(images: Array, labels: Array) -> None:
    """Check that labels are (N,): those of (N, 1) or (N, K) would be compared with every image's guess."""
    if np.shape(labels) != (len(images),):
        raise ValueError(
            f"expected a label, the number of its class, for each image; "
            f"got {len(images)} images, labels of shape {np.shape(labels)}"
        )


def _show(epoch: int, epochs: int, history: dict[str, list[float]], seconds: float) -> None:
    """Print the last epoch's figures, over the steps where these are shown."""
    figures = {name.replace("_", " "): numbers[-1] for name, numbers in history.items()}
    shown = [
        f"{name} {last:.4f}" if name == "loss" else f"{name} {last:.1%}" for name, last in figures.items()
    ]
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(start, end="", file=sys.stderr, flush=True)
    print(f"epoch {epoch + 1}/{epochs}: {', '.join(shown)}, {seconds:.1f} s", flush=True)
