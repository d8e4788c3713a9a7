"""layer_norm, group_norm and instance_norm: how their cases are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from hypothesis import assume
from torch import Tensor

from scratch_conv.parity.drawing.arrays import Kind
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.sizes import BATCHES, CHANNELS, FEATURES, LENGTHS, VALUES
from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.calling import UPDATED, Call
from scratch_conv.parity.operators.normalization.bounds import (
    BATCH,
    SAMPLE,
    Normalization,
    View,
    affine,
    parameters,
)

_DEFAULTS: dict[str, Any] = {"eps": 1e-5}
_CHOICES: dict[str, tuple[Any, ...]] = {"eps": (1e-5, 1e-3, 0.1)}
_LEARNING = {"use_input_stats": True, "momentum": 0.1, "eps": 1e-5}
_RATES: dict[str, tuple[Any, ...]] = {"momentum": (0.1, 0.5, 0.25, 0.0, 1.0), **_CHOICES}


class _OfSamples(Normalization):
    """Normalization of one sample at a time."""

    def finish(
        self,
        draw: Drawing,
        shapes: dict[str, tuple[int, ...]],
        arguments: dict[str, Any],
        kind: Kind | None = None,
    ) -> Case:
        """Draw the rest of a case."""
        kind = kind or draw.kind()
        if kind in ("graded", "special") and draw.boolean():
            kind = "offset"
        differentiable = tuple(name for name in shapes if name not in UPDATED)
        case = self.complete(draw, shapes, arguments, kind, differentiable)
        # Torch 2.14 fails on its own second derivative there, or leaves out the bias's part.
        order = 1 if "bias" in case.wanted and "weight" not in shapes else case.order
        tensors = parameters(draw, case.tensors)
        if (
            self.parted and "bias" in tensors and "weight" not in tensors
        ):  # torch's own gradient fails on a wider bias alone
            tensors["bias"] = replace(tensors["bias"], dtype=None)
        return replace(case, arrays=tuple(tensors.items()), order=order)

    def draw_invalid_case(self, draw: Drawing) -> Case:
        # Torch 2.14 looks at less where there is nothing to compute.
        return super().draw_invalid_case(draw.claiming(empty=False))

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        changes = [case.retyped("input", "int64"), case.retyped("input", "complex64")]
        for name, shape in case.shapes.items():
            if name in ("weight", "bias"):
                changes.append(case.reshaped(name, (*shape[:-1], shape[-1] + 1)))
                changes.append(case.reshaped(name, (1, *shape)))
                changes.append(case.retyped(name, "float16" if case.dtype == "float32" else "float32"))
        return changes


class LayerNorm(_OfSamples):
    """torch.nn.functional.layer_norm."""

    name = "layer_norm"
    module = torch.nn.LayerNorm
    batched_axes = 2
    signature = ("input", "weight", "bias")
    parted = True
    arguments = ("weight", "normalized_shape", "eps")
    required = ("normalized_shape",)
    implied = frozenset(required)
    defaults = _DEFAULTS
    choices = _CHOICES
    invalid_arguments = ({"eps": "small"}, {"normalized_shape": ()}, {"normalized_shape": (99,)})

    def draw_case(self, draw: Drawing) -> Case:
        shape = draw.lengthen(draw.shape(2, 4, 4), {-1: FEATURES, -2: CHANNELS, -3: BATCHES})
        assume(shape)
        whole = draw.takes("normalized_shape") and len(shape) > 1
        count = draw.integer(1, len(shape) if draw.supports.unbatched else len(shape) - 1) if whole else 1
        normalized = draw.fixed("normalized_shape") or shape[-count:]
        assume(0 not in normalized)
        shape = (*shape[: len(shape) - len(normalized)], *normalized)
        shapes = {"input": shape, **dict.fromkeys(affine(draw), normalized)}
        return self.finish(draw, shapes, {"normalized_shape": normalized})

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        shape = case.shapes["input"]
        changes = [case.reshaped("input", (*shape[:-1], shape[-1] + 1)), case.reshaped("input", ())]
        changes.append(case.changed(normalized_shape=shape[-1]))
        return changes + super().invalid_changes(draw, case)

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "elementwise_affine": "weight" in tensors}

    def view(self, case: Case) -> View:
        shape, normalized = case.shapes["input"], case.keywords["normalized_shape"]
        outer = torch.Size(shape[: len(shape) - len(normalized)]).numel()
        return View((outer, 1, torch.Size(normalized).numel(), 1), SAMPLE)


class GroupNorm(_OfSamples):
    """torch.nn.functional.group_norm.

    On a channels_last input torch's own takes the variance for mean(x²) - μ², which cancels: what is right is
    its result on a contiguous one, and inputs so arranged hold small integers.
    """

    name = "group_norm"
    module = torch.nn.GroupNorm
    batched_axes = 2
    signature = ("input", "weight", "bias")
    parted = True
    arguments = ("weight", "num_groups", "eps")
    required = ("num_groups",)
    defaults = _DEFAULTS
    choices = _CHOICES
    invalid_arguments = ({"eps": "small"}, {"num_groups": 0}, {"num_groups": -1}, {"num_groups": 1.0})

    def draw_case(self, draw: Drawing) -> Case:
        groups = draw.fixed("num_groups") or draw.integer(1, 3)
        channels = draw.fixed("num_channels") or groups * draw.integer(1, 3)
        assume(channels % groups == 0)
        axes = draw.size("axes", 2, 5 if draw.supports.further_axes else 2) - 2
        sizes = tuple(draw.integer(1, 5 if axes < 3 else 3) for _ in range(axes))
        shape = (_samples(draw), channels, *sizes)
        ranges = {-axis: LENGTHS for axis in range(2, axes + 1)} | ({-1: VALUES} if axes else {})
        shape = draw.lengthen(shape, ranges | {-axes - 2: BATCHES})
        shape = (shape[0], channels, *shape[2:])
        if torch.Size(shape).numel() == groups:  # torch refuses one sample of one value a group
            assume(draw.supports.batches)
            shape = (2, *shape[1:])
        shapes = {"input": shape, **dict.fromkeys(affine(draw), (channels,))}
        case = self.finish(draw, shapes, {"num_groups": groups})
        input = case.tensors["input"]
        if input.layout == "channels_last" and input.kind not in ("counting", "integers"):
            case = case.arranged("input", "contiguous")
        return case

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        _, channels, *sizes = case.shapes["input"]
        changes = [case.changed(num_groups=channels + 1), case.changed(num_groups=(1,))]
        one = case.reshaped("input", (1, channels, *(1 for _ in sizes))).changed(num_groups=channels)
        changes += [one, case.reshaped("input", (channels,)), case.reshaped("input", ())]
        return changes + super().invalid_changes(draw, case)

    @property
    def definition(self) -> Call:
        def contiguous(input: Tensor, *others: Tensor | None, **arguments: Any) -> Tensor:
            output: Tensor = self.reference(input.contiguous(), *others, **arguments)
            return output

        return contiguous

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        return {"num_channels": tensors["input"].shape[1], **arguments, "affine": "weight" in tensors}

    def view(self, case: Case) -> View:
        samples, channels, *sizes = case.shapes["input"]
        groups = case.keywords["num_groups"]
        return View((samples, groups, channels // groups, torch.Size(sizes).numel()), SAMPLE)


class InstanceNorm(_OfSamples):
    """torch.nn.functional.instance_norm."""

    name = "instance_norm"
    module = torch.nn.InstanceNorm2d
    batched_axes = 4
    signature = ("input", "running_mean", "running_var", "weight", "bias")
    arguments = ("weight", "use_input_stats", "momentum", "eps")
    defaults = _LEARNING
    choices = _RATES
    invalid_arguments = ({"eps": "small"}, {"momentum": None}, {"use_input_stats": None})

    def unbatched(self, case: Case) -> bool:
        return False

    def trains(self, arguments: dict[str, Any]) -> bool | None:
        return bool(arguments.get("use_input_stats", True))

    @property
    def writing(self) -> frozenset[str]:
        return frozenset({"use_input_stats"})

    def draw_case(self, draw: Drawing) -> Case:
        own = draw.argument("use_input_stats", True, False)
        names: list[str] = []
        learns = draw.takes("use_input_stats") and draw.supports.running_statistics and draw.boolean()
        if not own or learns:
            names += UPDATED
        names += affine(draw)
        axes = draw.size("axes", 3, 5) - 2 if draw.supports.functional else 2
        channels = draw.size("num_features", 1, 3)
        sizes = tuple(draw.integer(1, 5 if axes < 3 else 3) for _ in range(axes))
        # Torch 2.14 fails on its own parameters of an empty batch, which it repeats for each sample.
        samples = _samples(draw.claiming(empty=draw.supports.empty and not names))
        ranges = {-axis: LENGTHS for axis in range(2, axes + 1)} | {-1: VALUES}
        ranges |= {-axes - 2: BATCHES} | ({} if draw.fixed("num_features") else {-axes - 1: CHANNELS})
        shape = draw.lengthen((samples, channels, *sizes), ranges)
        if own and torch.Size(shape[2:]).numel() == 1:  # torch refuses one value a channel
            shape = (*shape[:-1], 2)
        shapes = {"input": shape, **dict.fromkeys(names, shape[1:2])}
        case = self.finish(draw, shapes, {"use_input_stats": own})
        # Torch 2.14's gradient of the input of one sample is wrong where the incoming one is channels_last:
        # it reads its memory as if it were contiguous.
        if shape[0] == 1 and case.grad_output.layout == "channels_last":
            case = replace(case, grad_output=replace(case.grad_output, layout="contiguous"))
        return case

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        samples, channels, *sizes = case.shapes["input"]
        one = case.reshaped("input", (samples, channels, *(1 for _ in sizes)))
        changes = [one.changed(use_input_stats=True), case.reshaped("input", ())]
        for name in UPDATED:
            if name in case.shapes:
                changes.append(case.reshaped(name, (channels + 1,)))
        alone = tuple(each for each in case.arrays if each[0] != "running_var")
        nothing = tuple(each for each in case.arrays if each[0] not in UPDATED)
        changes.append(replace(case, arrays=nothing).changed(use_input_stats=False))
        if "running_var" in case.shapes:
            changes.append(replace(case, arrays=alone))
        return changes + super().invalid_changes(draw, case)

    def constructor(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of torch.nn.InstanceNorm2d; its mode says whose statistics are used."""
        given = {name: value for name, value in arguments.items() if name != "use_input_stats"}
        flags = {"affine": "weight" in tensors, "track_running_stats": "running_mean" in tensors}
        return {"num_features": tensors["input"].shape[1], **given, **flags}

    def view(self, case: Case) -> View:
        samples, channels, *sizes = case.shapes["input"]
        own = self.by_own_statistics(case)
        return View((samples, channels, 1, torch.Size(sizes).numel()), SAMPLE if own else BATCH)

    def by_own_statistics(self, case: Case) -> bool:
        return bool(case.keywords.get("use_input_stats", True))


def _samples(draw: Drawing) -> int:
    """Draw the number of samples."""
    some = [1, 2, 3, 4] if draw.supports.batches else [1]
    return draw.choice(some + ([0] if draw.supports.empty else []))


OPERATORS = (LayerNorm(), GroupNorm(), InstanceNorm())
