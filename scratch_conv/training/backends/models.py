"""The networks that can be trained by name, built of torch's own layers.

`swap` replaces these layers by ours, and `from_torch` translates the network into NumPy layers.
"""

from collections.abc import Callable

from torch import nn


def simple_cnn(channels: int, size: int, classes: int) -> nn.Module:
    """Three convolutions with pooling, two dense layers: 620,362 parameters for 3x32x32, ten classes."""
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128 * (size // 8) ** 2, 256),
        nn.ReLU(),
        nn.Linear(256, classes),
    )


def mnist_cnn(channels: int, size: int, classes: int) -> nn.Module:
    """Two convolutions without padding, two dense layers: 225,034 parameters for 1x28x28, ten classes."""
    pooled = ((size - 2) // 2 - 2) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * pooled**2, 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


def small_cnn(channels: int, size: int, classes: int) -> nn.Module:
    """One convolution of eight filters, two dense layers: 174,554 parameters for 1x28x28, ten classes."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * ((size - 2) // 2) ** 2, 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


def dense(channels: int, size: int, classes: int) -> nn.Module:
    """Three dense layers, for comparison: 235,146 parameters for 1x28x28, ten classes."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size**2, 256),
        nn.ReLU(),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


# Each takes an image's channels, its side in pixels, and the number of classes.
MODELS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "simple-cnn": simple_cnn,
    "mnist-cnn": mnist_cnn,
    "small-cnn": small_cnn,
    "dense": dense,
}
