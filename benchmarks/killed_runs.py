"""Trainings that are killed at random times, and resumed: a part of `benchmarks.robustness`."""

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.trials import Row, number, same_bits
from scratch_conv.training.backends.job import epochs
from scratch_conv.training.settings import BACKENDS

COMMANDS = {
    "train --backend torch": ["torch"],
    "train --backend scratch": ["scratch"],
    "train --backend numpy": ["numpy"],
    "compare": ["torch", "scratch"],
}
_OPTIONS = "--dataset shapes --model small-cnn --epochs 12 --batch-size 16 --limit 320 --out"
_KILLS_A_RUN = 5
_TIMES = ("seconds_per_epoch", "peak_memory_bytes")
"""What differs between two runs of the same training."""


def kills(quick: bool) -> Iterator[Row]:
    """Kill runs of each command; compare how they end with undisturbed ones."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(COMMANDS)) as at_once:
        counts = [number(20, quick)] * len(COMMANDS)
        yield from at_once.map(killed, COMMANDS, counts, [Path(folder)] * len(COMMANDS))


def killed(command: str, count: int, folder: Path) -> Row:
    """Kill the runs of a command so many times, a run up to five times, and let each end."""
    rng = random.Random(command)
    folder = folder / command.rpartition(" ")[2]
    undisturbed = folder / "undisturbed"
    began = time.perf_counter()
    subprocess.run(_arguments(command, undisturbed), check=True, capture_output=True)
    takes = time.perf_counter() - began
    runs = wrong = 0
    reached: list[int] = []
    while len(reached) < count:
        out, runs = folder / f"run {runs}", runs + 1
        for turn in range(min(_KILLS_A_RUN, count - len(reached))):
            first = turn % 2 == 0
            seconds = rng.uniform(0, 2 if first else takes)
            if not killed_after(seconds, command, out, after_checkpoint=first):
                break
            reached.append(_epochs(out))
        wrong += not ends_like(undisturbed, command, out)
        shutil.rmtree(out)
    return Row(f"kill -9 of {command}", count, wrong, f"{runs} runs; epochs done at the kill: {reached}")


def _arguments(command: str, out: Path) -> list[str]:
    program = [sys.executable, "-m", "scratch_conv.cli", *command.split(), *_OPTIONS.split(), str(out)]
    return [*program, "--resume"] if out.exists() else program


def killed_after(seconds: float, command: str, out: Path, *, after_checkpoint: bool = False) -> bool:
    """Start or resume a run and kill it; wait for the process that trains.

    The time counts from the start, or from the first checkpoint that is new.

    Returns:
        Whether it was killed: it may end before.
    """
    done = _epochs(out)
    with subprocess.Popen(
        _arguments(command, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while after_checkpoint and process.poll() is None and _epochs(out) == done:
            time.sleep(0.02)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    while any(str(out).encode() in _command_line(path) for path in Path("/proc").glob("[0-9]*/cmdline")):
        time.sleep(0.05)
    return process.returncode == -signal.SIGKILL


def _command_line(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has just ended
        return b""


def _epochs(out: Path) -> int:
    """Count the epochs that have a checkpoint, or had one, of all backends."""
    folders = [folder for folder in out.glob("checkpoints/*") if folder.name in BACKENDS]
    done = [[int(path.stem.partition("=")[2]) + 1 for path in epochs(folder)] for folder in folders]
    return sum(max(numbers, default=0) for numbers in done)


def ends_like(undisturbed: Path, command: str, out: Path) -> bool:
    """Resume a run for the last time, and return whether it ends bit by bit as the undisturbed one did."""
    ended = subprocess.run(_arguments(command, out), capture_output=True, text=True, check=False)
    if ended.returncode or "Traceback" in ended.stderr:
        print(ended.stdout, ended.stderr, file=sys.stderr)
        return False
    names = [
        sorted(path.name for path in folder.rglob("*") if path.is_file()) for folder in (undisturbed, out)
    ]
    if names[0] != names[1] or _summary(undisturbed) != _summary(out):
        print(f"{command}: {names[1]} instead of {names[0]}, or another summary", flush=True)
        return False
    return all(
        same_bits(_outcome(out, backend), _outcome(undisturbed, backend)) for backend in COMMANDS[command]
    )


def _outcome(out: Path, backend: str) -> list[Any]:
    """Return the weights, predictions and losses of a backend's result."""
    outcome = torch.load(out / "checkpoints" / backend / "result.pt", weights_only=True)["outcome"]
    weights = outcome.pop("weights")
    return [*weights.values(), *(value for name, value in outcome.items() if name not in _TIMES)]


def _summary(out: Path) -> Any:
    """Return summary.json without times and memory."""
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    for row in summary["backends"].values():
        for name in _TIMES:
            row.pop(name)
    return summary
