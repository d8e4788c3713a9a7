"""The same training once with each backend, and how far their losses drift apart."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scratch_conv.layers.saving import replacing
from scratch_conv.training.backends.job import Job, Outcome, epochs
from scratch_conv.training.backends.processes import run_in_process
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.settings import BACKENDS, InputError, Settings

DRIFT_STEPS = 50
JOB_FOLDERS = (*BACKENDS, "threads", "without-onednn")
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
    backends: Sequence[str], settings: Settings, data: ImageSet, out: Path, *, resume: bool
) -> tuple[dict[str, Outcome], Drift | None]:
    """Train a network once with each backend, torch first, each run in a process of its own.

    Returns:
        The outcome of each backend; and, if there are several, how far the others drifted from torch.

    Raises:
        InputError: the run to be resumed was started with other settings or other images.
        RunError: a training process failed.
    """
    folder = out / "checkpoints"
    _begin(folder, settings, data, resume=resume)
    saved = folder / "images.npz"  # so that they are decoded or drawn only once
    data.save(saved)
    try:
        jobs = [Job(name, name, settings, saved, folder / name) for name in backends]
        outcomes = {job.backend: _finish(job, data) for job in jobs}
        drift = _drift(outcomes, jobs, data) if len(backends) > 1 else None
    finally:
        saved.unlink(missing_ok=True)
    return outcomes, drift


def _begin(folder: Path, settings: Settings, data: ImageSet, *, resume: bool) -> None:
    """Delete an earlier run's checkpoints or, to resume, check that they belong to this run."""
    settings_file = folder / "settings.json"
    present = {**settings.options(), "images": data.digest()}
    if resume and settings_file.exists():
        before = _read_settings(settings_file)
        for name, value in present.items():
            more_epochs = name == "--epochs" and settings.epochs > before.get(name, 0)
            if value != before.get(name) and not more_epochs:
                other = "other images" if name == "images" else f"{name} {before.get(name)}, not {value}"
                raise InputError(f"--resume: the run in {folder.parent} was started with {other}")
    else:
        for name in JOB_FOLDERS:
            for path in (*epochs(folder / name), folder / name / "result.pt"):
                path.unlink(missing_ok=True)
    for name in JOB_FOLDERS:
        for half_written in (folder / name).glob(".*.[0-9]*"):  # left by a process that was killed
            half_written.unlink()
    with replacing(settings_file) as file:
        file.write(json.dumps(present, indent=2).encode())


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"--resume: {path} is damaged; without --resume the run starts again") from error
    return settings


def _finish(job: Job, data: ImageSet) -> Outcome:
    """Run a job, unless the run that is resumed has finished it already."""
    steps = job.settings.epochs * math.ceil(len(data.train[1]) / job.settings.batch_size)
    finished = Outcome.load(job.result)
    if finished and len(finished.step_losses) == min(steps, job.steps or steps):
        return finished
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
