"""One training run in torch, with torch's layers or with ours swapped in."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from scratch_conv.swapping import swap
from scratch_conv.training.backends.batches import Batches
from scratch_conv.training.backends.job import DivergedError, Job, Outcome, epochs
from scratch_conv.training.backends.layer_times import layer_times
from scratch_conv.training.backends.models import initial_network
from scratch_conv.training.backends.optimizers import new_optimizer, one_cycle
from scratch_conv.training.backends.ranks import ALONE, Ranks
from scratch_conv.training.backends.recording import LiveProgress, Phases, Record
from scratch_conv.training.backends.torch_checkpoints import AtomicCheckpointIO, each_epoch, last_readable
from scratch_conv.training.backends.trained import predicted
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.settings import Settings

Batch = tuple[Tensor, Tensor]  # images (N, C, H, W) and labels (N,)


class LightningBatches(Batches, pl.LightningDataModule):
    """Batches as Lightning takes them.

    Args:
        data: the images.
        settings: the settings of the run.
        ranks: the processes that share out each batch, by whose number one image is as good as another.
        reverse: put the images of each training batch in reverse order, after augmentation.
    """

    def __init__(self, data: ImageSet, settings: Settings, ranks: Ranks, *, reverse: bool) -> None:
        pl.LightningDataModule.__init__(self)
        Batches.__init__(self, data, settings, ranks)
        self.reverse = reverse

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment a training batch, then normalise it."""
        images, labels = batch
        assert self.trainer is not None
        if self.trainer.training:
            images = self.augmented_part(images, self.trainer.global_step)
            if self.reverse:
                images, labels = images.flip(0), labels.flip(0)
        return self.normalise(images, self.trainer.lightning_module.dtype), labels


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
    batches, phases = LightningBatches(data, settings, ranks, reverse=job.reverse), Phases()
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
