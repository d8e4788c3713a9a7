"""How all times here are measured: in one process, in turn, as ratios.

A shared machine changes its speed from second to second, so times of different moments cannot be compared.
The ratio of two times taken right after each other can, and so can its median over several rounds.
"""

import argparse
import io
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from time import sleep
from typing import Any

RESULTS = Path(__file__).parent / "results"

OURS = "scratch_conv"
TORCH = "torch"
KERNELS = "our kernels"
"""Called from NumPy, without torch; other functions of arrays are compared with these."""

_PAUSE = 0.15
"""Seconds. The BLAS's own threads, which other ways in NumPy use, spin for a tenth of a second after work."""

_AS_FOUND = "--openmp-as-found"


def restart_for_measuring() -> None:
    """Restart this program in the environment for measurements; call it before NumPy and torch are loaded.

    The BLAS chooses its own kernel (OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE would force another), and torch's
    idle threads wait passively, unless OMP_WAIT_POLICY is set or `--openmp-as-found` given.
    """
    forced = [name for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE") if name in os.environ]
    unset = "OMP_WAIT_POLICY" not in os.environ and _AS_FOUND not in sys.argv
    if forced or unset:
        environment = {name: value for name, value in os.environ.items() if name not in forced}
        if unset:
            environment["OMP_WAIT_POLICY"] = "PASSIVE"
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


class Options(argparse.Namespace):
    """The options of every program here."""

    rounds: int
    seconds: float
    quick: bool
    openmp_as_found: bool

    def name(self, program: str) -> str:
        """Return the name for a program's results; a trial or another environment has a name of its own."""
        return program + "-quick" * self.quick + _AS_FOUND[1:] * self.openmp_as_found


def options(description: str | None, rounds: int, seconds: float) -> Options:
    """Parse the command line; `--quick` is a trial of the program."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=rounds, help="how often all are timed in turn")
    parser.add_argument("--seconds", type=float, default=seconds, help="about how long each timing takes")
    parser.add_argument("--quick", action="store_true", help="a few small cases, as a trial")
    parser.add_argument(_AS_FOUND, action="store_true", help="don't set OMP_WAIT_POLICY=PASSIVE")
    given = parser.parse_args(namespace=Options())
    if given.rounds < 1 or given.seconds < 0:
        parser.error("--rounds must be at least 1, and --seconds not negative")
    if given.quick:
        given.rounds, given.seconds = 2, 0.01
    return given


@dataclass(frozen=True)
class Times:
    """The seconds that several programs took, by name: one number a round."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Return the median of a program's times."""
        return median(self.seconds[name])

    def ratios(self, other: str = TORCH, ours: str = OURS) -> list[float]:
        """Return another program's time / ours for each round, sorted: above 1 ours is faster."""
        pairs = zip(self.seconds[other], self.seconds[ours], strict=True)
        return sorted(theirs / own for theirs, own in pairs)

    def ratio(self, other: str = TORCH, ours: str = OURS) -> float:
        """Return the median of the rounds' ratios."""
        return median(self.ratios(other, ours))

    def __str__(self) -> str:
        ratios = self.ratios()
        return f"{self.ratio():.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def in_turn(programs: Mapping[str, Callable[[], object]], rounds: int, seconds: float) -> Times:
    """Time programs in turn, each for about `seconds` a round, right after as many calls as warm-up.

    After a pause the first calls wait for threads and cores to wake up; in training there is no pause.
    """
    import torch
    from torch.utils.benchmark import Timer

    threads = torch.get_num_threads()
    timers = {
        name: Timer("f()", globals={"f": program}, num_threads=threads) for name, program in programs.items()
    }
    numbers = {name: max(1, int(seconds / timer.timeit(1).mean)) for name, timer in timers.items()}
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, timer in timers.items():
            sleep(_PAUSE)
            timer.timeit(numbers[name])
            taken[name].append(timer.timeit(numbers[name]).mean)
    return Times(taken)


def matrix_product_speed() -> float:
    """Return the operations a second of a large float32 matrix product by NumPy's own BLAS."""
    import numpy as np
    from torch.utils.benchmark import Timer

    a, b = np.ones((2, 1024, 1024), dtype=np.float32)
    taken = Timer("a @ b", globals={"a": a, "b": b}).blocked_autorange(min_run_time=0.5)
    return 2 * 1024**3 / taken.median


def machine() -> dict[str, Any]:
    """Return what the figures were measured with: versions, threads, and the BLAS kernel."""
    import torch
    from threadpoolctl import threadpool_info

    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in ("numpy", "torch", "jax")},
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "BLAS": [
            f"{library['internal_api']} {library['version']}, kernel {library.get('architecture')}"
            for library in threadpool_info()
            if library["user_api"] == "blas"
        ],
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def keep(name: str, results: Mapping[str, Any]) -> Path:
    """Write the raw figures to benchmarks/results/<name>.json; return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n", encoding="utf-8")
    return path


def as_text(table: Any) -> str:
    """Return a table of rich's as text."""
    from rich.console import Console

    console = Console(record=True, width=120, file=io.StringIO())
    console.print(table)
    return console.export_text()
