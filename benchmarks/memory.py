"""The memory that a convolution takes besides its inputs and outputs: `python -m benchmarks.memory`.

The peak of the process's resident memory during a forward and backward pass, minus what it held before and
the size of the results; each case and backend in a process of its own, on Linux. Prints a table; writes
memory.json to benchmarks/results.
"""

from benchmarks.measuring import OURS, TORCH, keep, machine, options, restart_for_measuring

if __name__ == "__main__":
    restart_for_measuring()

import multiprocessing
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

import scratch_conv as sc

MEBIBYTE = 2**20
CHANNELS = 64

# Batch and height = width of a 3x3 convolution of 64 channels; the first is the one that README quotes.
CASES = [(32, 112), (8, 112), (16, 112), (64, 112), (32, 28), (32, 56), (32, 224)]
QUICK = [(2, 16), (4, 16)]


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
        above = {
            name: min(in_own_process(name, batch, size) for _ in range(given.rounds))
            for name in (TORCH, OURS)
        }
        raw[f"{batch} x {size} x {size}"] = above
        held = 4 * batch * CHANNELS * size**2 * 4  # input, output and their gradients, in float32
        cells = (held, above[TORCH], above[OURS])
        shown.add_row(str(batch), str(size), *(f"{each / MEBIBYTE:.0f}" for each in cells))
    console.print(shown)
    console.print(f"Raw figures, bytes: {keep(given.name('memory'), raw)}", soft_wrap=True)


def in_own_process(name: str, batch: int, size: int) -> int:
    """Measure in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak_above, (name, batch, size))


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


def _status(field: str) -> int:
    """Return a size of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
