"""The negative log-likelihood of classes: what cross-entropy adds to log-softmax.

    loss[a, b] = -(1 - ε) · w[t] · l[a, t, b] - ε / K · Σ_k w[k] · l[a, k, b],     t = target[a, b]

and 0 where t is the class to ignore. It is linear in the logarithms l; its gradient is its transpose.
ε is the label smoothing (Szegedy et al., Rethinking the Inception architecture, 2016, section 7).

Shapes: logarithms l (A, K, B), targets and losses (A, B), weights w (1, K), or (A, K): a row for each a.
"""

from typing import NamedTuple

import numpy as np

from scratch_conv.kernels.sums import column_sums
from scratch_conv.kernels.windows import Array, axis_blocks

__all__ = ["Classes", "nll", "nll_grad", "quotient", "smooth_labels", "total_weight"]


_CLASSES = 2**10
"""The most terms that are added one after the other, as in `sums`."""


class Classes(NamedTuple):
    """The target classes (A, B), each one of `number`, their weights, and the class that is ignored."""

    target: Array
    number: int
    weight: Array | None
    ignored: int

    def kept(self) -> Array:
        """Return where the target is not the ignored class.

        Raises:
            IndexError: A target is neither the ignored class nor one of the classes.
        """
        kept: Array = self.target != self.ignored
        outside = kept & ((self.target < 0) | (self.target >= self.number))
        if outside.any():
            raise IndexError(
                f"Target {self.target[outside][0]} is out of bounds: expected 0 to {self.number - 1}"
            )
        return kept

    def weights(self, dtype: np.dtype[np.generic]) -> Array:
        """Return the weight (A, B) of each target, 0 for the ignored class."""
        kept = self.kept()
        if self.weight is None or not self.number:
            return kept.astype(dtype)
        all_weights = np.broadcast_to(self.weight, (len(self.target), self.number))
        picked = np.take_along_axis(all_weights, np.where(kept, self.target, 0), axis=1)
        return np.where(kept, picked, dtype.type(0))


def nll(logarithms: Array, classes: Classes, smoothing: float) -> Array:
    """Return the negative log-likelihood (A, B) of the targets."""
    kept, dtype = classes.kept(), logarithms.dtype
    if not classes.number:
        return np.zeros(kept.shape, dtype=dtype)
    index = np.where(kept, classes.target, 0)
    with np.errstate(all="ignore"):
        picked = np.take_along_axis(logarithms, index[:, None], axis=1)[:, 0]
        losses = picked * classes.weights(dtype) * dtype.type(smoothing - 1)
        if smoothing > 0:
            losses -= _sum(logarithms, classes.weight) * dtype.type(smoothing / classes.number)
    return np.where(kept, losses, dtype.type(0))


def _sum(logarithms: Array, weight: Array | None) -> Array:
    """Return the weighted sums (A, B) over the classes."""
    if weight is None:
        return column_sums(logarithms)
    blocks = axis_blocks(logarithms.shape[1], 1, _CLASSES)
    parts = [np.einsum("akb,ak->ab", logarithms[:, block], weight[:, block]) for block in blocks]
    return parts[0] if len(parts) == 1 else column_sums(np.stack(parts, axis=1))


def nll_grad(grad_output: Array, classes: Classes, smoothing: float) -> Array:
    """Return the gradient with respect to the logarithms (A, K, B)."""
    kept, dtype = classes.kept(), grad_output.dtype
    outer, inner = kept.shape
    grad_input = np.zeros((outer, classes.number, inner), dtype=dtype)
    if not grad_input.size:
        return grad_input
    with np.errstate(all="ignore"):
        grads = np.where(kept, grad_output, dtype.type(0))
        if smoothing > 0:
            weight = dtype.type(1) if classes.weight is None else classes.weight[:, :, None]
            np.multiply(dtype.type(-smoothing / classes.number) * grads[:, None], weight, out=grad_input)
        index = np.where(kept, classes.target, 0)[:, None]
        at_target = np.take_along_axis(grad_input, index, axis=1)
        at_target += (grads * classes.weights(dtype) * dtype.type(smoothing - 1))[:, None]
        np.put_along_axis(grad_input, index, at_target, axis=1)
    return grad_input


def total_weight(classes: Classes, dtype: np.dtype[np.generic]) -> Array:
    """Return Σ w[target] over all targets, (1, 1): what a mean divides the sum by."""
    return classes.weights(dtype).sum(keepdims=True)


def quotient(values: Array, divisors: Array) -> Array:
    """Return values / divisors, which is linear in the values and its own transpose.

    A product with 1 / divisor would overflow where the divisor is tiny.
    """
    with np.errstate(all="ignore"):
        return np.divide(values, divisors)


def smooth_labels(probabilities: Array, smoothing: float) -> Array:
    """Return the mix of probabilities (A, K, B) with the uniform distribution: (1 - ε) · q + ε / K."""
    mixed = probabilities * probabilities.dtype.type(1 - smoothing)
    mixed += probabilities.dtype.type(smoothing / max(1, probabilities.shape[1]))
    return mixed
