"""How the time of layers grows with batch, image and threads: `python -m benchmarks.scaling`.

A 3x3 convolution and max pooling, forward and backward, for batches of 1 to 512, images of 8 to 512 pixels
a side, and one thread up to all cores; and a step of training by threads, with what Amdahl's law makes of it
for more. Prints tables; writes scaling.json and scaling.png to benchmarks/results.
"""

from benchmarks.measuring import (
    OURS,
    RESULTS,
    TORCH,
    Times,
    in_turn,
    keep,
    machine,
    options,
    restart_for_measuring,
)

if __name__ == "__main__":
    restart_for_measuring()

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

import scratch_conv as sc
from benchmarks.training import NETWORKS, TrainingStep


class Case(NamedTuple):
    """Images of 32 channels, and the number of threads."""

    batch: int
    size: int
    threads: int

    @property
    def pixels(self) -> int:
        """The pixels of one channel of all images."""
        return self.batch * self.size**2


CORES = os.cpu_count() or 1
SERIES: dict[str, list[Case]] = {
    "batch": [Case(2**power, 16, CORES) for power in range(10)],
    "size": [Case(4, 2**power, CORES) for power in range(3, 10)],
    "threads": [Case(64, 32, threads) for threads in range(1, CORES + 1)],
}


def main() -> None:
    """Measure, print tables, and write the raw figures and a chart."""
    given = options(__doc__, rounds=5, seconds=0.2)
    console = Console(highlight=False, width=120)
    console.print(machine(), soft_wrap=True)
    measured: dict[str, dict[str, dict[str, Times]]] = {}
    for layer in (convolution, max_pooling):
        name = layer.__name__.replace("_", " ")
        measured[name] = {}
        for series, cases in SERIES.items():
            times = {}
            for case in cases[: 2 if given.quick else None]:
                torch.set_num_threads(case.threads)
                times[str(getattr(case, series))] = in_turn(layer(case), given.rounds, given.seconds)
            measured[name][series] = times
            console.print(table(f"{name}, by {series}", cases, times))
    raw: dict[str, Any] = {
        layer: {
            series: {case: times.seconds for case, times in cases.items()} for series, cases in by.items()
        }
        for layer, by in measured.items()
    }
    if not given.quick:
        steps = steps_by_threads(given.rounds, given.seconds)
        raw["a step of simple-cnn"] = {threads: times.seconds for threads, times in steps.items()}
        console.print(table_of_steps(steps))
    torch.set_num_threads(CORES)
    name = given.name("scaling")
    console.print(f"Raw figures: {keep(name, raw)}", soft_wrap=True)
    console.print(f"Chart: {draw(measured, RESULTS / f'{name}.png')}", soft_wrap=True)


def convolution(case: Case) -> dict[str, Callable[[], object]]:
    """Return a forward and backward pass of a 3x3 convolution, 32 to 32 channels."""
    weight = torch.randn(32, 32, 3, 3, requires_grad=True)
    return _passes(case, lambda library, x, w: library.conv2d(x, w, padding=1), weight)


def max_pooling(case: Case) -> dict[str, Callable[[], object]]:
    """Return a forward and backward pass of 2x2 max pooling."""
    return _passes(case, lambda library, x: library.max_pool2d(x, 2))


def _passes(case: Case, layer: Callable[..., Tensor], *weights: Tensor) -> dict[str, Callable[[], object]]:
    operands = (torch.randn(case.batch, 32, case.size, case.size, requires_grad=True), *weights)
    grad_output = torch.randn_like(layer(F, *operands))

    def passes(library: Any) -> Callable[[], object]:
        return lambda: torch.autograd.grad(layer(library, *operands), operands, grad_output)

    return {TORCH: passes(F), OURS: passes(sc.functional)}


def steps_by_threads(rounds: int, seconds: float) -> dict[int, Times]:
    """Time a step of training simple-cnn on one thread up to all cores."""
    build = NETWORKS["simple-cnn"]
    steps = {TORCH: TrainingStep(build), OURS: TrainingStep(build, swapped=True)}
    measured = {}
    for threads in range(1, CORES + 1):
        torch.set_num_threads(threads)
        measured[threads] = in_turn(steps, rounds, seconds)
    return measured


def table_of_steps(measured: dict[int, Times]) -> Table:
    """Return a table of a step's speed by threads, as measured, and up to 8 by Amdahl's law.

    With the serial share s of a step's time on one thread, n threads take s + (1 - s) / n of it.
    """
    shown = Table(title="a step of simple-cnn, times as fast as on one thread", header_style="")
    for column in ("threads", TORCH, OURS):
        shown.add_column(column, justify="right")
    taken = {way: {n: times.median(way) for n, times in measured.items()} for way in (TORCH, OURS)}
    for n, times in measured.items():
        shown.add_row(str(n), *(f"{taken[way][1] / times.median(way):.2f}" for way in taken))
    most = max(measured)
    if most > 1:
        serial = {way: (by[most] / by[1] * most - 1) / (most - 1) for way, by in taken.items()}
        shown.add_row("serial share", *(f"{share:.2f}" for share in serial.values()))
        for n in (4, 8):
            expected = (1 / (share + (1 - share) / n) for share in serial.values())
            shown.add_row(f"{n}, expected", *(f"{each:.2f}" for each in expected))
    return shown


def table(title: str, cases: list[Case], measured: dict[str, Times]) -> Table:
    """Return a table of the time for each pixel, constant where the cost is linear, and the ratio."""
    shown = Table(title=f"{title}: forward and backward", header_style="")
    for column in (title.split()[-1], "torch, ns a pixel", "ours, ns a pixel", "torch's time / ours"):
        shown.add_column(column, justify="right")
    for case, (name, times) in zip(cases, measured.items(), strict=False):
        each = (f"{times.median(way) / case.pixels * 1e9:.1f}" for way in (TORCH, OURS))
        shown.add_row(name, *each, str(times))
    return shown


def draw(measured: dict[str, dict[str, dict[str, Times]]], path: Path) -> Path:
    """Draw the time over batch, size and threads, both axes logarithmic: linear growth is a straight line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.5 * len(measured)), layout="constrained")
    panels = figure.subplots(len(measured), len(SERIES), squeeze=False)
    for row, (layer, by) in zip(panels, measured.items(), strict=True):
        for axes, (series, cases) in zip(row, by.items(), strict=True):
            for way in (TORCH, OURS):
                taken = [times.median(way) * 1e3 for times in cases.values()]
                axes.loglog([int(case) for case in cases], taken, marker="o", base=2, label=way)
            axes.set_xticks([int(case) for case in cases])
            axes.xaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_major_formatter("{x:.4g}")
            axes.set(title=layer, xlabel=series, ylabel="ms, forward and backward")
            axes.legend()
    figure.savefig(path, dpi=120)
    return path


if __name__ == "__main__":
    main()
