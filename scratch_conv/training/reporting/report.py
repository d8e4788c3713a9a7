"""The files and tables of a finished run."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scratch_conv.layers.saving import replacing
from scratch_conv.training.comparison import Drift, verdict
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.reporting import provenance
from scratch_conv.training.reporting.drawing import as_png
from scratch_conv.training.reporting.figures import Row, drift_tables, key_table, recorded
from scratch_conv.training.reporting.page import render
from scratch_conv.training.reporting.sections import Run, apart, curves, lead, sections
from scratch_conv.training.seeds import Runs, accuracies, accuracy_headings, accuracy_rows
from scratch_conv.training.settings import Settings


def write_report(
    out: Path,
    settings: Settings,
    data: ImageSet,
    runs: Runs,
    drift: Drift | None,
    command: str,
) -> None:
    """Write summary.json, metrics.csv, curves as PNG, and report.html with all that there is to show.

    Args:
        out: the folder.
        settings: the settings of the run.
        data: its images.
        runs: the outcome of each backend for each seed; of several backends, torch's is the first.
        drift: how far the backends are from torch with the first seed; None if there is one.
        command: the command line that does it again.
    """
    run = Run(settings, data, runs, drift)
    summary = _summary(run, command)
    _write(out / "summary.json", _json(summary).encode())
    _write(out / "metrics.csv", _metrics(runs).encode())
    _write(out / "curves.png", as_png([*curves(run).values()]))
    if drift:
        _write(out / "drift.png", as_png([*apart(run, drift).values()]))
    page = render(f"{settings.model} on {settings.dataset}", lead(run), sections(run, summary))
    _write(out / "report.html", page.encode())


def is_current(out: Path, settings: Settings) -> bool:
    """Return whether a folder's report is complete, of these settings, and later than all results."""
    results = [path.stat().st_mtime_ns for path in (out / "checkpoints").rglob("result.pt")]
    page, summary = out / "report.html", out / "summary.json"  # the page is written last
    if not (page.exists() and page.stat().st_mtime_ns > max(results, default=0)):
        return False
    try:
        return bool(json.loads(summary.read_text(encoding="utf-8"))["settings"] == asdict(settings))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _json(value: Any) -> str:
    """Return JSON; NaN and infinity, which a run that diverged leaves, become null."""
    finite = json.loads(json.dumps(value), parse_constant=lambda _: None)
    return json.dumps(finite, indent=2) + "\n"


def print_tables(console: Console, runs: Runs, drift: Drift | None) -> None:
    """Print the figures of each backend and, if there are several, how they compare."""
    outcomes, seeds = next(iter(runs.values())), f"{len(runs)} seed{'s' if len(runs) > 1 else ''}"
    if drift:
        console.print(f"Verdict: {verdict(runs, drift)[1]}.", soft_wrap=True)
    _print(console, *key_table(recorded(outcomes)), f"seed {next(iter(runs))}" if len(runs) > 1 else None)
    if len(outcomes) > 1 or len(runs) > 1:
        _print(console, accuracy_headings(runs), accuracy_rows(runs), f"test accuracy over {seeds}")
    for title, table in drift_tables(drift).items() if drift else ():
        _print(console, *table, f"{title}, largest differences to torch, as shares")


def _print(console: Console, head: Sequence[str], rows: Sequence[Row], title: str | None) -> None:
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(head):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _summary(run: Run, command: str) -> dict[str, Any]:
    settings, data, drift = run.settings, run.data, run.drift
    equal, sentence = run.verdict
    return {
        "dataset": settings.dataset,
        "model": settings.model,
        "epochs": settings.epochs,
        "seed": settings.seed,
        "backends": recorded(run.outcomes),
        "verdict": {"equal": equal, "sentence": sentence},
        "accuracies": {
            name: {**asdict(each), "mean": each.mean, "deviation": each.deviation}
            for name, each in accuracies(run.seeds).items()
        },
        "data": {
            "source": data.source,
            "classes": data.classes,
            "train": len(data.train[1]),
            "test": len(data.test[1]),
            "sha256": data.digest(),
        },
        "settings": asdict(settings),
        "drift": drift
        and {
            **asdict(drift),
            "within_bound": drift.within_bound,
            "is_torchs_own": drift.is_torchs_own,
            "verdict": drift.verdict,
        },
        "command": command,
        "machine": provenance.machine(),
        "versions": provenance.versions(),
    }


def _metrics(runs: Runs) -> str:
    """Return metrics.csv: a line for each seed, backend and epoch."""
    columns = ("train_loss", "test_loss", "test_accuracy", "seconds_per_epoch")
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(["backend", "epoch", *columns, "seed"])
    for seed, outcomes in runs.items():
        for name, outcome in outcomes.items():
            figures_by_epoch = zip(*(getattr(outcome, column) for column in columns), strict=True)
            writer.writerows([name, epoch, *values, seed] for epoch, values in enumerate(figures_by_epoch, 1))
    return lines.getvalue()


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as file:
        file.write(content)
