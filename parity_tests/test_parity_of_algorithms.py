"""Each algorithm for convolutions against torch, on configurations that it accepts.

Winograd's has a bound of its own: see kernels/test_winograd.py.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings

import scratch_conv as sc
from scratch_conv import kernels
from scratch_conv.kernels.convolution import choosing
from scratch_conv.kernels.convolution.shapes import Algorithm, Shapes
from scratch_conv.parity import Case, Supports, assert_parity, cases

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "conv1d": sc.functional.conv1d,
    "conv2d": sc.functional.conv2d,
    "conv_transpose2d": sc.functional.conv_transpose2d,
}


def as_drawn(case: Case) -> Case:
    """Return the case itself."""
    return case


def depthwise(case: Case) -> Case:
    """Return the case with a filter of its own for each channel."""
    tensors = case.tensors
    _, _, *kernel_size = tensors["weight"].shape
    channels = tensors["input"].shape[-1 - len(kernel_size)]
    changed = case.changed(groups=channels).reshaped("weight", (channels, 1, *kernel_size))
    return changed.reshaped("bias", (channels,)) if "bias" in tensors else changed


def pointwise(case: Case) -> Case:
    """Return the case with a single tap, which meets all pixels and no padding."""
    outs, channels, *kernel_size = case.tensors["weight"].shape
    unpadded = {name: 0 for name in ("padding", "output_padding") if name in case.keywords}
    return case.changed(**unpadded).reshaped("weight", (outs, channels, *[1] * len(kernel_size)))


class Accepted(NamedTuple):
    """Cases that an algorithm accepts: a change of what is drawn, and arguments that keep their default."""

    algorithm: str
    changed: Callable[[Case], Case] = as_drawn
    without: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.algorithm}-{self.changed.__name__}"


ACCEPTED = [
    Accepted("im2col"),
    Accepted("im2col", pointwise, frozenset({"stride"})),
    Accepted("im2col", depthwise),
    Accepted("mec"),
    Accepted("mec", depthwise),
    Accepted("kn2row", without=frozenset({"stride"})),
    Accepted("banded", depthwise, frozenset({"stride", "dilation"})),
]


@pytest.mark.parametrize("accepted", ACCEPTED, ids=str)
@pytest.mark.parametrize("like", FUNCTIONS)
def test_every_algorithm_gives_torch_values_and_derivatives(
    like: str, accepted: Accepted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the rules would choose; and it is the one that computes all of them."""
    forced, computed = choosing.ALGORITHMS[accepted.algorithm], list[Algorithm]()
    supports = Supports(second_derivatives=True, without=accepted.without)
    choose = choosing._algorithm

    def noted(shapes: Shapes, *operands: Any, backwards: bool = False) -> Algorithm:
        chosen = choose(shapes, *operands, backwards=backwards)
        if 0 not in shapes[:3]:  # else there is nothing to compute
            computed.append(chosen)
        return chosen

    monkeypatch.setattr(choosing, "_algorithm", noted)

    @given(case=cases(like, supports).map(accepted.changed))
    def compare(case: Case) -> None:
        assert_parity(FUNCTIONS[like], case, supports)

    with kernels.convolution_algorithm(accepted.algorithm):
        compare()
    assert len(computed) >= settings().max_examples * 2 // 3  # of the others, nothing is computed
    assert all(each is forced for each in computed)
