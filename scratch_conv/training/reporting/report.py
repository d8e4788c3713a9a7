"""The files and tables of a finished run."""

import base64
import csv
import io
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console
from rich.table import Table

from scratch_conv import __version__
from scratch_conv.layers.saving import replacing
from scratch_conv.training.backends.job import Outcome
from scratch_conv.training.comparison import APART, MEASURES, Drift, verdict
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.reporting import figures
from scratch_conv.training.seeds import Runs, accuracies, accuracy_headings, accuracy_rows
from scratch_conv.training.settings import Settings

Row = tuple[str, ...]  # the name of a figure, its value for each backend, and their ratios to the first


def write_report(out: Path, settings: Settings, data: ImageSet, runs: Runs, drift: Drift | None) -> None:
    """Write summary.json, metrics.csv, the figures as PNG, and report.html with all of them."""
    outcomes = runs[settings.seed]
    _write(out / "summary.json", _json(_summary(settings, data, runs, drift)))
    _write(out / "metrics.csv", _metrics(runs))
    drawings = {"curves": figures.curves(outcomes), "filters": figures.filters(outcomes)}
    drawings["predictions"] = figures.predictions(data, outcomes)
    if drift:
        drawings["drift"] = figures.drift(drift)
    for name, png in drawings.items():
        with replacing(out / f"{name}.png") as file:
            file.write(png)
    templates = Environment(
        loader=PackageLoader("scratch_conv.training", "."), autoescape=True, undefined=StrictUndefined
    )
    page = templates.get_template("report.html.jinja").render(
        options=settings.options(),
        data=data,
        names=list(outcomes),
        headings=_headings(outcomes),
        rows=_rows(outcomes),
        verdict=verdict(runs, drift)[1] if drift else None,
        accuracy_headings=accuracy_headings(runs),
        accuracy_rows=accuracy_rows(runs),
        drift=drift,
        drift_rows=_drift_rows(drift) if drift else [],
        steps=drift.steps if drift else 0,
        measures=list(MEASURES),
        apart=APART,
        figures={name: base64.b64encode(png).decode() for name, png in drawings.items()},
        versions=_versions(),
        written=f"{datetime.now():%Y-%m-%d %H:%M}",
    )
    _write(out / "report.html", page)


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
    outcomes = next(iter(runs.values()))
    table = Table("", title=f"seed {next(iter(runs))}" if len(runs) > 1 else None, title_justify="left")
    for heading in _headings(outcomes):
        table.add_column(heading, justify="right")
    for row in _rows(outcomes):
        table.add_row(*row)
    if drift:
        console.print(f"Verdict: {verdict(runs, drift)[1]}.", soft_wrap=True)
    console.print(table)
    if len(outcomes) > 1 or len(runs) > 1:
        title = f"test accuracy over {len(runs)} seed{'s' if len(runs) > 1 else ''}"
        table = Table(*accuracy_headings(runs), title=title, title_justify="left")
        for row in accuracy_rows(runs):
            table.add_row(*row)
        console.print(table)
    if drift:
        title = f"largest differences to torch in {drift.steps} steps, as shares"
        table = Table("", *MEASURES, title=title, title_justify="left")
        for row in _drift_rows(drift):
            table.add_row(*row)
        console.print(table)


def _headings(outcomes: Mapping[str, Outcome]) -> list[str]:
    """Return the names of the columns: the backends, and their ratios to the first."""
    first, *others = outcomes
    return [first, *others, *(f"{name} / {first}" for name in others)]


def _rows(outcomes: Mapping[str, Outcome]) -> list[Row]:
    """Return a row for each figure."""
    measures: list[tuple[str, Callable[[Outcome], float], str]] = [
        ("test accuracy", lambda outcome: outcome.test_accuracy[-1], ".2%"),
        ("test loss", lambda outcome: outcome.test_loss[-1], ".4f"),
        ("training loss", lambda outcome: outcome.train_loss[-1], ".4f"),
        ("seconds an epoch", lambda outcome: mean(outcome.seconds_per_epoch), ".2f"),
        ("peak memory, MB", lambda outcome: outcome.peak_memory_bytes / 1e6, ",.0f"),
        ("parameters", lambda outcome: outcome.parameters, ","),
    ]
    rows = []
    for name, measure, form in measures:
        values = [measure(outcome) for outcome in outcomes.values()]
        ratios = [f"{value / values[0]:.3f}" if values[0] else "-" for value in values[1:]]
        rows.append((name, *(format(value, form) for value in values), *ratios))
    return rows


def _drift_rows(drift: Drift) -> list[Row]:
    """Return a row for each run beside torch's, with the largest of its differences of each kind."""
    measured = {**drift.backends, **drift.yardsticks}
    return [
        (name, *(f"{max(each[measure].values()):.1e}" for measure in MEASURES))
        for name, each in measured.items()
    ]


def _summary(settings: Settings, data: ImageSet, runs: Runs, drift: Drift | None) -> dict[str, Any]:
    shown = (
        "test_accuracy",
        "test_loss",
        "train_loss",
        "seconds_per_epoch",
        "peak_memory_bytes",
        "parameters",
    )
    outcomes = runs[settings.seed]
    equal, sentence = verdict(runs, drift) if drift else (None, None)
    return {
        "dataset": settings.dataset,
        "model": settings.model,
        "epochs": settings.epochs,
        "seed": settings.seed,
        "backends": {
            name: {key: getattr(outcome, key) for key in shown} for name, outcome in outcomes.items()
        },
        "verdict": {"equal": equal, "sentence": sentence},
        "accuracies": {
            name: {**asdict(each), "mean": each.mean, "deviation": each.deviation}
            for name, each in accuracies(runs).items()
        },
        "data": {
            "source": data.source,
            "classes": data.classes,
            "train": len(data.train[1]),
            "test": len(data.test[1]),
        },
        "settings": asdict(settings),
        "drift": drift
        and {
            **asdict(drift),
            "within_bound": drift.within_bound,
            "is_torchs_own": drift.is_torchs_own,
            "verdict": drift.verdict,
        },
        "versions": _versions(),
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


def _versions() -> dict[str, str]:
    packages = ("numpy", "torch", "torchvision", "lightning")
    ours = {"scratch_conv": __version__, "python": platform.python_version()}
    return ours | {package: version(package) for package in packages}


def _write(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())
