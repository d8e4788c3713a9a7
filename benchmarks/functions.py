"""The speed of every function, forward and backward, against torch's: `python -m benchmarks.functions`.

Each has a case of a real network (`layer_cases.py`), in float32. Both are timed in turn in one process. It
prints a table, and writes functions.json and functions.txt to benchmarks/results.
"""

from benchmarks.measuring import OURS, RESULTS, TORCH, as_text, keep, machine, options, restart_for_measuring

if __name__ == "__main__":
    restart_for_measuring()

from statistics import geometric_mean

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.layer_cases import CASES
from benchmarks.layers import PASSES, measure, other

SLOW = 0.25
"""Below this share of torch's speed a row is marked."""


def main() -> None:
    """Measure, print the table, and write the raw figures."""
    given = options(__doc__, rounds=5, seconds=0.05)
    console = Console(highlight=False, width=140)
    cases = CASES[: 4 if given.quick else None]
    measured = [(case, measure(other(case), given)) for case in track(cases, "functions", transient=True)]
    shown = Table(title=f"{TORCH}'s time / {OURS}, float32: median and extremes")
    for column in ("function", "of", *PASSES, f"below {SLOW}"):
        shown.add_column(column, justify="left" if column in ("function", "of") else "right")
    for case, both in measured:
        slow = [way for way in PASSES if both[way].ratio() < SLOW]
        shown.add_row(case.function, case.origin, *(str(both[way]) for way in PASSES), ", ".join(slow))
    means = [f"{geometric_mean(both[way].ratio() for _, both in measured):.2f}" for way in PASSES]
    shown.add_row("geometric mean", "", *means, "", style="bold")
    console.print(machine(), soft_wrap=True)
    console.print(shown)
    name = given.name("functions")
    (RESULTS / f"{name}.txt").write_text(f"{machine()}\n{as_text(shown)}", encoding="utf-8")
    raw = [
        {"function": case.function, "of": case.origin, **{way: both[way].seconds for way in PASSES}}
        for case, both in measured
    ]
    console.print(f"Raw figures: {keep(name, {'cases': raw})}", soft_wrap=True)


if __name__ == "__main__":
    main()
