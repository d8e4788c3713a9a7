"""Runs in fresh interpreters, so that backends share neither memory nor threads."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

import scratch_conv
from scratch_conv.training.backends.job import DivergedError, Job, Outcome
from scratch_conv.training.backends.ranks import joined, open_store
from scratch_conv.training.backends.torchrun import PAUSE, Torchrun, torchrun
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.settings import Settings

_EXPLAINED = 3  # the status of a process that has written why it ended
_LOST = 4  # the status of a rank whose connection to another one broke
_GRACE = 2.0  # seconds in which such a rank waits, so that the end of the other one is what is reported
# Python puts the working directory first in sys.path for -c and -m, where a file json.py would be run; its -P
# is of Python 3.11. The package itself may lie there: then the directory comes last.
_PROGRAM = """
import sys
sys.path[:] = [*(path for path in sys.path if path), sys.argv.pop(1)]
from scratch_conv.training.backends.processes import main
main()
"""


class RunError(RuntimeError):
    """A run's process ended without a result.

    Attributes:
        explained: whether that process has written why.
    """

    def __init__(self, message: str, *, explained: bool) -> None:
        super().__init__(message)
        self.explained = explained


def run_in_process(job: Job) -> Outcome:
    """Run a job in a process of its own, or in one for each rank, whose progress shows on this terminal.

    Raises:
        RunError: a process ended without a result; it has written its error to stderr.
    """
    if team := torchrun():
        _wait_for_end_of(job, [{}], team.say(job.to_json()))
    elif (devices := job.settings.devices) > 1:
        store = open_store("localhost", 0, host=True)
        common = {
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(store.port),
            "WORLD_SIZE": str(devices),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads_of_each(job.settings))),
        }
        ranks = [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(devices)]
        _wait_for_end_of(job, ranks, "scratch-conv")
    else:
        _wait_for_end_of(job, [{}], "")
    outcome = Outcome.load(job)
    if outcome is None:
        raise RunError(f"{job.title}: the training process ended without a result", explained=False)
    return outcome


def follow(team: Torchrun, data: ImageSet) -> None:
    """Run this rank's part of every job that the first command runs, until that says that there are no more.

    Raises:
        RunError: the process of this rank ended early; it has written its error to stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npz"
        data.save(images)
        while (message := team.hear())[0]:
            text, key = message
            _wait_for_end_of(replace(Job.from_json(text), images=images), [{}], key)


def threads_of_each(settings: Settings) -> int:
    """Return torch's number of threads in each training process."""
    threads = torch.get_num_threads()
    return threads if "OMP_NUM_THREADS" in os.environ else max(1, threads // settings.devices)


def _wait_for_end_of(job: Job, ranks: Sequence[Mapping[str, str]], key: str) -> None:
    """Start a process for each rank that is started here, and wait until all have ended, or one not well.

    Args:
        job: the job of all.
        ranks: what each finds in its environment besides what is there.
        key: see `joined`.

    Raises:
        RunError: one ended with an error or by a signal; the others were ended.
    """
    package = Path(scratch_conv.__file__).parent.parent
    command = [sys.executable, "-c", _PROGRAM, str(package), job.to_json(), key]
    children: list[subprocess.Popen[bytes]] = []
    try:
        # In a session of its own a process gets no Ctrl-C. It stops when its standard input ends, which
        # happens in every case: when this block is left, and when this process is killed.
        for rank in ranks:
            environment = {**os.environ, **rank} | ({"TORCH_CPP_LOG_LEVEL": "ERROR"} if key else {})
            children.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=environment)
            )
        statuses: list[int | None] = [None]
        while None in statuses and not any(statuses):
            time.sleep(PAUSE)
            statuses = [child.poll() for child in children]
    finally:
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
        for child in children:
            child.wait()  # after a Ctrl-C, so that its last output comes before ours
    for rank, status in zip(ranks, statuses, strict=True):
        if status:
            which = f" of rank {rank.get('RANK', os.environ.get('RANK'))}" if key else ""
            how = f"ended with status {status}, without a result"
            if status == _LOST:
                how = "lost the connection to another one"
            message = f"{job.title}: the training process{which} {how}"
            raise RunError(message, explained=status == _EXPLAINED)


def main() -> None:
    """Run the job given as the first argument, as one of those that are connected by the second."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    job, key = Job.from_json(sys.argv[1]), sys.argv[2]
    if job.backend == "numpy":
        from scratch_conv.training.backends.numpy_training import run
    else:
        from scratch_conv.training.backends.torch_training import run
    with joined(key) as ranks:
        try:
            run(job, ranks)
        except (DivergedError, OSError) as error:
            if ranks.is_first_to_fail():
                print(f"scratch-conv: {job.title}: {error}", file=sys.stderr)
            sys.exit(_EXPLAINED)
        except RuntimeError as error:
            if ranks.count == 1 or "gloo" not in str(error):
                raise
            time.sleep(_GRACE)
            sys.exit(_LOST)


def _stop_with_parent() -> None:
    # Not sys.stdin.read(): this thread would hold its buffer's lock while the interpreter shuts down.
    os.read(sys.stdin.fileno(), 1)
    if os.isatty(1):
        os.write(1, b"\r\x1b[2K\x1b[?25h")  # erase the live bar, which hides the cursor, and show it again
    os._exit(1)
