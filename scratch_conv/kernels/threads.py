"""The thread pool of the kernels, and how many threads they use: the one place where threads are used.

NumPy releases the interpreter lock inside its loops and matrix products, so plain threads do. Within a block
the BLAS is held to one thread, for two reasons: two levels of threads would share the same cores, and the
BLAS's own threads spin for a while after each product, which slows down whatever else computes in turn with
these kernels (torch's layers in a swapped model: three to five times, as measured). Threads of this pool
sleep when they are idle.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from operator import index
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from scratch_conv.kernels.windows import Array

__all__ = ["get_num_threads", "set_num_threads", "using_num_threads"]

_Block = TypeVar("_Block")

_WORTH_A_THREAD = 2**19
"""Work on less memory than this is done before another thread has woken up."""


def parallel(work: Callable[[_Block], object], blocks: Iterable[_Block]) -> None:
    """Call `work` on every block, on up to `get_num_threads()` threads; the calling thread is one of them.

    A single block runs without the pool. The first exception of a block is raised here.
    """
    queue = deque(blocks)
    helpers = min(get_num_threads(), len(queue)) - 1
    with _pool.single_threaded_blas():
        if helpers < 1:
            _drain(work, queue)
        else:
            _drain_together(work, queue, helpers)


def get_num_threads() -> int:
    """Return the number of threads that the kernels use when they are called from this thread."""
    return local.num_threads or _num_threads


def num_threads_for(work_bytes: int) -> int:
    """Return the number of threads for work on so much memory: of less than half a MiB each, fewer."""
    return max(1, min(get_num_threads(), work_bytes // _WORTH_A_THREAD))


def set_num_threads(num_threads: int) -> None:
    """Set the number of threads that the kernels use, in the whole process; see also `using_num_threads`.

    Raises:
        TypeError: The number is not an integer.
        ValueError: The number is not positive.
    """
    global _num_threads
    _num_threads = _positive(num_threads)


@contextmanager
def using_num_threads(num_threads: int) -> Iterator[None]:
    """Set the number of threads within a `with` block, for kernels that are called from this thread.

    Raises:
        TypeError: The number is not an integer.
        ValueError: The number is not positive.
    """
    before, local.num_threads = local.num_threads, _positive(num_threads)
    try:
        yield
    finally:
        local.num_threads = before


def _positive(num_threads: int) -> int:
    try:
        number = index(num_threads)
    except TypeError:
        raise TypeError(f"expected a whole number of threads, got {num_threads!r}") from None
    if number < 1:
        raise ValueError(f"expected a positive number of threads, got {number}")
    return number


def single_threaded_blas() -> AbstractContextManager[None]:
    """Hold the BLAS to one thread, as within a block of `parallel`."""
    return _pool.single_threaded_blas()


def end_threads() -> None:
    """End the threads of the pool once they are idle; the next work starts new ones."""
    with _pool.lock:
        _pool.close()


def _drain_together(work: Callable[[_Block], object], queue: deque[_Block], helpers: int) -> None:
    # Not by futures: an interrupt within their `wait` keeps locks that the helpers need to end.
    active: set[int] = set()  # the helpers at work
    ended: SimpleQueue[BaseException | None] = SimpleQueue()
    errors: list[BaseException] = []
    try:
        _pool.submit(helpers, _help, work, queue, active, ended)
        _drain(work, queue)
    finally:
        # Whatever interrupts it, this ends when no helper writes any more to what the caller uses again.
        interrupt = None
        while True:
            try:
                queue.clear()  # a helper that begins later, busy for another caller, has nothing to do
                while active or not ended.empty():
                    error = ended.get()
                    if error is not None:
                        errors.append(error)
                break
            except BaseException as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
    if errors:
        raise errors[0]


def _help(
    work: Callable[[_Block], object],
    queue: deque[_Block],
    active: set[int],
    ended: SimpleQueue[BaseException | None],
) -> None:
    """Work off the queue on a helper's thread; it is active before it takes the first block."""
    active.add(threading.get_ident())
    failed = None
    try:
        _drain(work, queue)
    except BaseException as error:
        failed = error
    active.discard(threading.get_ident())
    ended.put(failed)  # after the above, so that whoever saw this helper active is woken up


def _drain(work: Callable[[_Block], object], queue: deque[_Block]) -> None:
    """Work off the queue; infinities and NaN come out as IEEE 754 has them, without a warning.

    Where a signal's handler or a finalizer calls a kernel in the middle of another one's block, the inner
    blocks have scratch memory of their own.
    """
    outer = local.at_work, local.buffers, local.last
    try:
        if local.at_work:
            local.buffers, local.last = {}, {}
        local.at_work = True
        with np.errstate(all="ignore"):
            while True:
                try:
                    block = queue.popleft()
                except IndexError:
                    return
                work(block)
    finally:
        local.at_work, local.buffers, local.last = outer


def _serve(tasks: SimpleQueue[Callable[[], object] | None]) -> None:
    """Do one task after the other, on a thread of the pool, until there is None."""
    while True:
        task = tasks.get()
        if task is None:
            return
        task()
        del task  # and the arrays in it


class _Pool:
    """The threads, and the hold on the BLAS; none of it survives a fork."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a signal's handler may call a kernel while this thread holds it
        # Not a ThreadPoolExecutor: an interrupt within its `submit` keeps locks that its threads need.
        self.tasks: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self.size = 0
        self.blas_holders = 0
        self.blas: list[Any] | None = None  # the libraries; NumPy's own, and others that are loaded
        self.blas_threads: list[tuple[Any, int]]  # each library, and how many it had before it was held

    def submit(self, helpers: int, work: Callable[..., object], *args: Any) -> None:
        """Let helpers call `work`; while Python shuts down there are none, and the caller works alone."""
        with self.lock, suppress(RuntimeError):
            if sys.is_finalizing():
                return
            while self.size < helpers:
                Thread(target=_serve, args=(self.tasks,), name="scratch_conv", daemon=True).start()
                self.size += 1
            for _ in range(helpers):
                self.tasks.put(partial(work, *args))

    def close(self) -> None:
        for _ in range(self.size):
            self.tasks.put(None)
        self.tasks, self.size = SimpleQueue(), 0

    @contextmanager
    def single_threaded_blas(self) -> Iterator[None]:
        """Hold every BLAS of the process to one thread; the last of several holders restores their numbers.

        Library by library: threadpoolctl's own `limit` takes 4 µs more, a third of a small call.
        """
        held, interrupt = False, None
        try:
            with self.lock:
                if self.blas is None:
                    self.blas = ThreadpoolController().select(user_api="blas").lib_controllers
                if self.blas_holders == 0:
                    before = [(library, library.get_num_threads()) for library in self.blas]
                    self.blas_threads = before
                # Python looks for signals at calls and at the ends of loops: not between these statements.
                self.blas_holders += 1
                held = True
                if self.blas_holders == 1:
                    for library in self.blas:
                        _setter(library)(1)
            yield
        finally:
            while held:
                try:
                    with self.lock:
                        if self.blas_holders == 1:
                            self.restore_blas()
                        self.blas_holders -= 1
                        held = False
                except BaseException as error:
                    interrupt = error
            if interrupt is not None:
                raise interrupt

    def restore_blas(self) -> None:
        for library, number in self.blas_threads:
            _setter(library)(number)


def _setter(library: Any) -> Callable[[int], object]:
    """Return what sets the number of threads of a BLAS, for any thread to call.

    From threadpoolctl 3.8 on, `set_num_threads` of an OpenBLAS does nothing on all threads but the first that
    ever called it. Several holders of the BLAS are counted here, and may restore it on another thread.
    """
    setter: Callable[[int], object] = getattr(library, "_real_set_num_threads", library.set_num_threads)
    return setter


class Local(threading.local):
    """What each thread has of its own."""

    def __init__(self) -> None:
        self.num_threads: int | None = None  # to use when the kernels are called from this thread
        self.at_work = False  # on a block
        self.buffers: dict[str, Array] = {}  # scratch memory, by name
        self.last: dict[str, Array] = {}  # the last array in each buffer


def _cores() -> int:
    """Return OMP_NUM_THREADS, whose first number it is, or the number of cores that this process may use."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if first.isdecimal() and int(first):
        return int(first)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_anew() -> None:
    """Start with a new pool in a forked child; restore the BLAS's threads if another thread held them."""
    global _pool
    held, _pool = _pool, _Pool()
    if held.blas_holders:
        held.restore_blas()


_num_threads = _cores()
_pool = _Pool()
local = Local()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
