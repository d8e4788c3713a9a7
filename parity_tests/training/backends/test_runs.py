"""One run: its numbers depend on seed, epoch and step alone, and it can be resumed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scratch_conv.training.backends import numpy_training, recording
from scratch_conv.training.backends.batches import Batches
from scratch_conv.training.backends.job import DivergedError, History, Job, Outcome
from scratch_conv.training.backends.models import initial_network
from scratch_conv.training.backends.recording import Phases
from scratch_conv.training.backends.torch_checkpoints import last_readable
from scratch_conv.training.backends.torch_training import Classifier, run
from scratch_conv.training.comparison import FLOAT64_BOUND, MEASURES
from scratch_conv.training.data.datasets import open_images
from scratch_conv.training.settings import BACKENDS, Settings

SETTINGS = Settings("shapes", "simple-cnn", 3, 16, 1e-3, 0, "32", 48)  # three steps an epoch
DATA = open_images("shapes", None, SETTINGS.limit, SETTINGS.seed, limit_test=10)

RunJob = Callable[..., Outcome]


@pytest.fixture
def run_job(tmp_path: Path) -> RunJob:
    """Run a job in this process, in a folder of the given name."""
    DATA.save(tmp_path / "images.npz")

    def run_here(folder: str, backend: str = "torch", settings: Settings = SETTINGS) -> Outcome:
        job = Job(backend, backend, settings, tmp_path / "images.npz", tmp_path / folder, DATA.digest())
        (numpy_training.run if backend == "numpy" else run)(job)
        outcome = Outcome.load(job)
        assert outcome is not None
        return outcome

    return run_here


def assert_same(one: Outcome, other: Outcome) -> None:
    """Compare bit for bit."""
    assert one.step_losses == other.step_losses
    assert one.test_accuracy == other.test_accuracy
    for name, weight in one.weights.items():
        torch.testing.assert_close(other.weights[name], weight, rtol=0, atol=0)


def test_the_seed_decides_the_initial_weights() -> None:
    one, again = (initial_network(SETTINGS, DATA).state_dict() for _ in range(2))
    other = initial_network(replace(SETTINGS, seed=1), DATA).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])


def test_a_checkpoint_that_a_killed_process_had_not_yet_deleted_is_deleted(
    run_job: RunJob, tmp_path: Path
) -> None:
    run_job("one")
    (tmp_path / "one/epoch=0.ckpt").write_bytes((tmp_path / "one/epoch=1.ckpt").read_bytes())
    run_job("one")
    assert {path.name for path in (tmp_path / "one").glob("epoch=*")} == {"epoch=1.ckpt", "epoch=2.ckpt"}


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_a_run_records_a_number_for_each_epoch_and_step(run_job: RunJob, backend: str) -> None:
    outcome = run_job("one", backend)
    for figures in (outcome.train_loss, outcome.test_loss, outcome.test_accuracy, outcome.seconds_per_epoch):
        assert len(figures) == 3
    assert len(outcome.step_losses) == 9
    assert outcome.train_loss[0] == pytest.approx(sum(outcome.step_losses[:3]) / 3)
    assert all(0 <= accuracy <= 1 for accuracy in outcome.test_accuracy)
    assert outcome.parameters == 620_362
    assert outcome.peak_memory_bytes > 50e6
    torch.testing.assert_close(outcome.predictions.sum(1), torch.ones(10))


def test_the_seed_decides_the_run(run_job: RunJob) -> None:
    one = run_job("one")
    assert_same(one, run_job("again"))
    assert run_job("other", settings=replace(SETTINGS, seed=1)).step_losses != one.step_losses


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_all_backends_agree_in_float64(run_job: RunJob, optimizer: str) -> None:
    settings = replace(SETTINGS, precision="64-true", epochs=17, optimizer=optimizer)
    torchs, *ours = (run_job(backend, backend, settings) for backend in BACKENDS)
    for outcome in ours:
        differences = MEASURES["losses"](torchs, outcome)
        assert [*differences] == [*range(1, 51)]
        assert max(differences.values()) <= FLOAT64_BOUND
        assert outcome.test_accuracy == torchs.test_accuracy
        torch.testing.assert_close(outcome.predictions, torchs.predictions, rtol=1e-8, atol=1e-12)
        assert outcome.weights["0.weight"].dtype == torch.float64


def test_a_run_of_a_few_steps_says_how_many_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DATA.save(tmp_path / "images.npz")
    settings = replace(SETTINGS, epochs=1)
    run(Job("torch", "torch", settings, tmp_path / "images.npz", tmp_path / "torch", DATA.digest(), steps=50))
    begins, done = capsys.readouterr().out.splitlines()
    assert begins == "torch  3 steps begin"
    assert done.startswith("torch  3 steps done  loss ")


def test_phases_are_apart_and_the_rest_is_the_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(recording, "time", SimpleNamespace(perf_counter=lambda: now))
    phases, history = Phases(), History()
    phases.begin()
    now += 1
    with phases.within("optimizer"):
        now += 2
        with phases.within("harness"):
            now += 4
            with phases.within("forward"):
                now += 8
            with phases.within("backward"):
                now += 16
    phases.finish_step()
    now += 32  # a test, which is no training
    phases.finish(history)
    assert history.seconds_per_epoch == [31]
    assert history.phases == [{"forward": 8, "backward": 16, "optimizer": 2, "harness": 1 + 4}]


def test_without_augmentation_the_images_are_the_originals() -> None:
    images = torch.from_numpy(DATA.train[0][:4])
    assert torch.equal(Batches(DATA, replace(SETTINGS, augment=False)).augmented(images, 0), images)
    moved = Batches(DATA, SETTINGS)
    assert not torch.equal(moved.augmented(images, 0), images)
    assert torch.equal(moved.augmented(images, 7), moved.augmented(images, 7))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", ["32", "64-true"])
def test_a_run_in_two_parts_is_the_run_in_one(run_job: RunJob, backend: str, precision: str) -> None:
    settings = replace(SETTINGS, precision=precision)
    run_job("parts", backend, replace(settings, epochs=1))
    assert_same(run_job("whole", backend, settings), run_job("parts", backend, settings))


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_one_cycle_goes_on_where_it_was(run_job: RunJob, tmp_path: Path, backend: str) -> None:
    settings = replace(SETTINGS, optimizer="sgd", lr=0.1, schedule="one-cycle", precision="64-true")
    whole = run_job("whole", backend, settings)
    for path in (tmp_path / "whole").iterdir():  # as if it had been killed in the last epoch
        if path.stem != "epoch=1":
            path.unlink()
    assert_same(whole, run_job("whole", backend, settings))
    if backend == "numpy":
        differences = MEASURES["losses"](run_job("torch", "torch", settings), whole)
        assert max(differences.values()) <= FLOAT64_BOUND
    assert (
        run_job("constant", backend, replace(settings, schedule="constant")).step_losses != whole.step_losses
    )


@pytest.mark.parametrize(("backend", "kind"), [("torch", "ckpt"), ("numpy", "npz")])
def test_a_damaged_checkpoint_costs_only_one_epoch(
    run_job: RunJob, tmp_path: Path, backend: str, kind: str
) -> None:
    run_job("damaged", backend, replace(SETTINGS, epochs=2))
    latest = tmp_path / f"damaged/epoch=1.{kind}"
    latest.write_bytes(latest.read_bytes()[:10_000])
    if backend == "torch":
        state = Classifier(initial_network(SETTINGS, DATA), SETTINGS).state_dict()
        assert last_readable(tmp_path / "damaged", state) == tmp_path / "damaged/epoch=0.ckpt"
    assert_same(run_job("whole", backend), run_job("damaged", backend))


@pytest.mark.parametrize(("backend", "kind"), [("torch", "ckpt"), ("numpy", "npz")])
def test_checkpoints_of_the_last_two_epochs_are_kept(
    run_job: RunJob, tmp_path: Path, backend: str, kind: str
) -> None:
    run_job("one", backend)
    kept = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert kept == [f"epoch=1.{kind}", f"epoch=2.{kind}", "result.pt"]


def test_without_checkpoints_there_is_none_to_resume_from(tmp_path: Path) -> None:
    assert last_readable(tmp_path / "nowhere", {}) is None


@pytest.mark.parametrize(("backend", "kind"), [("torch", "ckpt"), ("numpy", "npz")])
def test_a_foreign_checkpoint_is_passed_over(
    run_job: RunJob, tmp_path: Path, backend: str, kind: str
) -> None:
    run_job("mixed", backend, replace(SETTINGS, epochs=1))
    foreign = tmp_path / f"mixed/epoch=1.{kind}"
    if backend == "torch":
        torch.save({"state_dict": {"weight": torch.ones(2)}}, foreign)
    else:
        np.savez(foreign, weight=np.ones(2))
    assert_same(run_job("whole", backend), run_job("mixed", backend))


@pytest.mark.parametrize(("backend", "kind"), [("torch", "ckpt"), ("scratch", "ckpt"), ("numpy", "npz")])
@pytest.mark.filterwarnings("ignore:(overflow|invalid value)")
def test_a_run_that_diverges_stops_at_the_step_and_keeps_the_last_finite_checkpoint(
    run_job: RunJob, tmp_path: Path, backend: str, kind: str
) -> None:
    run_job("diverges", backend, replace(SETTINGS, epochs=1))
    kept = (tmp_path / f"diverges/epoch=0.{kind}").read_bytes()
    (tmp_path / "diverges/result.pt").unlink()
    with pytest.raises(
        DivergedError, match=r"the loss is (nan|inf) at step 2; first in the output of layer 3"
    ):
        run_job("anew", backend, replace(SETTINGS, lr=1e30))
    assert not list((tmp_path / "anew").glob("epoch=*"))
    large = replace(
        SETTINGS, lr=1e30, epochs=2, batch_size=48
    )  # one step an epoch: its weights are not tested
    with pytest.raises(DivergedError, match=r"not finite after epoch 1|at step 2"):
        run_job("large", backend, large)
    assert (tmp_path / f"diverges/epoch=0.{kind}").read_bytes() == kept
