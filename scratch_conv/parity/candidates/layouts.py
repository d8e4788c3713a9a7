"""Candidates whose images or weights have their axes in another order than torch's, or lack some."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scratch_conv.parity.drawing.claims import Supports
from scratch_conv.parity.operators.operator import Operator

_IMAGES = {2: "nc", 3: "ncl", 4: "nchw", 5: "ncdhw"}
_WEIGHTS = {2: "oi", 3: "oil", 4: "oihw", 5: "oidhw"}


@dataclass(frozen=True)
class Layout:
    """The order of a candidate's axes, as letters.

    Attributes:
        option: what the user wrote.
        torchs: the letters of torch's axes, by the name of the tensor and "output".
        own: the candidate's, for those that differ.
    """

    option: str = ""
    torchs: tuple[tuple[str, str], ...] = ()
    own: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        """Return whether anything differs from torch's layout."""
        return bool(self.own)

    def letters(self, name: str) -> tuple[str, str] | None:
        """Return torch's and the candidate's letters of a tensor, None where they are the same."""
        own = dict(self.own).get(name)
        return None if own is None else (dict(self.torchs)[name], own)

    def narrow(self, claims: Supports) -> tuple[Supports, list[str]]:
        """Leave out what the layout has no axis for."""
        claims = replace(claims, functional=claims.functional and not self)
        if not self.option:
            return claims, []
        reasons, fixed = [], dict(claims.fixed)
        shown, whole = dict(self.torchs), {**dict(self.torchs), **dict(self.own)}
        if claims.unbatched:
            reasons.append(f"unbatched: a layout of {whole['input']}")
            claims = replace(claims, unbatched=False)
        if "n" not in whole["input"]:
            reasons.append(f"batches, empty: one sample in each call, a layout of {whole['input']}")
            claims = replace(claims, batches=False, empty=False)
        if "c" not in whole["input"] or "i" not in whole.get("weight", "i"):
            fixed |= dict.fromkeys(("in_channels", "num_features", "channels"), 1)
        if "o" not in whole.get("weight", "o") or "c" not in whole["output"]:
            fixed |= dict.fromkeys(("out_channels", "channels"), 1)
        fixed["axes"] = len(shown["input"])
        claims = replace(claims, further_axes=len(shown["input"]) > 2)
        return replace(claims, fixed=tuple(fixed.items())), reasons

    def arrange(self, name: str, tensor: Tensor) -> Tensor:
        """Return one of torch's tensors as the candidate has it; differentiable."""
        letters = self.letters(name)
        if letters is None or tensor.ndim != len(letters[0]):
            return tensor
        arranged: Tensor = _Arranged.apply(tensor, *letters)
        return arranged

    def restore(self, name: str, tensor: Tensor) -> Tensor:
        """Return one of the candidate's tensors as torch has it; differentiable."""
        letters = self.letters(name)
        if letters is None or tensor.ndim != len(letters[1]):
            return tensor
        restored: Tensor = _Arranged.apply(tensor, *letters[::-1])
        return restored

    def code(self, name: str, tensor: str, back: bool = False) -> str:
        """Return an expression for one of torch's tensors as the candidate has it, or for the way back."""
        letters = self.letters(name)
        if letters is None:
            return tensor
        present, wanted = letters[::-1] if back else letters
        dropped = tuple(present.index(each) for each in present if each not in wanted)
        kept = [each for each in present if each in wanted]
        order = tuple(kept.index(each) for each in wanted if each in kept)
        added = [wanted.index(each) for each in wanted if each not in present]
        code = f"{tensor}.squeeze({dropped})" if dropped else tensor
        code += f".permute{order}" if order != tuple(range(len(order))) else ""
        return code + "".join(f".unsqueeze({axis})" for axis in added)


NO_LAYOUT = Layout()


class _Arranged(torch.autograd.Function):
    """Puts axes into another order, drops those of one and adds some: a copy, contiguous if the tensor is."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, present: str, wanted: str) -> Tensor:
        ctx.letters = present, wanted
        return _arranged(tensor, present, wanted)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
        present, wanted = ctx.letters
        return _Arranged.apply(grad_output, wanted, present), None, None


def _arranged(tensor: Tensor, present: str, wanted: str) -> Tensor:
    whole = tensor.detach()
    for axis, letter in reversed(list(enumerate(present))):
        whole = whole if letter in wanted else whole.squeeze(axis)
    kept = [letter for letter in present if letter in wanted]
    whole = whole.permute([kept.index(letter) for letter in wanted if letter in kept])
    for axis, letter in enumerate(wanted):
        whole = whole if letter in present else whole.unsqueeze(axis)
    copied = whole.contiguous() if tensor.is_contiguous() else whole
    return copied.clone() if copied.data_ptr() == tensor.data_ptr() else copied


def parse_layout(operator: Operator, layout: str | None, weights: str | None) -> Layout:
    """Return a layout from what a user writes.

    Args:
        operator: what the candidate is compared with.
        layout: the letters of its images, such as nhwc, or of its inputs and outputs, such as hw:hwc; an n
            that is left out says that it takes one sample, a c that it takes one channel.
        weights: the letters of its weight, such as hwio.

    Raises:
        ValueError: letters that are none of these, or an operator without such axes.
    """
    if not layout and not weights:
        return NO_LAYOUT
    _refuse(operator, layout, weights)
    given, _, returned = (layout or "").lower().partition(":")
    axes = operator.batched_axes
    if not operator.linear and (axes == 2 or operator.updates):  # of any number of axes
        axes = max(2, len(given) + ("n" not in given) + ("c" not in given))
    images = _IMAGES.get(axes, "")
    torchs = {"input": images, "output": images}
    own = {"input": given or images, "output": returned or given or images}
    if "weight" in operator.signature and (weights or layout) and operator.linear:
        torchs["weight"] = _WEIGHTS[axes]
        if operator.module.__name__.startswith("ConvTranspose"):
            torchs["weight"] = "io" + torchs["weight"][2:]
        own["weight"] = (weights or _usual_weights(torchs["weight"], given)).lower()
    for name, letters in own.items():
        option = "weights" if name == "weight" else "layout"
        if len({*letters}) < len(letters) or not {*letters} <= {*torchs[name]} or not letters:
            raise ValueError(f"{option}: {letters!r} is no order of the letters {torchs[name]}")
        lacking = {*torchs[name]} - {*letters} - {*"ncio"}
        if lacking:
            raise ValueError(f"{option}: {letters!r} lacks {', '.join(sorted(lacking))} of {torchs[name]}")
    differing = {name: letters for name, letters in own.items() if letters != torchs[name]}
    return Layout(layout or "", tuple(torchs.items()), tuple(differing.items()))


def _usual_weights(torchs: str, images: str) -> str:
    """Return the order of a weight that goes with channels at the end: height, width, in, out."""
    return torchs[2:] + "io" if len(torchs) > 2 and images.endswith("c") and "c" in images else torchs


def _refuse(operator: Operator, layout: str | None, weights: str | None) -> None:
    if layout and {"dim", "start_dim"} & {*operator.arguments}:
        raise ValueError(f"layout: the axes of {operator.name} are its arguments")
    if layout and "target" in operator.signature:
        raise ValueError(f"layout: {operator.name} returns no image")
    if weights and not ("weight" in operator.signature and operator.linear):
        raise ValueError(f"weights: {operator.name} has no weight of several axes")
