"""The speed of a training step of simple-cnn against torch's: `python -m benchmarks.training`."""

from benchmarks.measuring import in_turn, keep, machine, start_anew_for_measuring

if __name__ == "__main__":
    start_anew_for_measuring()

import argparse
from collections.abc import Callable
from dataclasses import asdict

import torch
from rich.console import Console
from torch import nn

import scratch_conv as sc
from scratch_conv.training.models import simple_cnn


def main() -> None:
    """Measure, print the ratio and keep the raw figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="how often both are timed in turn")
    parser.add_argument("--batch-size", type=int, default=128, help="pictures a step")
    options = parser.parse_args()
    console = Console(highlight=False)
    console.print(machine(), soft_wrap=True)
    torchs, ours = simple_cnn(3, 32, 10), simple_cnn(3, 32, 10)
    ours.load_state_dict(torchs.state_dict())
    sc.swap(ours)
    steps = training_step(torchs, options.batch_size), training_step(ours, options.batch_size)
    times = in_turn(*steps, rounds=options.rounds, seconds=0.3)
    console.print(f"A training step of simple-cnn, batch {options.batch_size}: torch's time / ours {times}")
    console.print(f"Raw figures: {keep('training', {'simple-cnn step': asdict(times)})}", soft_wrap=True)


def training_step(network: nn.Module, batch_size: int) -> Callable[[], None]:
    """Give a function that does one step of the recipe: forward, backward, Adam."""
    torch.manual_seed(0)
    pictures, labels = torch.randn(batch_size, 3, 32, 32), torch.randint(10, (batch_size,))
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)

    def step() -> None:
        loss = nn.functional.cross_entropy(network(pictures), labels)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()

    return step


if __name__ == "__main__":
    main()
