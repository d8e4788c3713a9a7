"""What a run records for the report, and what it shows on the terminal meanwhile."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from scratch_conv.training.backends.job import History


class Record(pl.Callback):
    """Records the history of a run, which is saved in its checkpoints."""

    def __init__(self) -> None:
        self.history = History()
        self.began = self.ended = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record a step's loss, and when it ended: the epoch's last one stops the clock."""
        self.history.step_losses.append(outputs["loss"].item())
        self.ended = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record an epoch's figures."""
        history, metrics = self.history, trainer.callback_metrics
        history.train_loss.append(metrics["train_loss"].item())
        if "test_loss" in metrics:
            history.test_loss.append(metrics["test_loss"].item())
            history.test_accuracy.append(metrics["test_accuracy"].item())
        history.seconds_per_epoch.append(self.ended - self.began)
        history.peak_memory_bytes = max(history.peak_memory_bytes, peak_memory_bytes())

    def state_dict(self) -> dict[str, Any]:
        """Return the history, for a checkpoint."""
        return asdict(self.history)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the history from a checkpoint."""
        self.history = History(**state_dict)


class Display:
    """A progress bar with the loss and the time left, and above it a line for each finished epoch."""

    def __init__(self, title: str) -> None:
        self.title = title
        console = Console(highlight=False)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("step {task.completed}/{task.total}  loss {task.fields[loss]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
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
        if trainer.max_steps != -1:
            self.display.say(f"{trainer.max_steps} steps begin")
        self.display.start(int(trainer.estimated_stepping_batches), trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance by one step."""
        self.display.step(outputs["loss"].item())

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
