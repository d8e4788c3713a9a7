"""The same training once with each backend, and how far their losses drift apart."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scratch_conv.training.backends.batches import Batches
from scratch_conv.training.backends.job import Job, Outcome, is_recorded
from scratch_conv.training.backends.models import initial_network
from scratch_conv.training.backends.processes import run_in_process, threads_of_each
from scratch_conv.training.backends.trained import draws_random_numbers, gradients, predicted, trained_network
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.run_folder import begin, check_free, forget_previous, job_folder, locked
from scratch_conv.training.seeds import Runs, is_significant, sentence
from scratch_conv.training.settings import Settings

DRIFT_STEPS = 50
# Training amplifies the 1e-15 of another order of summation, but in so few steps not beyond this.
FLOAT64_BOUND = 1e-8
# Training amplifies what two right orders of summation differ by, alike but not equally.
APART = 10.0
WITHOUT_ONEDNN, REVERSED = "torch without oneDNN", "torch, batches reversed"
# What is compared of trained networks: in evaluation, and for the last batches of so many epochs.
TRAINED, EPOCHS = ("predictions", "gradients"), 7


Differences = Mapping[int, float]
"""How far a run is from torch's, as a share of torch's, by the step that was taken last."""

Measured = Mapping[str, Differences]
"""By what is measured: see MEASURES and TRAINED."""


@dataclass(frozen=True)
class Drift:
    """How far each run is from torch's: in its first steps, and in what its trained network computes.

    A yardstick need not have measured all.
    """

    backends: Mapping[str, Measured]
    yardsticks: Mapping[str, Measured]  # torch itself, summing in another order
    bound: float | None  # of the losses, in float64 only: in float32, torch drifts from itself just as far
    rounding: float  # what a step's rounding makes of its sums: see `step_rounding`

    @property
    def steps(self) -> int:
        """The number of steps that are compared."""
        return max(step for each in self.backends.values() for step in each["losses"])

    @property
    def within_bound(self) -> bool | None:
        """Whether the backends' losses agree; None without a bound."""
        if self.bound is None:
            return None
        return all(
            value <= self.bound for each in self.backends.values() for value in each["losses"].values()
        )

    @property
    def is_torchs_own(self) -> bool:
        """Whether no backend is farther from torch than torch, summing in another order, is from itself."""
        return self._first_beyond() is None and self.within_bound is not False

    @property
    def verdict(self) -> str:
        """A sentence that says so, or where one is farther."""
        if beyond := self._first_beyond():
            backend, measure, step = beyond
            by, torchs = _most(self.backends[backend][measure], step), self._own(measure, step)
            where = "with the weights that it has trained"
            if measure not in TRAINED:
                where = f"within {step} step{'' if step == 1 else 's'}"
            return (
                f"a difference: {measure} of {backend} and torch differ by {by:.1e} {where}, where torch "
                f"differs from itself, in other orders of summation, by {torchs:.1e}"
            )
        measures = (*MEASURES, *TRAINED)
        ours = {measure: max(_most(each[measure]) for each in self.backends.values()) for measure in measures}
        own = {measure: self._own(measure) for measure in measures}
        shares = {name: f"{name} by {ours[name]:.1e} against {own[name]:.1e}" for name in measures}
        than = "torch's own"
        if any(ours[name] > own[name] for name in measures):
            than = f"{APART:g} times torch's own, or what rounding explains"
        said = (
            f"beyond {than}, in other orders of summation, within {self.steps} steps: "
            f"{', '.join(shares[name] for name in MEASURES)}; nor with the trained weights: "
            f"{', '.join(shares[name] for name in TRAINED)}"
        )
        if self.within_bound is False:
            return f"a difference: losses are beyond the bound of {self.bound:.0e}, though none is {said}"
        return f"no difference {said}"

    def _first_beyond(self) -> tuple[str, str, int] | None:
        """Return the first difference beyond torch's own: its step, whose it is, and in what."""
        beyond = [
            (step, backend, measure)
            for backend, measured in self.backends.items()
            for measure, differences in measured.items()
            for step in differences
            if not _most(differences, step) <= max(APART * self._own(measure, step), self.rounding * step)
        ]
        step, backend, measure = min(
            beyond, default=(0, "", ""), key=lambda each: (each[-1] in TRAINED, *each)
        )
        return (backend, measure, step) if beyond else None

    def _own(self, measure: str, steps: int = DRIFT_STEPS) -> float:
        """Return how far torch is from itself within some steps."""
        return max(_most(each[measure], steps) for each in self.yardsticks.values() if measure in each)


def _most(differences: Differences, steps: int = DRIFT_STEPS) -> float:
    """Return the largest difference within some steps; NaN, if there is one."""
    return float(np.max([value for step, value in differences.items() if step <= steps], initial=0))


def verdict(runs: Runs, drift: Drift) -> tuple[bool, str]:
    """Return whether no backend differs from torch, and the sentence that says so."""
    equal, said = drift.is_torchs_own, drift.verdict
    if equal and is_significant(runs):
        equal, said = False, f"a difference of accuracies that chance does not explain, though {said}"
    return equal, f"{said}; {sentence(runs)}"


def train_backends(
    backends: Sequence[str],
    settings: Settings,
    data: ImageSet,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> tuple[Runs, Drift | None]:
    """Train a network with each backend for each seed, torch first, each run in a process of its own.

    Where `resume` finds the run finished, nothing is written.

    Args:
        backends: the names of the backends.
        settings: the settings of the run.
        data: its images.
        out: the run's folder.
        resume: continue the run in the folder.
        overwrite: replace the run in the folder, as soon as the first backend has finished.

    Returns:
        The outcome of each backend for each seed; and, if there are several backends, how far the others
        drifted from torch with the first seed.

    Raises:
        InputError: the folder holds a run, and neither `resume` nor `overwrite` is set; the run to be resumed
            was started with other settings or other images, or has trained a backend that is not among these;
            or another process runs there.
        RunError: a training process failed.
    """
    folder, digest = out / "checkpoints", data.digest()
    check_free(out, resume=resume, overwrite=overwrite)
    saved = folder / "images.npz"  # so that they are decoded or drawn only once
    with locked(out):
        begin(folder, settings, digest, backends, resume=resume)
        runs: dict[int, dict[str, Outcome]] = {}
        try:
            jobs = [
                Job(_title(name, each, settings), name, each, saved, where, digest)
                for each in settings.of_each_seed()
                for name in backends
                for where in [job_folder(folder, name, each.seed, settings.seed)]
            ]
            for job in jobs:
                runs.setdefault(job.settings.seed, {})[job.backend] = _finish(job, data)
                forget_previous(folder)
            drift = _drift(runs[settings.seed], jobs[0], data) if len(backends) > 1 else None
        finally:
            saved.unlink(missing_ok=True)
    return runs, drift


def _title(backend: str, run: Settings, settings: Settings) -> str:
    return backend if settings.seeds == 1 else f"{backend}, seed {run.seed}"


def _finish(job: Job, data: ImageSet) -> Outcome:
    """Run a job, unless the run that is resumed has finished it already."""
    steps = job.settings.epochs * job.settings.steps_per_epoch(len(data.train[1]))
    finished = Outcome.load(job)
    if finished and len(finished.step_losses) == min(steps, job.steps or steps):
        return finished
    if not job.images.exists():
        data.save(job.images)
    return run_in_process(job)


def _drift(outcomes: Mapping[str, Outcome], torchs: Job, data: ImageSet) -> Drift:
    folder, several = torchs.folder.parent, threads_of_each(torchs.settings) > 1
    threads, title = (1, "torch on 1 thread") if several else (2, "torch on 2 threads")
    variations = [
        replace(torchs, title=title, threads=threads, folder=folder / "threads"),
        replace(torchs, title=WITHOUT_ONEDNN, onednn=False, folder=folder / "without-onednn"),
    ]
    settings, batches = torchs.settings, Batches(data, torchs.settings)
    if not draws_random_numbers(initial_network(settings, data), batches):
        # With dropout, each image of a reversed batch would have another one's mask.
        variations += [replace(torchs, title=REVERSED, reverse=True, folder=folder / "reversed")]
    yardsticks = {job.title: _finish(replace(job, steps=DRIFT_STEPS), data) for job in variations}
    expected, *_ = outcomes.values()

    def measured(actual: Outcome) -> dict[str, Differences]:
        return {measure: measuring(expected, actual) for measure, measuring in MEASURES.items()}

    own = {name: measured(outcome) for name, outcome in yardsticks.items()}
    own[WITHOUT_ONEDNN] |= _when_trained("torch", expected, batches, np.median, onednn=False)
    return Drift(
        backends={
            name: measured(outcome) | _when_trained(name, outcome, batches, np.min)
            for name, outcome in outcomes.items()
            if outcome is not expected
        },
        yardsticks=own,
        bound=FLOAT64_BOUND if settings.precision == "64-true" else None,
        rounding=step_rounding(settings, data),
    )


def _when_trained(
    backend: str,
    outcome: Outcome,
    batches: Batches,
    of_batches: Callable[[list[float]], Any],
    *,
    onednn: bool = True,
) -> dict[str, Differences]:
    """Return how far a backend's trained network is from torch's layers with the same weights.

    Rounding that takes a value across a corner, as of ReLU, or makes another pixel the maximum, moves a
    batch's gradients a thousand times as far as other rounding, and does so in up to every batch: in a third
    of ours and three quarters of torch's without oneDNN, of 24 batches of drawn shapes. A wrong gradient is
    wrong in all of them. So a backend is judged by its least difference, torch by its median.
    """
    # Not its `flags`, which warns of hardware that is not there.
    before, *_ = torch.backends.mkldnn.set_flags(onednn)  # type: ignore[no-untyped-call]
    try:
        network = trained_network("torch", outcome, batches.settings, batches.data)
        predictions = predicted(network, batches, outcome.predictions.dtype)
        expected = [gradients("torch", outcome, batches, epoch) for epoch in range(EPOCHS)]
    finally:
        torch.backends.mkldnn.set_flags(before)  # type: ignore[no-untyped-call]
    apart = [
        relative_difference(each, gradients(backend, outcome, batches, epoch))
        for epoch, each in enumerate(expected)
    ]
    return {
        "predictions": {1: relative_difference(predictions, outcome.predictions)},
        "gradients": {1: float(of_batches(apart))},
    }


def step_rounding(settings: Settings, data: ImageSet) -> float:
    """Return 4 √K u, for K the terms of a step's longest sums, over all pixels of a batch.

    A sum of K terms errs by no more, as a share of the sum of their magnitudes, with a probability of 0.999
    (Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019, theorem 2.4).
    """
    pixels = settings.batch_size * data.train[0].shape[-1] ** 2
    eps = np.finfo(np.float32 if settings.precision == "32" else np.float64).eps
    return float(4 * np.sqrt(pixels) * eps / 2)


def relative_difference(expected: Any, actual: Any) -> float:
    """Return |actual - expected| / |expected|, of several numbers by their Euclidean norms."""
    e, a = np.asarray(expected, float), np.asarray(actual, float)
    if np.array_equal(a, e):
        return 0.0
    with np.errstate(all="ignore"):  # runs that diverged are compared as well
        return float(np.linalg.norm(a - e) / np.linalg.norm(e))


def _losses(run: Outcome, step: int) -> Any:
    return run.step_losses[step - 1]


def _gradients(run: Outcome, step: int) -> Any:
    return [run.gradient_norms[name][step - 1] for name in sorted(run.gradient_norms)]


def _weights(run: Outcome, step: int) -> Any:
    return run.trajectory[step]


def _compare(numbers: Callable[[Outcome, int], Any], steps: Iterable[int], *runs: Outcome) -> Differences:
    return {step: relative_difference(*(numbers(run, step) for run in runs)) for step in steps}


def _first_steps(expected: Outcome, actual: Outcome) -> range:
    return range(1, min(DRIFT_STEPS, len(expected.step_losses), len(actual.step_losses)) + 1)


MEASURES: dict[str, Callable[[Outcome, Outcome], Differences]] = {
    "losses": lambda *runs: _compare(_losses, _first_steps(*runs), *runs),
    "norms of gradients": lambda *runs: _compare(_gradients, _first_steps(*runs), *runs),
    "weights": lambda *runs: _compare(_weights, filter(is_recorded, _first_steps(*runs)), *runs),
}
