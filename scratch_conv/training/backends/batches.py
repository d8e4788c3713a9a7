"""The batches that all backends are trained on."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, TensorDataset
from torchvision.transforms import v2

from scratch_conv.training.backends.ranks import ALONE, Ranks
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.settings import Settings

MARGIN = 4  # pixels by which an image is moved at most


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


class Batches:
    """Shuffled training batches, augmented unless the settings say otherwise, and plain test batches.

    Order and augmentation depend on the seed, the epoch and the step alone, so every backend sees the same
    batches, and so does a resumed run. Images lie in memory, so that workers would only cost time.

    Args:
        data: the images.
        settings: the settings of the run.
        ranks: the processes that share out each batch, by whose number one image is as good as another.
    """

    def __init__(self, data: ImageSet, settings: Settings, ranks: Ranks = ALONE) -> None:
        self.data, self.settings, self.ranks = data, settings, ranks

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

    def of_step(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the augmented images and the labels that are trained on after so many steps."""
        epoch, number = divmod(step, self.steps)
        sampler = self._shuffled(epoch)
        images, labels = (torch.from_numpy(each)[[*sampler][number]] for each in self.data.train)
        return self.augmented_part(images, step), labels

    def _shuffled(self, epoch: int = 0) -> ShuffledBatches:
        count = len(self.data.train[1])
        sampler = ShuffledBatches(count, self.settings.batch_size, self.settings.seed, self.ranks)
        sampler.set_epoch(epoch)
        return sampler

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the training batches, each taken from the images by one indexing."""
        data = TensorDataset(*map(torch.from_numpy, self.data.train))
        return DataLoader(data, batch_size=None, sampler=self._shuffled())

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the test batches, in order."""
        data = TensorDataset(*map(torch.from_numpy, self.data.test))
        in_order = _parts(torch.arange(len(data)), self.settings.batch_size, self.ranks)
        return DataLoader(data, batch_size=None, sampler=in_order)

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
