"""The command `parity`. What it needs is imported when it runs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from scratch_conv.parity.report import Report

Target = Annotated[
    str | None,
    typer.Option(help="What to test, as package.module:Name.", show_default="our own layers"),
]
Like = Annotated[str | None, typer.Option(help="The operator it should equal: conv2d, max_pool2d, ...")]
Examples = Annotated[int, typer.Option(help="How many configurations to draw.", min=1)]
Seed = Annotated[int, typer.Option(help="The same seed draws the same configurations.")]
Out = Annotated[Path | None, typer.Option(help="A folder for the report and heat maps of a difference.")]
SelfTest = Annotated[bool, typer.Option("--self-test", help="Let the suite find its catalogue of faults.")]


def parity(
    target: Target = None,
    like: Like = None,
    examples: Examples = 500,
    seed: Seed = 0,
    out: Out = None,
    self_test: SelfTest = False,
) -> int:
    """Compare layers with torch's on drawn configurations; exit status 1 says that they differ."""
    from rich.console import Console

    console = Console()
    if self_test and (target or like):
        raise typer.BadParameter("--self-test goes with neither --target nor --like")
    if self_test:
        return _prove(console, examples, seed)
    if target is None:
        return _own_layers(console, like, examples, seed, out)
    from scratch_conv.parity.targets import load_target

    if like is None:
        raise typer.BadParameter("--target needs --like, the name of the operator that it should equal")
    try:
        report = _checked(console, load_target(target), like, examples, seed)
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    print(report)
    _save([report], out)
    return 0 if report.passed else 1


def _checked(
    console: Console, candidate: Any, like: str, examples: int, seed: int, claims: Any = None
) -> Report:
    """Check a candidate under a progress bar."""
    from rich.progress import Progress

    from scratch_conv.parity.checking import check

    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(like, total=examples)

        def advance(done: int) -> None:
            progress.update(task, completed=done)

        return check(candidate, like, examples, seed, claims, progress=advance)


def _own_layers(console: Console, only: str | None, examples: int, seed: int, out: Path | None) -> int:
    """Check our own operators, or one of them only, and print a table."""
    from rich.table import Table

    from scratch_conv import functional
    from scratch_conv.parity.operators import OPERATORS
    from scratch_conv.parity.supports import Supports

    claims = Supports(second_derivatives=True, memory_format=True, errors=True)
    table = Table("operator", "examples", "worst error / bound", "seconds", "")
    reports = []
    ours = [like for like in OPERATORS if hasattr(functional, like)]
    if only is not None and only not in ours:
        raise typer.BadParameter(f"--like {only}: choose from {', '.join(ours)}")
    for like in ours:
        if only in (None, like):
            report = _checked(console, getattr(functional, like), like, examples, seed, claims)
            reports.append(report)
            verdict = "equal" if report.passed else "differs"
            table.add_row(like, str(report.examples), f"{report.share:.3f}", f"{report.seconds:.1f}", verdict)
    console.print(table)
    failed = [report for report in reports if not report.passed]
    for report in failed:
        print(report)
    _save(failed, out)
    return 1 if failed else 0


def _prove(console: Console, examples: int, seed: int) -> int:
    """Run the self-test and print a table of it."""
    from rich.table import Table

    from scratch_conv.parity.proving import self_test

    start = time.perf_counter()
    table = Table("implementation", "verdict", "examples", "smallest counterexample", show_lines=False)
    trials = []
    for trial in self_test(examples, seed):
        trials.append(trial)
        with console.status(f"{len(trials)}: {trial.name}"):
            verdict = ("passed" if trial.report.passed else "found") + ("" if trial.as_it_should else " (!)")
            smallest = trial.report.counterexample
            table.add_row(trial.name, verdict, str(trial.report.examples), str(smallest) if smallest else "")
    console.print(table)
    faults = [trial for trial in trials if not trial.sound]
    found, alarms = sum(t.as_it_should for t in faults), sum(t.sound and not t.as_it_should for t in trials)
    seconds = time.perf_counter() - start
    console.print(f"{found} of {len(faults)} faults found, {alarms} false alarms, {seconds:.0f} s")
    return 0 if found == len(faults) and not alarms else 1


def _save(reports: Iterable[Report], out: Path | None) -> None:
    """Write reports and heat maps into a folder."""
    from scratch_conv.parity.pictures import draw_difference

    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    for report in reports:
        (out / f"{report.like}.txt").write_text(f"{report}\n", encoding="utf-8")
        for difference in report.differences:
            draw_difference(difference, out / f"{report.like}-{difference.what.replace(' ', '-')}.png")
