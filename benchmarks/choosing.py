"""Whether the rules that choose a convolution's algorithm take the fastest: `python -m benchmarks.choosing`.

Each algorithm that accepts a shape computes the forward pass and both gradients, in turn with the others in
one process. The table has the time of each over that of the chosen one: where a direct sum's is below 0.95,
the rule is wrong (Winograd's algorithm is opt-in). Raw figures are kept in benchmarks/results/choosing.json.
"""

from benchmarks.measuring import Options, Times, in_turn, keep, machine, options, restart_for_measuring

if __name__ == "__main__":
    restart_for_measuring()

from collections.abc import Callable
from statistics import geometric_mean
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.layers import CONVOLUTIONS, SMALL
from scratch_conv import kernels
from scratch_conv.kernels.convolution import choosing
from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.windows import Array

# Near the borders of the rules; as in `benchmarks.layers`.
BORDERS: list[tuple[str, int, int, int, int, int, dict[str, int]]] = [
    ("65,536 numbers of columns", 4, 28, 32, 8, 3, {"padding": 1}),
    ("twice as many", 8, 28, 32, 8, 3, {"padding": 1}),
    ("31 channels", 16, 31, 64, 16, 3, {"padding": 1}),
    ("32 channels", 16, 32, 64, 16, 3, {"padding": 1}),
    ("stride 2 to 81 outputs", 16, 64, 64, 18, 3, {"padding": 1, "stride": 2}),
    ("stride 2 to 100 outputs", 16, 64, 64, 20, 3, {"padding": 1, "stride": 2}),
    ("stride 2 to 256 outputs", 16, 64, 64, 32, 3, {"padding": 1, "stride": 2}),
    ("stride 2 to 289 outputs", 16, 64, 64, 34, 3, {"padding": 1, "stride": 2}),
    ("depthwise, 28 columns", 16, 64, 64, 28, 3, {"padding": 1, "groups": 64}),
    ("depthwise, 32 columns", 16, 64, 64, 32, 3, {"padding": 1, "groups": 64}),
    ("depthwise, 56 rows in all", 4, 256, 256, 14, 3, {"padding": 1, "groups": 256}),
    ("depthwise, 70 rows in all", 5, 256, 256, 14, 3, {"padding": 1, "groups": 256}),
]

PASSES = ("forward", "gradient of input", "gradient of weight")

_MARGIN = 0.95
"""A rule is called wrong where another algorithm takes less than this part of the chosen one's time."""


class Pass(NamedTuple):
    """One of the three operations of a convolution."""

    chosen: str
    """The algorithm that the rules choose."""
    run: Callable[[], object]


class Convolution(NamedTuple):
    """The operands of a convolution, with random numbers."""

    x: Array
    w: Array
    grad_output: Array
    window: kernels.Window
    groups: int

    @property
    def shapes(self) -> Shapes:
        """What an algorithm is chosen by."""
        n, channels, height, width = self.x.shape
        _, outs, *size = self.grad_output.shape
        output_size = size[0], size[1]
        return Shapes(n, channels, outs, (height, width), output_size, self.window, self.groups, self.x.dtype)

    def passes(self) -> dict[str, Pass]:
        """Describe the three operations."""
        x, w, grad_output, window, groups = self
        size = x.shape[2], x.shape[3]
        chosen = {
            "forward": choosing._fastest(self.shapes, w, x),
            "gradient of input": choosing._fastest(self.shapes, w, grad_output, backwards=True),
            "gradient of weight": choosing._fastest(self.shapes, grad_output, x),
        }
        run: dict[str, Callable[[], object]] = {
            "forward": lambda: kernels.conv2d(x, w, None, window, groups),
            "gradient of input": lambda: kernels.conv2d_grad_input(grad_output, w, size, window, groups),
            "gradient of weight": lambda: kernels.conv2d_grad_weight(grad_output, x, window, groups),
        }
        names = {id(module): name for name, module in choosing.ALGORITHMS.items()}
        return {name: Pass(names[id(chosen[name])], run[name]) for name in PASSES}


def convolution(
    batch: int, ins: int, outs: int, size: int, kernel_size: int, arguments: dict[str, int]
) -> Convolution:
    """Return a square convolution of float32."""
    stride, padding, dilation = (arguments.get(name, default) for name, default in _DEFAULTS)
    groups, rng = arguments.get("groups", 1), np.random.default_rng(0)
    window = kernels.Window(
        (kernel_size,) * 2, (stride,) * 2, ((padding, padding),) * 2, (dilation, dilation)
    )

    def drawn(*shape: int) -> Array:
        return rng.standard_normal(shape, dtype=np.float32)

    output_size = window.output_size((size, size))
    return Convolution(
        drawn(batch, ins, size, size),
        drawn(outs, ins // groups, kernel_size, kernel_size),
        drawn(batch, outs, *output_size),
        window,
        groups,
    )


_DEFAULTS = (("stride", 1), ("padding", 0), ("dilation", 1))


class Measured(NamedTuple):
    """A pass by each algorithm that accepts it, and the name of the chosen one."""

    chosen: str
    times: Times

    @property
    def fastest(self) -> float:
        """The time of the fastest algorithm for direct sums as a part of the chosen one's."""
        return min(self.times.ratio(name, self.chosen) for name in self.times.seconds if name != "winograd")

    @property
    def wrong(self) -> bool:
        """Whether another algorithm for direct sums is faster."""
        return self.fastest < _MARGIN


def main() -> None:
    """Measure, print tables, and keep the raw figures."""
    given = options(__doc__, rounds=7, seconds=0.1)
    console = Console(highlight=False, width=160)
    console.print(machine(), soft_wrap=True)
    cases = (SMALL + BORDERS + CONVOLUTIONS)[: 2 if given.quick else None]
    measured = {case[0]: measure(convolution(*case[1:]), given) for case in cases}
    for which in PASSES:
        console.print(table(which, {name: passes[which] for name, passes in measured.items()}))
    console.print(summary([each for passes in measured.values() for each in passes.values()]))
    raw = {
        name: {which: {"chosen": each.chosen, **each.times.seconds} for which, each in passes.items()}
        for name, passes in measured.items()
    }
    console.print(f"Raw figures: {keep(given.name('choosing'), raw)}", soft_wrap=True)


def measure(case: Convolution, given: Options) -> dict[str, Measured]:
    """Time each pass by each algorithm that accepts it."""
    accepting = [
        name
        for name, module in choosing.ALGORITHMS.items()
        if name != "naive" and module.accepts(case.shapes)
    ]
    return {
        which: Measured(
            each.chosen,
            in_turn({name: forced(name, each.run) for name in accepting}, given.rounds, given.seconds),
        )
        for which, each in case.passes().items()
    }


def forced(name: str, run: Callable[[], object]) -> Callable[[], object]:
    """Return the same operation by the algorithm of that name."""

    def by_name() -> object:
        with kernels.convolution_algorithm(name):
            return run()

    return by_name


def summary(passes: list[Measured]) -> str:
    """Count the rules that are not wrong, and average what the fastest algorithm would save."""
    right = sum(not each.wrong for each in passes)
    mean = geometric_mean(each.fastest for each in passes)
    return f"{right} of {len(passes)} rules are right; the fastest takes {mean:.2f} of the chosen one's time"


def table(which: str, passes: dict[str, Measured]) -> Table:
    """Lay out the time of each algorithm over that of the chosen one, which is 1."""
    shown = Table(title=f"{which}: time / time of the chosen algorithm", header_style="")
    for column in ("", "chosen", *choosing.ALGORITHMS, "the rule"):
        shown.add_column(column, justify="right" if column in choosing.ALGORITHMS else "left")
    for name, each in passes.items():
        cells = [
            f"{each.times.ratio(algorithm, each.chosen):.2f}" if algorithm in each.times.seconds else ""
            for algorithm in choosing.ALGORITHMS
        ]
        shown.add_row(name, each.chosen, *cells, "wrong" if each.wrong else "")
    return shown


if __name__ == "__main__":
    main()
