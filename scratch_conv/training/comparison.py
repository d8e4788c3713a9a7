"""The same training once with each backend, and how far their losses drift apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from scratch_conv.training.backends.job import Job, Outcome
from scratch_conv.training.backends.processes import run_in_process
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.run_folder import begin, check_free, forget_previous, locked
from scratch_conv.training.settings import Settings

DRIFT_STEPS = 50
# Training amplifies the 1e-15 of another order of summation, but in so few steps not beyond this.
FLOAT64_BOUND = 1e-8


@dataclass(frozen=True)
class Drift:
    """Relative loss differences to torch, one number for each of the first steps."""

    backends: Mapping[str, Sequence[float]]
    yardsticks: Mapping[str, Sequence[float]]  # torch itself, summing in another order
    bound: float | None  # in float64 only: in float32, torch drifts from itself just as far

    @property
    def within_bound(self) -> bool | None:
        """Whether the backends agree; None without a bound."""
        if self.bound is None:
            return None
        return all(value <= self.bound for values in self.backends.values() for value in values)


def train_backends(
    backends: Sequence[str],
    settings: Settings,
    data: ImageSet,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> tuple[dict[str, Outcome], Drift | None]:
    """Train a network once with each backend, torch first, each run in a process of its own.

    Where `resume` finds the run finished, nothing is written.

    Args:
        backends: the names of the backends.
        settings: the settings of the run.
        data: its images.
        out: the run's folder.
        resume: continue the run in the folder.
        overwrite: replace the run in the folder, as soon as the first backend has finished.

    Returns:
        The outcome of each backend; and, if there are several, how far the others drifted from torch.

    Raises:
        InputError: the folder holds a run, and neither `resume` nor `overwrite` is set; the run to be resumed
            was started with other settings or other images; or another process runs there.
        RunError: a training process failed.
    """
    folder, digest = out / "checkpoints", data.digest()
    check_free(out, resume=resume, overwrite=overwrite)
    saved = folder / "images.npz"  # so that they are decoded or drawn only once
    with locked(out):
        begin(folder, settings, digest, resume=resume)
        outcomes: dict[str, Outcome] = {}
        try:
            jobs = [Job(name, name, settings, saved, folder / name, digest) for name in backends]
            for job in jobs:
                outcomes[job.backend] = _finish(job, data)
                forget_previous(folder)
            drift = _drift(outcomes, jobs, data) if len(backends) > 1 else None
        finally:
            saved.unlink(missing_ok=True)
    return outcomes, drift


def _finish(job: Job, data: ImageSet) -> Outcome:
    """Run a job, unless the run that is resumed has finished it already."""
    steps = job.settings.epochs * job.settings.steps_per_epoch(len(data.train[1]))
    finished = Outcome.load(job)
    if finished and len(finished.step_losses) == min(steps, job.steps or steps):
        return finished
    if not job.images.exists():
        data.save(job.images)
    return run_in_process(job)


def _drift(outcomes: Mapping[str, Outcome], jobs: Sequence[Job], data: ImageSet) -> Drift:
    torchs, folder = jobs[0], jobs[0].folder.parent
    threads, title = (1, "torch on 1 thread") if torch.get_num_threads() > 1 else (2, "torch on 2 threads")
    variations = (
        replace(torchs, title=title, threads=threads, folder=folder / "threads"),
        replace(torchs, title="torch without oneDNN", onednn=False, folder=folder / "without-onednn"),
    )
    yardsticks = {job.title: _finish(replace(job, steps=DRIFT_STEPS), data) for job in variations}
    expected, *_ = outcomes.values()

    def differences(others: Mapping[str, Outcome]) -> dict[str, list[float]]:
        losses = {name: outcome.step_losses for name, outcome in others.items()}
        return {name: relative_differences(expected.step_losses, actual) for name, actual in losses.items()}

    return Drift(
        backends=differences(
            {name: outcome for name, outcome in outcomes.items() if outcome is not expected}
        ),
        yardsticks=differences(yardsticks),
        bound=FLOAT64_BOUND if torchs.settings.precision == "64-true" else None,
    )


def relative_differences(expected: Sequence[float], actual: Sequence[float]) -> list[float]:
    """Return |actual - expected| / |expected| for the losses of the first steps."""
    e, a = np.array(expected[:DRIFT_STEPS]), np.array(actual[:DRIFT_STEPS])
    with np.errstate(divide="ignore", invalid="ignore"):  # losses of a run that diverged are compared as well
        differences: list[float] = np.where(a == e, 0, np.abs(a - e) / np.abs(e)).tolist()
    return differences
