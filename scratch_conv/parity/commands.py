"""The command `parity`. What it needs is imported when it runs."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scratch_conv.parity.drawing.claims import words_of
from scratch_conv.parity.options import CALLING, CLAIMS

if TYPE_CHECKING:
    from rich.console import Console

    from scratch_conv.parity.reporting.report import Report
    from scratch_conv.parity.self_testing import Trial

_PAUSE = 10.0  # seconds between two lines of progress, where there is no terminal
_WIDE = 160  # columns of a table that goes into a file
Target = Annotated[
    str | None,
    typer.Option(help="What to test, as package.module:Name.", show_default="our own layers"),
]
Like = Annotated[str | None, typer.Option(help="The operator it should equal, such as conv2d; see --list.")]
Examples = Annotated[int, typer.Option(help="How many configurations to draw.", min=1)]
Seed = Annotated[int, typer.Option(help="The same seed draws the same configurations.")]
Without = Annotated[str | None, typer.Option(help=CLAIMS["without"], metavar="NAMES")]
With = Annotated[str | None, typer.Option("--with", help=CLAIMS["with"], metavar="NAMES")]
Dtypes = Annotated[
    str | None, typer.Option(help=CLAIMS["dtypes"], metavar="NAMES", show_default="float32,float64")
]
TimeLimit = Annotated[
    float,
    typer.Option(
        help="Seconds that one call may take; the first one, in which compilers work, three times as many.",
        min=0.01,
    ),
]
InProcess = Annotated[
    bool,
    typer.Option(
        "--in-process",
        help="Run the target in this process, where it may hang or end it: no process of its own.",
    ),
]
Fix = Annotated[str | None, typer.Option("--fix", "--only", help=CLAIMS["fix"], metavar="NAME=VALUE,...")]
SkipOn = Annotated[str | None, typer.Option(help=CLAIMS["skip_on"], metavar="EXCEPTIONS")]
Accuracy = Annotated[str | None, typer.Option(help=CLAIMS["accuracy"])]
Names = Annotated[str | None, typer.Option(help=CALLING["names"], metavar="NAME=NAME,...")]
Layout = Annotated[str | None, typer.Option(help=CALLING["layout"], metavar="LETTERS")]
Weights = Annotated[str | None, typer.Option(help=CALLING["weights"], metavar="LETTERS")]
Arrays = Annotated[str | None, typer.Option(help=CALLING["arrays"])]
Backward = Annotated[str | None, typer.Option(help=CALLING["backward"], metavar="NAME")]
Outputs = Annotated[str | None, typer.Option(help=CALLING["outputs"], metavar="NAMES")]
Gradients = Annotated[str | None, typer.Option(help=CALLING["gradients"], metavar="NAMES")]
Device = Annotated[str | None, typer.Option(help=CALLING["device"])]
Out = Annotated[Path | None, typer.Option(help="A folder for the report and heat maps of a difference.")]
Probe = Annotated[
    bool,
    typer.Option(
        "--probe",
        help="Find out first what the target claims: leave out that with which every call fails.",
    ),
]
SelfTest = Annotated[
    bool,
    typer.Option(
        "--self-test",
        help="Test the suite itself: by faults that it has to find and right layers that it has to pass.",
    ),
]
Thorough = Annotated[
    bool,
    typer.Option("--thorough", help="Self-test with three seeds for each fault and ten for each right one."),
]
Audit = Annotated[
    bool,
    typer.Option(
        "--audit", help="Look for faults of torch's own operators; print each with code that shows it."
    ),
]

ListFaults = Annotated[
    bool, typer.Option("--list-faults", help="Print the faults that the suite has to find, one a line.")
]
List = Annotated[bool, typer.Option("--list", help="Print the names of the operators, one a line.")]


def parity(
    target: Target = None,
    like: Like = None,
    examples: Examples = 500,
    seed: Seed = 0,
    without: Without = None,
    added: With = None,
    dtypes: Dtypes = None,
    time_limit: TimeLimit = 10.0,
    in_process: InProcess = False,
    fix: Fix = None,
    skip_on: SkipOn = None,
    accuracy: Accuracy = None,
    names: Names = None,
    layout: Layout = None,
    weights: Weights = None,
    arrays: Arrays = None,
    backward: Backward = None,
    outputs: Outputs = None,
    gradients: Gradients = None,
    device: Device = None,
    out: Out = None,
    probe: Probe = False,
    self_test: SelfTest = False,
    thorough: Thorough = False,
    audit: Audit = False,
    list_operators: List = False,
    list_faults: ListFaults = False,
) -> int:
    """Compare layers with torch's on drawn configurations.

    Exit status 1 says that they differ, 2 that they could not be tested.
    """
    if list_operators:
        from scratch_conv.parity.operators import OPERATORS

        print(*OPERATORS, sep="\n")
        return 0
    if list_faults:
        return _list_faults(like)
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    options: dict[str, Any] = {
        "without": without,
        "with": added,
        "dtypes": dtypes,
        "fix": fix,
        "skip_on": skip_on,
        "accuracy": accuracy,
        "names": names,
        "layout": layout,
        "weights": weights,
        "arrays": arrays,
        "backward": backward,
        "outputs": outputs,
        "gradients": gradients,
        "device": device,
    }
    options = {name: value for name, value in options.items() if value is not None}
    narrowed = ", ".join(f"--{name.replace('_', '-')}" for name in [*["probe"] * probe, *options])
    if self_test and (target or narrowed or out):
        raise typer.BadParameter("--self-test goes with --like, --examples, --seed and --thorough only")
    if audit and (target or narrowed or self_test):
        raise typer.BadParameter("--audit goes with --like, --examples, --seed and --out only")
    if thorough and not self_test:
        raise typer.BadParameter("--thorough goes with --self-test")
    if audit:
        return _audit(console, like, examples, seed, out)
    if self_test:
        return _prove(console, like, examples, seed, thorough)
    if target is None and narrowed:
        raise typer.BadParameter(f"{narrowed}: goes with --target")
    if target is None:
        return _own_layers(console, like, examples, seed, out)
    from scratch_conv.parity.candidates.targets import Target as Named

    if like is None:
        raise typer.BadParameter("--target needs --like, the name of the operator that it should equal")
    try:
        beside: dict[str, Any] = {"time_limit": time_limit, "in_process": in_process}
        if backward is not None:
            beside["backward"] = Named(target).beside(backward)
        if probe:
            options = _probed(Named(target), like, seed, options, beside)
        report = _checked(console, Named(target), like, examples, seed, **(options | beside))
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    print(report)
    if probe or report.proposed:
        print(_command(target, like, examples, seed, options, report.proposed))
    _save([report], out)
    if not report.tested:
        return 2
    return 0 if report.passed else 1


def _probed(
    candidate: Any, like: str, seed: int, options: dict[str, Any], beside: dict[str, Any]
) -> dict[str, Any]:
    """Return the options with what a candidate does not do left out; say each attempt."""
    from scratch_conv.parity.probing import attempts

    for claims in attempts(candidate, like, seed, _for_check(options) | beside):
        options = options | {name: claims[name] for name in ("without", "dtypes") if name in claims}
        left_out = "".join(f" --{name} {options[name]}" for name in ("without", "dtypes") if name in options)
        print(f"probing{left_out or ' with nothing left out'}", file=sys.stderr, flush=True)
    return options


def _command(
    target: str, like: str, examples: int, seed: int, options: dict[str, Any], proposed: list[str]
) -> str:
    """Return the whole command that tests a target without what it need not claim."""
    given = {"target": target, "like": like, "examples": examples, "seed": seed, **options}
    if left := ",".join(dict.fromkeys([*words_of(options.get("without")), *proposed])):
        given["without"] = left
    words = [(f"--{name.replace('_', '-')}", str(value)) for name, value in given.items()]
    return f"\nscratch-conv parity {shlex.join(word for pair in words for word in pair)}"


def _checked(
    console: Console,
    candidate: Any,
    like: str,
    examples: int,
    seed: int,
    claims: Any = None,
    **options: Any,
) -> Report:
    """Check a candidate, and show how far that is."""
    from scratch_conv.parity.checking import check

    with _advancing(console, like, examples) as advance:
        return check(candidate, like, examples, seed, claims, progress=advance, **_for_check(options))


def _for_check(options: dict[str, Any]) -> dict[str, Any]:
    """Return options by the names of `check`'s arguments, one of which would be a word of Python's."""
    return {("with_" if name == "with" else name): value for name, value in options.items()}


@contextmanager
def _advancing(console: Console, like: str, examples: int) -> Iterator[Callable[[int], None]]:
    """Yield what says how many examples are done: by a bar, or a line now and then."""
    from rich.progress import Progress

    said = time.monotonic()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(like, total=examples)

        def advance(done: int) -> None:
            nonlocal said
            progress.update(task, completed=done)
            if not console.is_terminal and time.monotonic() - said > _PAUSE:
                said = time.monotonic()
                print(f"{like}: {done} of {examples} examples", file=sys.stderr, flush=True)

        yield advance


def _refuse_other(like: str | None, names: Iterable[str]) -> None:
    """Refuse a --like that is none of these."""
    if like is not None and like not in names:
        raise typer.BadParameter(f"--like {like}: choose from {', '.join(names)}")


def _list_faults(only: str | None) -> int:
    """Print the faults of the catalogue, of one operator or of all."""
    from scratch_conv.parity.catalogue import FAULTS
    from scratch_conv.parity.operators import OPERATORS

    _refuse_other(only, OPERATORS)
    for fault in FAULTS:
        if only in (None, fault.like):
            print(f"{fault.like}: {fault.name}: {fault.wrong}")
    return 0


def _own_layers(console: Console, only: str | None, examples: int, seed: int, out: Path | None) -> int:
    """Check our own operators, or one of them only, and print a table."""
    from rich.table import Table

    from scratch_conv import functional
    from scratch_conv.parity.candidates.targets import Target as Named
    from scratch_conv.parity.drawing.claims import Supports
    from scratch_conv.parity.operators import OPERATORS

    claims = Supports(second_derivatives=True, memory_format=True, errors=True)
    table = Table("operator", "examples", "worst error / bound", "seconds", "")
    reports = []
    ours = [like for like in OPERATORS if hasattr(functional, like)]
    _refuse_other(only, ours)
    for like in ours:
        if only in (None, like):
            report = _checked(console, Named(f"scratch_conv.functional:{like}"), like, examples, seed, claims)
            reports.append(report)
            verdict = "equal" if report.passed else "differs"
            table.add_row(like, str(report.examples), f"{report.share:.3f}", f"{report.seconds:.1f}", verdict)
    console.print(table)
    failed = [report for report in reports if not report.passed]
    for report in failed:
        print(report)
    _save(reports, out)
    return 1 if failed else 0


def _audit(console: Console, only: str | None, examples: int, seed: int, out: Path | None) -> int:
    """Print the faults of torch's operators, or of one of them only, as they are found."""
    import torch

    from scratch_conv.parity.auditing import audit
    from scratch_conv.parity.operators import OPERATORS

    _refuse_other(only, OPERATORS)
    written = _started(out / "audit.txt") if out is not None else None
    found = 0
    for like in [only] if only else OPERATORS:
        with _advancing(console, like, examples) as advance:
            for fault in audit(like, examples, seed, advance):
                found += 1
                _say(console, f"{found}. {fault}\n", written)
    operators = only or f"{len(OPERATORS)} operators"
    _say(
        console,
        f"{found} faults in {operators} of torch {torch.__version__}; {examples} examples, seed {seed}",
        written,
    )
    return 1 if found else 0


def _started(path: Path) -> Path:
    """Return the path of a file, which is made now: after the work it would be too late to refuse it."""
    with _writing_into(path.parent):
        path.write_text("", encoding="utf-8")
    return path


@contextmanager
def _writing_into(folder: Path) -> Iterator[None]:
    """Make a folder for what the block writes into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise typer.BadParameter(f"--out {folder}: cannot be written ({error.strerror})") from error


def _say(console: Console, text: str, path: Path | None) -> None:
    """Print a text, and append it to a file if there is one."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            print(text, file=file)


def _prove(console: Console, only: str | None, examples: int, seed: int, thorough: bool) -> int:
    """Run the self-test, of one operator or of all, under a progress bar and print a table of it."""
    from rich.progress import Progress

    from scratch_conv.parity.operators import OPERATORS
    from scratch_conv.parity.self_testing import planned, self_test

    _refuse_other(only, OPERATORS)
    start = time.perf_counter()
    seeds = (3, 10) if thorough else (1, 1)
    trials: list[Trial] = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("self-test", total=planned(*seeds, only))
        for trial in self_test(examples, seed, *seeds, only):
            trials.append(trial)
            progress.update(task, advance=1, description=trial.name)
    _print_trials(console, trials)
    faults, right = ([each for each in trials if each.sound is sound] for sound in (False, True))
    missed, refused = ({each.name for each in some if not each.as_it_should} for some in (faults, right))
    count, variants = (len({each.name for each in some}) for some in (faults, right))
    console.print(
        f"{count - len(missed)} of {count} faults found by {_seeds(seeds[0])}, {len(refused)} false alarms "
        f"of {variants} sound variants by {_seeds(seeds[1])}, {time.perf_counter() - start:.0f} s"
    )
    return 1 if missed or refused else 0


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"each of {count} seeds"


def _print_trials(console: Console, trials: list[Trial]) -> None:
    """Print one row for each implementation: its first counterexample, and how many seeds gave what."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("implementation", "what it gets wrong", "verdict", "examples", "smallest counterexample")
    named: dict[str, list[Trial]] = {}
    for trial in trials:
        named.setdefault(trial.name, []).append(trial)
    for name, same in named.items():
        right = sum(trial.as_it_should for trial in same)
        verdict = ("passed" if same[0].sound else "found") + (
            f" {right}/{len(same)}" if len(same) > 1 else ""
        )
        shown = next((each.report.counterexample for each in same if not each.report.passed), None)
        table.add_row(
            name,
            same[0].wrong,
            verdict if right == len(same) else f"[bold]NOT {verdict}[/]",
            ", ".join(str(trial.report.examples) for trial in same[:3]),
            "" if shown is None else escape(str(shown)),
        )
    console.print(table)


def _save(reports: Iterable[Report], out: Path | None) -> None:
    """Write reports and heat maps into a folder, and say which."""
    from scratch_conv.parity.reporting.images import draw_difference

    if out is None:
        return
    written = []
    with _writing_into(out):
        for report in reports:
            written.append(out / f"{report.like}.txt")
            written[-1].write_text(f"{report}\n", encoding="utf-8")
            for difference in report.differences:
                image = out / f"{report.like}-{difference.what.replace(' ', '-')}.png"
                written += [image] if draw_difference(difference, image) else []
    print(f"\nwritten: {', '.join(map(str, written))}")
