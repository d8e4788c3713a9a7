"""One training run: a network, a data set, a backend."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler, Sampler, TensorDataset
from torchvision.transforms import v2

from scratch_conv.swapping import swap
from scratch_conv.training.backends.job import Job, Outcome
from scratch_conv.training.backends.models import MODELS
from scratch_conv.training.backends.recording import LiveProgress, Record
from scratch_conv.training.backends.torch_checkpoints import AtomicCheckpointIO, each_epoch, last_readable
from scratch_conv.training.data.images import Pictures
from scratch_conv.training.settings import MOMENTUM, Settings

Batch = tuple[Tensor, Tensor]  # images (N, C, H, W) and labels (N,)


class Batches(pl.LightningDataModule):
    """Shuffled training batches, augmented unless the settings say otherwise, and plain test batches.

    Order and augmentation follow from the seed, the epoch and the step alone, so every backend sees the same
    batches, and a resumed run those that it would have seen.
    """

    def __init__(self, pictures: Pictures, settings: Settings) -> None:
        super().__init__()
        self.pictures, self.settings = pictures, settings
        crop = v2.RandomCrop(pictures.train[0].shape[-1], padding=4)
        self.augment = v2.Compose([crop, v2.RandomHorizontalFlip()]) if pictures.flip else crop

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Shuffle by the seed and the epoch, which Lightning tells the sampler."""
        data = TensorDataset(*map(torch.from_numpy, self.pictures.train))
        sampler: Sampler[int] = DistributedSampler(data, num_replicas=1, rank=0, seed=self.settings.seed)
        return DataLoader(data, self.settings.batch_size, sampler=sampler)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Keep the test pictures in order."""
        data = TensorDataset(*map(torch.from_numpy, self.pictures.test))
        return DataLoader(data, self.settings.batch_size)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch, then normalise it."""
        images, labels = batch
        assert self.trainer is not None
        if self.trainer.training:
            images = self.augmented(images, self.trainer.global_step)
        return self.normalise(images, self.trainer.lightning_module.dtype), labels

    def augmented(self, images: Tensor, step: int) -> Tensor:
        """Augment the batch of a step picture by picture; seed torch's generator for it."""
        # For dropout as well, which draws later in the step.
        torch.manual_seed(_mixed(self.settings.seed, step))
        if not self.settings.augment:
            return images
        return torch.stack([self.augment(image) for image in images])

    def normalise(self, images: Tensor, dtype: torch.dtype | str) -> Tensor:
        """Bring images of 0..255 to mean 0 and standard deviation 1."""
        scaled = v2.functional.to_dtype(images, dtype, scale=True)
        return v2.functional.normalize(scaled, list(self.pictures.mean), list(self.pictures.std))


def _mixed(seed: int, step: int) -> int:
    """Make one seed of two numbers, in practice unlike that of any other two."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


class Classifier(pl.LightningModule):
    """A network, trained on the cross-entropy of its classes."""

    def __init__(self, network: nn.Module, settings: Settings) -> None:
        super().__init__()
        self.network, self.settings = network, settings

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss of one batch."""
        images, labels = batch
        loss = F.cross_entropy(self.network(images), labels)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure loss and accuracy on test pictures."""
        images, labels = batch
        scores = self.network(images)
        metrics = {
            "test_loss": F.cross_entropy(scores, labels),
            "test_accuracy": (scores.argmax(1) == labels).to(scores.dtype).mean(),
        }
        self.log_dict(metrics, batch_size=len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Choose Adam, but for the learning rate as torch sets it, or gradient descent with momentum."""
        if self.settings.optimizer == "adam":
            return torch.optim.Adam(self.parameters(), self.settings.lr)
        return torch.optim.SGD(self.parameters(), self.settings.lr, MOMENTUM)


def run(job: Job) -> None:
    """Train, from the last checkpoint on where there is one, and leave the result at `job.result`."""
    settings, pictures = job.settings, Pictures.load(job.pictures)
    network = initial_network(settings, pictures)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    if job.backend == "scratch":
        swap(network)
    batches = Batches(pictures, settings)
    classifier, record = Classifier(network, settings), Record()
    torch.backends.mkldnn.set_flags(job.onednn)  # type: ignore[no-untyped-call]
    if job.threads:
        torch.set_num_threads(job.threads)
    with _quiet_lightning():
        _trainer(job, record).fit(classifier, batches, ckpt_path=last_readable(job.folder))
    samples = torch.from_numpy(pictures.test[0][pictures.samples()])
    with torch.no_grad():
        predictions = network.eval()(batches.normalise(samples, classifier.dtype)).softmax(1)
    weights = {name: value.detach() for name, value in network.state_dict().items()}
    outcome = Outcome(**record.state_dict(), parameters=parameters, predictions=predictions, weights=weights)
    outcome.save(job.result)


def initial_network(settings: Settings, pictures: Pictures) -> nn.Module:
    """Build the untrained network: the same weights for the same seed, whatever backend is to train it."""
    torch.manual_seed(settings.seed)
    _, channels, size, _ = pictures.train[0].shape
    return MODELS[settings.model](channels, size, len(pictures.classes))


def _trainer(job: Job, record: Record) -> pl.Trainer:
    whole = job.steps is None
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        precision=job.settings.precision,  # type: ignore[arg-type]
        max_epochs=job.settings.epochs,
        max_steps=-1 if job.steps is None else job.steps,
        limit_val_batches=None if whole else 0,
        num_sanity_val_steps=0,
        callbacks=[record, LiveProgress(job.title, record), *([each_epoch(job.folder)] if whole else [])],
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=whole,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice off the screen: none of it applies to small pictures in memory."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        # Lightning's, on a name in torch that torch is about to drop.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        yield
