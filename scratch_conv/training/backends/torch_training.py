"""One training run in torch, with torch's layers or with ours swapped in."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset
from torchvision.transforms import v2

from scratch_conv.swapping import swap
from scratch_conv.training.backends.job import DivergedError, Job, Outcome, epochs
from scratch_conv.training.backends.layer_times import layer_times
from scratch_conv.training.backends.models import initial_network
from scratch_conv.training.backends.ranks import ALONE, Ranks
from scratch_conv.training.backends.recording import LiveProgress, Phases, Record
from scratch_conv.training.backends.torch_checkpoints import AtomicCheckpointIO, each_epoch, last_readable
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.settings import MOMENTUM, Settings

MARGIN = 4  # pixels by which an image is moved at most
Batch = tuple[Tensor, Tensor]  # images (N, C, H, W) and labels (N,)


class ShuffledBatches(Sampler[Tensor]):
    """The indices of each batch's images, shuffled by the seed and by the epoch, which Lightning sets.

    Of each batch, a rank takes its part.
    """

    def __init__(self, count: int, batch_size: int, seed: int, ranks: Ranks = ALONE) -> None:
        self.count, self.batch_size, self.seed, self.ranks, self.epoch = count, batch_size, seed, ranks, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the indices of one batch after another."""
        generator = torch.Generator().manual_seed(_mixed(self.seed, self.epoch))
        order = torch.randperm(self.count, generator=generator)
        yield from _parts(order, self.batch_size, self.ranks)

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-self.count // self.batch_size)


def _parts(indices: Tensor, batch_size: int, ranks: Ranks) -> list[Tensor]:
    """Return a rank's part of each batch."""
    batches = indices.split(batch_size)  # type: ignore[no-untyped-call]
    return [batch[ranks.part(len(batch))[0]] for batch in batches]


class Batches(pl.LightningDataModule):
    """Shuffled training batches, augmented unless the settings say otherwise, and plain test batches.

    Order and augmentation depend on the seed, the epoch and the step alone, so every backend sees the same
    batches, and so does a resumed run. Images lie in memory, so that workers would only cost time.

    Args:
        data: the images.
        settings: the settings of the run.
        reverse: put the images of each training batch in reverse order, after augmentation.
        ranks: the processes that share out each batch, by whose number one image is as good as another.
    """

    def __init__(
        self, data: ImageSet, settings: Settings, *, reverse: bool = False, ranks: Ranks = ALONE
    ) -> None:
        super().__init__()
        self.data, self.settings, self.reverse, self.ranks = data, settings, reverse, ranks

    @property
    def steps(self) -> int:
        """The steps of an epoch."""
        return self.settings.steps_per_epoch(len(self.data.train[1]))

    def size(self, step: int, images: int | None = None) -> int:
        """Return how many images a step's batch has on all ranks together.

        Args:
            step: the number of steps before it.
            images: of how many it is a batch; None: of the training images.
        """
        count = len(self.data.train[1]) if images is None else images
        before = step % self.settings.steps_per_epoch(count) * self.settings.batch_size
        return min(self.settings.batch_size, count - before)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the training batches, each taken from the images by one indexing."""
        data = TensorDataset(*map(torch.from_numpy, self.data.train))
        sampler = ShuffledBatches(len(data), self.settings.batch_size, self.settings.seed, self.ranks)
        return DataLoader(data, batch_size=None, sampler=sampler)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the test batches, in order."""
        data = TensorDataset(*map(torch.from_numpy, self.data.test))
        in_order = _parts(torch.arange(len(data)), self.settings.batch_size, self.ranks)
        return DataLoader(data, batch_size=None, sampler=in_order)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch, then normalise it."""
        images, labels = batch
        assert self.trainer is not None
        if self.trainer.training:
            images = self.augmented_part(images, self.trainer.global_step)
            if self.reverse:
                images, labels = images.flip(0), labels.flip(0)
        return self.normalise(images, self.trainer.lightning_module.dtype), labels

    def augmented_part(self, images: Tensor, step: int) -> Tensor:
        """Return this rank's images of a step, augmented as in the whole batch."""
        whole = self.size(step)
        return self.augmented(images, step, self.ranks.part(whole)[0], whole)

    def augmented(self, images: Tensor, step: int, part: slice = slice(None), whole: int = 0) -> Tensor:
        """Return the images of a step, each moved and perhaps mirrored, as numbers drawn for that step say.

        Args:
            images: the images of the step, or of one process' part of it.
            step: the number of steps before it.
            part: which images of the whole batch they are.
            whole: the size of the whole batch; 0: they are the whole batch.
        """
        seed = _mixed(self.settings.seed, step)
        # Dropout draws from torch's own generator, in another order in each part. Not torch.manual_seed: for
        # CUDA that is not in use it writes down the whole stack, which takes milliseconds.
        torch.default_generator.manual_seed(_mixed(seed, part.start or 0))
        if not self.settings.augment:
            return images
        generator, count = torch.Generator().manual_seed(seed), whole or len(images)
        rows, columns = torch.randint(2 * MARGIN + 1, (2, count), generator=generator)[:, part]
        mirrored = torch.rand(count, generator=generator)[part] < (0.5 if self.data.flip else 0)
        side, edges = images.shape[-1], (MARGIN, MARGIN)
        padded = np.pad(images.numpy(), ((0, 0), (0, 0), edges, edges))
        windows = sliding_window_view(padded, (side, side), (2, 3))  # (N, C, 9, 9, H, W)
        moved = windows[np.arange(len(images)), :, rows.numpy(), columns.numpy()]
        return torch.from_numpy(np.where(mirrored.numpy()[:, None, None, None], moved[..., ::-1], moved))

    def normalise(self, images: Tensor, dtype: torch.dtype | str) -> Tensor:
        """Scale images of 0..255 to mean 0 and standard deviation 1."""
        scaled = v2.functional.to_dtype(images, dtype, scale=True)
        return v2.functional.normalize(scaled, list(self.data.mean), list(self.data.std), inplace=True)


def _mixed(seed: int, step: int) -> int:
    """Return one seed for two numbers, in practice different for any other two."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


class Classifier(pl.LightningModule):
    """A network trained on the cross-entropy of its classes."""

    def __init__(self, network: nn.Module, settings: Settings, phases: Phases | None = None) -> None:
        super().__init__()
        self.network, self.settings, self.phases = network, settings, phases or Phases()

    @property
    def batches(self) -> Batches:
        """The batches that the network is trained on."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Compute the loss of this rank's part of a batch, and the mean loss of the whole batch."""
        images, labels = batch
        with self.phases.within("forward"):
            loss = F.cross_entropy(self.network(images), labels)
        if not loss.isfinite():
            where = _where_it_began(self.network, images)
            raise DivergedError(f"the loss is {loss.item()} at step {self.trainer.global_step + 1}; {where}")
        ranks = self.batches.ranks
        loss = loss * ranks.weight(self.batches.size(batch_idx))
        return {"loss": loss, "mean": ranks.total(loss.detach().clone()) / ranks.count}

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients, and measure the time."""
        with self.phases.within("backward"):
            super().backward(loss, *args, **kwargs)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Take a step, and measure its time without that of the forward and backward passes within."""

        def closure() -> Any:
            with self.phases.within("harness"):
                return optimizer_closure()

        with self.phases.within("optimizer"):
            super().optimizer_step(epoch, batch_idx, optimizer, closure)

    def on_validation_start(self) -> None:
        """Refuse weights that are not finite before a checkpoint of them is kept."""
        for name, parameter in self.network.named_parameters():
            if not parameter.isfinite().all():
                raise DivergedError(f"{name} is not finite after epoch {self.current_epoch + 1}")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add up losses and right answers on test images, on all ranks."""
        images, labels = batch
        scores, tests = self.network(images), len(self.batches.data.test[1])
        _, counted = self.batches.ranks.part(self.batches.size(batch_idx, tests))
        sums = {
            "test_losses": F.cross_entropy(scores, labels).double() * counted,
            "test_right": (scores.argmax(1) == labels)[:counted].sum().double(),
        }
        # Not Lightning's mean: it rounds the number of images on each rank down.
        self.log_dict(sums, batch_size=len(labels), reduce_fx="sum", sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Return the optimiser and, if the learning rate changes, its schedule."""
        optimizer = new_optimizer([*self.parameters()], self.settings)
        if self.settings.schedule == "constant":
            return optimizer
        cycle = one_cycle(optimizer, self.settings, self.batches.steps)
        return [optimizer], [{"scheduler": cycle, "interval": "step"}]


def new_optimizer(parameters: list[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """Return Adam with torch's defaults but for the learning rate, or gradient descent with momentum."""
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, settings.lr)
    return torch.optim.SGD(parameters, settings.lr, MOMENTUM)


def one_cycle(
    optimizer: torch.optim.Optimizer, settings: Settings, steps: int
) -> torch.optim.lr_scheduler.OneCycleLR:
    """Return torch's schedule: up to the learning rate in 30 % of the steps, then down to nearly zero."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, settings.epochs * steps, cycle_momentum=False
    )


def _where_it_began(network: nn.Module, images: Tensor) -> str:
    """Return in which layer of a network numbers are not finite first."""
    found: list[str] = []

    def look(layer: nn.Module, name: str, output: Any) -> None:
        kind = f"layer {name} ({type(layer).__name__})"
        if not all(parameter.isfinite().all() for parameter in layer.parameters()):
            found.append(f"first in the weights of {kind}")
        elif isinstance(output, Tensor) and not output.isfinite().all():
            found.append(f"first in the output of {kind}")

    for name, module in network.named_modules():
        if not [*module.children()]:
            module.register_forward_hook(lambda layer, _, output, name=name: look(layer, name, output))
    with torch.no_grad():
        network(images)
    return found[0] if found else "first in the loss itself"


def run(job: Job, ranks: Ranks = ALONE) -> None:
    """Train, from the last checkpoint on if there is one; the first rank writes `job.result`."""
    settings, data = job.settings, ImageSet.load(job.images)
    network = initial_network(settings, data)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    if job.backend == "scratch":
        swap(network)
    batches, phases = Batches(data, settings, reverse=job.reverse, ranks=ranks), Phases()
    classifier, record = Classifier(network, settings, phases), Record(phases)
    if settings.precision == "64-true":
        classifier.double()  # Lightning does so after it has read a checkpoint, whose weights it would round
    torch.backends.mkldnn.set_flags(job.onednn)  # type: ignore[no-untyped-call]
    if job.threads:
        torch.set_num_threads(job.threads)
    with _quiet_lightning():
        last = last_readable(job.folder, classifier.state_dict()) if ranks.rank == 0 else None
        _trainer(job, record, ranks).fit(classifier, batches, ckpt_path=ranks.from_first(last))
    if ranks.rank > 0:
        return
    for path in epochs(job.folder)[:-2]:  # a killed process had written one and not yet deleted another
        path.unlink()
    outcome = Outcome(
        **record.state_dict(),
        parameters=parameters,
        predictions=predicted(network, batches, classifier.dtype),
        weights={name: value.detach().clone() for name, value in network.state_dict().items()},
    )
    if job.steps is None:
        images, labels = next(iter(batches.train_dataloader()))  # the first rank's part of the first batch
        outcome.layer_times = layer_times(network, batches.normalise(images, classifier.dtype), labels)
    outcome.save(job)


def predicted(network: nn.Module, batches: Batches, dtype: torch.dtype | str) -> Tensor:
    """Return the probabilities of the test images."""
    images = torch.from_numpy(batches.data.test[0]).split(batches.settings.batch_size)  # type: ignore[no-untyped-call]
    network.eval()
    with torch.no_grad():
        scores = [network(batches.normalise(each, dtype)) for each in images]
    return torch.cat(scores).softmax(1)


def _trainer(job: Job, record: Record, ranks: Ranks) -> pl.Trainer:
    complete = job.steps is None
    plugins: list[Any] = [AtomicCheckpointIO(ranks)]
    callbacks: list[pl.Callback] = [record]
    if ranks.rank == 0:
        callbacks.append(LiveProgress(job.title, record))
    if complete:
        callbacks.append(each_epoch(job.folder))
    strategy: Any = "auto"
    if ranks.count > 1:
        strategy = DDPStrategy(process_group_backend="gloo", find_unused_parameters=True)
        plugins.append(TorchElasticEnvironment())
    return pl.Trainer(
        accelerator="cpu",
        strategy=strategy,
        devices=job.settings.devices,
        num_nodes=job.settings.num_nodes,
        use_distributed_sampler=False,  # each rank has its part of each batch already
        precision=job.settings.precision,  # type: ignore[arg-type]
        max_epochs=job.settings.epochs,
        max_steps=-1 if job.steps is None else job.steps,
        limit_val_batches=None if complete else 0,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        plugins=plugins,
        enable_checkpointing=complete,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Suppress Lightning's advice: none of it applies to small images in memory."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        # Lightning's, on a name in torch that torch is about to drop.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        yield
