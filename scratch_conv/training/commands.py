"""The commands `compare`, `train` and `report`. Their dependencies are imported when one of them runs."""

import contextlib
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scratch_conv.training.settings import (
    BACKENDS,
    COMPARED,
    DATASETS,
    OPTIMIZERS,
    InputError,
    Settings,
    choose,
    default_augment,
    default_batch_size,
    default_lr,
    default_model,
    default_optimizer,
    default_schedule,
)

if TYPE_CHECKING:
    from scratch_conv.training.backends.torchrun import Torchrun
    from scratch_conv.training.data.images import ImageSet

DataSet = Annotated[
    str | None,
    typer.Option(
        help="cifar10, cifar100, mnist, fashion-mnist, folder, or shapes or lines (built in).",
        show_default="cifar10, or what --data-dir holds",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="A folder with train/<class>/ and test/<class>/, or in torchvision's layout.",
        show_default="download",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="simple-cnn, mnist-cnn, small-cnn, dense, vgg, resnet20; a torchvision classifier such as "
        "resnet18; or module:callable, called with num_classes=..., (channels, size, classes) or nothing.",
        show_default="by data set",
    ),
]
Epochs = Annotated[int, typer.Option(help="How often each training image is used.")]
BatchSize = Annotated[
    int | None, typer.Option(help="Images a step.", show_default="128; mnist, fashion-mnist: 64")
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        help="The learning rate; of one cycle, the greatest.",
        show_default="adam: 0.001; sgd: 0.01; one-cycle: ten times as much",
    ),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        help="adam, or sgd with a momentum of 0.9.",
        show_default="mnist-cnn, dense, vgg, resnet20: sgd; others: adam",
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        help="Of the learning rate: constant, or one-cycle, which rises and then falls over the whole run.",
        show_default="vgg, resnet20: one-cycle; others: constant",
    ),
]
Augment = Annotated[
    bool | None,
    typer.Option(
        help="Shift training images at random, and mirror them unless they are digits.",
        show_default="augment; mnist, fashion-mnist, lines: no-augment",
    ),
]
Seed = Annotated[
    int,
    typer.Option(help="Seeds first weights, batches and augmentation, and images that are drawn or chosen."),
]
Seeds = Annotated[int, typer.Option(help="Train with so many seeds, from --seed on, and compare over them.")]
Precision = Annotated[str, typer.Option(help="32 or 64-true.")]
Limit = Annotated[int | None, typer.Option(help="Use this many training images.", show_default="all")]
LimitTest = Annotated[int | None, typer.Option(help="Use this many test images.", show_default="all")]
Out = Annotated[Path | None, typer.Option(help="The folder for the results.", show_default="runs/<time>")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue from the last good checkpoint in --out.")]
Devices = Annotated[
    int | None,
    typer.Option(
        help="Processes on this machine, which share each batch out among them.",
        show_default="1; under torchrun, as many as it started",
    ),
]
NumNodes = Annotated[
    int | None,
    typer.Option(help="Machines, on each of which torchrun starts this command.", show_default="1"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run that --out holds.")]


@dataclass(frozen=True)
class Given:
    """The options of a command, as given."""

    dataset: str | None
    data_dir: Path | None
    model: str | None
    epochs: int
    batch_size: int | None
    lr: float | None
    seed: int
    precision: str
    limit: int | None
    out: Path | None
    resume: bool
    overwrite: bool
    optimizer: str | None
    augment: bool | None
    schedule: str | None
    limit_test: int | None
    seeds: int
    devices: int | None
    num_nodes: int | None


def compare(
    dataset: DataSet = None,
    data_dir: DataDir = None,
    model: Model = None,
    epochs: Epochs = 15,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    seed: Seed = 0,
    precision: Precision = "32",
    limit: Limit = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    optimizer: Optimizer = None,
    augment: Augment = None,
    schedule: Schedule = None,
    limit_test: LimitTest = None,
    seeds: Seeds = 1,
    devices: Devices = None,
    num_nodes: NumNodes = None,
    numpy: Annotated[bool, typer.Option("--numpy", help="Train in NumPy alone as well.")] = False,
) -> None:
    """Train one network twice, with torch's layers and with ours, and compare."""
    options = dict(locals())  # the arguments by name
    del options["numpy"]
    _train(BACKENDS if numpy else COMPARED, Given(**options))


def train(
    backend: Annotated[
        str, typer.Option(help="torch, scratch (ours in torch) or numpy (ours without torch).")
    ] = "scratch",
    dataset: DataSet = None,
    data_dir: DataDir = None,
    model: Model = None,
    epochs: Epochs = 15,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    seed: Seed = 0,
    precision: Precision = "32",
    limit: Limit = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    optimizer: Optimizer = None,
    augment: Augment = None,
    schedule: Schedule = None,
    limit_test: LimitTest = None,
    seeds: Seeds = 1,
    devices: Devices = None,
    num_nodes: NumNodes = None,
) -> None:
    """Train a network with one backend."""
    options = dict(locals())
    del options["backend"]
    choose("--backend", backend, BACKENDS)
    _train((backend,), Given(**options))


def report(
    runs: Annotated[list[Path], typer.Argument(help="The folders of finished runs.", metavar="DIR...")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
) -> None:
    """Write one page that compares finished runs."""
    from rich.console import Console

    from scratch_conv.layers.saving import replacing
    from scratch_conv.training.reporting.runs import read_summaries, render_runs
    from scratch_conv.training.reporting.writing import check_writable

    summaries = read_summaries(runs)
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder, not a file")
    if out.name == "report.html" and (out.parent / "summary.json").exists():
        raise InputError(f"--out {out}: is the page of a run; choose another name")
    check_writable(out.parent)
    page = render_runs(summaries)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as file:
        file.write(page.encode())
    console = Console(highlight=False)
    for name, summary in summaries.items():
        console.print(f"{name}: {summary['verdict']['sentence']}.", soft_wrap=True, markup=False)
    console.print(f"The report is {out}", soft_wrap=True, markup=False)


def _train(backends: tuple[str, ...], given: Given) -> None:
    # Only the training processes import lightning, but a missing one should be reported before any work.
    if find_spec("lightning") is None:
        raise ModuleNotFoundError(name="lightning")
    from rich.console import Console

    from scratch_conv.training.backends.processes import RunError
    from scratch_conv.training.backends.torchrun import torchrun
    from scratch_conv.training.comparison import train_backends
    from scratch_conv.training.reporting.report import is_current, print_tables, write_report
    from scratch_conv.training.reporting.writing import check_writable
    from scratch_conv.training.run_folder import check_free, new_folder

    if given.resume and given.out is None:
        raise InputError("--resume: needs --out, the folder of the run to continue")
    if (team := torchrun()) and team.rank > 0:
        _follow(team, given)
        return
    settings = _settings(given)
    base = given.out or Path("runs")
    check_writable(base)
    check_writable(base / "checkpoints")
    check_free(base, resume=given.resume, overwrite=given.overwrite)
    console = Console(highlight=False)
    out = given.out
    try:
        with _ended_by_signals():
            data = _open_images(settings, given)
            settings = replace(settings, dataset=data.dataset)
            _check_model(settings, data, backends)
            console.print(f"{settings.model} on {data.describe()}", soft_wrap=True, markup=False)
            if given.resume and not (base / "checkpoints" / "settings.json").exists():
                console.print(
                    f"--resume: {base} holds no run yet; this is a new one", soft_wrap=True, markup=False
                )
            out = out or new_folder()
            if team:
                team.say(_agreed(settings, data))
            manner = {"resume": given.resume, "overwrite": given.overwrite}
            runs, drift = train_backends(backends, settings, data, out, **manner)
            if not is_current(out, settings):
                command = command_line(settings, backends, given.data_dir)
                write_report(out, settings, data, runs, drift, command)
            if team:
                team.say("")
    except KeyboardInterrupt:
        console.print(f"Stopped. {_how_to_go_on(given, out)}", soft_wrap=True, markup=False)
        raise typer.Exit(130) from None
    except (RunError, OSError) as error:  # an OSError: a full disk, most likely
        if not (isinstance(error, RunError) and error.explained):
            print(f"scratch-conv: {error}. {_how_to_go_on(given, out)}", file=sys.stderr)
        raise typer.Exit(1) from None
    print_tables(console, runs, drift)
    console.print(f"The report is {out / 'report.html'}", soft_wrap=True, markup=False)


def command_line(settings: Settings, backends: tuple[str, ...], data_dir: Path | None) -> str:
    """Return the command line that does a run again, with every option, as defaults may change."""
    words = ["scratch-conv", "compare"] + (["--numpy"] if "numpy" in backends else [])
    if len(backends) == 1:
        words = ["scratch-conv", "train", "--backend", *backends]
    for option, value in settings.options().items():
        if option in ("--seeds", "--devices", "--num-nodes") and value == 1:
            continue
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        elif value is not None:
            words += [option, str(value)]
    return shlex.join(words if data_dir is None else [*words, "--data-dir", str(data_dir)])


def _follow(team: "Torchrun", given: Given) -> None:
    """Take part in what the first command runs, which alone prints and writes files."""
    from scratch_conv.training.backends.processes import RunError, follow

    try:
        with _ended_by_signals():
            agreed, _ = team.hear()
            settings = _settings(given)
            data = _open_images(settings, given)
            own = json.loads(_agreed(replace(settings, dataset=data.dataset), data))
            for name, value in json.loads(agreed).items():
                if own[name] != value:
                    raise InputError(f"{name} {own[name]} on rank {team.rank}, {value} on rank 0")
            follow(team, data)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except RunError as error:
        if not error.explained:
            print(f"scratch-conv: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def _agreed(settings: Settings, data: "ImageSet") -> str:
    """Return in what all commands that torchrun has started must agree."""
    return json.dumps({**settings.options(), "images": data.digest()})


def _how_to_go_on(given: Given, out: Path | None) -> str:
    """Return the command that continues a run, if it has begun."""
    if out is None or not (out / "checkpoints" / "settings.json").exists():
        return "Nothing was trained yet"
    kept = [argument for argument in sys.argv[1:] if argument != "--overwrite"]
    added = (["--out", str(out)] if given.out is None else []) + ([] if given.resume else ["--resume"])
    again = ", again under torchrun" if "TORCHELASTIC_RUN_ID" in os.environ else ""
    return f"To continue{again}: {shlex.join(['scratch-conv', *kept, *added])}"


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, but for those that are ignored (as by nohup)."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    if threading.current_thread() is not threading.main_thread():
        before = {}
    for number, handler in before.items():
        if handler == signal.SIG_DFL:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _settings(given: Given) -> Settings:
    """Fill in the defaults, and check everything that can be checked without opening the data set."""
    from scratch_conv.training.backends.models import check_name
    from scratch_conv.training.backends.torchrun import places
    from scratch_conv.training.data.datasets import resolve_dataset

    if given.dataset is not None:
        choose("--dataset", given.dataset, DATASETS)
    dataset = resolve_dataset(given.dataset, given.data_dir)
    model = default_model(dataset) if given.model is None else given.model
    optimizer = default_optimizer(model) if given.optimizer is None else given.optimizer
    schedule = default_schedule(model) if given.schedule is None else given.schedule
    choose("--optimizer", optimizer, OPTIMIZERS)
    devices, nodes = places(given.devices, given.num_nodes)
    settings = Settings(
        dataset=dataset,
        model=model,
        epochs=given.epochs,
        batch_size=default_batch_size(dataset) if given.batch_size is None else given.batch_size,
        lr=default_lr(optimizer, schedule) if given.lr is None else given.lr,
        seed=given.seed,
        precision=given.precision,
        limit=given.limit,
        optimizer=optimizer,
        augment=default_augment(dataset) if given.augment is None else given.augment,
        schedule=schedule,
        limit_test=given.limit_test,
        seeds=given.seeds,
        devices=devices,
        num_nodes=nodes,
    )
    settings.check()
    check_name(settings.model)
    return settings


def _check_model(settings: Settings, data: "ImageSet", backends: tuple[str, ...]) -> None:
    """Refuse a network that cannot be trained on these images, before any work."""
    from scratch_conv.training.backends.models import build_fitting
    from scratch_conv.training.backends.translation import from_torch

    count, channels, size, _ = data.train[0].shape
    batch = min(settings.batch_size, count)
    smallest = max(1, (count % batch or batch) // settings.processes)  # a rank's part
    network = build_fitting(settings.model, channels, size, len(data.classes), smallest)
    if "numpy" in backends:
        try:
            from_torch(network)
        except ValueError as error:
            raise InputError(f"--model {settings.model} in NumPy alone: {error}") from error


def _open_images(settings: Settings, given: Given) -> "ImageSet":
    from scratch_conv.training.data.datasets import open_images
    from scratch_conv.training.data.downloads import DownloadError

    try:
        return open_images(
            settings.dataset, given.data_dir, settings.limit, settings.seed, settings.limit_test
        )
    except DownloadError as error:
        if given.dataset is not None:
            raise InputError(f"{error}, or train on what is built in: --dataset shapes") from error
        print(f"{error.cause}; using the built-in shapes instead")
        return open_images("shapes", None, settings.limit, settings.seed, settings.limit_test)
