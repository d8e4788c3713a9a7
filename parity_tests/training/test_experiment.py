"""One run: its numbers depend on seed, epoch and step alone, and it goes on where it stopped."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scratch_conv.training.backends import numpy_training as numpy_experiment
from scratch_conv.training.backends.job import Job, Outcome
from scratch_conv.training.backends.models import MODELS
from scratch_conv.training.backends.torch_checkpoints import last_readable
from scratch_conv.training.backends.torch_training import Batches, initial_network, run
from scratch_conv.training.comparison import FLOAT64_BOUND, relative_differences, train_backends
from scratch_conv.training.data.datasets import open_pictures
from scratch_conv.training.settings import BACKENDS, InputError, Settings

SETTINGS = Settings("shapes", "simple-cnn", 3, 16, 1e-3, 0, "32", 48)  # three steps an epoch
PICTURES = open_pictures("shapes", None, SETTINGS.limit, SETTINGS.seed)

RunJob = Callable[..., Outcome]


@pytest.fixture
def run_job(tmp_path: Path) -> RunJob:
    """Run a job in this process, in a folder of the given name."""
    PICTURES.save(tmp_path / "pictures.npz")

    def run_here(folder: str, backend: str = "torch", settings: Settings = SETTINGS) -> Outcome:
        job = Job(backend, backend, settings, tmp_path / "pictures.npz", tmp_path / folder)
        (numpy_experiment.run if backend == "numpy" else run)(job)
        outcome = Outcome.load(job.result)
        assert outcome is not None
        return outcome

    return run_here


def assert_same(one: Outcome, other: Outcome) -> None:
    """Compare bit for bit."""
    assert one.step_losses == other.step_losses
    assert one.test_accuracy == other.test_accuracy
    for name, weight in one.weights.items():
        torch.testing.assert_close(other.weights[name], weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("model", "size", "channels", "parameters"),
    [
        ("simple-cnn", 32, 3, 620_362),
        ("mnist-cnn", 28, 1, 225_034),
        ("small-cnn", 28, 1, 174_554),
        ("dense", 28, 1, 235_146),
    ],
)
def test_the_networks_have_the_parameters_they_should(
    model: str, size: int, channels: int, parameters: int
) -> None:
    network = MODELS[model](channels, size, 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert network(torch.zeros(2, channels, size, size)).shape == (2, 10)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("size", "channels"), [(32, 3), (28, 1)])
def test_every_network_takes_every_size(model: str, size: int, channels: int) -> None:
    assert MODELS[model](channels, size, 7)(torch.zeros(1, channels, size, size)).shape == (1, 7)


def test_the_seed_decides_the_initial_weights() -> None:
    one, again = (initial_network(SETTINGS, PICTURES).state_dict() for _ in range(2))
    other = initial_network(replace(SETTINGS, seed=1), PICTURES).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_a_run_keeps_a_number_for_each_epoch_and_step(run_job: RunJob, backend: str) -> None:
    outcome = run_job("one", backend)
    for figures in (outcome.train_loss, outcome.test_loss, outcome.test_accuracy, outcome.seconds_per_epoch):
        assert len(figures) == 3
    assert len(outcome.step_losses) == 9
    assert outcome.train_loss[0] == pytest.approx(sum(outcome.step_losses[:3]) / 3)
    assert all(0 <= accuracy <= 1 for accuracy in outcome.test_accuracy)
    assert outcome.parameters == 620_362
    assert outcome.peak_memory_bytes > 50e6
    torch.testing.assert_close(outcome.predictions.sum(1), torch.ones(10))


def test_the_same_seed_gives_the_same_run_and_another_seed_another(run_job: RunJob) -> None:
    one = run_job("one")
    assert_same(one, run_job("again"))
    assert run_job("other", settings=replace(SETTINGS, seed=1)).step_losses != one.step_losses


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_all_backends_agree_in_float64(run_job: RunJob, optimizer: str) -> None:
    settings = replace(SETTINGS, precision="64-true", epochs=17, optimizer=optimizer)
    torchs, *ours = (run_job(backend, backend, settings) for backend in BACKENDS)
    for outcome in ours:
        differences = relative_differences(torchs.step_losses, outcome.step_losses)
        assert len(differences) == 50
        assert max(differences) <= FLOAT64_BOUND
        assert outcome.test_accuracy == torchs.test_accuracy
        torch.testing.assert_close(outcome.predictions, torchs.predictions, rtol=1e-8, atol=1e-12)
        assert outcome.weights["0.weight"].dtype == torch.float64


def test_without_augmentation_the_pictures_are_the_originals() -> None:
    images = torch.from_numpy(PICTURES.train[0][:4])
    assert torch.equal(Batches(PICTURES, replace(SETTINGS, augment=False)).augmented(images, 0), images)
    moved = Batches(PICTURES, SETTINGS)
    assert not torch.equal(moved.augmented(images, 0), images)
    assert torch.equal(moved.augmented(images, 7), moved.augmented(images, 7))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_in_two_parts_is_the_run_in_one(run_job: RunJob, backend: str) -> None:
    run_job("parts", backend, replace(SETTINGS, epochs=1))
    assert_same(run_job("whole", backend), run_job("parts", backend))


@pytest.mark.parametrize(("backend", "kind"), [("torch", "ckpt"), ("numpy", "npz")])
def test_a_torn_checkpoint_costs_an_epoch_and_no_more(
    run_job: RunJob, tmp_path: Path, backend: str, kind: str
) -> None:
    run_job("torn", backend, replace(SETTINGS, epochs=2))
    latest = tmp_path / f"torn/epoch=1.{kind}"
    latest.write_bytes(latest.read_bytes()[:10_000])
    if backend == "torch":
        assert last_readable(tmp_path / "torn") == tmp_path / "torn/epoch=0.ckpt"
    assert_same(run_job("whole", backend), run_job("torn", backend))


@pytest.mark.parametrize(("backend", "kind"), [("torch", "ckpt"), ("numpy", "npz")])
def test_checkpoints_of_the_last_two_epochs_are_kept(
    run_job: RunJob, tmp_path: Path, backend: str, kind: str
) -> None:
    run_job("one", backend)
    kept = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert kept == [f"epoch=1.{kind}", f"epoch=2.{kind}", "result.pt"]


def test_without_checkpoints_there_is_none_to_go_on_from(tmp_path: Path) -> None:
    assert last_readable(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "--seed 0, not 1"),
        ({"model": "mnist-cnn"}, "--model simple-cnn, not mnist-cnn"),
        ({"precision": "64-true"}, "--precision 32, not 64-true"),
        ({"batch_size": 8}, "--batch-size 16, not 8"),
        ({"epochs": 2}, "--epochs 3, not 2"),
        ({"optimizer": "sgd"}, "--optimizer adam, not sgd"),
        ({"augment": False}, "--augment True, not False"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    train_backends((), SETTINGS, PICTURES, tmp_path, resume=False)
    with pytest.raises(InputError, match=message):
        train_backends((), replace(SETTINGS, **change), PICTURES, tmp_path, resume=True)


def test_a_run_is_not_resumed_with_other_pictures(tmp_path: Path) -> None:
    train_backends((), SETTINGS, PICTURES, tmp_path, resume=False)
    with pytest.raises(InputError, match="other pictures"):
        train_backends((), SETTINGS, open_pictures("shapes", None, 48, seed=9), tmp_path, resume=True)


def test_a_run_is_resumed_for_more_epochs(tmp_path: Path) -> None:
    train_backends((), SETTINGS, PICTURES, tmp_path, resume=False)
    train_backends((), replace(SETTINGS, epochs=5), PICTURES, tmp_path, resume=True)


def test_a_new_run_leaves_other_peoples_files_alone(tmp_path: Path) -> None:
    for name in (
        "checkpoints/torch/epoch=0.ckpt",
        "checkpoints/theirs/epoch=3-step=9.ckpt",
        "checkpoints/notes.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    train_backends((), SETTINGS, PICTURES, tmp_path, resume=False)
    assert not (tmp_path / "checkpoints/torch/epoch=0.ckpt").exists()
    assert (tmp_path / "checkpoints/theirs/epoch=3-step=9.ckpt").exists()
    assert (tmp_path / "checkpoints/notes.txt").exists()


def test_damaged_settings_are_refused_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/settings.json").write_text('{"--epochs": 1')
    with pytest.raises(InputError, match=r"settings\.json is damaged"):
        train_backends((), SETTINGS, PICTURES, tmp_path, resume=True)
