"""What a run records for the report, and what it shows on the terminal meanwhile."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from scratch_conv.training.backends.job import PHASES, History, is_recorded, sampled


class Phases:
    """Measures what an epoch's training time is spent on."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start an epoch."""
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.began = self.ended = time.perf_counter()

    @contextmanager
    def within(self, phase: str) -> Iterator[None]:
        """Add the seconds that a block takes to a phase, without those of blocks inside it."""
        began, inside = time.perf_counter(), sum(self.seconds.values())
        yield
        took = time.perf_counter() - began
        self.seconds[phase] += took - (sum(self.seconds.values()) - inside)

    def finish_step(self) -> None:
        """Say that a step has ended: the epoch's last one ends its training."""
        self.ended = time.perf_counter()

    def finish(self, history: History) -> None:
        """Record the epoch; its remaining time is the harness'."""
        took = self.ended - self.began
        history.seconds_per_epoch.append(took)
        computed = sum(self.seconds[phase] for phase in PHASES if phase != "harness")
        history.phases.append({**self.seconds, "harness": took - computed})


class Record(pl.Callback):
    """Records the history of a run, which is saved in its checkpoints."""

    def __init__(self, phases: Phases) -> None:
        self.history, self.phases = History(), phases
        self.sizes: list[int] = []  # of the epoch's batches

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the first weights, and start the clock."""
        if trainer.global_step == 0:
            self._record_weights(0, pl_module)
        self.sizes.clear()
        self.phases.begin()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any
    ) -> None:
        """Record the norms of a step's gradients."""
        with self.phases.within("harness"):
            named = parameters_of(pl_module)
            gradients = [each if each.grad is None else each.grad for each in named.values()]
            norms = torch.stack([gradient.norm() for gradient in gradients]).tolist()
            for (name, parameter), norm in zip(named.items(), norms, strict=True):
                kept = self.history.gradient_norms.setdefault(name, [])
                kept.append(norm if parameter.grad is not None else 0.0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record a step's loss, and when it ended."""
        self.history.step_losses.append(outputs["mean"].item())
        self.sizes.append(trainer.datamodule.size(batch_idx))  # type: ignore[attr-defined]
        if is_recorded(trainer.global_step) or trainer.is_last_batch:
            self._record_weights(trainer.global_step, pl_module)
        self.phases.finish_step()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record an epoch's figures."""
        history, metrics = self.history, trainer.callback_metrics
        losses = history.step_losses[-len(self.sizes) :]
        history.train_loss.append(float(np.average(losses, weights=self.sizes)))
        if "test_losses" in metrics:
            tests = len(trainer.datamodule.data.test[1])  # type: ignore[attr-defined]
            history.test_loss.append(metrics["test_losses"].item() / tests)
            history.test_accuracy.append(metrics["test_right"].item() / tests)
        self.phases.finish(history)
        peak = trainer.datamodule.ranks.largest(peak_memory_bytes())  # type: ignore[attr-defined]
        history.peak_memory_bytes = max(history.peak_memory_bytes, peak)

    def _record_weights(self, step: int, module: pl.LightningModule) -> None:
        self.history.trajectory[step] = sampled(parameters_of(module))

    def state_dict(self) -> dict[str, Any]:
        """Return the history, for a checkpoint."""
        return dict(vars(self.history))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the history from a checkpoint."""
        self.history = History(**state_dict)


def parameters_of(module: pl.LightningModule) -> dict[str, nn.Parameter]:
    """Return the parameters of the network that a module trains, by name."""
    return dict(sorted(module.network.named_parameters()))  # type: ignore[union-attr]


class Display:
    """A progress bar with the loss and the time left, and above it a line for each finished epoch."""

    def __init__(self, title: str, *, quiet: bool = False) -> None:
        self.title = title
        console = Console(highlight=False, quiet=quiet)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("step {task.completed}/{task.total}  loss {task.fields[loss]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self.task = self.progress.add_task(title, total=None, loss="-")

    def start(self, steps: int, done: int) -> None:
        """Show the bar; in a resumed run `done` steps are completed already."""
        self.progress.update(self.task, total=steps, completed=done)
        self.progress.start()

    def step(self, loss: float) -> None:
        """Advance by one step."""
        self.progress.update(self.task, advance=1, loss=f"{loss:.4f}")

    def finish_epoch(self, epochs: int, history: History) -> None:
        """Print the line of the last epoch in the history."""
        self.progress.console.print(
            f"{self.title}  epoch {len(history.train_loss)}/{epochs}"
            f"  loss {history.train_loss[-1]:.4f}  test accuracy {history.test_accuracy[-1]:.2%}"
            f"  {history.seconds_per_epoch[-1]:.1f} s"
        )

    def say(self, text: str) -> None:
        """Print a line that names the run."""
        self.progress.console.print(f"{self.title}  {text}")

    def stop(self) -> None:
        """Remove the bar."""
        self.progress.stop()


class LiveProgress(pl.Callback):
    """Shows the progress of Lightning's training."""

    def __init__(self, title: str, record: Record) -> None:
        self.display, self.record = Display(title), record

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar; a run of a few steps, without a line for each epoch, has one here and at its end."""
        steps = int(trainer.estimated_stepping_batches)
        if trainer.max_steps != -1:
            self.display.say(f"{steps} steps begin")
        self.display.start(steps, trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance by one step."""
        self.display.step(outputs["mean"].item())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the epoch's line."""
        if self.record.history.test_accuracy:
            assert trainer.max_epochs is not None
            self.display.finish_epoch(trainer.max_epochs, self.record.history)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the bar."""
        if trainer.max_steps != -1:
            losses = self.record.history.step_losses
            self.display.say(f"{len(losses)} steps done  loss {losses[-1]:.4f}")
        self.display.stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Remove the bar."""
        self.display.stop()


def peak_memory_bytes() -> int:
    """Return the peak resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux it starts from what the parent had resident when it started this process.
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
