"""A process in which torch is as it was installed, whatever a candidate has done to it in this one."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import hypothesis
import numpy as np
import torch

from scratch_conv.parity.judging.channel import Channel

P = ParamSpec("P")
T = TypeVar("T")

_PROGRAM = """
import sys
sys.path.insert(0, {paths!r}[0])
sys.path += {paths!r}[1:]
from {module} import serve
serve({end}, {token!r})
"""


class Caller(ABC):
    """Calls functions of this package where no candidate has changed torch."""

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function returns.

        Raises:
            RuntimeError: it has raised, or the process has ended.
        """
        self.begin(function, *args, **kwargs)
        returned: T = self.finish()
        return returned

    @abstractmethod
    def begin(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> None:
        """Begin a call."""

    @abstractmethod
    def finish(self) -> Any:
        """Return the result of the call that was begun last."""


class Here(Caller):
    """Calls functions in this process, into which no candidate was imported."""

    def begin(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> None:
        self._returned = function(*args, **kwargs)

    def finish(self) -> Any:
        return self._returned


class CleanProcess(Caller):
    """Calls functions in a fresh interpreter, which never imports a candidate."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._number = 0  # of the last call
        self._channel, there = Channel.pair()
        end = there.socket.fileno()
        program = _PROGRAM.format(paths=_paths(), module=__name__, end=end, token=there.token)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", program],
            pass_fds=[end],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C interrupts this process, which ends that one
        )
        there.close()

    def begin(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> None:
        self._number += 1
        try:
            self._channel.send(pickle.dumps((self._number, function, args, kwargs)))
        except OSError:
            raise self._ended() from None

    def finish(self) -> Any:
        number = -1
        while number != self._number:  # results of calls that were interrupted are left
            try:
                answer = self._channel.receive()
            except EOFError:
                raise self._ended() from None
            assert answer is not None
            number, returned, failure = pickle.loads(answer)
        if failure:
            raise RuntimeError(f"the comparison failed: {failure}")
        return returned

    def _ended(self) -> RuntimeError:
        self.close()
        return RuntimeError(f"the process that judges ended: exit status {self._process.returncode}")

    @property
    def closed(self) -> bool:
        """Whether it cannot be used any more, or not from this process."""
        return self._process.returncode is not None or self.owner != os.getpid()

    def close(self) -> None:
        """End the process, if it is this one's."""
        self._channel.close()
        if self.owner != os.getpid():
            return
        self._process.kill()
        with contextlib.suppress(ChildProcessError):
            self._process.wait()


def _paths() -> list[str]:
    """Return where a fresh interpreter finds this package and what it needs, its own folder first."""
    modules = (sys.modules[__name__.partition(".")[0]], torch, np, hypothesis)
    return [str(Path(module.__file__).parent.parent) for module in modules if module.__file__]


_shared: list[CleanProcess] = []


def clean_process() -> CleanProcess:
    """Return the process that is shared by all checks of this one; it starts with the first."""
    if not _shared or _shared[0].closed:
        _shared[:] = [CleanProcess()]
        atexit.register(_shared[0].close)
    return _shared[0]


def serve(end: int, token: bytes) -> None:
    """Answer calls until the other end closes: what the function returns, or how it failed."""
    torch.set_num_threads(1)
    channel, number = Channel(socket.socket(fileno=end), token), 0
    while True:
        try:
            request = channel.receive()
        except (EOFError, KeyboardInterrupt):
            return
        assert request is not None
        try:
            number, function, args, kwargs = pickle.loads(request)
            answer = pickle.dumps((number, function(*args, **kwargs), ""))
        except Exception as error:  # sent to the caller, which raises
            answer = pickle.dumps((number, None, f"{type(error).__name__}: {error}"))
        try:
            channel.send(answer)
        except OSError:
            return
