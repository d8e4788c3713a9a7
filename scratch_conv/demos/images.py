"""Pictures on their way into a network: read from a file, and normalised."""

from pathlib import Path

import numpy as np
from PIL import Image

from scratch_conv.kernels.windows import Array
from scratch_conv.training.data.images import CIFAR10_MEAN, CIFAR10_STD, STATISTICS
from scratch_conv.training.settings import InputError


def read_image(path: Path, mode: str) -> Image.Image:
    """Read a picture of any format, in grey ("L") or in colours ("RGB") of 0..255.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Image.open(path) as file:
            return _of_eight_bits(file).convert(mode)
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(f"--picture {path}: not a picture that can be read ({error})") from error


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """Give a grey picture of 16 bits its eight highest, where Pillow would make all but the darkest white."""
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))


def normalised(images: Array, dataset: str) -> Array:
    """Bring pictures (..., C, H, W) of 0..255 to mean 0 and standard deviation 1, in float32.

    By the statistics that training on the data set of a name uses.
    """
    statistics = STATISTICS.get(dataset, (CIFAR10_MEAN, CIFAR10_STD))
    mean, std = (np.array(values, np.float32)[:, None, None] for values in statistics)
    return (images.astype(np.float32) / 255 - mean) / std
