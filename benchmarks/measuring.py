"""How everything here is measured: side by side in one process, in turn, as ratios.

A shared machine changes its speed from second to second, so no bare time is comparable with another. What is:
the ratio of two times taken right after each other, and its median over several rounds.
"""

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results"


def start_anew_for_measuring() -> None:
    """Run this program again in the environment to measure in; to be called before NumPy and torch load.

    The BLAS chooses its own kernel (OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE would force another), and torch's
    idle threads wait passively unless OMP_WAIT_POLICY says otherwise.
    """
    forced = [name for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE") if name in os.environ]
    if forced or "OMP_WAIT_POLICY" not in os.environ:
        environment = {name: value for name, value in os.environ.items() if name not in forced}
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


@dataclass(frozen=True)
class Times:
    """The seconds that each of two programs took, one number a round, round by round in turn."""

    torch: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Give torch's time over ours, sorted: above 1 we are faster."""
        return sorted(theirs / own for theirs, own in zip(self.torch, self.ours, strict=True))

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(self.ratios)

    def __str__(self) -> str:
        return f"{self.ratio:.2f} ({self.ratios[0]:.2f} to {self.ratios[-1]:.2f})"


def in_turn(torchs: Callable[[], object], ours: Callable[[], object], rounds: int, seconds: float) -> Times:
    """Time two programs in turn, each for about `seconds` a round, after one round to warm up."""
    import torch
    from torch.utils.benchmark import Timer

    threads = torch.get_num_threads()
    timers = [Timer("f()", globals={"f": f}, num_threads=threads) for f in (torchs, ours)]
    numbers = [max(1, int(seconds / max(1e-6, timer.timeit(1).mean))) for timer in timers]
    taken = [
        [timer.timeit(number).mean for timer, number in zip(timers, numbers, strict=True)]
        for _ in range(rounds)
    ]
    return Times(tuple(pair[0] for pair in taken), tuple(pair[1] for pair in taken))


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on: versions, threads, and the BLAS kernel that ran."""
    import torch
    from threadpoolctl import threadpool_info

    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "torch")},
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "BLAS": [
            f"{library['internal_api']} {library['version']}, kernel {library.get('architecture')}"
            for library in threadpool_info()
            if library["user_api"] == "blas"
        ],
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
    }


def keep(name: str, results: Mapping[str, Any]) -> Path:
    """Write the raw figures to benchmarks/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n", encoding="utf-8")
    return path
