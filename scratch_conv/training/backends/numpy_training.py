"""One training run in NumPy alone: a plain loop over batches.

torch only shuffles and augments here, as for the other backends, so that all train on the same batches.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from scratch_conv.kernels.windows import Array
from scratch_conv.layers import SGD, Adam, Layer, Sequential, Softmax, SoftmaxCrossEntropy
from scratch_conv.training.backends.job import (
    DivergedError,
    History,
    Job,
    Outcome,
    epochs,
    is_recorded,
    sampled,
)
from scratch_conv.training.backends.layer_times import numpy_layer_times
from scratch_conv.training.backends.models import initial_network
from scratch_conv.training.backends.numpy_checkpoints import load_checkpoint, save_checkpoint
from scratch_conv.training.backends.recording import Display, Phases, peak_memory_bytes
from scratch_conv.training.backends.torch_training import Batches, new_optimizer, one_cycle
from scratch_conv.training.backends.translation import from_torch
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.settings import MOMENTUM, Settings

_DTYPES = {"32": torch.float32, "64-true": torch.float64}


def run(job: Job) -> None:
    """Train, from the last checkpoint on if there is one, and write the result to `job.result`.

    The settings that vary torch (steps, threads, onednn) are not used.
    """
    settings, data = job.settings, ImageSet.load(job.images)
    batches = Batches(data, settings)
    network = from_torch(initial_network(settings, data).to(_DTYPES[settings.precision]))
    trainer = Trainer(network, settings, batches, Display(job.title))
    trainer.train(job.folder)
    outcome = Outcome(
        **vars(trainer.history),
        parameters=sum(parameter.size for parameter in network.parameters.values()),
        predictions=trainer.predicted(),
        weights={name: torch.from_numpy(array.copy()) for name, array in network.state.items()},
    )
    images, _ = next(trainer.training_batches(0))
    outcome.layer_times = numpy_layer_times(network, images)
    outcome.save(job)


class Trainer:
    """Trains a network, epoch by epoch.

    Attributes:
        history: the figures so far.
    """

    def __init__(self, network: Layer, settings: Settings, batches: Batches, display: Display) -> None:
        self.network, self.settings, self.batches, self.display = network, settings, batches, display
        self.loss, self.optimizer = SoftmaxCrossEntropy(), _optimizer(network, settings)
        self.rates = _rates(settings, batches.steps)
        self.dtype, self.history, self.phases = _DTYPES[settings.precision], History(), Phases()

    def train(self, folder: Path) -> None:
        """Train from the last readable checkpoint in a folder or from the start; keep the last two."""
        self.history = load_checkpoint(folder, self.network, self.optimizer) or self.history
        self.display.start(self.settings.epochs * self.batches.steps, len(self.history.step_losses))
        try:
            for epoch in range(len(self.history.train_loss), self.settings.epochs):
                self.train_epoch(epoch)
                if not all(np.isfinite(array).all() for array in self.network.parameters.values()):
                    raise DivergedError(f"weights are not finite after epoch {epoch + 1}")
                self.test()
                self.history.peak_memory_bytes = max(self.history.peak_memory_bytes, peak_memory_bytes())
                self.display.finish_epoch(self.settings.epochs, self.history)
                save_checkpoint(folder / f"epoch={epoch}.npz", self.network, self.optimizer, self.history)
                for path in epochs(folder)[:-2]:
                    path.unlink()
        finally:
            self.display.stop()

    def train_epoch(self, epoch: int) -> None:
        """Take one step for each training batch."""
        losses: list[float] = []
        sizes: list[int] = []
        history, phases = self.history, self.phases
        if epoch == 0:
            history.trajectory[0] = self._weights()
        phases.begin()
        self.network.train()
        for images, labels in self.training_batches(epoch):
            with phases.within("forward"):
                loss = float(self.loss.forward(self.network.forward(images), labels))
            if not math.isfinite(loss):
                step = len(history.step_losses) + len(losses) + 1
                raise DivergedError(
                    f"the loss is {loss} at step {step}; {_where_it_began(self.network, images)}"
                )
            with phases.within("backward"):
                self.network.backward(self.loss.backward())
            for name, gradient in self.network.gradients.items():
                history.gradient_norms.setdefault(name, []).append(float(np.linalg.norm(gradient)))
            with phases.within("optimizer"):
                self.optimizer.lr = self.rates[len(history.step_losses) + len(losses)]
                self.optimizer.step()
            losses.append(loss)
            sizes.append(len(labels))
            if is_recorded(steps := len(history.step_losses) + len(losses)):
                history.trajectory[steps] = self._weights()
            self.display.step(loss)
            phases.finish_step()
        phases.finish(history)
        history.step_losses += losses
        history.trajectory[len(history.step_losses)] = self._weights()
        history.train_loss.append(float(np.average(losses, weights=sizes)))

    def _weights(self) -> torch.Tensor:
        named = self.network.parameters.items()
        return sampled({name: torch.from_numpy(array) for name, array in named})

    def test(self) -> None:
        """Measure loss and accuracy on the test images."""
        loss, right, count = 0.0, 0, len(self.batches.data.test[1])
        self.network.eval()
        for images, labels in self.batches.val_dataloader():
            scores = self.network.forward(self.batches.normalise(images, self.dtype).numpy())
            loss += float(self.loss.forward(scores, labels.numpy())) * len(labels)
            right += int((scores.argmax(axis=1) == labels.numpy()).sum())
        self.history.test_loss.append(loss / count)
        self.history.test_accuracy.append(right / count)

    def predicted(self) -> torch.Tensor:
        """Return the probabilities of the test images."""
        self.network.eval()
        scores = [
            self.network.forward(self.batches.normalise(images, self.dtype).numpy())
            for images, _ in self.batches.val_dataloader()
        ]
        return torch.from_numpy(Softmax().forward(np.concatenate(scores)))

    def training_batches(self, epoch: int) -> Iterator[tuple[Array, Array]]:
        """Yield the batches of an epoch, the same as for the other backends."""
        loader = self.batches.train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # a ShuffledBatches'
        for step, (images, labels) in enumerate(loader, len(self.history.step_losses)):
            augmented = self.batches.augmented(images, step)
            yield self.batches.normalise(augmented, self.dtype).numpy(), labels.numpy()


def _where_it_began(network: Layer, images: Array) -> str:
    """Return in which layer of a network numbers are not finite first."""
    layers = enumerate(network) if isinstance(network, Sequential) else [(0, network)]
    for index, layer in layers:
        kind = type(layer).__name__
        if not all(np.isfinite(parameter).all() for parameter in layer.parameters.values()):
            return f"first in the weights of layer {index} ({kind})"
        images = layer.forward(images)
        if not np.isfinite(images).all():
            return f"first in the output of layer {index} ({kind})"
    return "first in the loss itself"


def _rates(settings: Settings, steps: int) -> list[float]:
    """Return the learning rate of each step, by torch's schedule for a parameter that is not trained."""
    if settings.schedule == "constant":
        return [settings.lr] * settings.epochs * steps
    optimizer = new_optimizer([torch.nn.Parameter(torch.zeros(1))], settings)
    cycle, rates = one_cycle(optimizer, settings, steps), []
    for _ in range(settings.epochs * steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        cycle.step()
    return rates


def _optimizer(network: Layer, settings: Settings) -> SGD | Adam:
    if settings.optimizer == "adam":
        return Adam(network, settings.lr)
    return SGD(network, settings.lr, MOMENTUM)
