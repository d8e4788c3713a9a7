"""The folder of a comparison: what is resumed, what is refused, and what is left alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scratch_conv.training.comparison import train_backends
from scratch_conv.training.data.datasets import open_images
from scratch_conv.training.settings import InputError, Settings

SETTINGS = Settings("shapes", "simple-cnn", 3, 16, 1e-3, 0, "32", 48)
DATA = open_images("shapes", None, SETTINGS.limit, SETTINGS.seed, limit_test=10)


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
        ({"schedule": "one-cycle"}, "--schedule constant, not one-cycle"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    train_backends((), SETTINGS, DATA, tmp_path)
    with pytest.raises(InputError, match=message):
        train_backends((), replace(SETTINGS, **change), DATA, tmp_path, resume=True)


def test_a_run_is_not_resumed_with_other_images(tmp_path: Path) -> None:
    train_backends((), SETTINGS, DATA, tmp_path)
    with pytest.raises(InputError, match="other images"):
        train_backends(
            (), SETTINGS, open_images("shapes", None, 48, seed=9, limit_test=10), tmp_path, resume=True
        )


def test_a_run_is_resumed_for_more_epochs(tmp_path: Path) -> None:
    train_backends((), SETTINGS, DATA, tmp_path)
    train_backends((), replace(SETTINGS, epochs=5), DATA, tmp_path, resume=True)


@pytest.mark.parametrize("where", ["torch", "seed=1/torch"])
def test_a_run_is_not_resumed_without_what_it_has_trained(tmp_path: Path, where: str) -> None:
    train_backends((), SETTINGS, DATA, tmp_path)
    checkpoint = tmp_path / "checkpoints" / where / "epoch=0.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    before = (tmp_path / "checkpoints/settings.json").read_text()
    for backends in [("scratch",), ("numpy",), ("scratch", "numpy")]:
        with pytest.raises(InputError, match=f"has trained torch, .* of {' and '.join(backends)} would"):
            train_backends(backends, replace(SETTINGS, epochs=5), DATA, tmp_path, resume=True)
    assert (tmp_path / "checkpoints/settings.json").read_text() == before


def test_a_run_of_one_cycle_is_not_resumed_for_more_epochs(tmp_path: Path) -> None:
    cycle = replace(SETTINGS, schedule="one-cycle")
    train_backends((), cycle, DATA, tmp_path)
    with pytest.raises(InputError, match="--epochs 3, not 5"):
        train_backends((), replace(cycle, epochs=5), DATA, tmp_path, resume=True)


def test_a_run_from_before_there_were_schedules_is_resumed(tmp_path: Path) -> None:
    train_backends((), SETTINGS, DATA, tmp_path)
    file = tmp_path / "checkpoints/settings.json"
    file.write_text(file.read_text().replace(',\n  "--schedule": "constant"', ""))
    assert "schedule" not in file.read_text()
    train_backends((), SETTINGS, DATA, tmp_path, resume=True)


def test_a_new_run_keeps_files_that_are_not_its_own(tmp_path: Path) -> None:
    for name in (
        "checkpoints/torch/epoch=0.ckpt",
        "checkpoints/theirs/epoch=3-step=9.ckpt",
        "checkpoints/notes.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    train_backends((), SETTINGS, DATA, tmp_path, overwrite=True)
    assert not (tmp_path / "checkpoints/torch/epoch=0.ckpt").exists()
    assert (tmp_path / "checkpoints/theirs/epoch=3-step=9.ckpt").exists()
    assert (tmp_path / "checkpoints/notes.txt").exists()


@pytest.mark.parametrize("text", ['{"--epochs": 1', "[" * 100_000], ids=["cut off", "brackets"])
def test_damaged_settings_are_refused_not_resumed(tmp_path: Path, text: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/settings.json").write_text(text)
    with pytest.raises(InputError, match=r"settings\.json is damaged"):
        train_backends((), SETTINGS, DATA, tmp_path, resume=True)
