"""How far a convolution by FFT or by Winograd's algorithm may lie from the true one: bounds by norm.

Such an algorithm mixes all pixels of an image, or of a tile, before it sums: what it rounds is small beside
the norms of image and kernel, not beside each result.

FFT. A transform of N points in floating point errs by at most ε = t η / (1 - t η) of its 2-norm, with t =
log2 N, η = u + γ_4 (√2 + u) (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., Theorem 24.2,
weights rounded to nearest). Two are multiplied, C products are summed, one is transformed back. By Cauchy's
and Young's inequalities the sum's norm is at most Σ ‖x‖₂ ‖w‖₁ over the C pairs of channels, so that

    |computed - exact| <= ((1 + ε)³ (1 + γ_(C+4)) - 1) Σ ‖x‖₂ ‖w‖₁.

Winograd's F(4, 3) along each axis of three taps, y = Aᵀ [(G w) ⊙ (Bᵀ x)], at the points 0, ±1, ±2 and ∞
(Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016), and its gradients by the transposed
matrices. Each summand goes through k = 3 + 4 + 5 roundings an axis at most, one product and C + 4 additions
(tiles overlap in a gradient); with the absolute values of all matrices (Higham, section 3.1),

    |computed - exact| <= γ_(k+C+5) κ Σ ‖x‖_∞ ‖w‖₁,      κ = max_j Σ_k |A_kj| Σ_l |B_lk| max_i |G_ki| an axis.

For a gradient the norms are those of the two that it is made of, that of the incoming gradient ‖g‖₁.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.operators.calling import Call, Values, run
from scratch_conv.parity.operators.rounding import accumulator_of, relative, unit_roundoff

WINOGRAD_INPUT = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float64,
)
"""Bᵀ of F(4, 3): (points, pixels)."""

WINOGRAD_KERNEL = (
    torch.tensor(
        [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], dtype=torch.float64
    )
    / 24
)
"""G of F(4, 3): (points, taps)."""

WINOGRAD_OUTPUT = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], dtype=torch.float64
)
"""Aᵀ of F(4, 3): (results, points)."""

_INPUT, _KERNEL, _OUTPUT = WINOGRAD_INPUT.abs(), WINOGRAD_KERNEL.abs(), WINOGRAD_OUTPUT.abs().T
_ROUNDINGS = 3 + 4 + 5


def _amplification(result: Tensor, image: Tensor, kernel: Tensor) -> float:
    """Return κ of one axis, from the matrices of result, image and kernel, each (points, sizes)."""
    return float((result.T @ (image.sum(1) * kernel.amax(1))).max())


_AMPLIFICATIONS = {
    "output": _amplification(_OUTPUT, _INPUT, _KERNEL),
    "grad_input": _amplification(_INPUT, _OUTPUT, _KERNEL),
    "grad_weight": _amplification(_KERNEL, _INPUT, _OUTPUT),
}


def normwise(reference: Call, signature: tuple[str, ...], case: Case, values: Values) -> dict[str, Tensor]:
    """Return the bounds of a convolution's results, one for each plane of a result: broadcast to it.

    Args:
        reference: the convolution.
        signature: the names of its tensors.
        case: the call.
        values: its tensors in float64.
    """
    kernel = case.shapes["weight"][2:]
    u = unit_roundoff(accumulator_of(case.torch_dtype))
    terms = max(case.shapes["weight"][:2]) * max(1, *case.shapes["input"][: -len(kernel)])
    bounds = {}
    by_energy = _of_norms(reference, signature, case, values, lambda x, axes: x.norm(dim=axes, keepdim=True))
    factor = _fft_factor(case, terms, u)
    for name, size in by_energy.items():
        bounds[name] = factor * size
    if all(taps == 3 for taps in kernel):
        largest = _of_norms(reference, signature, case, values, lambda x, axes: x.amax(axes, keepdim=True))
        roundings = relative(len(kernel) * _ROUNDINGS + terms + 5, u)
        for name, size in largest.items():
            kappa = _AMPLIFICATIONS.get(name, max(_AMPLIFICATIONS.values())) ** len(kernel)
            bounds[name] = torch.maximum(bounds[name], roundings * kappa * size)
    return bounds


def _fft_factor(case: Case, terms: int, u: float) -> float:
    """Return the factor of the norms for transforms as long as image, padding and kernel together."""
    given = case.keywords
    points = 0.0
    for axis, taps in enumerate(reversed(case.shapes["weight"][2:]), 1):
        numbers = [given.get(name, 1) for name in ("padding", "dilation", "stride")]
        padding, dilation, stride = (
            each[-axis] if isinstance(each, tuple) and len(each) >= axis else each for each in numbers
        )
        padding = taps * dilation if isinstance(padding, str) else padding
        length = stride * case.shapes["input"][-axis] + 2 * padding + dilation * taps + stride
        points += math.ceil(math.log2(length))
    eta = u + relative(4, u) * (math.sqrt(2) + u)
    epsilon = points * eta / (1 - points * eta)
    return (1 + epsilon) ** 3 * (1 + relative(terms + 4, u)) - 1


def _of_norms(
    reference: Call,
    signature: tuple[str, ...],
    case: Case,
    values: Values,
    norm: Callable[[Tensor, tuple[int, ...]], Tensor],
) -> dict[str, Tensor]:
    """Return the results of the convolution of norms, each image by one pixel and each kernel by one tap."""
    axes = tuple(range(-(len(case.shapes["weight"]) - 2), 0))

    def sized(name: str, tensor: Tensor) -> Tensor:
        if name == "bias":
            return tensor.abs()
        tensor = tensor.abs().nan_to_num(0.0, 0.0)
        if not tensor.numel():
            return tensor.sum(axes, keepdim=True)
        return norm(tensor, axes) if name == "input" else tensor.sum(axes, keepdim=True)

    incoming = None if values.grad_output is None else sized("grad_output", values.grad_output)
    directions = {name: sized(name, tensor) for name, tensor in values.directions.items()}
    norms = Values(
        {name: sized(name, tensor) for name, tensor in values.tensors.items()}, incoming, directions
    )
    plain = replace(case, arguments=tuple((n, v) for n, v in case.arguments if n == "groups"))
    return run(reference, plain, norms, signature).results
