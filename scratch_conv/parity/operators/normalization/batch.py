"""batch_norm: how its cases are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from hypothesis import assume
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.sizes import BATCHES, CHANNELS, LENGTHS, VALUES
from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.calling import UPDATED
from scratch_conv.parity.operators.normalization.bounds import BATCH, Normalization, View, affine, parameters

_DEFAULTS = {"training": False, "momentum": 0.1, "eps": 1e-5}
_CHOICES = {"momentum": (0.1, 0.5, 0.25, 0.0, 1.0), "eps": (1e-5, 1e-3, 0.1)}


class BatchNorm(Normalization):
    """torch.nn.functional.batch_norm on (N, C) and (N, C, ...)."""

    name = "batch_norm"
    module = torch.nn.BatchNorm2d
    signature = ("input", "running_mean", "running_var", "weight", "bias")
    arguments = ("weight", *_DEFAULTS)
    defaults = _DEFAULTS
    choices = _CHOICES
    invalid_arguments = ({"eps": -1.0}, {"training": True, "eps": 0.0}, {"eps": "small"}, {"momentum": None})

    def draw_case(self, draw: Drawing) -> Case:
        training = draw.present("training")
        shape = _draw_shape(draw, training)
        names = ["input"]
        if not training or (draw.supports.running_statistics and draw.boolean()):
            names += UPDATED
        names += affine(draw)
        kind = draw.kind()
        if kind in ("graded", "special") and draw.boolean():
            kind = "offset"
        shapes = {**dict.fromkeys(names, shape[1:2]), "input": shape}
        differentiable = tuple(name for name in names if name not in UPDATED)
        case = self.complete(draw, shapes, {"training": training}, kind, differentiable)
        # Torch 2.14 fails on its own second derivative there, or leaves out the bias's part.
        order = 1 if "bias" in case.wanted and "weight" not in shapes else case.order
        return replace(case, arrays=tuple(parameters(draw, case.tensors).items()), order=order)

    def draw_invalid_case(self, draw: Drawing) -> Case:
        # Torch 2.14 does not look at the other sizes where the batch is empty.
        return super().draw_invalid_case(draw.claiming(empty=False))

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shape, channels = case.shapes["input"], case.shapes["input"][1]
        changes = [case.changed(training=True).reshaped("input", (1, channels, *(1 for _ in shape[2:])))]
        for name in case.shapes:
            if name != "input":
                changes.append(case.reshaped(name, (channels + 1,)))
                changes.append(case.retyped(name, "float16" if case.dtype == "float32" else "float32"))
        changes += [case.reshaped("input", shape[1:2]), case.reshaped("input", ())]
        changes += [case.retyped("input", "int64"), case.retyped("input", "complex64")]
        statistics = tuple(each for each in case.arrays if each[0] != "running_var")
        changes.append(replace(case, arrays=statistics))
        nothing = tuple(each for each in case.arrays if each[0] not in UPDATED)
        changes.append(replace(case, arrays=nothing).changed(training=False))
        return changes

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.BatchNorm2d; training is set by the module's mode.

        A momentum of 1 is given as None: what averages over all its batches weighs the first one by 1.
        """
        given = {name: value for name, value in arguments.items() if name != "training"}
        if given.get("momentum") == 1.0:
            given["momentum"] = None
        flags = {"affine": "weight" in tensors, "track_running_stats": "running_mean" in tensors}
        return {"num_features": tensors["input"].shape[1], **given, **flags}

    def unbatched(self, case: Case) -> bool:
        return False

    def view(self, case: Case) -> View:
        samples, channels, *sizes = case.shapes["input"]
        return View((samples, channels, 1, torch.Size(sizes).numel()), BATCH)

    def by_own_statistics(self, case: Case) -> bool:
        return bool(case.keywords.get("training", False))


def _draw_shape(draw: Drawing, training: bool) -> tuple[int, ...]:
    """Draw the input's shape: of two to five axes, of the four of BatchNorm2d where a layer is called."""
    axes = draw.choice((2, 1, 0, 3)) if draw.supports.functional else 2
    axes = draw.size("axes", axes + 2, axes + 2) - 2
    batch = draw.choice(
        ([1, 2, 3, 4] if draw.supports.batches else [1])
        + ([0] if draw.supports.empty and not training else [])
    )
    channels = draw.size("num_features", 1, 3)
    sizes = tuple(draw.integer(1, 5 if axes < 3 else 3) for _ in range(axes))
    ranges = {-axis: LENGTHS for axis in range(2, axes + 1)}
    ranges |= {-1: VALUES if axes else CHANNELS, -axes - 1: CHANNELS, -axes - 2: BATCHES if axes else VALUES}
    if draw.fixed("num_features") is not None:
        del ranges[-axes - 1]
    shape = draw.lengthen((batch, channels, *sizes), ranges)
    if training and torch.Size(shape).numel() == shape[1]:  # torch refuses one value per channel
        assume(draw.supports.batches)
        shape = (2, *shape[1:])
    return shape


OPERATORS = (BatchNorm(),)
