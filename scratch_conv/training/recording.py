"""What a run tells while it goes on: its history, for the report, and the live line on the screen."""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


@dataclass
class History:
    """The figures of a run; losses and accuracies are means over an epoch, one number each."""

    train_loss: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)  # 0..1
    seconds_per_epoch: list[float] = field(default_factory=list)  # of training, without the test after it
    step_losses: list[float] = field(default_factory=list)  # one number a step
    peak_memory_bytes: int = 0


class Record(pl.Callback):
    """Keeps the history of a run, which travels in its checkpoints."""

    def __init__(self) -> None:
        self.history = History()
        self.began = self.ended = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note a step's loss; should it be the last one of the epoch, stop the clock."""
        self.history.step_losses.append(outputs["loss"].item())
        self.ended = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note an epoch's figures."""
        history, metrics = self.history, trainer.callback_metrics
        history.train_loss.append(metrics["train_loss"].item())
        if "test_loss" in metrics:
            history.test_loss.append(metrics["test_loss"].item())
            history.test_accuracy.append(metrics["test_accuracy"].item())
        history.seconds_per_epoch.append(self.ended - self.began)
        history.peak_memory_bytes = max(history.peak_memory_bytes, peak_memory_bytes())

    def state_dict(self) -> dict[str, Any]:
        """Hand the history to a checkpoint."""
        return asdict(self.history)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the history of a checkpoint."""
        self.history = History(**state_dict)


class LiveProgress(pl.Callback):
    """A bar with the loss and the time left of the whole run, and above it a line for each finished epoch."""

    def __init__(self, title: str, record: Record) -> None:
        self.title, self.record = title, record
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

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar, which a resumed run begins where it stopped."""
        self.progress.update(
            self.task, total=int(trainer.estimated_stepping_batches), completed=trainer.global_step
        )
        self.progress.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on by a step."""
        self.progress.update(self.task, advance=1, loss=f"{outputs['loss'].item():.4f}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the epoch's line."""
        history = self.record.history
        if history.test_accuracy:
            self.progress.console.print(
                f"{self.title}  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
                f"  loss {history.train_loss[-1]:.4f}  test accuracy {history.test_accuracy[-1]:.2%}"
                f"  {history.seconds_per_epoch[-1]:.1f} s"
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away."""
        self.progress.stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Take the bar away."""
        self.progress.stop()


def peak_memory_bytes() -> int:
    """Return the most memory that this process has had resident so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux it begins with what the parent had resident when it started this process.
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
