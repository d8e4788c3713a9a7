"""The commands that torchrun has started, one for each rank: the first leads, the others follow."""

import os
import shlex
import sys
import time
from functools import cache

from scratch_conv.training.backends.ranks import open_store
from scratch_conv.training.settings import InputError

PAUSE = 0.1  # seconds between two looks at what others have done


class Torchrun:
    """The place of this command among those of torchrun, and what the first one says to the others.

    Attributes:
        rank: this command's number, from 0 on.
        devices: how many commands there are on this machine.
        nodes: how many machines there are.
    """

    def __init__(self) -> None:
        environment = os.environ
        self.rank, count = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        self.devices = int(environment["LOCAL_WORLD_SIZE"])
        self.nodes = count // self.devices
        if environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            raise InputError("torchrun: does not host a store in this way; use --rdzv-backend c10d")
        self.store = open_store(environment["MASTER_ADDR"], int(environment["MASTER_PORT"]))
        self.messages, self.attempt = 0, environment.get("TORCHELASTIC_RESTART_COUNT", "0")

    def say(self, text: str) -> str:
        """Send a message to all other commands; return its key."""
        key = self._next()
        self.store.set(key, text)
        return key

    def hear(self) -> tuple[str, str]:
        """Wait for the next message of the first command; return its text and its key."""
        key = self._next()
        while not self.store.check([key]):  # store.wait would not be interrupted by a signal
            time.sleep(PAUSE)
        return self.store.get(key).decode(), key

    def _next(self) -> str:
        self.messages += 1
        return f"scratch-conv/{self.attempt}/{self.messages}"


@cache
def torchrun() -> Torchrun | None:
    """Return this command's place among those that torchrun has started; None if it has started no others."""
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1:
        return Torchrun()
    return None


def places(devices: int | None, nodes: int | None) -> tuple[int, int]:
    """Return the number of processes on each machine, and of machines.

    Args:
        devices: `--devices`, if it was given.
        nodes: `--num-nodes`, if it was given.

    Raises:
        InputError: torchrun has started others, or must start them.
    """
    if team := torchrun():
        started = {"--devices": (devices, team.devices), "--num-nodes": (nodes, team.nodes)}
        for option, (number, here) in started.items():
            if number not in (None, here):
                raise InputError(f"{option} {number}: torchrun has started {here}")
        return team.devices, team.nodes
    devices, nodes = (1 if number is None else number for number in (devices, nodes))
    if nodes > 1:
        raise InputError(
            f"--num-nodes {nodes}: on each machine run torchrun --nnodes {nodes} --nproc-per-node {devices}"
            f" --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m scratch_conv {shlex.join(sys.argv[1:])},"
            " HOST being one of them"
        )
    return devices, nodes
