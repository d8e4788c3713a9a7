"""Training and testing a classifier."""

import math

import numpy as np
from rich.console import Console
from rich.progress import track

from scratch_conv.kernels.windows import Array
from scratch_conv.layers import SGD, Adam, Layer, SoftmaxCrossEntropy


def fit(
    network: Layer,
    optimizer: SGD | Adam,
    images: Array,
    labels: Array,
    epochs: int,
    rng: np.random.Generator,
    title: str,
    batch_size: int = 64,
) -> None:
    """Train a network on images (N, ...) and labels (N,), in batches shuffled for each epoch."""
    loss = SoftmaxCrossEntropy()
    batches = [
        batch
        for _ in range(epochs)
        for batch in np.array_split(rng.permutation(len(images)), math.ceil(len(images) / batch_size))
    ]
    network.train()
    console = Console(stderr=True)
    for batch in track(batches, title, console=console, transient=True, disable=not console.is_terminal):
        loss.forward(network.forward(images[batch]), labels[batch])
        network.backward(loss.backward())
        optimizer.step()


def scores(network: Layer, images: Array, batch_size: int = 250) -> Array:
    """Return a network's scores (N, K) for images (N, ...), computed a batch at a time."""
    network.eval()
    batches = [
        network.forward(images[start : start + batch_size]) for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(batches)


def accuracy(network: Layer, images: Array, labels: Array) -> float:
    """Return the fraction of the images that a network classifies correctly."""
    return float((scores(network, images).argmax(axis=1) == labels).mean())
