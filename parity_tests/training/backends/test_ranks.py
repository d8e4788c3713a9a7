"""Several processes that share out each batch train as one process does, and fall together."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scratch_conv import cli
from scratch_conv.training.backends import numpy_training, torch_training
from scratch_conv.training.backends.batches import Batches
from scratch_conv.training.backends.job import Job, Outcome
from scratch_conv.training.backends.processes import run_in_process
from scratch_conv.training.backends.ranks import Ranks, open_store
from scratch_conv.training.backends.torchrun import Torchrun, places, torchrun
from scratch_conv.training.comparison import MEASURES, step_rounding
from scratch_conv.training.data.datasets import open_images
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.settings import InputError, Settings

# Batches of 15, 15 and 1: of 8 and 7 images, and of 1 and none.
SETTINGS = Settings("shapes", "small-cnn", 2, 15, 1e-2, 0, "64-true", 31, "sgd", limit_test=16)
DATA = open_images("shapes", None, SETTINGS.limit, SETTINGS.seed, SETTINGS.limit_test)
OPTIONS = (
    "--dataset shapes --model small-cnn --epochs 2 --batch-size 15 --lr 0.01 --precision 64-true"
    " --limit 31 --optimizer sgd --limit-test 16"
)


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # another number sums in another order


def job(folder: Path, backend: str, settings: Settings = SETTINGS, data: ImageSet = DATA) -> Job:
    """Return the job of a training with DATA, or with other images."""
    data.save(folder / "images.npz")
    return Job(backend, backend, settings, folder / "images.npz", folder / backend, data.digest())


def in_this_process(a_job: Job) -> Outcome:
    """Run a job here."""
    (numpy_training if a_job.backend == "numpy" else torch_training).run(a_job)
    outcome = Outcome.load(a_job)
    assert outcome is not None
    return outcome


def assert_trained_as_one(
    one: Outcome, several: Outcome, settings: Settings = SETTINGS, data: ImageSet = DATA
) -> None:
    """Compare two runs within what the rounding of their sums explains, step by step."""
    rounding, steps = step_rounding(settings, data), len(one.step_losses)
    assert len(several.step_losses) == steps
    for measure in MEASURES.values():
        differences = measure(one, several)
        assert max(differences) >= 5
        assert all(value <= rounding * max(1, step) for step, value in differences.items())
    for name, weight in one.weights.items():
        torch.testing.assert_close(several.weights[name], weight, rtol=0, atol=steps * rounding)
    assert several.test_accuracy == one.test_accuracy
    for figures in ("train_loss", "test_loss"):
        assert getattr(several, figures) == pytest.approx(getattr(one, figures), rel=steps * rounding)
    torch.testing.assert_close(several.predictions, one.predictions, rtol=steps * rounding, atol=0)
    assert len(several.seconds_per_epoch) == len(several.phases) == settings.epochs
    assert several.layer_times


@pytest.mark.parametrize("backend", ["scratch", "numpy"])
def test_two_processes_train_as_one_with_both_parts_of_each_batch(tmp_path: Path, backend: str) -> None:
    one = in_this_process(job(tmp_path, backend))
    two = replace(job(tmp_path, backend, replace(SETTINGS, devices=2)), folder=tmp_path / "two")
    assert_trained_as_one(one, run_in_process(two))


def test_under_torchrun_two_processes_train_as_one_for_each_seed(tmp_path: Path) -> None:
    command = "-m torch.distributed.run --standalone --nproc-per-node 2 -m scratch_conv train --backend torch"
    options = [*command.split(), *OPTIONS.split(), "--seeds", "2", "--out", str(tmp_path / "run")]
    process = subprocess.run([sys.executable, *options], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("torch, seed 1  epoch 2/2") == 1  # by the first command alone
    for seed, folder in ((0, "torch"), (1, "seed=1/torch")):
        here = job(tmp_path, "torch", replace(SETTINGS, seed=seed))
        there = replace(
            here, settings=replace(here.settings, devices=2), folder=tmp_path / "run/checkpoints" / folder
        )
        several = Outcome.load(there)
        assert several is not None
        assert_trained_as_one(in_this_process(replace(here, folder=tmp_path / str(seed))), several)


def processes_of(out: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the environment of each training process that has `out` on its command line."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line, environment = ((process / name).read_bytes().decode() for name in ("cmdline", "environ"))
        except OSError:  # it has just ended
            continue
        if str(out) in line and "\0-c\0" in line:
            yield int(process.name), environment


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_if_one_rank_is_killed_all_end_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    settings, out = replace(SETTINGS, epochs=4, limit=600, devices=2), tmp_path / "run"
    options = OPTIONS.replace("--epochs 2", "--epochs 4").replace("--limit 31", "--limit 600 --devices 2")
    command = [sys.executable, "-m", "scratch_conv", "train", "--backend", "torch", *options.split()]
    with subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if "epoch 1/4" in line:
                (second,) = (pid for pid, found in processes_of(out) if "\0RANK=1\0" in found)
                os.kill(second, signal.SIGKILL)
        (explained,) = process.stderr.read().splitlines()
        assert process.wait() == 1
    assert re.fullmatch(
        r"scratch-conv: torch: the training process of rank 1 ended with status -9, without a result\. "
        r"To continue: scratch-conv train --backend torch .* --resume",
        explained,
    )
    assert not [*processes_of(out)]

    data = open_images("shapes", None, 600, SETTINGS.seed, SETTINGS.limit_test)
    undisturbed = job(tmp_path, "torch", replace(settings, devices=1), data)
    killed = replace(undisturbed, settings=settings, folder=out / "checkpoints/torch")
    assert not (killed.folder / "epoch=3.ckpt").exists()
    assert_trained_as_one(in_this_process(undisturbed), run_in_process(killed), settings, data)


@pytest.mark.parametrize("step", [0, 2], ids=["of 15", "of 1"])
@pytest.mark.parametrize("count", [2, 4])
def test_the_parts_of_a_batch_are_the_batch(step: int, count: int) -> None:
    whole, parts = (
        Batches(DATA, SETTINGS),
        [Batches(DATA, SETTINGS, ranks=Ranks(r, count)) for r in range(count)],
    )
    (images, labels), *others = (list(each.train_dataloader())[step] for each in (whole, *parts))
    counted = [each.ranks.part(len(labels))[1] for each in parts]
    assert max(counted) - min(counted) <= 1
    assert torch.equal(torch.cat([own[:n] for (_, own), n in zip(others, counted, strict=True)]), labels)
    moved = [
        each.augmented_part(own, step)[:n] for each, (own, _), n in zip(parts, others, counted, strict=True)
    ]
    assert torch.equal(torch.cat(moved), whole.augmented(images, step))
    assert sum(each.ranks.weight(len(labels)) for each in parts) == pytest.approx(count)


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> Iterator[Torchrun]:
    """Set the environment of the second of two commands of torchrun; return what the first one is there."""
    store = open_store("localhost", 0, host=True)
    names = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "localhost"}
    names |= {"MASTER_PORT": store.port, "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": True}
    for name, value in names.items():
        monkeypatch.setenv(name, str(value))
    first = Torchrun()
    monkeypatch.setenv("RANK", "1")
    torchrun.cache_clear()
    yield first
    torchrun.cache_clear()


@pytest.mark.usefixtures("second_of_two")
def test_torchrun_says_how_many_processes_there_are() -> None:
    assert places(None, None) == places(2, 1) == (2, 1)
    with pytest.raises(InputError, match=r"^--devices 3: torchrun has started 2$"):
        places(3, None)
    with pytest.raises(InputError, match=r"^--num-nodes 2: torchrun has started 1$"):
        places(None, 2)


def test_commands_that_do_not_agree_are_refused(
    second_of_two: Torchrun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {**replace(SETTINGS, devices=2, epochs=3).options(), "images": DATA.digest()}
    second_of_two.say(json.dumps(first))
    monkeypatch.setattr(sys, "argv", ["scratch-conv", "train", *OPTIONS.split()])
    assert cli.main() == 2
    assert capsys.readouterr().err == "scratch-conv: --epochs 2 on rank 1, 3 on rank 0\n"


def test_several_machines_need_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["scratch-conv", "train", "--out", "my run"])
    assert places(None, None) == (1, 1)
    assert places(3, 1) == (3, 1)
    with pytest.raises(
        InputError,
        match=r"--num-nodes 2: on each machine run torchrun --nnodes 2 --nproc-per-node 3 .* --out 'my run',",
    ):
        places(3, 2)


def test_a_batch_has_an_image_for_each_process() -> None:
    replace(SETTINGS, devices=15).check()
    with pytest.raises(InputError, match="--batch-size 15: must be at least 16, an image for each process"):
        replace(SETTINGS, devices=4, num_nodes=4).check()
