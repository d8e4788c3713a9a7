"""What a run tells while it goes on: the record that ends up in the report, and the live line on the screen."""

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Record(pl.Callback):
    """Losses, accuracies and times of a run; it travels in the checkpoints."""

    def __init__(self) -> None:
        self.train_loss: list[float] = []  # one number an epoch, as the next three
        self.test_loss: list[float] = []
        self.test_accuracy: list[float] = []
        self.seconds_per_epoch: list[float] = []  # of training, without the test after it
        self.step_losses: list[float] = []  # one number a step
        self.peak_memory_bytes = 0
        self._began = self._ended = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock: for the first epoch after a resume, Lightning calls no on_train_epoch_start."""
        self._began = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note a step's loss; should it be the last one of the epoch, stop the clock."""
        self.step_losses.append(outputs["loss"].item())
        self._ended = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note an epoch's figures."""
        for name in ("train_loss", "test_loss", "test_accuracy"):
            if name in trainer.callback_metrics:
                getattr(self, name).append(trainer.callback_metrics[name].item())
        self.seconds_per_epoch.append(self._ended - self._began)
        self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory_bytes())

    def state_dict(self) -> dict[str, Any]:
        """All figures, for a checkpoint."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint's figures."""
        vars(self).update(state_dict)


class LiveProgress(pl.Callback):
    """A bar with the loss and the time left of the whole run, and above it a line for each finished epoch."""

    def __init__(self, title: str, record: Record) -> None:
        self.title, self.record = title, record
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("step {task.completed}/{task.total}  loss {task.fields[loss]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(highlight=False),
            transient=True,
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
        record = self.record
        if record.test_accuracy:
            self.progress.console.print(
                f"{self.title}  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
                f"  loss {record.train_loss[-1]:.4f}  test accuracy {record.test_accuracy[-1]:.2%}"
                f"  {record.seconds_per_epoch[-1]:.1f} s"
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
    """The most memory this process has had resident so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux it begins with what the parent had resident when it started this process.
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
