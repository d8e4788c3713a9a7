"""Layers and functions as users write them, right, wrong, or not to be called."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


class RightAtFirst(torch.nn.Conv2d):
    """Counts its calls, and is off by one from the second one on."""

    calls = 0

    def forward(self, input: Tensor) -> Tensor:
        """Return the output."""
        self.calls += 1
        return super().forward(input) + (self.calls > 1)


class Replacing(torch.nn.Linear):
    """Puts other numbers behind its weight after use."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the output."""
        output = super().forward(input)
        self.weight.data = self.weight.data + 1
        return output


class Normalization:
    """Batch normalisation with gamma, beta and running statistics; its update of the mean is wrong."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        self.gamma, self.beta = np.ones(num_features), np.zeros(num_features)
        self.running_mean: NDArray[Any] = np.zeros(num_features)
        self.running_var: NDArray[Any] = np.ones(num_features)
        self.eps, self.momentum = eps, momentum

    def forward(self, x: NDArray[Any], training: bool = True) -> NDArray[Any]:
        """Return the output."""
        mean, variance = self.running_mean, self.running_var
        if training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
            count = x.size // x.shape[1]
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            unbiased = variance * x.dtype.type(count / (count - 1))
            self.running_var = self.running_var + self.momentum * (unbiased - self.running_var)
        scale = self.gamma / np.sqrt(variance + self.eps)
        return (x - mean[:, None, None]) * scale[:, None, None] + self.beta[:, None, None]


class Wrapping(torch.nn.Module):
    """Holds a torch layer inside, which is off by one."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1) -> None:
        super().__init__()
        self.inner = torch.nn.Conv2d(in_channels, out_channels, kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output and one."""
        return self.inner(x) + 1


def in_float32(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply in single precision."""
    narrow = [None if each is None else each.float() for each in (input, weight, bias)]
    return F.linear(narrow[0], narrow[1], narrow[2]).to(input.dtype)  # type: ignore[arg-type]


def refusing(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Refuse groups, by an exception that does not say that they are not claimed."""
    if "groups" in arguments:
        raise ValueError
    return F.conv2d(input, weight, bias, **arguments)


class Foreign:
    """Takes arguments of its own."""

    def __init__(self, strength: int) -> None:
        self.strength = strength

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return x."""
        return x


def both(input: Tensor, **arguments: Any) -> Any:
    """Pool; return the indices without being asked."""
    return F.max_pool2d(input, **{**arguments, "return_indices": True})


def listed(input: Tensor, **arguments: Any) -> Any:
    """Pool; return a list of output and indices."""
    result = F.max_pool2d(input, **arguments)
    return list(result) if arguments.get("return_indices") else result


class PlainReLU(torch.nn.Module):
    """Has no constructor of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the positive part."""
        return x.relu()


class LastSoftmax:
    """A softmax over the last axis, whatever it is asked for."""

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the softmax."""
        powers = np.exp(x - x.max(-1, keepdims=True))
        self.p = np.asarray(powers / powers.sum(-1, keepdims=True))
        return self.p

    def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
        """Return dx."""
        return np.asarray(self.p * (dy - (self.p * dy).sum(-1, keepdims=True)))


class Loss(torch.nn.Module):
    """A cross-entropy without a constructor."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the mean loss."""
        return F.cross_entropy(x, t)


class LossOfIndices:
    """The mean cross-entropy of rows of logits and class indices."""

    def forward(self, x: NDArray[Any], t: NDArray[Any]) -> Any:
        """Return the loss."""
        shifted = x - x.max(1, keepdims=True)
        self.log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        self.rows = np.arange(len(t)), t
        return -self.log_p[self.rows].mean(dtype=x.dtype)

    def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
        """Return dx."""
        dx = np.exp(self.log_p)
        dx[self.rows] -= 1
        return np.asarray(dx * dy / dx.dtype.type(len(dx)))


class Pool:
    """An average pooling that has to be told its stride."""

    def __init__(self, kernel_size: int, stride: int) -> None:
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the means."""
        k, s = self.kernel_size, self.stride
        windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))[:, :, ::s, ::s]
        return windows.mean((-2, -1), dtype=x.dtype)


class Flat:
    """Flattens all but the batch."""

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the rows."""
        self.shape = x.shape
        return x.reshape(len(x), int(np.prod(x.shape[1:])))

    def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
        """Return dx."""
        return dy.reshape(self.shape)


def softmax_of_rows(input: Tensor) -> Tensor:
    """Return the softmax over the last axis."""
    return input.softmax(-1)


def told_all(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: Any, padding: Any
) -> Tensor:
    """Convolve; stride and padding have to be given."""
    return F.conv2d(input, weight, bias, stride, padding)


class Dense:
    """Multiplies rows by W of shape (in, out)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        self.W, self.b = np.ones((in_features, out_features)), np.zeros((1, out_features))

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the output."""
        self.x = x
        return np.asarray(x @ self.W + self.b)

    def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
        """Return dx."""
        rows, columns = (each.reshape(-1, each.shape[-1]) for each in (self.x, dy))
        self.dW, self.db = rows.T @ columns, columns.sum(0, keepdims=True)
        return np.asarray(dy @ self.W.T)


class WithRowsGradient(Dense):
    """Returns the gradient of the weight as torch has it, transposed to its own weight."""

    def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
        """Return dx."""
        dx = super().backward(dy)
        self.dW = self.dW.T
        return dx


class Tripled(Dense):
    """Returns three times the gradient of the weight."""

    def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
        """Return dx."""
        dx = super().backward(dy)
        self.dW = 3 * self.dW
        return dx


class Rows(Dense):
    """Takes rows only."""

    def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
        """Return dx."""
        self.dW, self.db = self.x.T @ dy, dy.sum(0)
        return np.asarray(dy @ self.W.T)


class HandingOn(torch.nn.Module):
    """Hands all keywords on to torch's layer."""

    def __init__(self, num_features: int, **keywords: Any) -> None:
        super().__init__()
        self.inner = torch.nn.BatchNorm2d(num_features, **keywords)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output."""
        return self.inner(x)


class Swallowing(torch.nn.Module):
    """Hands on keywords that are not taken."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.inner = torch.nn.Conv2d(in_channels, out_channels, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output."""
        return self.inner(x)


def in_numpy(input: Any, weight: Any, bias: Any = None) -> Any:
    """Multiply arrays; tensors have no such method."""
    return input.dot_product(weight)


def of_axis(input: Tensor, along: int) -> Tensor:
    """Take a softmax by a keyword that torch has not."""
    return input.softmax(along)
