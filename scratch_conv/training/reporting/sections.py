"""The sections of a run's page."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from markupsafe import Markup
from torch import Tensor

from scratch_conv.training.backends.job import PHASES, Outcome
from scratch_conv.training.backends.models import initial_network
from scratch_conv.training.backends.trained import trained_network
from scratch_conv.training.comparison import APART, REVERSED, Drift, relative_difference, verdict
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.reporting import charts, images
from scratch_conv.training.reporting.drawing import BACKENDS, YARDSTICKS, Panel, Style, svgs
from scratch_conv.training.reporting.figures import EXPLAINED, drift_tables, key_table
from scratch_conv.training.reporting.network import architecture
from scratch_conv.training.reporting.page import Sections, part, text
from scratch_conv.training.reporting.provenance import spelt
from scratch_conv.training.seeds import CONFIDENCE, Runs, accuracy_headings, accuracy_rows
from scratch_conv.training.settings import Settings

EXAMPLES = 16


@dataclass(frozen=True)
class Run:
    """All that is known of a finished run.

    Attributes:
        settings: its settings.
        data: its images.
        seeds: the outcome of each backend for each seed; of several backends, torch's is the first.
        drift: how far the backends are from torch; None if there is one.
    """

    settings: Settings
    data: ImageSet
    seeds: Runs
    drift: Drift | None

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """The outcomes of the first seed."""
        return next(iter(self.seeds.values()))

    @property
    def verdict(self) -> tuple[bool | None, str]:
        """Whether no backend differs from torch, and the sentence that says so; None: nothing to compare."""
        if self.drift is None:
            return None, f"nothing to compare: trained with {next(iter(self.outcomes))} alone"
        return verdict(self.seeds, self.drift)

    @property
    def predictions(self) -> dict[str, Tensor]:
        """The probabilities of all test images, by backend."""
        return {name: outcome.predictions for name, outcome in self.outcomes.items()}

    @property
    def image(self) -> tuple[int, Tensor]:
        """A test image: its index, and its normalised pixels (1, C, H, W)."""
        index = len(self.data.test[1]) // 2
        pixels = torch.from_numpy(self.data.test[0][index : index + 1]).double() / 255
        centre, scale = (torch.tensor(each)[:, None, None] for each in (self.data.mean, self.data.std))
        return index, ((pixels - centre) / scale).to(next(iter(self.predictions.values())).dtype)

    def series(self, attribute: str) -> dict[str, charts.Seeds]:
        """Return one of the series of a history for each backend and seed."""
        return {
            name: [getattr(outcomes[name], attribute) for outcomes in self.seeds.values()]
            for name in self.outcomes
        }


def sections(run: Run, summary: Mapping[str, Any]) -> Sections:
    """Return the sections of a run's page, and of what its summary says; empty ones are left out."""
    found = {
        "Key figures": _key_figures(run, summary),
        "Curves": _curves(run),
        "Accuracy over seeds": _seeds(run),
        "Time": _time(run),
        "Predictions": _predictions(run),
        "Filters": _filters(run),
        "Feature maps": _feature_maps(run),
        "Architecture": _architecture(run),
        "How to reproduce it": _reproduce(run, summary),
    }
    return {title: parts for title, parts in found.items() if parts}


def lead(run: Run) -> list[Markup]:
    """Return what stands at the top: what was trained, and the verdict."""
    names, epochs = [*run.outcomes], run.settings.epochs
    words = f"{run.data.describe()}. Trained for {epochs} epoch{'' if epochs == 1 else 's'} with "
    words += " and with ".join(names)
    if len(names) > 1:
        words += ", from the same initial weights on the same batches"
    if len(run.seeds) > 1:
        words += f", once for each of the seeds {', '.join(map(str, run.seeds))}"
    return [text(f"{words}."), part("verdict", *run.verdict)]


def curves(run: Run) -> dict[str, Panel]:
    """Return the charts of loss and accuracy after each epoch."""
    losses = {}
    for name, look in BACKENDS.items():
        if name in run.outcomes:
            losses[f"{name}, training"] = run.series("train_loss")[name], look.style()
            losses[f"{name}, test"] = run.series("test_loss")[name], look.style("--")
    accuracies = {name: (each, BACKENDS[name].style()) for name, each in run.series("test_accuracy").items()}
    return {
        "Loss": charts.over_epochs(losses, "cross-entropy loss"),
        "Test accuracy": charts.over_epochs(accuracies, "test accuracy"),
    }


def apart(run: Run, drift: Drift) -> dict[str, Panel]:
    """Return the charts of differences to torch, over all steps, and torch's own, over the first ones."""
    lines: dict[str, dict[str, tuple[Mapping[int, float], Style]]] = {"losses": {}, "weights": {}}
    for measure, found in lines.items():
        for (name, measured), style in zip(drift.yardsticks.items(), YARDSTICKS, strict=False):
            found[name] = measured[measure], style
    (_, torchs), *others = run.outcomes.items()
    for name, outcome in others:
        style = BACKENDS[name].style()
        apart = map(relative_difference, torchs.step_losses, outcome.step_losses)
        lines["losses"][name] = dict(enumerate(apart, 1)), style
        steps = [step for step in sorted(torchs.trajectory) if step and step in outcome.trajectory]
        distances = {
            step: relative_difference(torchs.trajectory[step], outcome.trajectory[step]) for step in steps
        }
        lines["weights"][name] = distances, style
    return {
        "Difference of a step's loss to torch's": charts.differences(lines["losses"], "relative difference"),
        "Distance of the weights to torch's": charts.differences(lines["weights"], "relative distance"),
    }


def confusion_matrix(labels: npt.NDArray[np.int64], predictions: Tensor) -> npt.NDArray[np.int64]:
    """Return how many images of a class (row) were taken for a class (column).

    Args:
        labels: of the images (N,).
        predictions: the probabilities of each image's classes (N, classes).
    """
    counts = np.zeros((predictions.shape[1],) * 2, np.int64)
    np.add.at(counts, (labels, predictions.argmax(1).numpy()), 1)
    return counts


def _key_figures(run: Run, summary: Mapping[str, Any]) -> list[Markup]:
    which = f"Of seed {run.settings.seed}. " if len(run.seeds) > 1 else ""
    parts = [part("table", *key_table(summary["backends"]), which + EXPLAINED)]
    if run.drift:
        note = (
            "Largest differences to torch, as shares. Training amplifies rounding, so any two orders of "
            "summation drift apart: torch with itself, summing in another order, is the yardstick. It is a "
            f"difference where a backend is {APART:g} times as far from torch as torch is from itself, and "
            "farther than the rounding of so many steps explains."
        )
        if REVERSED not in run.drift.yardsticks:
            note += " In reversed order, images would get other random numbers, as of dropout: left out."
        trained = (
            "With the weights that a backend has trained, its layers against torch's: the probabilities of "
            "all test images, and all gradients of an epoch's last batch. Nothing amplifies rounding here, "
            "but where it takes a value across a corner, as of ReLU, all gradients of a batch move: of "
            "several batches this is the least of a backend's differences, and the median of torch's own."
        )
        for (title, table), said in zip(drift_tables(run.drift).items(), (note, trained), strict=True):
            parts += [text(f"What the verdict rests on: {title}", "h3"), part("table", *table, said)]
    return parts


def _curves(run: Run) -> list[Markup]:
    lines = ("-", "--", ":")  # later ones let those below be seen
    steps = {
        name: (each, BACKENDS[name].style(line))
        for (name, each), line in zip(run.series("step_losses").items(), lines, strict=False)
    }
    shown = svgs(curves(run)) + svgs({"Loss of each step": charts.over_steps(steps, "loss of a batch")})
    if run.drift:
        note = "Grey: torch's to itself, in other orders of summation, for the first steps."
        shown += svgs(apart(run, run.drift), note)
    return [part("charts", shown)]


def _seeds(run: Run) -> list[Markup]:
    if len(run.seeds) == len(run.outcomes) == 1:
        return []
    note = f"Intervals of {CONFIDENCE:.0%}: for the test images that there are."
    if len(run.seeds) > 1:
        note = (
            f"Intervals of {CONFIDENCE:.0%} of the mean, and deviations from seed to seed, in points. p: of "
            "as large a difference by chance, by the t-test of differences paired by seed. The curves show "
            "the mean, and as a band one deviation to either side; all that follows is of the first seed."
        )
    return [part("table", accuracy_headings(run.seeds), accuracy_rows(run.seeds), note)]


def _time(run: Run) -> list[Markup]:
    means = {
        name: {phase: mean(epoch[phase] for epoch in outcome.phases) for phase in PHASES}
        for name, outcome in run.outcomes.items()
    }
    shares = " and ".join(
        f"{each['harness'] / sum(each.values()):.1%} with {name}" for name, each in means.items()
    )
    rows = [(phase, *(f"{each[phase]:.2f}" for each in means.values())) for phase in PHASES]
    words = f"Of an epoch's training the harness takes {shares}: it is all that is neither forward pass, "
    words += "backward pass nor optimiser, such as loading and augmenting images, and recording. Tests and "
    words += "checkpoints come after it, and are not part of it."
    if run.settings.processes > 1:
        words += " Waiting for others is part of the backward pass, in which gradients are added up, "
        words += "and of the harness, in which losses are."
    parts = [text(words), part("table", ["seconds an epoch", *means], rows)]
    layers = {name: outcome.layer_times for name, outcome in run.outcomes.items() if outcome.layer_times}
    if layers:
        count = len(charts.slowest_layers(layers))
        note = "Each layer alone, with its input of one training batch; the median of several passes."
        if count < max(map(len, layers.values())):
            note += f" The {count} layers that take most time."
        panels = {f"{name} passes": charts.by_layer(layers, name) for name in ("Forward", "Backward")}
        parts += [part("charts", svgs(panels, note, 1.2 + count * 0.12 * (1 + len(layers))))]
    return parts


def _predictions(run: Run) -> list[Markup]:
    labels, classes, names = run.data.test[1], run.data.classes, [*run.outcomes]
    matrices = {name: confusion_matrix(labels, each) for name, each in run.predictions.items()}
    panels = {f"Confusions of {name}": charts.confusion(each, classes) for name, each in matrices.items()}
    rows = []
    for index, title in enumerate(classes):
        count = int((labels == index).sum())
        right = [f"{matrix[index, index] / count:.1%}" if count else "-" for matrix in matrices.values()]
        rows.append((title, f"{count:,}", *right))
    differing, count = images.disagreements(run.predictions), len(labels)
    words = f"The backends agree on all {count:,} test images, such as these:"
    if differing:
        words = f"The backends agree on {1 - len(differing) / count:.2%} of the {count:,} test images"
        words += (
            f", and disagree on {len(differing):,}{', such as these' if len(differing) > EXAMPLES else ''}:"
        )
    chosen = differing[:EXAMPLES] or run.data.samples(EXAMPLES).tolist()
    return [
        part("charts", svgs(panels, "Each row in percent of its class.", 4.4)),
        part("table", ["class", "test images", *names], rows, "Accuracy of each class."),
        text(words if len(names) > 1 else "Test images, such as these:"),
        part("images", images.examples(run.data, run.predictions, chosen), "small"),
    ]


def _filters(run: Run) -> list[Markup]:
    channels = run.data.train[0].shape[1]
    shown = images.filters(initial_network(run.settings, run.data), run.outcomes, channels)
    words = "The first layer's weights, each filter scaled to its own range. Numbers: relative distances "
    words += "of all of that layer's weights."
    return [text(words), part("images", shown, "wide")] if shown else []


def _feature_maps(run: Run) -> list[Markup]:
    index, image = run.image
    networks = {
        name: trained_network(name, outcome, run.settings, run.data) for name, outcome in run.outcomes.items()
    }
    words = f"One test image ({run.data.classes[run.data.test[1][index]]}) in every stage of the trained "
    words += f"network, of each the first {images.MOST_MAPS} channels, from dark to light."
    if len(networks) > 1:
        first, *_, last = networks
        words += f" The backends share the scale of a stage; the difference of {last} to {first} has its own."
    parts = [text(words)]
    for title, shown in images.feature_maps(networks, image).items():
        parts += [text(title, "h3"), part("images", shown, "medium")]
    return parts


def _architecture(run: Run) -> list[Markup]:
    layers = architecture(initial_network(run.settings, run.data), run.image[1].float())
    rows = [
        (each.name, each.kind, each.shape, f"{each.parameters:,}", f"{each.multiplications:,}")
        for each in layers
    ]
    total = sum(each.multiplications for each in layers)
    parameters = next(iter(run.outcomes.values())).parameters
    rows.append(("all", "", "", f"{parameters:,}", f"{total:,}"))
    note = (
        "The output of one image, and the multiplications that the forward passes of convolutions and dense "
        "layers need for it by definition, those with padding included."
    )
    return [part("table", ["layer", "type", "output", "parameters", "multiplications"], rows, note)]


def _reproduce(run: Run, summary: Mapping[str, Any]) -> list[Markup]:
    data = {"images": run.data.describe(), "SHA-256 of pixels and labels": summary["data"]["sha256"]}
    options = {option: spelt(value) for option, value in run.settings.options().items()}
    tables = {
        "options": options,
        "data": data,
        "machine": summary["machine"],
        "versions": summary["versions"],
    }
    found = [part("table", [title, ""], [*pairs.items()], words=True) for title, pairs in tables.items()]
    return [text(summary["command"], "pre"), *found]
