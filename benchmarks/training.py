"""The speed of training against torch's, with swapped layers: `python -m benchmarks.training`.

A step (forward, backward, Adam) of simple-cnn, ResNet-18 and VGG-11 on images of 32x32, by direct sums and
with Winograd's algorithm, and an epoch by direct sums (of the larger networks a tenth of one) in which both
take each step in turn. Prints a table; writes training.json to benchmarks/results.
"""

from benchmarks.measuring import (
    OURS,
    TORCH,
    Times,
    in_turn,
    keep,
    machine,
    options,
    restart_for_measuring,
)

if __name__ == "__main__":
    restart_for_measuring()

from collections.abc import Callable
from time import perf_counter

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torchvision.models import resnet18, vgg11

import scratch_conv as sc
from scratch_conv.training.backends.models import simple_cnn

BATCH = 128
EPOCHS = {"simple-cnn": 50_000, "ResNet-18": 5_000, "VGG-11": 5_000}
"""Images of an epoch: all of CIFAR-10, and a tenth for the networks that take up to half an hour an epoch."""

WINOGRAD = f"{OURS}, Winograd"


def resnet18_for_small_images() -> nn.Module:
    """Return ResNet-18 as it is used on 32x32: a 3x3 stem of stride 1, without max pooling after it."""
    network = resnet18(num_classes=10)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def vgg11_for_small_images() -> nn.Module:
    """Return VGG-11 as it is used on 32x32: one layer classifies the pixel that its poolings leave."""
    return nn.Sequential(vgg11().features, nn.Flatten(), nn.Linear(512, 10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "simple-cnn": lambda: simple_cnn(3, 32, 10),
    "ResNet-18": resnet18_for_small_images,
    "VGG-11": vgg11_for_small_images,
}


def main() -> None:
    """Measure, print a table, and write the raw figures."""
    given = options(__doc__, rounds=15, seconds=0.3)
    console = Console(highlight=False, width=120)
    console.print(machine(), soft_wrap=True)
    shown = Table(title="torch's time / ours", header_style="")
    for column in ("", "a step", "with Winograd's", "an epoch", "images", "in seconds, torch | ours"):
        shown.add_column(column)
    raw = {}
    for name, build in NETWORKS.items():
        steps = {TORCH: TrainingStep(build), OURS: TrainingStep(build, swapped=True)}
        step = in_turn({**steps, WINOGRAD: steps[OURS].by_winograd}, given.rounds, given.seconds)
        images = 2 * BATCH if given.quick else EPOCHS[name]
        passed = epoch(steps, images)
        raw[name] = {"step": step.seconds, "epoch": passed.seconds}
        seconds = f"{passed.median(TORCH):.1f} | {passed.median(OURS):.1f}"
        by_winograd = f"{step.ratio(ours=WINOGRAD):.2f}"
        shown.add_row(name, str(step), by_winograd, f"{passed.ratio():.2f}", f"{images:,}", seconds)
    console.print(shown)
    console.print(f"Raw figures: {keep(given.name('training'), raw)}", soft_wrap=True)


class TrainingStep:
    """One step of training on the same batch each time: forward, backward, Adam."""

    def __init__(self, build: Callable[[], nn.Module], swapped: bool = False) -> None:
        torch.manual_seed(0)
        self.network = build()
        if swapped:
            sc.swap(self.network)
        self.loss: Callable[[Tensor, Tensor], Tensor] = nn.CrossEntropyLoss()
        if swapped:
            self.loss = sc.nn.CrossEntropyLoss()
        self.images, self.labels = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))
        self.optimiser = torch.optim.Adam(self.network.parameters(), 1e-3)

    def __call__(self) -> None:
        """Take a step."""
        loss = self.loss(self.network(self.images), self.labels)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        self.optimiser.step()

    def by_winograd(self) -> None:
        """Take a step with Winograd's algorithm where it is faster."""
        with sc.using_winograd(True):
            self()


def epoch(steps: dict[str, TrainingStep], images: int) -> Times:
    """Time the steps of an epoch, with both backends in turn."""
    taken = dict.fromkeys(steps, 0.0)
    for _ in range(images // BATCH):
        for name, step in steps.items():
            start = perf_counter()
            step()
            taken[name] += perf_counter() - start
    return Times({name: [seconds] for name, seconds in taken.items()})


if __name__ == "__main__":
    main()
