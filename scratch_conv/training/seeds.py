"""How sure the test accuracies are: their spread over seeds, a paired test, and confidence intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from scratch_conv.training.backends.job import Outcome

Runs = Mapping[int, Mapping[str, Outcome]]
"""By the seed: the outcome of each backend."""

CONFIDENCE = 0.95
# Of as large a difference of accuracies by chance. A difference is claimed to be one below it.
SIGNIFICANCE = 0.01
# One seed does not tell how the accuracy varies from training to training: five standard errors.
SIGNIFICANCE_OF_ONE = float(2 * stats.norm.sf(5))


@dataclass(frozen=True)
class Accuracies:
    """The test accuracies of one backend, beside those of the first.

    Attributes:
        values: the test accuracy after the last epoch, 0..1, for each seed.
        interval: where the accuracy is, with a probability of `CONFIDENCE`. Over seeds, of their mean, by
            Student's t; of one seed, for the test images that there are (Wilson, "Probable inference", 1927).
        difference: the mean of what they are above the first backend's.
        difference_interval: where the difference is; None for one seed.
        p_value: the probability of a difference at least as large where there is none, by the t-test of
            differences paired by seed. Few seeds can agree by chance in how many images they differ by: the
            standard error is no less than that of as many images, each right by chance with the one or the
            other, as the two disagree on. For one seed it is that alone.
        agreement: the share of test images, over all seeds, that both take for the same class.
    """

    values: Sequence[float]
    interval: tuple[float, float]
    difference: float
    difference_interval: tuple[float, float] | None
    p_value: float
    agreement: float

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        """The standard deviation from seed to seed; NaN for one seed."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else float("nan")


def accuracies(runs: Runs) -> dict[str, Accuracies]:
    """Return the accuracies of each backend."""
    first, *_ = next(iter(runs.values()))
    return {name: _accuracies(runs, name, first) for name in next(iter(runs.values()))}


def _accuracies(runs: Runs, name: str, first: str) -> Accuracies:
    values = [run[name].test_accuracy[-1] for run in runs.values()]
    differences = np.subtract(values, [run[first].test_accuracy[-1] for run in runs.values()])
    several, tests = len(values) > 1, len(next(iter(runs.values()))[name].predictions)
    agreements = [agreement(run[first], run[name]) for run in runs.values()]
    least = float(np.sqrt(np.subtract(1, agreements).sum() / tests)) / len(runs)
    return Accuracies(
        values=values,
        interval=_of_mean(np.array(values)) if several else _wilson(values[0], tests),
        difference=float(differences.mean()),
        difference_interval=_of_mean(differences, least) if several else None,
        p_value=_p_value(differences, least),
        agreement=float(np.mean(agreements)),
    )


def agreement(one: Outcome, other: Outcome) -> float:
    """Return the share of test images that two networks take for the same class."""
    return float((one.predictions.argmax(1) == other.predictions.argmax(1)).float().mean())


def agreement_of_seeds(runs: Runs) -> float:
    """Return the share of test images that the first backend takes for the same class with two seeds."""
    first = [next(iter(run.values())) for run in runs.values()]
    return float(np.mean([agreement(*pair) for pair in combinations(first, 2)]))


def _mean_and_error(values: np.ndarray, least: float) -> tuple[float, float]:
    """Return the mean of values and its standard error, which is no less than a given one."""
    error = float(stats.sem(values)) if len(values) > 1 else 0.0
    return float(values.mean()), max(error, least)


def _of_mean(values: np.ndarray, least: float = 0.0) -> tuple[float, float]:
    mean, error = _mean_and_error(values, least)
    if not error:
        return mean, mean
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, mean, error)
    return float(low), float(high)


def _wilson(share: float, tests: int) -> tuple[float, float]:
    interval = stats.binomtest(round(share * tests), tests).proportion_ci(CONFIDENCE, "wilson")
    return float(interval.low), float(interval.high)


def _p_value(differences: np.ndarray, least: float) -> float:
    mean, error = _mean_and_error(differences, least)
    if not error:  # equal accuracies, or all apart by as much
        return float(not mean)
    freedom = len(differences) - 1
    return float(2 * (stats.t(freedom) if freedom else stats.norm).sf(abs(mean) / error))


def sentence(runs: Runs) -> str:
    """Return what the seeds say of the accuracies and their difference, in a sentence."""
    found = accuracies(runs)
    (first, base), *others = found.items()
    means = ", ".join(f"{name} {each.mean:.2%}" for name, each in found.items())
    if len(runs) == 1:
        return f"test accuracy, of one seed: {means}"
    compared = [
        f"{name} is {100 * each.difference:+.2f} points from {first} (paired t-test: p = {each.p_value:.2g})"
        for name, each in others
    ]
    return (
        f"over {len(runs)} seeds, mean test accuracy: {means}; {'; '.join(compared)}; "
        f"from seed to seed {first} deviates by {100 * base.deviation:.2f} points"
    )


def is_significant(runs: Runs) -> bool:
    """Return whether a backend's accuracy differs from the first one's by more than chance explains."""
    least = min(each.p_value for each in accuracies(runs).values())
    return least < (SIGNIFICANCE if len(runs) > 1 else SIGNIFICANCE_OF_ONE)


def accuracy_headings(runs: Runs) -> list[str]:
    """Return the names of the columns of `accuracy_rows`; the first, of the backends, has none."""
    first, *_ = next(iter(runs.values()))
    level = f"{CONFIDENCE:.0%} interval"
    if len(runs) == 1:
        return ["", "test accuracy", level, f"same class as {first}"]
    return ["", f"mean, ± {level}", "deviation", f"minus {first}", "p", f"same class as {first}"]


def accuracy_rows(runs: Runs) -> list[tuple[str, ...]]:
    """Return a row for each backend, and one of the first backend's other seeds."""
    found = accuracies(runs)
    rows: list[tuple[str, ...]] = []
    for number, (name, each) in enumerate(found.items()):
        low, high = each.interval
        same = f"{each.agreement:.2%}" if number else "-"
        if each.difference_interval is None:
            rows.append((name, f"{each.mean:.2%}", f"{low:.2%} to {high:.2%}", same))
            continue
        row = (name, f"{each.mean:.2%} ± {50 * (high - low):.2f}", f"{100 * each.deviation:.2f}")
        low, high = each.difference_interval
        compared = f"{100 * each.difference:+.2f} ± {50 * (high - low):.2f}", f"{each.p_value:.2g}"
        rows.append((*row, *(compared if number else ("-", "-")), same))
    if len(runs) > 1:
        first = next(iter(found))
        rows.append((f"{first}, other seeds", *["-"] * 4, f"{agreement_of_seeds(runs):.2%}"))
    return rows
