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
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler, Sampler, TensorDataset
from torchvision.transforms import v2

from scratch_conv.swapping import swap
from scratch_conv.training.backends.job import DivergedError, Job, Outcome, epochs
from scratch_conv.training.backends.models import build
from scratch_conv.training.backends.recording import LiveProgress, Record
from scratch_conv.training.backends.torch_checkpoints import AtomicCheckpointIO, each_epoch, last_readable
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.settings import MOMENTUM, Settings

Batch = tuple[Tensor, Tensor]  # images (N, C, H, W) and labels (N,)


class Batches(pl.LightningDataModule):
    """Shuffled training batches, augmented unless the settings say otherwise, and plain test batches.

    Order and augmentation depend on the seed, the epoch and the step alone, so every backend sees the same
    batches, and so does a resumed run.
    """

    def __init__(self, data: ImageSet, settings: Settings) -> None:
        super().__init__()
        self.data, self.settings = data, settings
        crop = v2.RandomCrop(data.train[0].shape[-1], padding=4)
        self.augment = v2.Compose([crop, v2.RandomHorizontalFlip()]) if data.flip else crop

    @property
    def steps(self) -> int:
        """The steps of an epoch."""
        return self.settings.steps_per_epoch(len(self.data.train[1]))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the training batches, shuffled by the seed and by the epoch, which Lightning sets."""
        data = TensorDataset(*map(torch.from_numpy, self.data.train))
        sampler: Sampler[int] = DistributedSampler(data, num_replicas=1, rank=0, seed=self.settings.seed)
        return DataLoader(data, self.settings.batch_size, sampler=sampler)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the test batches, in order."""
        data = TensorDataset(*map(torch.from_numpy, self.data.test))
        return DataLoader(data, self.settings.batch_size)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch, then normalise it."""
        images, labels = batch
        assert self.trainer is not None
        if self.trainer.training:
            images = self.augmented(images, self.trainer.global_step)
        return self.normalise(images, self.trainer.lightning_module.dtype), labels

    def augmented(self, images: Tensor, step: int) -> Tensor:
        """Augment the batch of a step image by image, with torch's generator seeded for that step."""
        # Dropout, which draws later in the step, uses this seed as well. Not torch.manual_seed: for CUDA that
        # is not in use it writes down the whole stack, which takes milliseconds.
        torch.default_generator.manual_seed(_mixed(self.settings.seed, step))
        if not self.settings.augment:
            return images
        return torch.stack([self.augment(image) for image in images])

    def normalise(self, images: Tensor, dtype: torch.dtype | str) -> Tensor:
        """Scale images of 0..255 to mean 0 and standard deviation 1."""
        scaled = v2.functional.to_dtype(images, dtype, scale=True)
        return v2.functional.normalize(scaled, list(self.data.mean), list(self.data.std))


def _mixed(seed: int, step: int) -> int:
    """Return one seed for two numbers, in practice different for any other two."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


class Classifier(pl.LightningModule):
    """A network trained on the cross-entropy of its classes."""

    def __init__(self, network: nn.Module, settings: Settings) -> None:
        super().__init__()
        self.network, self.settings = network, settings

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss of one batch."""
        images, labels = batch
        loss = F.cross_entropy(self.network(images), labels)
        if not loss.isfinite():
            where = _where_it_began(self.network, images)
            raise DivergedError(f"the loss is {loss.item()} at step {self.trainer.global_step + 1}; {where}")
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def on_validation_start(self) -> None:
        """Refuse weights that are not finite before a checkpoint of them is kept."""
        for name, parameter in self.network.named_parameters():
            if not parameter.isfinite().all():
                raise DivergedError(f"{name} is not finite after epoch {self.current_epoch + 1}")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure loss and accuracy on test images."""
        images, labels = batch
        scores = self.network(images)
        metrics = {
            "test_loss": F.cross_entropy(scores, labels),
            "test_accuracy": (scores.argmax(1) == labels).to(scores.dtype).mean(),
        }
        self.log_dict(metrics, batch_size=len(labels))

    def configure_optimizers(self) -> Any:
        """Return the optimiser and, if the learning rate changes, its schedule."""
        optimizer = new_optimizer([*self.parameters()], self.settings)
        if self.settings.schedule == "constant":
            return optimizer
        assert isinstance(self.trainer.datamodule, Batches)  # type: ignore[attr-defined]
        cycle = one_cycle(optimizer, self.settings, self.trainer.datamodule.steps)  # type: ignore[attr-defined]
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


def run(job: Job) -> None:
    """Train, from the last checkpoint on if there is one, and write the result to `job.result`."""
    settings, data = job.settings, ImageSet.load(job.images)
    network = initial_network(settings, data)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    if job.backend == "scratch":
        swap(network)
    batches = Batches(data, settings)
    classifier, record = Classifier(network, settings), Record()
    if settings.precision == "64-true":
        classifier.double()  # Lightning does so after it has read a checkpoint, whose weights it would round
    torch.backends.mkldnn.set_flags(job.onednn)  # type: ignore[no-untyped-call]
    if job.threads:
        torch.set_num_threads(job.threads)
    with _quiet_lightning():
        _trainer(job, record).fit(
            classifier, batches, ckpt_path=last_readable(job.folder, classifier.state_dict())
        )
    for path in epochs(job.folder)[:-2]:  # a killed process had written one and not yet deleted another
        path.unlink()
    samples = torch.from_numpy(data.test[0][data.samples()])
    with torch.no_grad():
        predictions = network.eval()(batches.normalise(samples, classifier.dtype)).softmax(1)
    weights = {name: value.detach() for name, value in network.state_dict().items()}
    outcome = Outcome(**record.state_dict(), parameters=parameters, predictions=predictions, weights=weights)
    outcome.save(job)


def initial_network(settings: Settings, data: ImageSet) -> nn.Module:
    """Return the untrained network: the same weights for the same seed, for every backend."""
    torch.manual_seed(settings.seed)
    _, channels, size, _ = data.train[0].shape
    return build(settings.model, channels, size, len(data.classes))


def _trainer(job: Job, record: Record) -> pl.Trainer:
    complete = job.steps is None
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        precision=job.settings.precision,  # type: ignore[arg-type]
        max_epochs=job.settings.epochs,
        max_steps=-1 if job.steps is None else job.steps,
        limit_val_batches=None if complete else 0,
        num_sanity_val_steps=0,
        callbacks=[record, LiveProgress(job.title, record), *([each_epoch(job.folder)] if complete else [])],
        plugins=[AtomicCheckpointIO()],
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
