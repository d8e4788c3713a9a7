"""The same training once with each backend, and how far apart their losses drift."""

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
from scratch_conv.training.backends.processes import run_apart
from scratch_conv.training.data.images import Pictures
from scratch_conv.training.settings import BACKENDS, InputError, Settings

DRIFT_STEPS = 50
JOB_FOLDERS = (*BACKENDS, "threads", "without-onednn")
# Training amplifies the 1e-15 of a sum in another order, but not as far as this in so few steps.
FLOAT64_BOUND = 1e-8


@dataclass(frozen=True)
class Drift:
    """Relative loss differences to torch, one number for each of the first steps."""

    backends: Mapping[str, Sequence[float]]
    yardsticks: Mapping[str, Sequence[float]]  # torch itself, computing in another order
    bound: float | None  # judged in float64 only: in float32, torch does not keep to itself either

    @property
    def within_bound(self) -> bool | None:
        """Whether the backends agree; None where that is not judged."""
        if self.bound is None:
            return None
        return all(value <= self.bound for values in self.backends.values() for value in values)


def train_backends(
    backends: Sequence[str], settings: Settings, pictures: Pictures, out: Path, *, resume: bool
) -> tuple[dict[str, Outcome], Drift | None]:
    """Train a network once with each backend, torch first, each run in a process of its own.

    Returns:
        What came of each backend; and, where torch is one of several, how far from it the others drifted.

    Raises:
        InputError: what is to be resumed was begun with other settings or other pictures.
        RunError: a training process failed.
    """
    folder = out / "checkpoints"
    _begin(folder, settings, pictures, resume=resume)
    handed_over = folder / "pictures.npz"  # so that they are decoded or drawn once
    pictures.save(handed_over)
    try:
        jobs = [Job(name, name, settings, handed_over, folder / name) for name in backends]
        outcomes = {job.backend: _finish(job, pictures) for job in jobs}
        drift = _drift(outcomes, jobs, pictures) if len(backends) > 1 else None
    finally:
        handed_over.unlink(missing_ok=True)
    return outcomes, drift


def _begin(folder: Path, settings: Settings, pictures: Pictures, *, resume: bool) -> None:
    """Clear a folder of an earlier run's checkpoints or, to resume, see that they fit."""
    begun_with = folder / "settings.json"
    present = {**settings.options(), "pictures": pictures.digest()}
    if resume and begun_with.exists():
        before = _read_settings(begun_with)
        for name, value in present.items():
            more_epochs = name == "--epochs" and settings.epochs > before.get(name, 0)
            if value != before.get(name) and not more_epochs:
                other = "other pictures" if name == "pictures" else f"{name} {before.get(name)}, not {value}"
                raise InputError(f"--resume: the run in {folder.parent} was begun with {other}")
    else:
        for name in JOB_FOLDERS:
            for path in (*epochs(folder / name), folder / name / "result.pt"):
                path.unlink(missing_ok=True)
    for name in JOB_FOLDERS:
        for half_written in (folder / name).glob(".*.[0-9]*"):  # by a process that was killed
            half_written.unlink()
    with replacing(begun_with) as file:
        file.write(json.dumps(present, indent=2).encode())


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"--resume: {path} is damaged; without --resume the run starts anew") from error
    return settings


def _finish(job: Job, pictures: Pictures) -> Outcome:
    """Do a job, unless a run that is resumed had done it."""
    steps = job.settings.epochs * math.ceil(len(pictures.train[1]) / job.settings.batch_size)
    finished = Outcome.load(job.result)
    if finished and len(finished.step_losses) == min(steps, job.steps or steps):
        return finished
    return run_apart(job)


def _drift(outcomes: Mapping[str, Outcome], jobs: Sequence[Job], pictures: Pictures) -> Drift:
    torchs, folder = jobs[0], jobs[0].folder.parent
    threads, title = (1, "torch on 1 thread") if torch.get_num_threads() > 1 else (2, "torch on 2 threads")
    variations = (
        replace(torchs, title=title, threads=threads, folder=folder / "threads"),
        replace(torchs, title="torch without oneDNN", onednn=False, folder=folder / "without-onednn"),
    )
    yardsticks = {job.title: _finish(replace(job, steps=DRIFT_STEPS), pictures) for job in variations}
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
    """Compare the losses of the first steps: |actual - expected| / |expected|, one number a step."""
    e, a = np.array(expected[:DRIFT_STEPS]), np.array(actual[:DRIFT_STEPS])
    with np.errstate(divide="ignore", invalid="ignore"):  # a run that diverged is compared to the end as well
        differences: list[float] = np.where(a == e, 0, np.abs(a - e) / np.abs(e)).tolist()
    return differences
