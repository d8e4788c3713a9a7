"""Runs in fresh interpreters, so that backends share neither memory nor threads."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import scratch_conv
from scratch_conv.training.backends.job import DivergedError, Job, Outcome

_EXPLAINED = 3  # the status of a process that has written why it ended
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
    """Run a job in a process of its own, whose progress shows on this terminal.

    Raises:
        RunError: the process ended without a result; it has written its error to stderr.
    """
    package = Path(scratch_conv.__file__).parent.parent
    command = [sys.executable, "-c", _PROGRAM, str(package), job.to_json()]
    # In a session of its own it gets no Ctrl-C. It stops when its standard input ends, which happens in every
    # case: when this block is left, and when this process is killed.
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdin is not None
        try:
            status = child.wait()
        finally:
            child.stdin.close()
            child.wait()  # after a Ctrl-C, so that its last output comes before ours
    outcome = Outcome.load(job) if status == 0 else None
    if outcome is None:
        message = f"{job.title}: the training process ended with status {status}, without a result"
        raise RunError(message, explained=status == _EXPLAINED)
    return outcome


def main() -> None:
    """Run the job given as the only argument."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    job = Job.from_json(sys.argv[1])
    if job.backend == "numpy":
        from scratch_conv.training.backends.numpy_training import run
    else:
        from scratch_conv.training.backends.torch_training import run
    try:
        run(job)
    except (DivergedError, OSError) as error:
        print(f"scratch-conv: {job.title}: {error}", file=sys.stderr)
        sys.exit(_EXPLAINED)


def _stop_with_parent() -> None:
    # Not sys.stdin.read(): this thread would hold its buffer's lock while the interpreter shuts down.
    os.read(sys.stdin.fileno(), 1)
    if os.isatty(1):
        os.write(1, b"\r\x1b[2K\x1b[?25h")  # erase the live bar, which hides the cursor, and show it again
    os._exit(1)
