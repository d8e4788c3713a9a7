"""Read and normalise the images for a network."""

from pathlib import Path

import numpy as np
from PIL import Image

from scratch_conv.kernels.windows import Array
from scratch_conv.training.data.images import CIFAR10_MEAN, CIFAR10_STD, STATISTICS
from scratch_conv.training.settings import InputError


def read_image(path: Path, mode: str) -> Image.Image:
    """Read an image of any format, in grey ("L") or RGB ("RGB") of 0..255.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Image.open(path) as file:
            return _of_eight_bits(file).convert(mode)
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(f"--image {path}: not an image that can be read ({error})") from error


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """Keep the eight highest bits of a 16-bit grey image; Pillow would clip nearly all of it to white."""
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))


def normalised(images: Array, dataset: str) -> Array:
    """Return images (..., C, H, W) of 0..255 scaled to mean 0 and standard deviation 1, in float32.

    The statistics are those of training on the named data set.
    """
    statistics = STATISTICS.get(dataset, (CIFAR10_MEAN, CIFAR10_STD))
    mean, std = (np.array(values, np.float32)[:, None, None] for values in statistics)
    return (images.astype(np.float32) / 255 - mean) / std
