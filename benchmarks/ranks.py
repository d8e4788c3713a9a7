"""What it takes to share a training step out among processes: `python -m benchmarks.ranks`.

A step (forward, backward, Adam) of simple-cnn and of ResNet-20 on 128 images of 32x32, in one process and
in two, each on one thread, by torch's DistributedDataParallel over gloo on this machine; the sum of the
gradients alone; and, by a formula, how that goes on with more processes and over a network. Prints a table
to paste; writes ranks.json and ranks.txt to benchmarks/results.
"""

from benchmarks.measuring import RESULTS, keep, machine, options, restart_for_measuring

if __name__ == "__main__":
    restart_for_measuring()

import math
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.queues import SimpleQueue
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn

import scratch_conv as sc
from scratch_conv.training.backends.models import resnet20, simple_cnn
from scratch_conv.training.backends.ranks import Ranks, open_store

BATCH = 128
NETWORKS: dict[str, Callable[[int, int, int], nn.Module]] = {"simple-cnn": simple_cnn, "resnet20": resnet20}
BACKENDS = ("torch", "scratch")
BANDWIDTHS = {"1 Gbit/s": 1.25e8, "10 Gbit/s": 1.25e9}
"""Bytes a second of a network, of which nothing is lost to protocols here."""
LATENCY = 5e-5
"""Seconds until a message arrives over a local network."""


class Measured(NamedTuple):
    """Seconds, medians on the slowest rank."""

    step: float  # with the sum of the gradients
    alone: float  # a step on this rank's part of the batch, without that sum
    gradients: float  # the sum of all gradients at once, alone
    number: float  # the sum of one number, as of the losses


class Step:
    """The cost of a step of one network, by the number of ranks.

    T(N) = F + C/N + 2 (N-1)/N M/b + 2 (N-1) a, for M bytes of gradients that are added up in a ring
    (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms", 2009): each rank sends 2 (N-1) messages of
    M/N bytes. The sum is taken to begin after the backward pass; DDP begins it meanwhile, so that this is an
    upper bound.

    Args:
        whole: seconds of a step on the whole batch.
        half: seconds of a step on half of it, so that F + C = whole and F + C/2 = half.
        gradient_bytes: M.
    """

    def __init__(self, whole: float, half: float, gradient_bytes: int) -> None:
        self.shared, self.gradient_bytes = max(0.0, 2 * (whole - half)), gradient_bytes
        self.fixed = whole - self.shared

    def seconds(self, ranks: int, bandwidth: float, latency: float) -> float:
        """Return T(N)."""
        rounds = 2 * (ranks - 1)
        sent = ring_bytes(self.gradient_bytes, ranks) / bandwidth
        return self.fixed + self.shared / ranks + sent + rounds * latency

    def fastest(self, bandwidth: float, latency: float) -> int:
        """Return the number of ranks beyond which a step takes longer again.

        dT/dN = 0 at N = sqrt((C - 2 M/b) / 2 a); where sending takes longer than what it saves, one.
        """
        saved = self.shared - 2 * self.gradient_bytes / bandwidth
        near = math.floor(math.sqrt(max(0.0, saved) / (2 * latency)))
        return min((1, max(1, near), near + 1), key=lambda ranks: self.seconds(ranks, bandwidth, latency))

    def half_used(self, bandwidth: float, latency: float) -> int:
        """Return the largest number of ranks that are at least half as efficient as one."""
        alone, ranks = self.seconds(1, bandwidth, latency), 1
        while alone >= (ranks + 1) * self.seconds(ranks + 1, bandwidth, latency) / 2:
            ranks += 1
        return ranks


def ring_bytes(gradient_bytes: int, ranks: int) -> float:
    """Return the bytes that each rank sends a step."""
    return 2 * (ranks - 1) / ranks * gradient_bytes


def main() -> None:
    """Measure, print tables, and write the raw figures."""
    given = options(__doc__, rounds=5, seconds=2.0)
    lines, raw = [str(machine()), "", *HEAD], {}
    for name, build in [*NETWORKS.items()][: 1 if given.quick else None]:
        parameters = sum(each.numel() for each in build(3, 32, 10).parameters())
        for backend in BACKENDS:
            taken = {ranks: [measure(name, backend, ranks, given.seconds)] for ranks in (1, 2)}
            for _ in range(given.rounds - 1):  # in turn, as the machine's speed changes
                for ranks, each in taken.items():
                    each.append(measure(name, backend, ranks, given.seconds))
            one, two = (Measured(*map(median, zip(*taken[ranks], strict=True))) for ranks in (1, 2))
            raw[f"{name}, {backend}"] = {"parameters": parameters, "ranks": taken}
            lines.append(row(name, backend, 4 * parameters, one, two))
    text = "\n".join(lines)
    print(text)
    keep(given.name("ranks"), raw)
    (RESULTS / f"{given.name('ranks')}.txt").write_text(text + "\n", encoding="utf-8")


HEAD = [
    "| network | sent a step by each of 2, MB | a step, 1 process, ms | 2 processes, ms | times as fast "
    "| sum of gradients alone, ms | sum of a number, ms | "
    + " | ".join(f"{name}: half used up to, fastest with" for name in BANDWIDTHS)
    + " |",
    "|---|" + "---|" * (6 + len(BANDWIDTHS)),
]


def row(name: str, backend: str, gradient_bytes: int, one: Measured, two: Measured) -> str:
    """Return a line of the table."""
    step = Step(one.alone, two.alone, gradient_bytes)
    figures = [
        f"{ring_bytes(gradient_bytes, 2) / 1e6:.2f}",
        *(f"{each * 1e3:.1f}" for each in (one.step, two.step)),
        f"{one.step / two.step:.2f}",
        f"{two.gradients * 1e3:.2f}",
        f"{two.number * 1e3:.2f}",
    ]
    figures += [
        f"{step.half_used(bandwidth, LATENCY)}, {step.fastest(bandwidth, LATENCY)}"
        for bandwidth in BANDWIDTHS.values()
    ]
    return f"| {name}, {backend} | {' | '.join(figures)} |"


def measure(name: str, backend: str, count: int, seconds: float) -> Measured:
    """Measure steps for about so many seconds, in processes of their own."""
    store, context = open_store("localhost", 0, host=True), torch.multiprocessing.get_context("spawn")
    results: SimpleQueue[Measured] = context.SimpleQueue()
    arguments = (count, store.port, name, backend, seconds, results)
    spawn(take_steps, arguments, count)  # type: ignore[no-untyped-call]
    return Measured(*map(max, zip(*(results.get() for _ in range(count)), strict=True)))


def take_steps(
    rank: int, count: int, port: int, name: str, backend: str, seconds: float, results: Any
) -> None:
    """Take steps as one of several ranks, and put what was measured into `results`."""
    torch.set_num_threads(1)
    sc.set_num_threads(1)
    dist.init_process_group("gloo", store=open_store("localhost", port), rank=rank, world_size=count)
    torch.manual_seed(0)
    network = NETWORKS[name](3, 32, 10)
    if backend == "scratch":
        sc.swap(network)
    part, _ = Ranks(rank, count).part(BATCH)
    images, labels = torch.randn(BATCH, 3, 32, 32)[part], torch.randint(10, (BATCH,))[part]
    shared = nn.parallel.DistributedDataParallel(network)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    gradients = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    def step(*, alone: bool) -> None:
        with shared.no_sync() if alone else nullcontext():
            loss = nn.functional.cross_entropy(shared(images), labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
        optimizer.step()

    programs: list[Callable[[], object]] = [
        lambda: step(alone=False),
        lambda: step(alone=True),
        lambda: dist.all_reduce(gradients),
        lambda: dist.all_reduce(torch.zeros(1)),
    ]
    measured = []
    for program in programs:
        program()
        calls = torch.tensor(seconds / 4 / max(1e-5, _seconds(program)))
        dist.all_reduce(calls, dist.ReduceOp.MIN)  # all ranks take as many
        measured.append(median(_seconds(program) for _ in range(min(1000, max(3, int(calls))))))
    results.put(Measured(*measured))
    dist.destroy_process_group()


def _seconds(program: Callable[[], object]) -> float:
    began = perf_counter()
    program()
    return perf_counter() - began


if __name__ == "__main__":
    main()
