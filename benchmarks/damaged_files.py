"""Damaged and foreign weights, checkpoints and settings: a part of `benchmarks.robustness`."""

import contextlib
import functools
import io
import os
import pickle
import random
import resource
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.trials import Row, number, same_bits
from scratch_conv import layers
from scratch_conv.training.backends import numpy_training, torch_training
from scratch_conv.training.backends.job import Job, Outcome, read_saved
from scratch_conv.training.backends.models import initial_network
from scratch_conv.training.backends.numpy_checkpoints import load_checkpoint
from scratch_conv.training.backends.torch_checkpoints import last_readable
from scratch_conv.training.backends.translation import from_torch
from scratch_conv.training.data.datasets import open_images
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.run_folder import begin
from scratch_conv.training.settings import MOMENTUM, InputError, Settings

SETTINGS = Settings("lines", "small-cnn", 2, 16, 1e-3, 0, "32", 32, "sgd")

Read = Callable[[Path], "list[Any] | None"]
"""Reads a file; the values, or None if they are refused. Anything raised is wrong."""

REFUSED = None
TOO_MUCH = 2**28
"""Bytes that reading a small file must not take."""


def damage(quick: bool) -> Iterator[Row]:
    """Damage each kind of file in many ways; wrong are exceptions, and other values than those written."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, path, read in _kinds(folder):
            yield damaged(what, path, read, number(2_500 if "settings" not in what else 500, quick))


def damaged(what: str, path: Path, read: Read, count: int) -> Row:
    """Read so many damaged copies of a file."""
    whole, rng = path.read_bytes(), random.Random(0)
    written = read(path)
    assert written is not None, f"{what}: is not read whole"
    outcomes = {"refused": 0, "read as written": 0}
    wrong = 0
    for _ in range(count):
        name, content = damaged_copy(whole, rng)
        path.write_bytes(content)
        before = _peak()
        try:
            got = read(path)
        except Exception as error:
            wrong += 1
            print(f"{what}: {name}: {error!r}", flush=True)
            continue
        if _peak() - before > TOO_MUCH:
            wrong += 1
            print(f"{what}: {name}: took {(_peak() - before) / 2**20:.0f} MiB", flush=True)
        elif got is None:
            outcomes["refused"] += 1
        elif len(got) == len(written) and same_bits(got, written):
            outcomes["read as written"] += 1
        else:
            wrong += 1
            print(f"{what}: {name}: other values are read", flush=True)
    path.write_bytes(whole)
    return Row(what, count, wrong, ", ".join(f"{each:,} {outcome}" for outcome, each in outcomes.items()))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _kinds(folder: Path) -> Iterator[tuple[str, Path, Read]]:
    """Yield each kind of file: its name, where one is, and what reads it."""
    network = _network()
    network.save(folder / "weights.npz")

    def load(path: Path) -> list[Any] | None:
        network, before = _network(), _network()
        try:
            network.load(path)
        except ValueError as error:
            kept = same_bits(list(network.state.values()), list(before.state.values()))
            if not kept or "\n" in str(error):
                raise AssertionError("the network is changed, or more than a line") from error
            return REFUSED
        return list(network.state.values())

    yield "weights of a network in NumPy", folder / "weights.npz", load
    jobs = {backend: _trained(folder, backend) for backend in ("torch", "numpy")}
    yield "checkpoints of torch", jobs["torch"].folder / "epoch=1.ckpt", _read_torch_checkpoint
    yield "checkpoints of NumPy", jobs["numpy"].folder / "epoch=1.npz", _read_numpy_checkpoint

    def read_result(path: Path) -> list[Any] | None:
        outcome = Outcome.load(jobs["torch"])
        return REFUSED if outcome is None else _leaves(vars(outcome))

    yield "results", jobs["torch"].result, read_result
    settings = folder / "settings" / "settings.json"
    settings.parent.mkdir()
    begin(settings.parent, SETTINGS, "digest", (), resume=False)
    whole = settings.read_bytes()

    def read_settings(path: Path) -> list[Any] | None:
        """No checksum: what is read must be the settings, but for the number of epochs, which may grow."""
        try:
            begin(settings.parent, SETTINGS, "digest", (), resume=True)
        except InputError:
            return REFUSED
        return [path.read_bytes() == whole]

    yield "settings of a run", settings, read_settings


def _network() -> layers.Sequential:
    return layers.Sequential(layers.Conv2D(1, 4, 3, rng=0), layers.BatchNorm2D(4), layers.Dense(4, 2, rng=0))


def _trained(folder: Path, backend: str) -> Job:
    """Train for two epochs, and return the job, with its checkpoints and its result."""
    images = folder / "images.npz"
    if not images.exists():
        _images().save(images)
    job = Job(backend, backend, SETTINGS, images, folder / backend, "digest")
    run = numpy_training.run if backend == "numpy" else torch_training.run
    with contextlib.redirect_stdout(io.StringIO()):
        run(job)
    (job.folder / ("epoch=0.npz" if backend == "numpy" else "epoch=0.ckpt")).unlink()
    return job


@functools.cache
def _images() -> ImageSet:
    return open_images("lines", None, SETTINGS.limit, SETTINGS.seed)


@functools.cache
def _initial() -> torch.nn.Module:
    return initial_network(SETTINGS, _images())


def _read_torch_checkpoint(path: Path) -> list[Any] | None:
    readable = last_readable(
        path.parent, {f"network.{name}": x for name, x in _initial().state_dict().items()}
    )
    return REFUSED if readable is None else _leaves(read_saved(readable))


def _read_numpy_checkpoint(path: Path) -> list[Any] | None:
    network = from_torch(_initial())
    history = load_checkpoint(path.parent, network, layers.SGD(network, SETTINGS.lr, MOMENTUM))
    return REFUSED if history is None else [*network.state.values(), *_leaves(vars(history))]


def _leaves(nested: Any) -> list[Any]:
    """Return the tensors, numbers and words of nested dictionaries and lists, in order."""
    if isinstance(nested, dict):
        return [leaf for key, value in nested.items() for leaf in [str(key), *_leaves(value)]]
    if isinstance(nested, (list, tuple)):
        return [leaf for each in nested for leaf in _leaves(each)]
    return [nested if isinstance(nested, torch.Tensor) else repr(nested)]


def damaged_copy(whole: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Return a copy that is damaged in some way, or the content of some other file."""
    way = rng.choice((_flipped, _flipped, _overwritten, _cut, _foreign))
    return way(whole, rng)


def _flipped(whole: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Flip up to three bits, anywhere or near an end, where the names and sizes are."""
    content, names = bytearray(whole), []
    near = rng.choice((len(whole), min(len(whole), 4096), -min(len(whole), 4096)))
    for _ in range(rng.choice((1, 1, 2, 3))):
        position, bit = rng.randrange(abs(near)) + (len(whole) + near if near < 0 else 0), rng.randrange(8)
        content[position] ^= 1 << bit
        names.append(f"bit {bit} of byte {position}")
    return ", ".join(names), bytes(content)


def _overwritten(whole: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Overwrite up to 4096 bytes with zeros, random ones, or those of another part."""
    start, length = rng.randrange(len(whole)), rng.randint(1, 4096)
    other = rng.randrange(len(whole))
    new = rng.choice((bytes(length), rng.randbytes(length), whole[other : other + length]))
    return f"{len(new)} bytes from {start} on", (whole[:start] + new + whole[start + len(new) :])[
        : len(whole)
    ]


def _cut(whole: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Cut off the end or the beginning, cut something out, or repeat the file."""
    at, to = sorted((rng.randrange(len(whole)), rng.randrange(len(whole))))
    last = len(whole) - rng.randint(1, 64)
    return rng.choice(
        (
            (f"cut at {at}", whole[:at]),
            (f"cut at {last}", whole[:last]),
            (f"without the first {at + 1}", whole[at + 1 :]),
            (f"without {at} to {to}", whole[:at] + whole[to + 1 :]),
            ("twice", whole + whole),
        )
    )


def _foreign(whole: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Return the content of some other file."""
    if rng.random() < 0.3:
        return "random bytes", rng.randbytes(rng.randint(1, 10_000))
    return rng.choice(_foreign_files(whole))


class _Harmful:
    """Ends the process when it is unpickled."""

    def __reduce__(self) -> Any:
        return os._exit, (66,)


@functools.lru_cache(maxsize=1)
def _foreign_files(whole: bytes) -> list[tuple[str, bytes]]:
    """Return files of other kinds, and some that say that they are of this kind."""
    files: dict[str, Callable[[io.BytesIO], object]] = {
        "nothing": lambda file: None,
        "text": lambda file: file.write(b"epoch 1"),
        "text of another encoding": lambda file: file.write("Gewichte für Öfen".encode("latin-1")),
        "a list": lambda file: file.write(b"[1, 2]"),
        "a number": lambda file: file.write(b"1e999"),
        "brackets within brackets": lambda file: file.write(b"[" * 100_000),
        "options of other types": lambda file: file.write(b'{"--epochs": true, "--seed": [], "images": {}}'),
        "a pickle": lambda file: pickle.dump(_Harmful(), file),
        "an array": lambda file: np.save(file, np.zeros(3)),
        "arrays": lambda file: np.savez(file, np.zeros(3), a=np.ones((2, 2))),
        "objects": lambda file: np.savez(file, np.array([_Harmful()])),
        "a tensor": lambda file: torch.save(torch.zeros(3), file),
        "a dictionary": lambda file: torch.save({"job": 1, "outcome": [], "state_dict": {}}, file),
        "words for tables": lambda file: torch.save(dict.fromkeys(_CHECKPOINT, "x"), file),
        "empty tables": lambda file: torch.save({name: {} for name in _CHECKPOINT}, file),
        "a module": lambda file: torch.save(torch.nn.Linear(2, 2), file),
        "a harmful object": lambda file: torch.save({"state_dict": _Harmful()}, file),
    }
    contents = {}
    for name, write in files.items():
        file = io.BytesIO()
        write(file)
        contents[name] = file.getvalue()
    if zipfile.is_zipfile(io.BytesIO(whole)):
        contents |= {"of other arrays": _rewritten(whole, _scalar), "much larger": _rewritten(whole, None)}
    return list(contents.items())


_CHECKPOINT = ("state_dict", "optimizer_states", "callbacks", "loops")


def _scalar(content: bytes) -> bytes:
    """Return the file of one number in place of that of an array."""
    file = io.BytesIO()
    np.save(file, np.float32(1))
    return file.getvalue() if content.startswith(b"\x93NUMPY") else content


def _rewritten(whole: bytes, change: Callable[[bytes], bytes] | None) -> bytes:
    """Write each file of an archive anew, changed; or the largest with 640 MiB of zeros, compressed."""
    rewritten = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(rewritten, "w") as new:
        largest = max(old.infolist(), key=lambda each: each.file_size)
        for each in old.infolist():
            if change is not None:
                new.writestr(each.filename, change(old.read(each)))
                continue
            info = zipfile.ZipInfo(each.filename)
            info.compress_type = zipfile.ZIP_DEFLATED if each is largest else zipfile.ZIP_STORED
            with new.open(info, "w", force_zip64=True) as file:
                file.write(old.read(each))
                for _ in range(640 if each is largest else 0):
                    file.write(bytes(2**20))
    return rewritten.getvalue()
