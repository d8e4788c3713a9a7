"""Real processes, stopped in the middle of an epoch: a resumed run ends as an undisturbed one does."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scratch_conv.training.backends.job import Job, Outcome, read_saved
from scratch_conv.training.backends.torch_training import run
from scratch_conv.training.data.datasets import open_images
from scratch_conv.training.settings import Settings

SETTINGS = Settings("shapes", "simple-cnn", 4, 16, 1e-3, 0, "32", 640, limit_test=128)  # forty steps an epoch


def start_and_stop(out: Path, epoch: int, how: signal.Signals) -> tuple[int, str]:
    """Start or resume a training, send a signal soon after the given epoch, and wait for the end."""
    options = (
        "--backend torch --dataset shapes --limit 640 --limit-test 128 --epochs 4 --batch-size 16 --resume"
    )
    command = [sys.executable, "-m", "scratch_conv.cli", "train", *options.split(), "--out", str(out)]
    # As many threads as this process has, since another number sums in another order.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=_listen_to_interrupts
    ) as process:
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if f"epoch {epoch}/4" in line:
                time.sleep(0.2)
                process.send_signal(how)
        return process.wait(), printed


def _listen_to_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell makes its background jobs ignore them


def wait_for_processes_of(out: Path) -> None:
    """Wait until no process has `out` on its command line: the training process ends with its parent."""
    deadline = time.monotonic() + 20
    while any(_mentions(process, out) for process in Path("/proc").glob("[0-9]*/cmdline")):
        assert time.monotonic() < deadline, "the training process outlives the command"
        time.sleep(0.1)


def _mentions(command_line: Path, out: Path) -> bool:
    try:
        return str(out).encode() in command_line.read_bytes()
    except OSError:  # it has just ended
        return False


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_stopped_and_killed_in_mid_epoch_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    out = tmp_path / "run"
    status, printed = start_and_stop(out, 1, signal.SIGINT)
    assert status == 130
    assert f"--resume --out {out}" in printed.splitlines()[-1]
    wait_for_processes_of(out)

    status, printed = start_and_stop(out, 2, signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert "epoch 1/4" not in printed
    wait_for_processes_of(out)
    folder = out / "checkpoints/torch"
    assert read_saved(folder / "epoch=1.ckpt") is not None
    assert not (folder / "epoch=3.ckpt").exists()

    data = tmp_path / "images.npz"
    open_images("shapes", None, SETTINGS.limit, SETTINGS.seed, 128).save(data)
    resumed = Job("resumed", "torch", SETTINGS, data, folder, "digest")
    undisturbed = replace(resumed, folder=tmp_path / "undisturbed")
    run(resumed)
    run(undisturbed)
    one, other = Outcome.load(resumed), Outcome.load(undisturbed)
    assert one is not None
    assert other is not None
    assert one.step_losses == other.step_losses
    for name, weight in other.weights.items():
        torch.testing.assert_close(one.weights[name], weight, rtol=0, atol=0)


def test_a_signal_to_end_leaves_the_checkpoints_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    status, printed = start_and_stop(out, 1, signal.SIGTERM)
    assert status == 130
    assert printed.splitlines()[-1].startswith("Stopped. To continue: scratch-conv train --backend torch")
    names = {path.name for path in (out / "checkpoints").iterdir()}
    assert names == {"settings.json", "lock", "lock.pid", "torch"}


def test_a_training_process_runs_no_file_of_the_working_directory(tmp_path: Path) -> None:
    for name in ("json", "lightning", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the working directory was run')")
    command = [str(Path(sys.executable).with_name("scratch-conv")), "train", "--backend", "torch"]
    options = [
        "--dataset",
        "shapes",
        "--limit",
        "32",
        "--limit-test",
        "10",
        "--epochs",
        "9",
        "--lr",
        "1e30",
        "--out",
        "run",
    ]
    process = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("scratch-conv: torch: the loss is ")
    assert "(Conv2d)" in line
