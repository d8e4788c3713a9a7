"""A built-in set of tiny images: a vertical or a horizontal line in noise, for the smallest networks."""

import numpy as np
import numpy.typing as npt

CLASSES = ("horizontal", "vertical")
SIZE = 8  # pixels
SHORTEST = 4  # pixels of a line
BACKGROUND = 0.3  # of 1: the mean of the noise
TRAIN_COUNT, TEST_COUNT = 2_000, 1_000


def draw_lines(
    count: int, seed: int, *, test: bool = False
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Draw images with one line each, at any position and of any length from 4 on, for training or testing.

    Returns:
        Images (count, 1, 8, 8) of 0..255, and labels (count,): indices into `CLASSES`. A smaller set is the
        beginning of a larger one.
    """
    drawn = [_draw(np.random.default_rng([seed, int(test), number])) for number in range(count)]
    images = np.array([image for image, _ in drawn]).reshape(count, 1, SIZE, SIZE)
    return images, np.array([label for _, label in drawn], np.int64)


def _draw(rng: np.random.Generator) -> tuple[npt.NDArray[np.uint8], int]:
    image, label = rng.normal(BACKGROUND, 0.07, (SIZE, SIZE)), int(rng.integers(0, len(CLASSES)))
    length, row = rng.integers(SHORTEST, SIZE + 1), rng.integers(0, SIZE)
    start = rng.integers(0, SIZE - length + 1)
    rows = image if CLASSES[label] == "horizontal" else image.T
    rows[row, start : start + length] += rng.uniform(0.3, 0.6)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), label
