"""What trained networks compute: their predictions, and the gradients of one more step."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scratch_conv.layers import SoftmaxCrossEntropy
from scratch_conv.swapping import swap
from scratch_conv.training.backends.batches import Batches
from scratch_conv.training.backends.job import Outcome
from scratch_conv.training.backends.models import initial_network
from scratch_conv.training.backends.translation import from_torch, with_torchs_masks
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.settings import Settings


def trained_network(backend: str, outcome: Outcome, settings: Settings, data: ImageSet) -> nn.Module:
    """Return the network of an outcome, of torch's layers or of ours."""
    network = initial_network(settings, data).to(outcome.predictions.dtype)
    network.load_state_dict(outcome.weights)
    if backend != "torch":
        swap(network)
    return network


def predicted(network: nn.Module, batches: Batches, dtype: torch.dtype | str) -> Tensor:
    """Return the probabilities of the test images."""
    images = torch.from_numpy(batches.data.test[0]).split(batches.settings.batch_size)  # type: ignore[no-untyped-call]
    network.eval()
    with torch.no_grad():
        scores = [network(batches.normalise(each, dtype)) for each in images]
    return torch.cat(scores).softmax(1)


def gradients(backend: str, outcome: Outcome, batches: Batches, epoch: int) -> Tensor:
    """Return the gradients of the last batch of an epoch, with the trained weights.

    That batch has fewer images than the others, unless they share out evenly.

    Returns:
        The gradients of all parameters, in the order of their names, in one row.
    """
    settings, data = batches.settings, batches.data
    network = trained_network("torch" if backend == "numpy" else backend, outcome, settings, data).train()
    images, labels = batches.of_step((epoch + 1) * batches.steps - 1)
    images = batches.normalise(images, outcome.predictions.dtype)
    if backend == "numpy":
        layers, loss = with_torchs_masks(from_torch(network)), SoftmaxCrossEntropy()
        loss.forward(layers.forward(images.numpy()), labels.numpy())
        layers.backward(loss.backward())
        found = layers.gradients
        return torch.from_numpy(np.concatenate([found[name].ravel() for name in sorted(found)]))
    F.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
    named = sorted(network.named_parameters())
    return torch.cat([each.grad.flatten() for _, each in named if each.grad is not None])


def draws_random_numbers(network: nn.Module, batches: Batches) -> bool:
    """Return whether a network draws from torch's generator in training, as dropout does."""
    images, _ = batches.of_step(0)
    before = torch.get_rng_state()
    with torch.no_grad():
        network.train()(batches.normalise(images, torch.float32))
    return not torch.equal(torch.get_rng_state(), before)
