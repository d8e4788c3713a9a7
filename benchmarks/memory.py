"""The memory that convolutions and training take: `python -m benchmarks.memory`.

The peak of the process's resident memory, minus what it held before, in a process of its own for each case
and backend, on Linux: of a convolution, forward and backward, without its inputs and outputs; and of steps
of training, with and without what malloc keeps. Prints two tables; writes memory.json to benchmarks/results.
"""

from benchmarks.measuring import OURS, TORCH, keep, machine, options, restart_for_measuring

if __name__ == "__main__":
    restart_for_measuring()

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

import scratch_conv as sc
from benchmarks.training import BATCH, NETWORKS, TrainingStep

MEBIBYTE = 2**20
CHANNELS = 64

# Batch and height = width of a 3x3 convolution of 64 channels; the first is the one that README quotes.
CASES = [(32, 112), (8, 112), (16, 112), (64, 112), (32, 28), (32, 56), (32, 224)]
QUICK = [(2, 16), (4, 16)]

STEPS = 5
"""From the second step on, malloc holds memory that was freed, in pieces that later arrays may not fit."""

ENVIRONMENTS = {"": {}, ": in use": {"MALLOC_MMAP_THRESHOLD_": str(2**16)}}
"""In the second, malloc returns larger pieces at once: what is left is in use."""


def main() -> None:
    """Measure, print a table, and write the raw figures."""
    given = options(__doc__, rounds=3, seconds=0.0)
    console = Console(highlight=False, width=120)
    console.print(machine(), soft_wrap=True)
    shown = Table(
        title="3x3 convolution, 64 to 64 channels, forward and backward: MiB at the peak", header_style=""
    )
    for column in ("batch", "size", "inputs and outputs", f"{TORCH}: above them", f"{OURS}: above them"):
        shown.add_column(column, justify="right")
    raw = {}
    for batch, size in QUICK if given.quick else CASES:
        above = {name: least(given.rounds, peak_above, name, batch, size) for name in (TORCH, OURS)}
        raw[f"{batch} x {size} x {size}"] = above
        held = 4 * batch * CHANNELS * size**2 * 4  # input, output and their gradients, in float32
        cells = (held, above[TORCH], above[OURS])
        shown.add_row(str(batch), str(size), *(f"{each / MEBIBYTE:.0f}" for each in cells))
    console.print(shown)
    shown = Table(
        title=f"{STEPS} steps of training with {BATCH} images of 32x32: MiB at the peak", header_style=""
    )
    for column in ("", *(name + what for what in ENVIRONMENTS for name in (TORCH, OURS))):
        shown.add_column(column, justify="right")
    for network in NETWORKS:
        above = {}
        for what, environment in ENVIRONMENTS.items():
            with patch.dict(os.environ, environment):
                for name in (TORCH, OURS):
                    above[name + what] = least(given.rounds, peak_of_steps, name, network)
        raw[f"{STEPS} steps of {network}"] = above
        shown.add_row(network, *(f"{each / MEBIBYTE:.0f}" for each in above.values()))
    console.print(shown)
    console.print(f"Raw figures, bytes: {keep(given.name('memory'), raw)}", soft_wrap=True)


def least(rounds: int, measure: Callable[..., int], *arguments: object) -> int:
    """Measure in a fresh process each time, and return the least."""
    taken = []
    for _ in range(rounds):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            taken.append(pool.apply(measure, arguments))
    return min(taken)


def peak_above(name: str, batch: int, size: int) -> int:
    """Return the bytes that a pass takes at its peak, besides its inputs and outputs."""
    convolve: Any = F.conv2d if name == TORCH else sc.functional.conv2d
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, requires_grad=True)

    def forward_and_backward(x: Tensor, grad_output: Tensor) -> tuple[Tensor, ...]:
        y = convolve(x, weight, padding=1)
        return y, *torch.autograd.grad(y, (x, weight), grad_output)

    # What a first call loads and keeps is not counted, except scratch memory that grows.
    forward_and_backward(torch.ones(1, CHANNELS, 8, 8, requires_grad=True), torch.ones(1, CHANNELS, 8, 8))
    x = torch.randn(batch, CHANNELS, size, size, requires_grad=True)
    grad_output = torch.randn(batch, CHANNELS, size, size)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _status("VmRSS")
    results = forward_and_backward(x, grad_output)
    return _status("VmHWM") - before - sum(result.nbytes for result in results)


def peak_of_steps(name: str, network: str) -> int:
    """Return the bytes that steps take at their peak, besides weights and the optimiser's numbers."""
    step = TrainingStep(NETWORKS[network], swapped=name == OURS)
    whole = step.images, step.labels
    step.images, step.labels = step.images[:2], step.labels[:2]
    step()
    step.images, step.labels = whole
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    for _ in range(STEPS):
        step()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    """Return a size of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
