"""Each algorithm for convolutions against torch, on configurations that it accepts.

Winograd's has a bound of its own: see kernels/test_winograd.py.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given

import scratch_conv as sc
from scratch_conv import kernels
from scratch_conv.kernels.convolution import choosing
from scratch_conv.kernels.convolution.shapes import Algorithm
from scratch_conv.parity import Case, Supports, assert_parity, cases

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "conv1d": sc.functional.conv1d,
    "conv2d": sc.functional.conv2d,
    "conv_transpose2d": sc.functional.conv_transpose2d,
}


class Accepted(NamedTuple):
    """The cases that an algorithm accepts: claims, and a change of what is drawn."""

    without: frozenset[str] = frozenset()
    changed: Callable[[Case], Case] = lambda case: case


def depthwise(case: Case) -> Case:
    """Return the case with a filter of its own for each channel."""
    tensors = case.tensors
    _, _, *kernel_size = tensors["weight"].shape
    channels = tensors["input"].shape[-1 - len(kernel_size)]
    changed = case.changed(groups=channels).reshaped("weight", (channels, 1, *kernel_size))
    return changed.reshaped("bias", (channels,)) if "bias" in tensors else changed


ACCEPTED = {
    "im2col": Accepted(),
    "mec": Accepted(),
    "banded": Accepted(frozenset({"stride", "dilation"}), depthwise),
}


@pytest.mark.parametrize("algorithm", ACCEPTED)
@pytest.mark.parametrize("like", FUNCTIONS)
def test_every_algorithm_gives_torch_values_and_derivatives(
    like: str, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the rules would choose; and it is the one that computes all of them."""
    accepted, forced, computed = ACCEPTED[algorithm], choosing.ALGORITHMS[algorithm], list[Algorithm]()
    supports = Supports(second_derivatives=True, without=accepted.without)
    choose = choosing._algorithm

    def noted(*arguments: Any) -> Algorithm:
        computed.append(choose(*arguments))
        return computed[-1]

    monkeypatch.setattr(choosing, "_algorithm", noted)

    @given(case=cases(like, supports).map(accepted.changed))
    def compare(case: Case) -> None:
        assert_parity(FUNCTIONS[like], case, supports)

    with kernels.convolution_algorithm(algorithm):
        compare()
    assert len(computed) >= 100
    assert all(each is forced for each in computed)
