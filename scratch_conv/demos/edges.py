"""Hand-made filters: a convolution finds edges before anything is learned."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from scratch_conv.demos.images import read_image
from scratch_conv.demos.showing import add_scale, explain, save_figure, show_image, show_signed, show_table
from scratch_conv.kernels.windows import Array
from scratch_conv.layers import Conv2D

# The difference between right and left of a pixel, and between below and above (Sobel's operator).
VERTICAL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)
HORIZONTAL = VERTICAL.T
FILTERS = {
    "vertical edges (Sobel)": VERTICAL,
    "horizontal edges (Sobel)": HORIZONTAL,
    "Laplacian": np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32),
    "sharpen": np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float32),
    "blur": np.full((3, 3), 1 / 9, np.float32),
}

# To be computed by hand: a dark half beside a bright one. Where the filter lies across the edge, three bright
# pixels are added up; elsewhere bright minus bright is zero.
EXAMPLE = np.array([[0, 0, 1, 1, 1]] * 5, np.float32)
EXAMPLE_FILTER = np.array([[-1, 0, 1]] * 3, np.float32)
EXAMPLE_BY_HAND = np.array([[3, 3, 0]] * 3, np.float32)

GREY_LEVEL = 1 / 255  # the least difference of two pixels of a file: what is smaller is rounding

LONGEST = 512  # pixels; a larger image is scaled down


def run(file: Path | None, out: Path) -> None:
    """Filter an image, a drawn one if no file is given; print a table and write two figures to a folder."""
    image = draw_image() if file is None else read_grey(file)
    explain(
        """Look where the figures are red and where they are blue. The Sobel filters are positive where the
        image grows brighter to the right, or downwards, the Laplacian where a pixel is darker than those
        around it; all are zero where the image is even."""
    )
    responses = filtered(image, FILTERS)
    magnitude = np.hypot(responses["vertical edges (Sobel)"], responses["horizontal edges (Sobel)"])
    show_table(
        "The filters' responses",
        ("filter", "weights", "least", "greatest", "mean of |y|"),
        [
            (name, _weights(FILTERS.get(name)), f"{y.min():.2f}", f"{y.max():.2f}", f"{np.abs(y).mean():.3f}")
            for name, y in {**responses, "magnitude of both edges": magnitude}.items()
        ],
    )
    show_example()
    _draw_edges(image, responses, magnitude, out / "edges.png")
    _draw_others(image, responses, out / "sharpen-blur.png")
    explain(
        """Nine weights are enough to find edges of one direction, in the whole image, and nobody trained
        them. The magnitude, of the two Sobel filters together, shows edges of every direction. A network's
        first layer learns such filters by itself: see `scratch-conv demo lines`."""
    )


def filtered(image: Array, filters: dict[str, Array]) -> dict[str, Array]:
    """Return an image (H, W) convolved with filters (3, 3): a convolutional layer with fixed weights."""
    layer = Conv2D(1, len(filters), 3, bias=False)
    layer.weight[:, 0] = list(filters.values())
    padded = np.pad(image, 1, mode="edge")  # zeros around the image would add an edge
    y = layer.forward(padded[None, None])[0]
    return dict(zip(filters, y, strict=True))


def show_example() -> None:
    """Print the example of 5x5 pixels beside its result by hand.

    Raises:
        ArithmeticError: the layer's result differs.
    """
    (computed,) = filtered_example()
    if not np.array_equal(computed, EXAMPLE_BY_HAND):
        raise ArithmeticError(f"by hand {EXAMPLE_BY_HAND.tolist()}, by the layer {computed.tolist()}")
    rows = zip(*map(_lines, (EXAMPLE, EXAMPLE_FILTER, EXAMPLE_BY_HAND, computed)), strict=True)
    show_table("By hand: 3s along the edge", ("image", "filter", "by hand", "by the layer"), rows)


def filtered_example() -> Array:
    """Return the example convolved, (1, 3, 3)."""
    layer = Conv2D(1, 1, 3, bias=False)
    layer.weight[0, 0] = EXAMPLE_FILTER
    return layer.forward(EXAMPLE[None, None])[0]


def draw_image(size: int = 160) -> Array:
    """Draw an image (size, size) of 0..1: a fading sky, a sun, a house with a roof, a fence."""
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j]
    image = 0.75 - 0.35 * y
    image[np.hypot(x - 0.78, y - 0.22) < 0.12] = 1.0
    image[(abs(x - 0.35) < 0.2) & (y > 0.5)] = 0.6
    image[(y > 0.28) & (y < 0.5) & (abs(x - 0.35) < (y - 0.28) * 1.2)] = 0.15
    image[(abs(x - 0.35) < 0.05) & (y > 0.68)] = 0.05
    image[(x > 0.6) & (y > 0.7) & ((x * 16) % 1 < 0.5)] = 0.95
    image[y > 0.93] = 0.3
    return image.astype(np.float32)


def read_grey(path: Path) -> Array:
    """Read an image of any format as grey values (H, W) of 0..1, scaled down to at most 512 pixels a side.

    Raises:
        InputError: it cannot be read.
    """
    grey = read_image(path, "L")
    grey.thumbnail((LONGEST, LONGEST))
    return np.asarray(grey, np.float32) / 255


def _draw_edges(image: Array, responses: dict[str, Array], magnitude: Array, path: Path) -> None:
    figure = Figure((15.5, max(1.5, 2.8 * image.shape[0] / image.shape[1] + 0.2)), layout="constrained")
    original, *signed, both = figure.subplots(1, 5)
    show_image(original, image, "original", vmin=0, vmax=1)
    names = ("vertical edges (Sobel)", "horizontal edges (Sobel)", "Laplacian")
    most = max(GREY_LEVEL, float(magnitude.max()), float(abs(responses["Laplacian"]).max()))
    for axes, name in zip(signed, names, strict=True):
        show_signed(axes, responses[name], name, most)
    show_image(both, magnitude, "magnitude of both edges", vmin=0, vmax=most)
    add_scale(figure, signed)
    add_scale(figure, [both])
    save_figure(figure, path)


def _draw_others(image: Array, responses: dict[str, Array], path: Path) -> None:
    figure = Figure((9, max(1, 2.9 * image.shape[0] / image.shape[1] + 0.2)), layout="constrained")
    panels = {"original": image, "sharpen": responses["sharpen"], "blur": responses["blur"]}
    for axes, (name, values) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        show_image(axes, values, name, vmin=0, vmax=1)
    save_figure(figure, path)


def _weights(weight: Array | None) -> str:
    """Return a filter as three lines of text."""
    return "" if weight is None else "\n".join(_lines(weight, 3))


def _lines(values: Array, count: int = 5) -> list[str]:
    lines = [" ".join(f"{value:3.0f}" if value == round(value) else "1/9" for value in row) for row in values]
    return lines + [""] * (count - len(lines))
