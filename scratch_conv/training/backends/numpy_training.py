"""One training run in NumPy alone: a plain loop over batches.

torch only shuffles and augments here, and draws the masks of dropout, as for the other backends: all train on
the same batches with the same masks.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from scratch_conv.kernels.windows import Array
from scratch_conv.layers import SGD, Adam, Layer, Sequential, Softmax, SoftmaxCrossEntropy
from scratch_conv.training.backends.batches import Batches
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
from scratch_conv.training.backends.optimizers import new_optimizer, one_cycle
from scratch_conv.training.backends.ranks import ALONE, Ranks
from scratch_conv.training.backends.recording import Display, Phases, peak_memory_bytes
from scratch_conv.training.backends.translation import from_torch, with_torchs_masks
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.settings import MOMENTUM, Settings

_DTYPES = {"32": torch.float32, "64-true": torch.float64}


def run(job: Job, ranks: Ranks = ALONE) -> None:
    """Train, from the last checkpoint on if there is one; the first rank writes the result to `job.result`.

    The settings that vary torch (steps, threads, onednn) are not used.
    """
    settings, data = job.settings, ImageSet.load(job.images)
    batches = Batches(data, settings, ranks)
    initial = initial_network(settings, data).to(_DTYPES[settings.precision])
    network = with_torchs_masks(from_torch(initial))
    trainer = Trainer(network, settings, batches, Display(job.title, quiet=ranks.rank > 0))
    trainer.train(job.folder)
    if ranks.rank > 0:
        return
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
        self.ranks = batches.ranks
        self.loss, self.optimizer = SoftmaxCrossEntropy(), _optimizer(network, settings)
        self.rates = _rates(settings, batches.steps)
        self.dtype, self.history, self.phases = _DTYPES[settings.precision], History(), Phases()

    def train(self, folder: Path) -> None:
        """Train from the last readable checkpoint in a folder or from the start; keep the last two.

        The first rank alone reads and writes them.
        """
        first = self.ranks.rank == 0
        before = load_checkpoint(folder, self.network, self.optimizer) if first else None
        self.history = self.ranks.from_first(before) or self.history
        self._take_over()
        self.display.start(self.settings.epochs * self.batches.steps, len(self.history.step_losses))
        try:
            for epoch in range(len(self.history.train_loss), self.settings.epochs):
                self.train_epoch(epoch)
                if not all(np.isfinite(array).all() for array in self.network.parameters.values()):
                    raise DivergedError(f"weights are not finite after epoch {epoch + 1}")
                self._take_over()  # the running statistics of batch norm
                self.test()
                peak = self.ranks.largest(peak_memory_bytes())
                self.history.peak_memory_bytes = max(self.history.peak_memory_bytes, peak)
                self.display.finish_epoch(self.settings.epochs, self.history)
                if first:
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
        for batch, (images, labels) in enumerate(self.training_batches(epoch)):
            whole = self.batches.size(batch)
            with phases.within("forward"):
                loss = float(self.loss.forward(self.network.forward(images), labels))
            if not math.isfinite(loss):
                step = len(history.step_losses) + len(losses) + 1
                raise DivergedError(
                    f"the loss is {loss} at step {step}; {_where_it_began(self.network, images)}"
                )
            with phases.within("backward"):
                self.network.backward(self.loss.backward())
                self._add_up_gradients(whole)
            for name, gradient in self.network.gradients.items():
                history.gradient_norms.setdefault(name, []).append(float(np.linalg.norm(gradient)))
            with phases.within("optimizer"):
                self.optimizer.lr = self.rates[len(history.step_losses) + len(losses)]
                self.optimizer.step()
            mean = torch.tensor(loss * self.ranks.weight(whole), dtype=torch.float64)
            losses.append(loss := self.ranks.total(mean).item() / self.ranks.count)
            sizes.append(whole)
            if is_recorded(steps := len(history.step_losses) + len(losses)):
                history.trajectory[steps] = self._weights()
            self.display.step(loss)
            phases.finish_step()
        phases.finish(history)
        history.step_losses += losses
        history.trajectory[len(history.step_losses)] = self._weights()
        history.train_loss.append(float(np.average(losses, weights=sizes)))

    def _add_up_gradients(self, whole: int) -> None:
        """Replace the gradients of this rank's part of a batch by those of the whole batch."""
        if self.ranks.count > 1:
            gradients = self.network.gradients.values()
            flat = np.concatenate([gradient.ravel() for gradient in gradients])
            flat *= self.ranks.weight(whole) / self.ranks.count
            self.ranks.total(torch.from_numpy(flat))
            ends = np.cumsum([gradient.size for gradient in gradients])
            for gradient, summed in zip(gradients, np.split(flat, ends[:-1]), strict=True):
                gradient[...] = summed.reshape(gradient.shape)

    def _take_over(self) -> None:
        """Copy the first rank's weights and statistics, and the state of its optimiser."""
        own = {**self.network.state, **self.optimizer.state}
        for name, array in self.ranks.from_first(own).items():
            own[name][...] = array

    def _weights(self) -> torch.Tensor:
        named = self.network.parameters.items()
        return sampled({name: torch.from_numpy(array) for name, array in named})

    def test(self) -> None:
        """Measure loss and accuracy on the test images."""
        loss, right, count = 0.0, 0, len(self.batches.data.test[1])
        self.network.eval()
        for batch, (images, labels) in enumerate(self.batches.val_dataloader()):
            _, counted = self.ranks.part(self.batches.size(batch, count))
            scores = self.network.forward(self.batches.normalise(images, self.dtype).numpy())
            loss += float(self.loss.forward(scores, labels.numpy())) * counted
            right += int((scores.argmax(axis=1) == labels.numpy())[:counted].sum())
        loss, right = self.ranks.total(torch.tensor([loss, right], dtype=torch.float64)).tolist()
        self.history.test_loss.append(loss / count)
        self.history.test_accuracy.append(right / count)

    def predicted(self) -> torch.Tensor:
        """Return the probabilities of all test images."""
        self.network.eval()
        scores = [
            self.network.forward(self.batches.normalise(images, self.dtype).numpy())
            for images, _ in Batches(self.batches.data, self.settings).val_dataloader()
        ]
        return torch.from_numpy(Softmax().forward(np.concatenate(scores)))

    def training_batches(self, epoch: int) -> Iterator[tuple[Array, Array]]:
        """Yield the batches of an epoch, the same as for the other backends."""
        loader = self.batches.train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # a ShuffledBatches'
        for step, (images, labels) in enumerate(loader, len(self.history.step_losses)):
            augmented = self.batches.augmented_part(images, step)
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
