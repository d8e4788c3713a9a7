"""A candidate in a process of its own, so that one that hangs or dies takes nothing with it."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import signal
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, TypeVar

import torch

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.judging.raising import describe_raised

T = TypeVar("T")


class LostError(Exception):
    """The child died, took too long or was interrupted.

    Attributes:
        what: "process", "time" or, where it was interrupted, "exception".
    """

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what


class Isolated(AbstractContextManager[Callable[[Case], T]], Generic[T]):
    """Works on cases in a forked child, which is started anew when it dies or takes too long.

    The child is forked, not spawned, since a candidate may be a closure that cannot be pickled. It computes
    on one thread: torch's other threads do not survive a fork, and waiting for them would hang.

    Args:
        work: what the child does with a case.
        time_limit: seconds that a case may take.
    """

    def __init__(self, work: Callable[[Case], T], time_limit: float) -> None:
        self.work = work
        self.time_limit = time_limit
        self._child: tuple[multiprocessing.process.BaseProcess, Connection] | None = None

    def __enter__(self) -> Isolated[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def __call__(self, case: Case) -> T:
        """Return what the work on a case returns.

        Raises:
            LostError: the child died, took too long or was interrupted.
            RuntimeError: where the work itself, not the candidate, fails.
        """
        _, pipe = self._child or self._start()
        pipe.send_bytes(pickle.dumps(case))
        if not pipe.poll(self.time_limit):
            self._stop()
            raise LostError("time", f"took longer than {self.time_limit:g} s")
        try:
            answer, failure, interrupt = pickle.loads(pipe.recv_bytes())
        except (EOFError, ConnectionError):
            raise LostError("process", f"ended its process: {self._stop()}") from None
        if interrupt:
            raise LostError("exception", interrupt)
        if failure:
            raise RuntimeError(f"the comparison failed on {case!r}: {failure}")
        done: T = answer
        return done

    def _start(self) -> tuple[multiprocessing.process.BaseProcess, Connection]:
        here, there = multiprocessing.Pipe()
        process = _fork(_serve, self.work, there, here)
        there.close()
        self._child = process, here
        return self._child

    def _stop(self) -> str:
        """End the child; return how it ended, if by itself."""
        if self._child is None:
            return ""
        process, pipe = self._child
        self._child = None
        pipe.close()
        process.join(0.2)
        ended = process.exitcode
        process.kill()
        process.join()
        process.close()
        if ended is not None and ended < 0:
            return signal.Signals(-ended).name
        return f"exit status {ended}"


def can_isolate() -> bool:
    """Return whether a forked child of this process can differentiate.

    Not where nothing can be forked, nor once autograd has threads here: it has after `torch.compile`, and
    beside any device but the CPU.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        return False
    process = _fork(_differentiate)
    process.join()
    return process.exitcode == 0


def _fork(target: Callable[..., None], *args: Any) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=target, args=args, daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads; see `Isolated`
        process.start()
    return process


def _differentiate() -> None:
    torch.set_num_threads(1)
    x = torch.zeros((), requires_grad=True)
    try:
        torch.autograd.grad(x * 1, x)
    except RuntimeError:
        os._exit(1)
    os._exit(0)  # at once: what would be torn down are threads that did not survive the fork


def _serve(work: Callable[[Case], T], pipe: Connection, other_end: Connection) -> None:
    """Answer cases until the other end closes: what the work returns, how it failed, how it was interrupted.

    At Ctrl-C this process is interrupted like its parent, which ends it; one that the candidate raises is a
    finding.
    """
    other_end.close()
    faulthandler.disable()  # a crash is reported by the parent, once
    torch.set_num_threads(1)
    while True:
        try:
            case = pickle.loads(pipe.recv_bytes())
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer: tuple[T | None, str, str] = work(case), "", ""
        except Exception as error:  # sent to the parent, which raises
            answer = None, f"{type(error).__name__}: {error}", ""
        except KeyboardInterrupt as error:
            answer = None, "", describe_raised(error)
        pipe.send_bytes(pickle.dumps(answer))
