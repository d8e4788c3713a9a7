"""The speed of every function, forward and backward, against torch's: `python -m benchmarks.functions`.

Each has a case of a real network (`layer_cases.py`), in float32. Both are timed in turn in one process. Of
what is slow it says why: what one pass of NumPy over the input takes, of which there are several where torch
makes one; or for small inputs, what a call through Python and autograd takes. It prints a table, and writes
functions.json and functions.txt to benchmarks/results.
"""

from benchmarks.measuring import restart_for_measuring

if __name__ == "__main__":
    restart_for_measuring()

from statistics import geometric_mean

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.layer_cases import CASES, Case
from benchmarks.layers import PASSES, drawn, measure, other
from benchmarks.measuring import (
    OURS,
    RESULTS,
    TORCH,
    Options,
    Times,
    as_text,
    in_turn,
    keep,
    machine,
    options,
)

SLOW = 0.25
"""Below this share of torch's speed a reason is given."""

_FEW_CALLS = 6
"""What takes as long as fewer calls with one number is slow for these."""

_CALL = Case("relu", "one number", {"input": (1,)}, {})


def main() -> None:
    """Measure, print the table, and write the raw figures."""
    given = options(__doc__, rounds=5, seconds=0.05)
    console = Console(highlight=False, width=140)
    cases = CASES[: 4 if given.quick else None]
    call = measure(other(_CALL), given)
    measured = [(case, measure(other(case), given)) for case in track(cases, "functions", transient=True)]
    shown = Table(title=f"{TORCH}'s time / {OURS}, float32: median and extremes")
    for column in ("function", "of", *PASSES, f"below {SLOW}: takes as long as"):
        shown.add_column(column, justify="right" if column in PASSES else "left")
    for case, both in measured:
        reasons = [
            f"{way}: {why_slow(case, both[way], call[way], given)}"
            for way in PASSES
            if both[way].ratio() < SLOW
        ]
        shown.add_row(case.function, case.origin, *(str(both[way]) for way in PASSES), "\n".join(reasons))
    means = [f"{geometric_mean(both[way].ratio() for _, both in measured):.2f}" for way in PASSES]
    shown.add_row("geometric mean", "", *means, "", style="bold")
    console.print(machine(), soft_wrap=True)
    console.print(shown)
    console.print(f"A call of ours, with one number: {1e6 * call['forward'].median(OURS):.0f} µs forward.")
    name = given.name("functions")
    (RESULTS / f"{name}.txt").write_text(f"{machine()}\n{as_text(shown)}", encoding="utf-8")
    raw = [
        {"function": case.function, "of": case.origin, **{way: both[way].seconds for way in PASSES}}
        for case, both in measured
    ]
    console.print(f"Raw figures: {keep(name, {'cases': raw})}", soft_wrap=True)


def why_slow(case: Case, taken: Times, call: Times, given: Options) -> str:
    """Return what takes as long as ours: calls with one number, or passes over the largest operand."""
    calls = taken.median(OURS) / call.median(OURS)
    if calls < _FEW_CALLS:
        return f"{calls:.1f} calls"
    x = max((drawn(each) for each in case.operands.values()), key=torch.Tensor.numel).numpy()
    y = np.empty_like(x)
    one_pass = in_turn({"pass": lambda: np.multiply(x, x, out=y)}, given.rounds, given.seconds)
    return f"{taken.median(OURS) / one_pass.median('pass'):.0f} passes"


if __name__ == "__main__":
    main()
