"""What trained networks compute: the same in all backends, dropout and odd last batches included."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scratch_conv.training import comparison
from scratch_conv.training.backends import numpy_training, torch_training
from scratch_conv.training.backends.batches import Batches
from scratch_conv.training.backends.job import Job, Outcome
from scratch_conv.training.backends.models import initial_network
from scratch_conv.training.backends.trained import draws_random_numbers, gradients, predicted, trained_network
from scratch_conv.training.data.datasets import open_images
from scratch_conv.training.settings import BACKENDS, Settings


def with_dropout(channels: int, size: int, classes: int) -> nn.Module:
    """Return a network whose dropout draws twice a step, in training."""
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(4 * (size // 4) ** 2, classes),
    )


MODEL = f"{__name__}:with_dropout"
SETTINGS = Settings("shapes", MODEL, 2, 16, 1e-3, 0, "64-true", 40)  # batches of 16, 16 and 8
DATA = open_images("shapes", None, SETTINGS.limit, SETTINGS.seed, limit_test=10)
BATCHES = Batches(DATA, SETTINGS)


def trained(backend: str, folder: Path, settings: Settings = SETTINGS) -> Outcome:
    """Train in this process, from where the folder's checkpoints are."""
    images = folder / "images.npz"
    DATA.save(images)
    job = Job(backend, backend, settings, images, folder / backend, DATA.digest())
    (numpy_training if backend == "numpy" else torch_training).run(job)
    outcome = Outcome.load(job)
    assert outcome is not None
    return outcome


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """One of each backend."""
    return {name: trained(name, tmp_path_factory.mktemp(name)) for name in BACKENDS}


@pytest.mark.parametrize("backend", ["scratch", "numpy"])
def test_dropout_drops_the_same_in_all_backends(outcomes: dict[str, Outcome], backend: str) -> None:
    assert outcomes[backend].step_losses == pytest.approx(outcomes["torch"].step_losses, rel=1e-12)
    torch.testing.assert_close(outcomes[backend].weights, outcomes["torch"].weights, rtol=1e-9, atol=1e-12)


def test_dropout_in_numpy_alone_goes_on_where_it_was(outcomes: dict[str, Outcome], tmp_path: Path) -> None:
    trained("numpy", tmp_path, replace(SETTINGS, epochs=1))
    (tmp_path / "numpy/result.pt").unlink()
    assert trained("numpy", tmp_path).step_losses == outcomes["numpy"].step_losses


@pytest.mark.parametrize("backend", BACKENDS)
def test_predictions_are_those_of_torchs_layers_with_the_same_weights(
    outcomes: dict[str, Outcome], backend: str
) -> None:
    network = trained_network("torch", outcomes[backend], SETTINGS, DATA)
    again = predicted(network, BATCHES, torch.float64)
    torch.testing.assert_close(outcomes[backend].predictions, again, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("backend", ["scratch", "numpy"])
def test_gradients_of_the_last_batch_are_those_of_torchs_layers(
    outcomes: dict[str, Outcome], backend: str
) -> None:
    expected, found = (gradients(name, outcomes[backend], BATCHES, 1) for name in ("torch", backend))
    assert expected.norm() > 0
    assert len(found) == outcomes[backend].parameters
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("wrong", range(comparison.EPOCHS + 1))
def test_a_backend_is_wrong_whose_gradients_are_wrong_in_every_batch(
    outcomes: dict[str, Outcome], wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounding that takes a value across a corner, as of ReLU, moves the gradients of that batch alone."""

    def drawn(backend: str, _: Outcome, __: Batches, epoch: int) -> torch.Tensor:
        return torch.ones(9) + (1e-3 if backend == "scratch" and epoch < wrong else 0)

    monkeypatch.setattr(comparison, "gradients", drawn)
    shares = comparison._when_trained("scratch", outcomes["scratch"], BATCHES, np.min)
    assert (shares["gradients"][1] > 0) is (wrong == comparison.EPOCHS)
    assert shares["predictions"][1] < 1e-12


@pytest.mark.parametrize("step", range(6))
def test_the_batch_of_a_step_is_that_of_the_loader(step: int) -> None:
    loader = BATCHES.train_dataloader()
    loader.sampler.set_epoch(step // 3)  # type: ignore[attr-defined]
    images, labels = [*loader][step % 3]
    wanted = BATCHES.augmented_part(images, step), labels
    assert len(labels) == (8 if step % 3 == 2 else 16)
    torch.testing.assert_close(BATCHES.of_step(step), wanted, rtol=0, atol=0)


@pytest.mark.parametrize(("model", "draws"), [(MODEL, True), ("small-cnn", False)])
def test_networks_that_draw_random_numbers_are_known(model: str, draws: bool) -> None:
    settings = replace(SETTINGS, model=model)
    network = initial_network(settings, DATA)
    assert draws_random_numbers(network, Batches(DATA, settings)) is draws
