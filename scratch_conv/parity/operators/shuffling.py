"""pixel_shuffle, pixel_unshuffle and channel_shuffle: how their cases are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import COMPLEX, FLOATS, INTEGERS
from scratch_conv.parity.drawing.strategies import Drawing
from scratch_conv.parity.operators.operator import Picking


class PixelShuffle(Picking):
    """torch.nn.functional.pixel_shuffle: every result is copied, hence exact."""

    name = "pixel_shuffle"
    module: ClassVar[type[torch.nn.Module]] = torch.nn.PixelShuffle
    signature = ("input",)
    arguments: ClassVar[tuple[str, ...]] = ("upscale_factor",)
    dtypes = (*FLOATS, *COMPLEX, *INTEGERS, "bool")
    linear = frozenset(signature)
    signed_zeros = True

    def draw_case(self, draw: Drawing) -> Case:
        number = draw.size(self.arguments[0], 1, 4)
        leading = draw.batch()
        if leading and draw.supports.further_axes and draw.integer(0, 4) == 4:
            leading = (*leading, draw.integer(1, 2))
        shape = self.grown((*leading, *(draw.integer(1, 4) for _ in range(3))), number)
        case = self.complete(draw, {"input": shape}, {self.arguments[0]: number})
        if len(shape) == 5:  # of which torch takes no volumes that are channels_last
            case = case.arranged("input", "contiguous")
            case = replace(case, grad_output=replace(case.grad_output, layout="contiguous"))
        # Torch 2.14 gives nothing but the shape of the input to what it makes of an empty one.
        return replace(case, wanted=(), order=1) if 0 in shape else case

    def grown(self, shape: tuple[int, ...], number: int) -> tuple[int, ...]:
        """Return the shape of an input for one of the smaller images."""
        *leading, channels, height, width = shape
        return (*leading, channels * number**2, height, width)

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        name, shape = self.arguments[0], case.shapes["input"]
        bad: tuple[Any, ...] = (0, -1, 2.0, "two", 2**62)
        odd = case.reshaped("input", (7, 7, 7)).changed(**{name: 2})
        return [*(case.changed(**{name: each}) for each in bad), case.reshaped("input", shape[-2:]), odd]


class PixelUnshuffle(PixelShuffle):
    """torch.nn.functional.pixel_unshuffle: the inverse."""

    name = "pixel_unshuffle"
    module = torch.nn.PixelUnshuffle
    arguments = ("downscale_factor",)

    def draw_case(self, draw: Drawing) -> Case:
        """Draw a call; of nothing torch 2.14 returns the input's own shape."""
        return super().draw_case(draw.claiming(empty=False))

    def grown(self, shape: tuple[int, ...], number: int) -> tuple[int, ...]:
        *leading, height, width = shape
        return (*leading, height * number, width * number)


class ChannelShuffle(Picking):
    """torch.nn.functional.channel_shuffle: every result is copied, hence exact."""

    name = "channel_shuffle"
    module = torch.nn.ChannelShuffle
    signature = ("input",)
    arguments = ("groups",)
    dtypes = (*FLOATS, *COMPLEX, *INTEGERS, "bool")
    linear = frozenset(signature)
    signed_zeros = True

    def unbatched(self, case: Case) -> bool:
        return False

    def draw_case(self, draw: Drawing) -> Case:
        groups = draw.size("groups", 1, 4)
        samples, *sizes = draw.claiming(unbatched=False).shape(3, 5, 4)
        axes = [*sizes, 1, 1][: max(2, len(sizes))]
        shape = (samples, axes[0] * groups, *axes[1:])
        case = self.complete(draw, {"input": shape}, {"groups": groups})
        return case if shape[1] else replace(case, wanted=(), order=1)  # which torch 2.14 refuses

    def invalid_changes(self, draw: Drawing, case: Case) -> list[Case]:
        bad: tuple[Any, ...] = (0, -1, 2.0, "two", 99)
        return [*(case.changed(groups=each) for each in bad), case.reshaped("input", (4, 4))]


OPERATORS = (PixelShuffle(), PixelUnshuffle(), ChannelShuffle())
