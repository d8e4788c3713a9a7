"""The folder of a run: what an earlier run left there is kept, and one process at a time writes to it."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from scratch_conv.layers.saving import replacing
from scratch_conv.training.backends.job import epochs
from scratch_conv.training.settings import BACKENDS, InputError, Settings

_JOBS = (*BACKENDS, "threads", "without-onednn", "reversed")
_PREVIOUS = "previous"
_REPORT = ("report.html", "summary.json", "metrics.csv", "curves.png", "drift.png")


def new_folder() -> Path:
    """Create the default folder of a run, runs/<time>, under a name that no other run has."""
    time = f"{datetime.now():%Y%m%d-%H%M%S}"
    for name in (time, *(f"{time}-{number}" for number in range(2, 1000))):
        with contextlib.suppress(FileExistsError):
            (Path("runs") / name).mkdir(parents=True)
            return Path("runs") / name
    raise InputError(f"runs/{time}: too many runs in one second; name a folder by --out")


def check_free(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that holds a run, unless that is to be continued or replaced.

    Raises:
        InputError: nothing was said about the run in `out`, both was, or a folder has a checkpoint's name.
    """
    if resume and overwrite:
        raise InputError("--resume and --overwrite: choose one")
    checkpoints = out / "checkpoints"
    holds_run = (out / "summary.json").exists() or bool(_files_of_run(checkpoints))
    if holds_run and not (resume or overwrite):
        raise InputError(
            f"--out {out}: holds a run already; --resume continues it, and --overwrite replaces it"
        )
    for job in _job_folders(checkpoints):
        for path in job.glob("epoch=*"):
            if path.suffix in (".ckpt", ".npz") and not path.is_file():
                raise InputError(f"--out {out}: {path} is not a file, and has the name of a checkpoint")


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other processes from running in the same folder; the lock ends with this process, however it ends.

    Raises:
        InputError: another process runs there; the message names it.
    """
    path = out / "checkpoints" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    holder = path.with_name("lock.pid")
    try:
        lock.acquire()
    except Timeout:
        number = holder.read_text(encoding="utf-8") if holder.exists() else "of another number"
        raise InputError(f"--out {out}: process {number} runs there") from None
    try:
        holder.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        lock.release()


def begin(folder: Path, settings: Settings, digest: str, backends: Sequence[str], *, resume: bool) -> None:
    """Put an earlier run's checkpoints aside or, to resume, check that they belong to this run.

    Args:
        folder: the checkpoints' folder of a run.
        settings: the settings of the run that begins.
        digest: the digest of its images.
        backends: the names of those that it trains.
        resume: whether the run in the folder is continued.

    Raises:
        InputError: the run in the folder has other settings or images, or these cannot be read; or it has
            trained a backend that is not among these, which its report would lack.
    """
    settings_file = folder / "settings.json"
    present = {**settings.options(), "images": digest}
    if resume and settings_file.exists():
        before = _read_settings(settings_file)
        goes_on = settings.schedule == "constant"  # one cycle is over when its epochs are
        for name, value in present.items():
            more_epochs = goes_on and name == "--epochs" and settings.epochs > before.get(name, 0)
            if value != before.get(name) and not more_epochs and name != "--seeds":
                other = "other images" if name == "images" else f"{name} {before.get(name)}, not {value}"
                raise InputError(f"--resume: the run in {folder.parent} was started with {other}")
        trained = {path.parent.name for path in _files_of_run(folder)}
        for name in BACKENDS:
            if name in trained and name not in backends:
                raise InputError(
                    f"--resume: the run in {folder.parent} has trained {name}, which a report of "
                    f"{' and '.join(backends)} would leave out; continue it by the command that started it, "
                    f"or begin in another folder"
                )
    elif resume and _files_of_run(folder):
        raise InputError(
            f"--resume: {settings_file} is missing, so nobody knows whether the checkpoints beside it are of "
            f"this run; they are kept, start it in another folder"
        )
    else:
        _put_aside(folder)
    for where in (folder, *_job_folders(folder)):
        for half_written in where.glob(".*.[0-9]*"):  # left by a process that was killed
            half_written.unlink()
    text = json.dumps(present, indent=2)
    if not (settings_file.exists() and settings_file.read_text(encoding="utf-8") == text):
        with replacing(settings_file) as file:
            file.write(text.encode())


def forget_previous(folder: Path) -> None:
    """Delete what `begin` put aside, and the report of it: the new run has checkpoints of its own."""
    previous = folder / _PREVIOUS
    if files := _files_of_run(previous):
        for path in (*(folder.parent / name for name in _REPORT), *files):
            path.unlink(missing_ok=True)
    for emptied in (*_job_folders(previous), *previous.glob("seed=*"), previous):
        with contextlib.suppress(OSError):  # not there, or somebody else's files are
            emptied.rmdir()


def _put_aside(folder: Path) -> None:
    """Move an earlier run's files away; what was put aside before stays there until there are others."""
    files = _files_of_run(folder)
    if any(path.name != "settings.json" for path in files):
        forget_previous(folder)
        for path in files:
            aside = folder / _PREVIOUS / path.relative_to(folder)
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.replace(aside)


def job_folder(folder: Path, name: str, seed: int, first: int) -> Path:
    """Return the folder of a job; other seeds than the first have one above it."""
    return folder / name if seed == first else folder / f"seed={seed}" / name


def _job_folders(folder: Path) -> list[Path]:
    return [where / name for where in (folder, *sorted(folder.glob("seed=*"))) for name in _JOBS]


def _files_of_run(folder: Path) -> list[Path]:
    """Return the settings, checkpoints and results of a run, and no other files."""
    files = [folder / "settings.json"]
    for job in _job_folders(folder):
        files += [*epochs(job), job / "result.pt"]
    return [path for path in files if path.is_file()]


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict) or not isinstance(settings.get("--epochs"), int):
        raise InputError(
            f"--resume: {path} is damaged; the checkpoints beside it are kept, start in another folder"
        )
    # From before there was a choice.
    return {"--schedule": "constant", "--limit-test": None, "--devices": 1, "--num-nodes": 1, **settings}
