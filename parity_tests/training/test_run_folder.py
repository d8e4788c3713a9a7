"""What becomes of an earlier run in a folder, of two runs in one, and of results of something else."""

import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scratch_conv.training import run_folder
from scratch_conv.training.backends.job import History, Job, Outcome, read_saved, write_saved
from scratch_conv.training.backends.numpy_checkpoints import read_checkpoint
from scratch_conv.training.backends.torch_checkpoints import last_readable
from scratch_conv.training.comparison import train_backends
from scratch_conv.training.data.datasets import open_images
from scratch_conv.training.run_folder import begin, check_free, forget_previous
from scratch_conv.training.settings import InputError, Settings

SETTINGS = Settings("shapes", "simple-cnn", 3, 16, 1e-3, 0, "32", 48)
DATA = open_images("shapes", None, SETTINGS.limit, SETTINGS.seed, limit_test=10)


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "name", ["checkpoints/torch/epoch=0.ckpt", "checkpoints/settings.json", "summary.json"]
)
def test_a_folder_with_a_run_is_refused_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "{}")
    with pytest.raises(InputError, match="--resume continues it, and --overwrite replaces it"):
        train_backends((), SETTINGS, DATA, tmp_path)
    assert path.read_text() == "{}"
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [path]


def test_an_overwritten_run_is_kept_until_the_new_one_has_finished_a_backend(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    old = write(folder / "torch/epoch=4.ckpt", "old")
    page, notes = write(tmp_path / "report.html"), write(tmp_path / "notes.txt")
    aside = folder / "previous/torch/epoch=4.ckpt"
    begin(folder, SETTINGS, "digest", (), resume=False)
    assert not old.exists()
    assert aside.read_text() == "old"
    begin(folder, SETTINGS, "digest", (), resume=False)  # killed before its first checkpoint: started again
    assert aside.read_text() == "old"
    assert page.exists()
    forget_previous(folder)
    assert not (folder / "previous").exists()
    assert (page.exists(), notes.exists()) == (False, True)
    write(tmp_path / "report.html")  # the new run's
    forget_previous(folder)
    assert page.exists()


def test_checkpoints_without_settings_are_neither_resumed_nor_deleted(tmp_path: Path) -> None:
    path = write(tmp_path / "checkpoints/torch/epoch=4.ckpt")
    with pytest.raises(InputError, match=r"settings\.json is missing.*they are kept"):
        train_backends((), SETTINGS, DATA, tmp_path, resume=True)
    assert path.exists()


@pytest.mark.parametrize("content", ["[1, 2]", '{"--epochs": null}', '{"--epochs": 1', "\0"])
def test_no_advice_to_delete_what_damaged_settings_lie_beside(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "checkpoints/torch/epoch=4.ckpt")
    write(tmp_path / "checkpoints/settings.json", content)
    with pytest.raises(InputError, match=r"damaged; the checkpoints beside it are kept"):
        train_backends((), SETTINGS, DATA, tmp_path, resume=True)
    assert path.exists()


def test_a_folder_in_the_place_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints/torch/epoch=1.ckpt").mkdir(parents=True)
    for manner in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(InputError, match="is not a file, and has the name of a checkpoint"):
            train_backends((), SETTINGS, DATA, tmp_path, **manner)


def test_resume_and_overwrite_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose one"):
        check_free(tmp_path, resume=True, overwrite=True)


def test_a_second_run_in_the_same_folder_is_refused_by_the_number_of_the_first(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from scratch_conv.training.run_folder import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match=f"process {first.pid} runs there"):
            train_backends((), SETTINGS, DATA, tmp_path)
        first.kill()
    train_backends((), SETTINGS, DATA, tmp_path)


def test_two_runs_of_one_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Stopped":
            return cls(2026, 1, 2)

    monkeypatch.setattr(run_folder, "datetime", Stopped)
    assert len({run_folder.new_folder() for _ in range(3)}) == 3


def outcome() -> Outcome:
    return Outcome(**vars(History(step_losses=[1.0])), parameters=1, predictions=torch.ones(1), weights={})


@pytest.mark.parametrize(
    "change",
    [{"settings": replace(SETTINGS, seed=1)}, {"digest": "other"}, {"threads": 2}, {"backend": "scratch"}],
    ids=str,
)
def test_a_result_of_other_settings_or_images_is_not_accepted(tmp_path: Path, change: dict[str, Any]) -> None:
    job = Job("torch", "torch", SETTINGS, tmp_path / "images.npz", tmp_path, "digest")
    outcome().save(job)
    assert Outcome.load(job) is not None
    assert Outcome.load(replace(job, **change)) is None


@pytest.mark.parametrize("saved", [{}, {"job": None}, {"weights": torch.ones(2)}])
def test_a_foreign_result_is_not_accepted(tmp_path: Path, saved: dict[str, Any]) -> None:
    job = Job("torch", "torch", SETTINGS, tmp_path / "images.npz", tmp_path, "digest")
    write_saved(job.result, saved)
    assert Outcome.load(job) is None


def test_one_bit_that_differs_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "epoch=1.ckpt"
    weight = torch.arange(1000.0)
    write_saved(path, {"weight": weight})
    intact = path.read_bytes()
    begins = intact.index(weight.numpy().tobytes())
    for offset in np.random.default_rng(0).integers(0, 4000, 20):
        damaged = bytearray(intact)
        damaged[begins + offset] ^= 0x40
        path.write_bytes(damaged)
        assert read_saved(path) is None


@pytest.mark.parametrize("content", ["x", {}, [], 1])
def test_a_checkpoint_of_other_things_is_passed_over(tmp_path: Path, content: Any) -> None:
    names = ("state_dict", "optimizer_states", "callbacks", "loops")
    write_saved(tmp_path / "epoch=1.ckpt", dict.fromkeys(names, content))
    assert last_readable(tmp_path, {"weight": torch.ones(1)}) is None


def test_an_archive_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "epoch=1.npz"
    np.savez(path, weight=np.zeros(10_000))
    assert read_checkpoint(path) is not None
    np.savez_compressed(path, weight=np.zeros(10_000))
    assert read_checkpoint(path) is None
    write_saved(path, {"weight": torch.zeros(10_000)})
    assert read_saved(path) is not None
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    assert read_saved(path) is None


def test_a_member_that_says_it_is_a_folder_is_noticed(tmp_path: Path) -> None:
    """For torch it holds zeros then, though its checksum is right."""
    path = tmp_path / "epoch=1.ckpt"
    write_saved(path, {"weight": torch.ones(2)})
    intact = path.read_bytes()
    entry = intact.rindex(b"PK\x01\x02", 0, intact.rindex(b"/data/0"))
    damaged = bytearray(intact)
    damaged[entry + 38] ^= 0x10
    path.write_bytes(damaged)
    assert read_saved(path) is None


def test_a_full_disk_is_an_error_of_the_file_system_and_keeps_the_earlier_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "epoch=1.ckpt"
    write_saved(path, {"weight": torch.ones(1)})
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written|too large"):
            write_saved(path, {"weight": torch.ones(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
