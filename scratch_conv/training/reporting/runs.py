"""The page that compares several runs, from the summaries that they wrote."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from scratch_conv.training.reporting import charts
from scratch_conv.training.reporting.drawing import MARKERS, PALETTE, Panel, Style, svgs
from scratch_conv.training.reporting.figures import EXPLAINED, FIGURES, written
from scratch_conv.training.reporting.page import part, render, text
from scratch_conv.training.reporting.provenance import spelt
from scratch_conv.training.settings import InputError, as_options

Summary = Mapping[str, Any]  # what a run wrote into summary.json

_NUMBER = (int, float, type(None))  # null: of a run that diverged
# What is read of a summary: types, or several of which one is meant. `Any` stands for every key, `int` for
# every key that is a number.
_SHAPE: Any = {
    "model": str,
    "command": str,
    "verdict": {"equal": (bool, type(None)), "sentence": str},
    "backends": {
        Any: {
            "test_accuracy": [_NUMBER],
            "test_loss": [_NUMBER],
            "train_loss": [_NUMBER],
            "seconds_per_epoch": [_NUMBER],
            "peak_memory_bytes": int,
            "parameters": int,
        }
    },
    "data": {"source": str},
    "settings": {},
    "machine": {},
    "versions": {},
    "drift": object,  # None, or:
}
_DRIFT: Any = {"backends": {Any: {"losses": {int: _NUMBER}}}}


def read_summaries(folders: Sequence[Path]) -> dict[str, Summary]:
    """Return the summaries of runs by their folders' names; by the whole paths, if two are named alike.

    Raises:
        InputError: a folder holds no finished run, or is named twice.
    """
    places = [folder.resolve() for folder in folders]
    if len({*places}) < len(places):
        twice = next(folder for folder, place in zip(folders, places, strict=True) if places.count(place) > 1)
        raise InputError(f"{twice}: is named twice")
    names = [folder.resolve().name for folder in folders]
    if len({*names}) < len(names):
        names = [str(folder) for folder in folders]
    return {name: _read(folder) for name, folder in zip(names, folders, strict=True)}


def _read(folder: Path) -> Summary:
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{folder}: holds no finished run (summary.json: {error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{folder}: summary.json is damaged") from error
    if not (_fits(summary, _SHAPE) and (summary["drift"] is None or _fits(summary["drift"], _DRIFT))):
        raise InputError(f"{folder}: summary.json is no run's, or that of another version")
    found: Summary = summary
    return found


def _fits(value: Any, shape: Any) -> bool:
    """Return whether a value read from JSON has all that a shape names."""
    if isinstance(shape, list):
        return isinstance(value, list) and bool(value) and all(_fits(each, shape[0]) for each in value)
    if not isinstance(shape, dict):
        return isinstance(value, shape)
    if not isinstance(value, dict):
        return False
    if int in shape and not all(name.isdecimal() for name in value):
        return False
    for every in {Any, int} & shape.keys():
        return bool(value) and all(_fits(each, shape[every]) for each in value.values())
    return all(name in value and _fits(value[name], inner) for name, inner in shape.items())


def render_runs(summaries: Mapping[str, Summary]) -> str:
    """Return the page that compares runs, of summaries by name."""
    backends = {
        f"{name}, {backend}": figures
        for name, summary in summaries.items()
        for backend, figures in summary["backends"].items()
    }
    rows = [(name, *written(figures)) for name, figures in backends.items()]
    commands = [text(f"{name}: {summary['command']}", "pre") for name, summary in summaries.items()]
    sections = {
        "Verdicts": _verdicts(summaries),
        "Key figures": [part("table", ["run", *FIGURES], rows, f"Of each run's first seed. {EXPLAINED}")],
        "Curves": [part("charts", svgs(_curves(summaries, backends)))],
        "What differs": _differing(summaries),
        "How to reproduce them": commands,
    }
    return render("Comparison of runs", [text(", ".join(summaries))], sections)


def _verdicts(summaries: Mapping[str, Summary]) -> list[Markup]:
    parts = []
    for name, summary in summaries.items():
        parts += [text(f"{name}: {summary['model']} on {summary['data']['source']}", "h3")]
        parts += [part("verdict", **summary["verdict"])]
    return parts


def _curves(summaries: Mapping[str, Summary], backends: Mapping[str, Summary]) -> dict[str, Panel]:
    """Return charts: a colour and a marker a run, a line style a backend."""
    styles: dict[str, Style] = {}
    for number, (name, summary) in enumerate(summaries.items()):
        color, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        for backend, line in zip(summary["backends"], ("-", "--", ":"), strict=False):
            styles[f"{name}, {backend}"] = {"color": color, "marker": marker, "linestyle": line}

    def panel(key: str, label: str) -> Panel:
        series = {name: ([figures[key]], styles[name]) for name, figures in backends.items()}
        return charts.over_epochs(series, label)

    panels = {
        "Test accuracy": panel("test_accuracy", "test accuracy"),
        "Test loss": panel("test_loss", "test loss"),
        "Training loss": panel("train_loss", "training loss"),
    }
    apart = {
        f"{name}, {backend}": {int(step): value for step, value in measured["losses"].items()}
        for name, summary in summaries.items()
        if summary["drift"]
        for backend, measured in summary["drift"]["backends"].items()
    }
    if apart:
        lines = {name: (line, styles[name]) for name, line in apart.items()}
        panels["Relative difference of losses to torch's"] = charts.differences(lines, "difference of losses")
    return panels


def _differing(summaries: Mapping[str, Summary]) -> list[Markup]:
    known = [
        {**as_options(each["settings"]), **each["data"], **each["machine"], **each["versions"]}
        for each in summaries.values()
    ]
    keys = dict.fromkeys(key for each in known for key in each)
    found = {key: [spelt(each.get(key, "-")) for each in known] for key in keys}
    rows = [(key, *values) for key, values in found.items() if len({*values}) > 1]
    if not rows:
        return [text("Options, data, machine and versions are the same.")]
    return [part("table", ["", *summaries], rows, "All else is the same.", True)]
