"""A candidate in a process of its own, so that one that hangs or dies takes nothing with it."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import torch

from scratch_conv.parity.judging.channel import Channel, close_others, unpickle_plain
from scratch_conv.parity.judging.raising import describe_raised

Request: TypeAlias = tuple[Any, ...]
"""What is asked of a candidate's process: a word, and plain data."""

Work: TypeAlias = Callable[[Request], Any]
"""What it does with a request; returns plain data."""

FIRST = 3
"""How many times the limit the first request of a kind may take in a process: compilers work then."""

_DEAF = 117  # the exit status of a child that cannot answer any more


class LostError(Exception):
    """The child died, took too long or was interrupted.

    Attributes:
        what: "process", "time" or, where it was interrupted, "exception".
    """

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what


class Isolated(AbstractContextManager["Isolated"]):
    """Does work in a child, which is started anew when it dies or takes too long.

    The child is forked, since a candidate may be a closure that cannot be pickled, and computes on one
    thread: torch's other threads do not survive a fork, and waiting for them would hang. Some compilers' own
    threads do not survive it either, so that before a candidate is said to hang or die, it is tried once in a
    process that is spawned, where it can be imported there.

    Args:
        make_work: makes what the child works with, in the child.
        time_limit: seconds that a request may take.
        spawned: spawn the child at once: what it works with needs torch's threads.
    """

    def __init__(self, make_work: Callable[[], Work], time_limit: float, spawned: bool = False) -> None:
        self.make_work = make_work
        self.time_limit = time_limit
        self.spawned = self._tried = spawned
        self._slowest: dict[str, float] = {}  # seconds of the first answers of a process, by word
        self._child: _Child | None = None
        self._asked: tuple[Request, bool, float] | None = None

    def __enter__(self) -> Isolated:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def __call__(self, request: Request) -> Any:
        """Return what the work on a request returns.

        Raises:
            LostError: the child died, took too long or was interrupted.
            RuntimeError: where the work itself, not the candidate, fails.
        """
        self.send(request)
        return self.receive()

    def send(self, request: Request) -> None:
        """Begin the work on a request, whose result is received later."""
        if self._child is None:
            self._child = _spawn(self.make_work) if self.spawned else _fork(_serve, self.make_work)
        self._asked = request, request[0] not in self._child.answered, time.monotonic()
        self._child.worked = _seconds_of(self._child.pid)[1]
        with contextlib.suppress(OSError):  # a child that is dead: its end is read
            self._child.channel.send(pickle.dumps(request))

    def receive(self, retry: bool = True) -> Any:
        """Return the result of the work that was begun; raises as a call does.

        Args:
            retry: whether it may be tried again in a spawned process.
        """
        assert self._asked is not None
        request, first, since = self._asked
        try:
            answer = self._answer(self._limit(request[0], first))
        except LostError as lost:
            if lost.what == "exception" or self._tried or not retry:
                raise
            self._tried = True
            return self._try_spawned(request, lost)
        if first:
            took = time.monotonic() - since
            self._slowest[request[0]] = max(self._slowest.get(request[0], 0.0), took)
        return answer

    def _limit(self, word: str, first: bool) -> float:
        """Return how long an answer may take: longer if it is the first, unless others' were quick."""
        if not first:
            return self.time_limit
        known = self._slowest.get(word)
        return FIRST * self.time_limit if known is None else max(self.time_limit, 2 * known)

    def _answer(self, limit: float) -> Any:
        assert self._child is not None
        assert self._asked is not None
        try:
            message = self._child.channel.receive(limit)
            while message is None and self._child.is_kept_waiting(limit):
                message = self._child.channel.receive(limit)
        except EOFError:
            raise LostError("process", f"ended its process: {self._stop()}") from None
        if message is None:
            self._stop()
            raise LostError("time", f"took longer than {limit:g} s")
        try:
            answer, failure, interrupt = unpickle_plain(message)
        except Exception as error:  # what it sends is no plain data
            raise LostError("process", f"sent what cannot be read: {error}") from None
        self._child.answered.add(self._asked[0][0])
        if interrupt:
            raise LostError("exception", interrupt)
        if failure:
            raise RuntimeError(f"the work on {self._asked[0]} failed: {failure}")
        return answer

    def _try_spawned(self, request: Request, lost: LostError) -> Any:
        """Do the work in a spawned process, and go on with that one if it can; else the first loss stands."""
        self._stop()
        try:
            pickle.dumps(self.make_work)
        except Exception:  # a closure, an object without a name, ...
            raise lost from None
        self.spawned = True
        try:
            self.send(request)
            return self._answer(self._limit(request[0], True) + _STARTING)
        except (LostError, OSError):
            self._stop()
            self.spawned = False
            raise lost from None

    def _stop(self) -> str:
        """End the child with all its own; return how it ended, if by itself."""
        child, self._child = self._child, None
        return "" if child is None else child.stop()


_STARTING = 60.0  # seconds in which a fresh interpreter imports what a candidate needs


class _Child:
    """A process, the leader of a group of its own: what it starts is ended with it."""

    def __init__(self, pid: int, channel: Channel) -> None:
        self.pid = pid
        self.channel = channel
        self.answered: set[str] = set()  # the words of the requests that it has answered
        self.worked = 0.0  # seconds on a processor before the last request

    def is_kept_waiting(self, limit: float) -> bool:
        """Return whether others keep the processors busy: it would work, and has not for half of a limit."""
        runs, worked = _seconds_of(self.pid)
        return runs and worked - self.worked < limit / 2

    def stop(self) -> str:
        """End the group; return how the process ended, if by itself."""
        self.channel.close()
        status = _wait(self.pid, 0.2)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            _wait(self.pid, None)
        if status in (_DEAF, None):
            return "it closed the file descriptor by which it answers"
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _seconds_of(pid: int) -> tuple[bool, float]:
    """Return whether a process wants a processor, and for how long it has had one; known on Linux only."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # proc(5)
    except OSError:
        return False, 0.0
    ticks = int(fields[10]) + int(fields[11])  # utime, stime
    return state in "RD", ticks / os.sysconf("SC_CLK_TCK")


def _wait(pid: int, seconds: float | None) -> int | None:
    """Return the exit status of a child, None where it has not ended after some seconds or is nowhere."""
    end = None if seconds is None else time.monotonic() + seconds
    try:
        while True:
            ended, status = os.waitpid(pid, 0 if end is None else os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            if end is not None and time.monotonic() > end:
                return None
            time.sleep(0.002)
    except ChildProcessError:  # this process ignores its children's ends
        return None


def can_isolate() -> bool:
    """Return whether a forked child of this process can differentiate.

    Not where nothing can be forked, nor once autograd has threads here: it has after `torch.compile`, and
    beside any device but the CPU.
    """
    if not hasattr(os, "fork"):
        return False
    child = _fork(lambda channel: _differentiate())
    able = _wait(child.pid, None) == 0
    child.channel.close()
    return able


def _fork(serve: Callable[..., None], *args: Any) -> _Child:
    """Return a child that serves and ends."""
    here, there = Channel.pair()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, or none
            stream.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads; see `Isolated`
        pid = os.fork()
    if pid == 0:
        _end_with(lambda: serve(there, *args), there)
    there.close()
    return _Child(pid, here)


def _end_with(serve: Callable[[], None], channel: Channel) -> None:
    """Serve in a group of its own and end this process, whatever happens."""
    owner, status = os.getpid(), 1
    try:
        with contextlib.suppress(PermissionError):  # the leader already
            os.setsid()
        close_others(channel)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        serve()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        status = 1
    finally:
        if os.getpid() == owner:  # not of a copy that the candidate has forked
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
        os._exit(status & 255)


def _differentiate() -> None:
    torch.set_num_threads(1)
    try:
        with torch.enable_grad():
            x = torch.zeros((), requires_grad=True)
            torch.autograd.grad(x * 1, x)
    except RuntimeError as error:
        os._exit("fork" in str(error))
    except Exception:  # what a candidate has made of torch is found out later
        os._exit(0)
    os._exit(0)  # at once: what would be torn down are threads that did not survive the fork


def _spawn(make_work: Callable[[], Work]) -> _Child:
    """Return a child that is a fresh interpreter and imports the candidate."""
    here, there = Channel.pair()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve_spawned, args=(there.socket, there.token, make_work)
    )
    process.start()
    there.close()
    assert process.pid is not None
    return _Child(process.pid, here)


def _serve_spawned(end: Any, token: bytes, make_work: Callable[[], Work]) -> None:
    channel = Channel(end, token)
    _end_with(lambda: _serve(channel, make_work), channel)


def _serve(channel: Channel, make_work: Callable[[], Work]) -> None:
    """Answer requests until the other end closes: the work's result, how it failed, how it was interrupted.

    A copy of this process that the candidate forks and lets return ends without an answer.
    """
    faulthandler.disable()  # a crash is reported by the parent, once
    torch.set_num_threads(1)
    owner = os.getpid()
    work: Work | None = None
    while True:
        try:
            request = channel.receive()
        except EOFError:
            return
        assert request is not None
        answer: tuple[Any, str, str]
        try:
            work = work or make_work()
            answer = work(pickle.loads(request)), "", ""
        except Exception as error:  # sent to the parent, which raises
            answer = None, f"{type(error).__name__}: {error}", ""
        except KeyboardInterrupt as error:
            answer = None, "", describe_raised(error)
        if os.getpid() != owner:
            os._exit(0)
        try:
            channel.send(pickle.dumps(answer))
        except OSError:
            os._exit(_DEAF)
