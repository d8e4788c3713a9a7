"""The key figures of backends, and how they are written."""

from collections.abc import Callable, Collection, Mapping
from statistics import mean
from typing import Any

from scratch_conv.training.backends.job import Outcome
from scratch_conv.training.comparison import MEASURES, TRAINED, Drift

Row = tuple[str, ...]
Recorded = Mapping[str, Any]  # of a backend, as in summary.json

RECORDED = (
    "test_accuracy",
    "test_loss",
    "train_loss",
    "seconds_per_epoch",
    "peak_memory_bytes",
    "parameters",
)
FIGURES: dict[str, tuple[Callable[[Recorded], float], str]] = {
    "test accuracy": (lambda recorded: recorded["test_accuracy"][-1], ".2%"),
    "test loss": (lambda recorded: recorded["test_loss"][-1], ".4f"),
    "training loss": (lambda recorded: recorded["train_loss"][-1], ".4f"),
    "seconds an epoch": (lambda recorded: mean(recorded["seconds_per_epoch"]), ".2f"),
    "peak memory, MB": (lambda recorded: recorded["peak_memory_bytes"] / 1e6, ",.0f"),
    "parameters": (lambda recorded: recorded["parameters"], ","),
}
EXPLAINED = (
    "Seconds an epoch: training only, the mean of all epochs. Peak memory: of a process of its own for each "
    "backend."
)


def recorded(outcomes: Mapping[str, Outcome]) -> dict[str, dict[str, Any]]:
    """Return what summary.json keeps of each backend."""
    return {name: {key: getattr(outcome, key) for key in RECORDED} for name, outcome in outcomes.items()}


def written(figures: Recorded) -> list[str]:
    """Return the key figures of a backend; of a run that diverged, some are null and become a dash."""
    cells = []
    for measure, form in FIGURES.values():
        try:
            cells.append(format(measure(figures), form))
        except TypeError:
            cells.append("-")
    return cells


def key_table(backends: Mapping[str, Recorded]) -> tuple[list[str], list[Row]]:
    """Return the head and the rows of a table: a column for each backend, and their ratios to the first."""
    first, *others = backends
    columns = [written(figures) for figures in backends.values()]
    for name in others:
        values = [[measure(backends[each]) for measure, _ in FIGURES.values()] for each in (first, name)]
        columns.append([f"{value / base:.3f}" if base else "-" for base, value in zip(*values, strict=True)])
    head = ["", first, *others, *(f"{name} / {first}" for name in others)]
    return head, [*zip(FIGURES, *columns, strict=True)]


def drift_tables(drift: Drift) -> dict[str, tuple[list[str], list[Row]]]:
    """Return heads and rows of tables by title: the largest differences to torch of each run beside it."""
    steps = f"first {drift.steps} steps" if drift.steps > 1 else "first step"
    return {steps: _drift_table(drift, MEASURES), "trained networks": _drift_table(drift, TRAINED)}


def _drift_table(drift: Drift, measures: Collection[str]) -> tuple[list[str], list[Row]]:
    rows = [
        (name, *(f"{max(each[measure].values()):.1e}" for measure in measures))
        for name, each in {**drift.backends, **drift.yardsticks}.items()
        if each.keys() >= {*measures}
    ]
    return ["", *measures], rows
