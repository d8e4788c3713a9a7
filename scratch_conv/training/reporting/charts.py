"""What the charts of a page show: how training went, how far the backends are apart, where the time went."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from scratch_conv.training.reporting.drawing import BACKENDS, Panel, Style

Floats = npt.NDArray[np.float64]
Seeds = Sequence[Sequence[float]]  # a curve a seed
POINTS = 200  # of a curve over all steps: more could not be seen
MOST_LABELLED = 20  # classes of a confusion matrix; of more, names would not be legible
MOST_LAYERS = 16
LayerTimes = Sequence[tuple[str, str, float, float]]  # name, type, seconds forward and backward


def over_epochs(curves: Mapping[str, tuple[Seeds, Style]], label: str) -> Panel:
    """Draw curves over the epochs, by their names."""

    def draw(axes: Axes) -> None:
        for name, (seeds, style) in curves.items():
            values = np.array(seeds, np.float64)  # None, of a run that diverged, becomes NaN
            _mean_and_band(axes, np.arange(1, values.shape[1] + 1), values, style, name)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if "accuracy" in label:
            axes.yaxis.set_major_formatter(PercentFormatter(1))

    return draw


def over_steps(curves: Mapping[str, tuple[Seeds, Style]], label: str) -> Panel:
    """Draw a number of each step; of many steps, means over as many as make `POINTS` points."""

    def draw(axes: Axes) -> None:
        for name, (seeds, style) in curves.items():
            values = np.array(seeds, np.float64)
            starts = np.arange(0, values.shape[1], -(-values.shape[1] // POINTS))
            counts = np.diff(np.append(starts, values.shape[1]))
            means = np.add.reduceat(values, starts, axis=1) / counts
            _mean_and_band(axes, starts + (counts + 1) / 2, means, {**style, "marker": ""}, name)
        axes.set(xlabel="step", ylabel=label)

    return draw


def _mean_and_band(axes: Axes, x: Any, values: Floats, style: Style, label: str) -> None:
    """Draw the mean over the seeds and, where there are several, a band of one standard deviation."""
    values = np.where(np.isfinite(values), values, np.nan)
    mean = values.mean(axis=0)
    axes.plot(x, mean, **style, label=label)
    if len(values) > 1:
        band = values.std(axis=0, ddof=1)
        axes.fill_between(x, mean - band, mean + band, color=style["color"], alpha=0.2, linewidth=0)


def differences(lines: Mapping[str, tuple[Mapping[int, float], Style]], label: str) -> Panel:
    """Draw differences by step on logarithmic axes, zeros on a floor below all others."""
    points = {name: (*_largest_since(line), style) for name, (line, style) in lines.items()}
    floor = floor_below(values for _, values, _ in points.values())

    def draw(axes: Axes) -> None:
        for name, (steps, values, style) in points.items():
            shown = np.where(np.isfinite(values), np.maximum(values, floor), np.nan)
            axes.plot(steps, shown, label=name, **style)
        axes.set(xscale="log", yscale="log", xlabel="step", ylabel=f"{label}\n(0 is drawn at {floor:.0e})")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.0e}"))
        last = max(steps[-1] for steps, _, _ in points.values())
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if last < 1000 else (1,)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())

    return draw


def _largest_since(line: Mapping[int, float]) -> tuple[Floats, Floats]:
    """Return some 60 steps, evenly on a logarithmic axis, and the largest value since the step before."""
    steps, values = np.array([*line], np.float64), np.array([*line.values()], np.float64)
    ends = np.unique(np.geomspace(1, len(steps), 60).round().astype(int)) - 1
    return steps[ends], np.maximum.reduceat(values, np.append(0, ends[:-1] + 1))


def floor_below(lines: Iterable[Floats]) -> float:
    """Return where zeros are drawn: a power of ten that is below all positive numbers."""
    values = np.concatenate([*lines])
    smallest = values[(values > 0) & np.isfinite(values)].min(initial=1e-7)
    return float(10 ** (np.floor(np.log10(smallest)) - 1))


def by_layer(times: Mapping[str, LayerTimes], direction: str) -> Panel:
    """Draw the time of each layer's pass forward or backward; of many layers, the slowest."""
    labels = slowest_layers(times)

    def draw(axes: Axes) -> None:
        thickness = 0.8 / len(times)
        for number, (name, layers) in enumerate(times.items()):
            seconds = {layer: passes[direction == "Backward"] for layer, _, *passes in layers}
            rows = np.arange(len(labels)) + (number - (len(times) - 1) / 2) * thickness
            widths = [1000 * seconds.get(layer, 0.0) for layer in labels]
            look: Style = {"color": BACKENDS[name].color, "hatch": BACKENDS[name].hatch}
            axes.barh(rows, widths, thickness, label=name, linewidth=0, edgecolor="white", **look)
        axes.set_yticks(np.arange(len(labels)), list(labels.values()))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="ms a batch")

    return draw


def slowest_layers(times: Mapping[str, LayerTimes]) -> dict[str, str]:
    """Return the labels of the layers that take most time, by name, in the order of the network."""
    total: dict[str, float] = {}
    labels: dict[str, str] = {}
    for name, kind, forward, backward in (layer for layers in times.values() for layer in layers):
        total[name] = total.get(name, 0.0) + forward + backward
        labels.setdefault(name, f"{name} {kind}")
    slow = sorted(total, key=lambda name: -total[name])[:MOST_LAYERS]
    return {name: label for name, label in labels.items() if name in slow}


def confusion(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> Panel:
    """Draw how many images of a class (row) were taken for a class (column), in percent of the row."""
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def draw(axes: Axes) -> None:
        axes.imshow(percent, cmap="cividis", vmin=0, vmax=100, aspect="auto")
        axes.grid(visible=False)
        axes.set(xlabel="predicted", ylabel="class")
        if len(classes) > MOST_LABELLED:
            return
        names = [name if len(name) <= 12 else name[:11] + "…" for name in classes]
        axes.set_xticks(range(len(classes)), names, rotation=90)
        axes.set_yticks(range(len(classes)), names)
        style: Style = {"ha": "center", "va": "center", "fontsize": 9.5 if len(classes) <= 12 else 6.5}
        for (row, column), value in np.ndenumerate(percent):
            if value:
                axes.text(column, row, f"{value:.0f}", color="black" if value > 50 else "white", **style)

    return draw
