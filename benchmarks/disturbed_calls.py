"""Kernels and steps of training that are interrupted, nested, on many threads, forked, or late.

Parts of `benchmarks.robustness`.
"""

import faulthandler
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_info
from torch import nn

import scratch_conv as sc
from benchmarks.trials import Row, number, same_bits
from scratch_conv import kernels, layers
from scratch_conv.kernels import Window

Call = Callable[[], list[Any]]

THREADS = 3
"""More than the caller alone, on any machine."""

_WINDOW = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
_HANGS = 120
"""Seconds. A call that takes longer hangs: the program ends with a traceback of all threads."""


def calls(seed: int = 0) -> dict[str, Call]:
    """Return calls of kernels with each algorithm that keeps scratch memory, by name."""
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((16, 8, 16, 16)), rng.standard_normal((16, 8, 3, 3))
    y = kernels.conv2d(x, w, None, _WINDOW, 1)
    strided, by_channel = Window((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)), rng.standard_normal((8, 1, 3, 3))
    rows = x.reshape(16, 8, 256)

    def convolution() -> list[Any]:
        gradients = [
            kernels.conv2d_grad_weight(y, x, _WINDOW, 1),
            kernels.conv2d_grad_input(y, w, (16, 16), _WINDOW, 1),
        ]
        return [kernels.conv2d(x, w, None, _WINDOW, 1), *gradients]

    def winograd() -> list[Any]:
        with kernels.using_winograd(True):
            return convolution()

    def depthwise() -> list[Any]:
        y = kernels.conv2d(x, by_channel, None, _WINDOW, 8)
        return [y, kernels.conv2d_grad_weight(y, x, _WINDOW, 8)]

    def pooling() -> list[Any]:
        pooled, indices = kernels.max_pool2d(x, strided, False)
        scattered = kernels.max_pool2d_scatter(pooled, indices, (16, 16), strided)
        return [pooled, indices, scattered, kernels.avg_pool2d(x, (16, 16), _WINDOW, True, None)]

    def others() -> list[Any]:
        normalized, mean, variance = kernels.batch_norm(rows, None, None, 1e-5)
        gradients = kernels.batch_norm_grad(rows, rows, mean, variance, None, 1e-5)
        p = kernels.log_softmax(rows)
        return [
            normalized,
            *gradients,
            p,
            kernels.relu_gate(rows, normalized),
            kernels.linear(x[0], x[1], None),
        ]

    named = (convolution, winograd, depthwise, pooling, others)
    return {call.__name__: call for call in named}


def network(seed: int = 0) -> nn.Sequential:
    """Return a small swapped network."""
    torch.manual_seed(seed)
    body = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*body, nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    sc.swap(model)
    return model


def step_of(model: nn.Sequential) -> Call:
    """Return a step of training from the state that the network has now; it returns the state afterwards."""
    start = {name: value.clone() for name, value in model.state_dict().items()}
    x, labels = torch.randn(16, 3, 16, 16), torch.arange(16) % 10

    def step() -> list[Any]:
        torch.set_grad_enabled(True)  # torch leaves it off where its no_grad is interrupted
        model.load_state_dict(start)
        model.zero_grad()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        torch.autograd.backward(sc.functional.cross_entropy(model(x), labels))
        optimizer.step()
        return [value.numpy().copy() for value in model.state_dict().values()]

    return step


def numpy_step() -> Call:
    """Return a step of training in NumPy alone, likewise."""
    model = layers.Sequential(
        layers.Conv2D(3, 8, 3, padding=1, rng=0),
        layers.BatchNorm2D(8),
        layers.ReLU(),
        layers.MaxPool2D(2),
        layers.Flatten(),
        layers.Dense(8 * 64, 10, rng=0),
    )
    start = {name: array.copy() for name, array in model.state.items()}
    x = np.random.default_rng(0).standard_normal((16, 3, 16, 16)).astype(np.float32)

    def step() -> list[Any]:
        for name, array in model.state.items():
            array[...] = start[name]
        optimizer = layers.SGD(model, 0.1)
        model.backward(model.forward(x) / 160)
        optimizer.step()
        return [array.copy() for array in model.state.values()]

    return step


def interrupts(quick: bool) -> Iterator[Row]:
    """Interrupt kernels and steps at random times; call them again each time."""
    steps = {"step of a swapped network": step_of(network()), "step in NumPy alone": numpy_step()}
    everything = {f"kernels: {name}": call for name, call in calls().items()} | steps
    for name, call in everything.items():
        yield interrupted(name, call, number(300 if name.startswith("kernels") else 500, quick))


def interrupted(name: str, call: Call, count: int) -> Row:
    """Interrupt a call so many times; wrong are other results or threads of the BLAS afterwards."""
    rng = np.random.default_rng(0)
    came = wrong = replaced = 0
    armed = False

    def interrupt(*_: Any) -> None:
        if armed:  # the signal may reach another thread first, and this one when the call has ended
            raise KeyboardInterrupt

    with kernels.using_num_threads(THREADS), _timer(interrupt):
        expected, blas = call(), _blas_threads()
        while came < count:
            faulthandler.dump_traceback_later(_HANGS, exit=True)
            began = time.perf_counter()
            result = call()
            takes = time.perf_counter() - began
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, takes))
                result = call()
                armed = False
            except (KeyboardInterrupt, RuntimeError) as error:
                if not _interrupted(error):
                    raise
                came, armed = came + 1, False
                replaced += isinstance(error, RuntimeError)
            signal.setitimer(signal.ITIMER_REAL, 0)
            wrong += not (same_bits(result, expected) and same_bits(call(), expected))
            wrong += _blas_threads() != blas
        faulthandler.cancel_dump_traceback_later()
    notes = f"{replaced} of them in torch's handling of modes, which raises another error then"
    return Row(f"interrupts, {name}", came, wrong, notes * bool(replaced))


def _interrupted(error: BaseException | None) -> bool:
    """Return whether an exception is the interrupt, or was raised while that one was handled.

    Torch takes a mode off while it handles a call, and an interrupt just then leaves it off for the `with`
    whose end takes off another.
    """
    return isinstance(error, KeyboardInterrupt) or (error is not None and _interrupted(error.__context__))


def handlers(quick: bool) -> Iterator[Row]:
    """Call kernels in a signal's handler, in the middle of the same kernels with other numbers."""
    inner = calls(seed=1)
    for name, call in calls().items():
        yield handled(name, call, inner[name], number(300, quick))


def handled(name: str, call: Call, in_handler: Call, count: int) -> Row:
    """Compare what a call returns, and what its handler does, with both computed by themselves."""
    rng = np.random.default_rng(0)
    came, wrong = 0, 0
    with kernels.using_num_threads(THREADS):
        expected, expected_in_handler = call(), in_handler()

        def handle(*_: Any) -> None:
            nonlocal came, wrong
            came += 1
            wrong += not same_bits(in_handler(), expected_in_handler)

        with _timer(handle):
            while came < count:
                faulthandler.dump_traceback_later(_HANGS, exit=True)
                began = time.perf_counter()
                call()
                takes = time.perf_counter() - began
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, takes))
                result = call()
                signal.setitimer(signal.ITIMER_REAL, 0)
                wrong += not same_bits(result, expected)
            faulthandler.cancel_dump_traceback_later()
    return Row(f"kernels in a handler, {name}", came, wrong)


@contextmanager
def _timer(handler: Any) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def threads(quick: bool) -> Iterator[Row]:
    """Train eight networks on eight threads at once, and one after the other."""
    for name, train in {"swapped networks": _trained, "networks in NumPy alone": _trained_in_numpy}.items():
        expected = [train(seed) for seed in range(8)]
        rounds, wrong = number(20, quick), 0
        for _ in range(rounds):
            got: dict[int, list[Any]] = {}

            def work(seed: int, got: dict[int, list[Any]] = got, train: Callable[..., Any] = train) -> None:
                got[seed] = train(seed)

            together = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
            for thread in together:
                thread.start()
            for thread in together:
                thread.join()
            wrong += sum(seed not in got or not same_bits(got[seed], expected[seed]) for seed in range(8))
        yield Row(f"eight {name} on eight threads", 8 * rounds, wrong, "ten steps each")


_building = threading.Lock()


def _trained(seed: int) -> list[Any]:
    """Return the state of a network after ten steps."""
    with _building:  # torch's generator of random numbers is the process's
        model = network(seed)
        x, labels = torch.randn(16, 3, 16, 16), torch.arange(16) % 10
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(10):
        optimizer.zero_grad()
        torch.autograd.backward(sc.functional.cross_entropy(model(x), labels))
        optimizer.step()
    return [value.numpy() for value in model.state_dict().values()]


def _trained_in_numpy(seed: int) -> list[Any]:
    model = layers.Sequential(layers.Conv2D(3, 8, 3, padding=1, rng=seed), layers.ReLU(), layers.MaxPool2D(2))
    optimizer = layers.SGD(model, 0.01)
    x = np.random.default_rng(seed).standard_normal((16, 3, 16, 16)).astype(np.float32)
    for _ in range(10):
        model.backward(model.forward(x))
        optimizer.step()
    return list(model.state.values())


def processes(quick: bool) -> Iterator[Row]:
    """Compute in processes that are started while another thread is at work."""
    expected = _everything()
    for method in ("fork", "forkserver", "spawn"):
        count, wrong = number(20 if method == "fork" else 10, quick), 0
        for _ in range(count):
            ended = threading.Event()
            busy = threading.Thread(target=_keep_busy, args=(ended,))
            busy.start()
            try:
                here, there = multiprocessing.Pipe()
                context: Any = multiprocessing.get_context(method)
                child = context.Process(target=_send_everything, args=(there,))
                child.start()
                there.close()
                got = here.recv() if here.poll(_HANGS) else []
            except EOFError:
                got = []
            finally:
                ended.set()
                busy.join()
            child.join(1)
            child.kill()
            wrong += len(got) != len(expected) or not same_bits(got, expected)
        yield Row(f"processes by {method}", count, wrong, "while another thread is at work")


def _everything() -> list[Any]:
    return [array for call in calls().values() for array in call()] + numpy_step()() + step_of(network())()


def _send_everything(pipe: Any) -> None:
    pipe.send(_everything())


def _keep_busy(ended: threading.Event) -> None:
    call = calls()["convolution"]
    while not ended.is_set():
        call()


_LATE = """
import atexit, sys, threading, time
import numpy as np
from scratch_conv import kernels
kernels.set_num_threads(2)
window = kernels.Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
x, w = np.ones((64, 8, 16, 16), np.float32), np.ones((8, 8, 3, 3), np.float32)
def work():
    y = kernels.conv2d(x, w, None, window, 1)
    return int(kernels.conv2d_grad_weight(y, x, window, 1).sum())
expected = work()
def report():
    print("right" if work() == expected else "wrong", flush=True)
"""

_ENDS = {
    "another thread goes on": """
def train():
    threading.main_thread().join()
    for _ in range(5):
        work()
    report()
threading.Thread(target=train).start()
""",
    "daemon threads are in the middle": """
def train():
    while True:
        work()
for _ in range(3):
    threading.Thread(target=train, daemon=True).start()
time.sleep(0.05)
report()
""",
    "__del__ of a global": """
class Late:
    def __del__(self, report=report):
        report()
late = Late()
""",
    "__del__ in a cycle": """
class Late:
    def __del__(self, report=report):
        report()
late = Late()
late.itself = late
""",
    "atexit": "atexit.register(report)",
}


def shutdown(quick: bool) -> Iterator[Row]:
    """Let processes end while layers run, or ask for them; right are status 0, the sum, and no other word."""
    for name, program in _ENDS.items():
        count, wrong = number(20, quick), 0
        for _ in range(count):
            command = [sys.executable, "-c", _LATE + program]
            try:
                ended = subprocess.run(command, capture_output=True, text=True, timeout=_HANGS, check=False)
                wrong += (ended.returncode, ended.stdout, ended.stderr) != (0, "right\n", "")
            except subprocess.TimeoutExpired:
                wrong += 1
        yield Row(f"shutdown: {name}", count, wrong)


GROWTH = 2**20
"""Bytes. Less than a tensor a step: what the allocators of C and Python keep varies by some hundred KiB."""


def growth(quick: bool) -> Iterator[Row]:
    """Measure what a fresh process holds after a fifth of the steps and after all."""
    count = number(2_500, quick)
    for name in ("step of a swapped network", "step in NumPy alone"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            early, late = pool.apply(held_after, (name, count // 5, count))
        grown = f"{early / 2**20:.1f} to {late / 2**20:.1f} MiB resident"
        yield Row(f"growth: {name}", count - count // 5, int(late - early > GROWTH), grown)


def held_after(name: str, early: int, late: int) -> tuple[int, int]:
    """Return the resident memory of this process after so many steps, and after more."""
    step = numpy_step() if name == "step in NumPy alone" else step_of(network())
    held = []
    for count in (early, late - early):
        for _ in range(count):
            step()
        status = Path("/proc/self/status").read_text(encoding="ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        held.append(int(line.split()[1]) * 1024)
    return held[0], held[1]
