"""The processes that share out each batch of a run among them, connected by torch.distributed (gloo).

They train as one process would that takes whole batches, but for two layers, as everywhere in data-parallel
training: dropout draws for each part on its own; and batch norm normalises a part by the statistics of that
part, of which the first rank's are kept.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, and which of them this one is.

    Attributes:
        rank: its number, from 0 on; the first alone writes files.
        count: how many there are.
        store: what they agree by; None if there is only one.
    """

    rank: int = 0
    count: int = 1
    store: Any = None

    def part(self, whole: int) -> tuple[slice, int]:
        """Return which images of a batch are this rank's, and how many of them count.

        Parts differ by one image at most. Where there are fewer images than ranks, the last ranks take the
        batch's first image, which does not count: so every rank takes part in every sum.
        """
        least, larger = divmod(whole, self.count)
        start, counted = self.rank * least + min(self.rank, larger), least + (self.rank < larger)
        return (slice(start, start + counted) if counted else slice(0, 1)), counted

    def weight(self, whole: int) -> float:
        """Return by what the mean loss of this rank's part has to be multiplied.

        The mean over the ranks of such losses, and of their gradients, is that of the whole batch.
        """
        return self.part(whole)[1] * self.count / whole

    def total(self, numbers: Tensor) -> Tensor:
        """Return the sum over all ranks, which is computed in place."""
        if self.count > 1:
            dist.all_reduce(numbers)
        return numbers

    def largest(self, number: int) -> int:
        """Return the largest of all ranks' numbers."""
        if self.count == 1:
            return number
        dist.all_reduce(numbers := torch.tensor(number), dist.ReduceOp.MAX)
        return int(numbers)

    def from_first(self, value: _Value) -> _Value:
        """Return the first rank's value."""
        values = [value]
        if self.count > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def is_first_to_fail(self) -> bool:
        """Return whether no rank has asked so before: one of them explains the failure of all."""
        return self.store is None or self.store.add("failed", 1) == 1


ALONE = Ranks()


def open_store(address: str, port: int, *, host: bool = False) -> Any:
    """Return a store of keys that processes have in common, hosted here or by another process."""
    return dist.TCPStore(address, port, is_master=host, wait_for_workers=False)  # type: ignore[attr-defined]


@contextmanager
def joined(key: str) -> Iterator[Ranks]:
    """Connect the processes of a run, this one among them, within a block.

    Args:
        key: the part of their common store that is this run's; empty: this process runs alone.
    """
    if not key:
        yield ALONE
        return
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.PrefixStore(key, open_store(address, port))  # type: ignore[attr-defined]
    ranks = Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), store)
    dist.init_process_group("gloo", store=store, rank=ranks.rank, world_size=ranks.count)
    yield ranks
    dist.destroy_process_group()
