"""The figures of a report, as PNG."""

import io
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor
from torchvision.utils import make_grid

from scratch_conv.training.backends.job import Outcome
from scratch_conv.training.comparison import Drift
from scratch_conv.training.data.images import ImageSet

COLOURS = {"torch": "#d1495b", "scratch": "#00798c", "numpy": "#6a4c93"}
RIGHT, WRONG = "#2a7f3f", "#c0392b"


def curves(outcomes: Mapping[str, Outcome]) -> bytes:
    """Draw loss and accuracy after each epoch."""
    figure = Figure((10, 4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    for name, outcome in outcomes.items():
        epochs = range(1, len(outcome.train_loss) + 1)
        style = {"color": COLOURS[name], "marker": ".", "alpha": 0.8}
        losses.plot(epochs, outcome.train_loss, label=f"{name}, training", **style)
        losses.plot(epochs, outcome.test_loss, label=f"{name}, test", linestyle="--", **style)
        accuracies.plot(epochs, outcome.test_accuracy, label=name, **style)
    losses.set(xlabel="epoch", title="cross-entropy loss")
    accuracies.set(xlabel="epoch", title="test accuracy")
    accuracies.yaxis.set_major_formatter(PercentFormatter(1))
    for axes in (losses, accuracies):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.legend()
    return _png(figure)


def drift(differences: Drift) -> bytes:
    """Draw the relative loss differences to torch in the first steps."""
    figure = Figure((10, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, measured in differences.backends.items():
        losses = measured["losses"]
        axes.semilogy([*losses], _positive([*losses.values()]), color=COLOURS[name], label=name, linewidth=2)
    for (title, measured), style in zip(differences.yardsticks.items(), ("--", ":", "-."), strict=True):
        losses = measured["losses"]
        axes.semilogy([*losses], _positive([*losses.values()]), color="#666666", linestyle=style, label=title)
    axes.set(xlabel="step", title="relative loss difference to torch")
    axes.grid(alpha=0.3)
    axes.legend()
    return _png(figure)


def _positive(values: object) -> npt.NDArray[np.float64]:
    """Replace zeros, which a logarithmic axis cannot show, by gaps."""
    array = np.asarray(values, np.float64)
    return np.where(array > 0, array, np.nan)


def filters(outcomes: Mapping[str, Outcome]) -> bytes:
    """Draw the first layer's filters for each backend, each scaled to the full range."""
    figure = Figure((10, 1.7 * len(outcomes)), layout="constrained")
    rows = figure.subplots(len(outcomes), 1, squeeze=False).ravel()
    for axes, (name, outcome) in zip(rows, outcomes.items(), strict=True):
        weight = _as_images(next(iter(outcome.weights.values())))
        if weight.shape[1] not in (1, 3):  # neither grey nor RGB
            weight = weight.mean(1, keepdim=True)
        zoom = max(1, 24 // weight.shape[-1])
        large = weight.repeat_interleave(zoom, dim=2).repeat_interleave(zoom, dim=3)
        side, gap = large.shape[-1], 3 if len(large) > 1 else 0  # make_grid gives one image no margin
        grid = make_grid(large, nrow=16, padding=gap, normalize=True, scale_each=True, pad_value=1)
        axes.imshow(grid.permute(1, 2, 0).numpy())
        for row, column in (divmod(number, 16) for number in range(len(large))):
            corner = gap - 0.5 + column * (side + gap), gap - 0.5 + row * (side + gap)
            # Without a frame, white taps would be invisible on the white page.
            axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor="#8a8f98", linewidth=0.5))
        axes.set_title(name)
        axes.axis("off")
    return _png(figure)


def _as_images(weight: Tensor, most: int = 32) -> Tensor:
    """View a first layer's weight as images: the filters, or the weights of a dense layer's first units."""
    if weight.ndim == 4:
        return weight
    channels = 1 if math.isqrt(weight.shape[1]) ** 2 == weight.shape[1] else 3
    side = math.isqrt(weight.shape[1] // channels)
    return weight[:most].reshape(-1, channels, side, side)


def predictions(data: ImageSet, outcomes: Mapping[str, Outcome]) -> bytes:
    """Draw some test images with their class, and each backend's prediction."""
    samples = data.samples()
    lines = -(-len(samples) // 8)
    figure = Figure((10, (1.45 + 0.2 * len(outcomes)) * lines), layout="constrained")
    grid = figure.subplots(lines, 8, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, index in zip(grid, samples, strict=False):
        label = data.test[1][index]
        axes.imshow(data.test[0][index].transpose(1, 2, 0), cmap="gray")
        axes.set_title(data.classes[label], fontsize=9, parse_math=False)
        for line, (name, outcome) in enumerate(outcomes.items()):
            probability, guess = outcome.predictions[index].max(0)
            text = f"{name}: {data.classes[guess]} {probability:.0%}"
            colour = RIGHT if guess == label else WRONG
            below = {"parse_math": False, "xytext": (0.5, -0.06 - 0.15 * line), "textcoords": "axes fraction"}
            axes.annotate(text, (0, 0), **below, color=colour, fontsize=6.5, ha="center", va="top")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()
