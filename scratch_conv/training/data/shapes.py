"""A built-in set of images like CIFAR-10's: ten shapes in any colour, moved, scaled and tilted.

It needs no download. A linear classifier cannot learn it, since a shape is as often lighter than its
background as darker; a small convolutional network can.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

SIZE = 32  # pixels, as in CIFAR-10
TRAIN_COUNT, TEST_COUNT = 50_000, 10_000
TILT = 0.35  # radians either way; with `shift` and `radius` it sets how hard the task is
BLOCK = 500  # images drawn at a time: few enough that the intermediate arrays stay in cache


def _triangle(u: Floats, v: Floats) -> Floats:
    return np.maximum(np.abs(u) * np.float32(0.866) + v * np.float32(0.5), -v) - np.float32(0.55)


def _cross(u: Floats, v: Floats) -> Floats:
    across, along = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(across - 1, along - 0.3), np.maximum(along - 1, across - 0.3))


def _star(u: Floats, v: Floats) -> Floats:
    # By symmetry: fold the plane onto half of one of the five points, bounded by one straight line.
    folded = np.abs((np.arctan2(u, v) / (2 * np.pi / 5) + 0.5) % 1 - 0.5) * (2 * np.pi / 5)
    return (
        np.hypot(u, v) * np.cos(folded - np.float32(0.3 * np.pi)) / np.cos(np.float32(0.3 * np.pi)) * 0.6
        - 0.66
    )


def _stripes(u: Floats, v: Floats) -> Floats:
    return np.maximum(np.maximum(np.abs(u), np.abs(v)) - 0.95, np.abs((v / 0.7 + 0.5) % 1 - 0.5) * 0.7 - 0.18)


# The signed distance of a point from a shape of radius 1; negative inside.
SHAPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "cross": _cross,
    "crescent": lambda u, v: np.maximum(np.hypot(u, v) - 0.95, 0.8 - np.hypot(u - 0.55, v)),
    "disc": lambda u, v: np.hypot(u, v) - 0.85,
    "dots": lambda u, v: np.hypot(np.abs(u) - 0.6, np.abs(v) - 0.6) - 0.36,
    "hourglass": lambda u, v: np.maximum(np.abs(v) - 0.9, (np.abs(u) - np.abs(v)) * 0.707 - 0.06),
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.74) - 0.2,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) - 0.78,
    "star": _star,
    "stripes": _stripes,
    "triangle": _triangle,
}


def draw_shapes(
    count: int, seed: int, *, test: bool = False
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Draw the first `count` images of the training set, or of the test set, of a seed.

    Returns:
        Images (count, 3, 32, 32) of 0..255, and labels (count,): indices into `SHAPES`. A smaller set is the
        beginning of a larger one.
    """
    blocks = [_draw_block(np.random.default_rng([seed, int(test), i])) for i in range(-(-count // BLOCK))]
    images = np.concatenate([images for images, _ in blocks])[:count]
    return images, np.concatenate([labels for _, labels in blocks])[:count]


def _draw_block(rng: np.random.Generator) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    labels = rng.permutation(np.arange(BLOCK) % len(SHAPES))
    canvas, ink = _background(rng)
    for _ in range(3):  # specks under the shape, too small to be one
        speck = _outside("disc", rng, BLOCK, radius=(1.2, 2.0), shift=15)
        canvas = _paint(canvas, speck, rng.integers(0, 256, (BLOCK, 3, 1, 1)).astype(np.float32))
    shape = np.empty((BLOCK, 1, SIZE, SIZE), np.float32)
    for label, name in enumerate(SHAPES):
        shape[labels == label] = _outside(name, rng, int(np.sum(labels == label)), radius=(9, 13), shift=2)
    canvas = _paint(canvas, shape, ink)
    canvas += rng.normal(0, 10, canvas.shape).astype(np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8), labels


def _background(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return a fading colour for each image, (n, 3, 32, 32), and one that contrasts with it, (n, 3, 1, 1)."""
    colour = rng.uniform(90, 166, (BLOCK, 3, 1, 1)).astype(np.float32)
    lighter = rng.choice(np.array([-1, 1], np.float32), (BLOCK, 1, 1, 1))
    ink = colour + lighter * rng.uniform(60, 90, colour.shape).astype(np.float32)
    slope_y, slope_x = rng.uniform(-20, 20, (2, BLOCK, 3, 1, 1)).astype(np.float32)
    ramp = np.linspace(-1, 1, SIZE, dtype=np.float32)
    return colour + slope_y * ramp[:, None] + slope_x * ramp, ink


def _outside(
    name: str, rng: np.random.Generator, count: int, radius: tuple[float, float], shift: float
) -> Floats:
    """Return the signed distance in pixels from a shape placed at random, (count, 1, 32, 32).

    The centre lies up to `shift` pixels off the middle in both directions.
    """
    size, angle, shift_y, shift_x = (
        rng.uniform(low, high, (count, 1, 1, 1)).astype(np.float32)
        for low, high in (radius, (-TILT, TILT), (-shift, shift), (-shift, shift))
    )
    grid = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    y, x = (grid[:, None] - shift_y) / size, (grid - shift_x) / size
    u, v = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    return SHAPES[name](u, v) * size


def _paint(canvas: Floats, outside: Floats, colour: Floats) -> Floats:
    """Paint the inside in a colour; a pixel on the edge in proportion to the part of it that is inside."""
    return canvas + (colour - canvas) * np.clip(0.5 - outside, 0, 1)
