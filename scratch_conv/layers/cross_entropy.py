"""The loss of a classifier."""

import numpy as np

from scratch_conv import kernels
from scratch_conv.kernels.windows import Array
from scratch_conv.layers.expecting import expect_array

__all__ = ["SoftmaxCrossEntropy"]


class SoftmaxCrossEntropy:
    """Softmax and cross-entropy as one function: minus the mean log-probability of the right classes.

        loss = -1/N · Σ_n log p[n, label[n]],    p = softmax(scores)
        dscores[n, k] = (p[n, k] - [k = label[n]]) / N

    As one function it is numerically stable: the log-softmax needs neither a quotient nor the logarithm of
    zero, and the gradient is a difference of two probabilities.

    Shapes: scores (N, K), labels (N,) of integers 0 to K - 1, the loss ().
    """

    log_p: Array | None = None

    def forward(self, scores: Array, labels: Array) -> Array:
        """Return the mean loss of a batch.

        Raises:
            TypeError: scores are not an array of floats, or labels not an array of integers.
            ValueError: there is not one label for each row of scores.
            IndexError: a label is not among the classes.
        """
        expect_array(self, "scores", scores)
        expect_array(self, "labels", labels, of="integers")
        if scores.ndim != 2 or labels.shape != scores.shape[:1]:
            shapes = f"{scores.shape} and {labels.shape}"
            hint = "; of one-hot rows: labels.argmax(axis=1)" * (labels.shape == scores.shape)
            raise ValueError(f"expected scores (N, K) and labels (N,), got shapes {shapes}{hint}")
        self.right = _one_hot(labels, scores.shape[1])
        self.log_p = kernels.log_softmax(scores[:, :, None])[:, :, 0]
        with np.errstate(invalid="ignore"):  # the mean of no losses is NaN
            return -self.log_p[self.right].sum() / scores.dtype.type(len(scores))

    def __call__(self, scores: Array, labels: Array) -> Array:
        """Return the mean loss of a batch: the same as `forward`."""
        return self.forward(scores, labels)

    def backward(self, dy: float | Array = 1.0) -> Array:
        """Return the gradient with respect to the scores (N, K).

        Args:
            dy: the gradient with respect to the loss.

        Raises:
            RuntimeError: there was no forward pass.
        """
        if self.log_p is None:
            raise RuntimeError(f"{self!r}: backward before forward")
        count = max(1, len(self.log_p))
        return (np.exp(self.log_p) - self.right) * (np.asarray(dy, self.log_p.dtype) / count)

    def __repr__(self) -> str:
        return "SoftmaxCrossEntropy()"


def _one_hot(labels: Array, classes: int) -> Array:
    """Return where each row's right class is, (N, K) of bool."""
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        raise IndexError(f"label {labels[outside][0]} is not among the {classes} classes, 0 to {classes - 1}")
    right: Array = labels[:, None] == np.arange(classes)
    return right
