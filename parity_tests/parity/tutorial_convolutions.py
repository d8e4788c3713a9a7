"""A convolution in NumPy as tutorials write it, and what becomes of it: other forms, and mistakes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Tutorial:
    """A convolution by im2col with one number for each argument, W, b, dW and db."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0
    ):
        self.W: NDArray[Any] = np.ones((out_channels, in_channels, kernel_size, kernel_size))
        self.b: NDArray[Any] = np.ones((out_channels, 1))
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def windows(self, height: int, width: int) -> Any:
        """Return rows and columns of each tap."""
        for i in range(self.kernel_size):
            for j in range(self.kernel_size):
                rows, columns = (
                    slice(tap, tap + self.stride * size, self.stride)
                    for tap, size in ((i, height), (j, width))
                )
                yield i, j, rows, columns

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the output."""
        p = self.padding
        self.x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        height, width = ((n - self.kernel_size) // self.stride + 1 for n in self.x.shape[2:])
        output = np.zeros((len(x), len(self.W), height, width), x.dtype)
        for i, j, rows, columns in self.windows(height, width):
            output += np.einsum("nchw,oc->nohw", self.x[:, :, rows, columns], self.W[:, :, i, j])
        return output + self.b[:, :, None]

    def backward(self, dout: NDArray[Any]) -> Any:
        """Return dx and keep dW and db."""
        self.dW, dx = np.zeros_like(self.W), np.zeros_like(self.x)
        self.db = dout.sum((0, 2, 3))[:, None]
        for i, j, rows, columns in self.windows(*dout.shape[2:]):
            self.dW[:, :, i, j] = np.einsum("nohw,nchw->oc", dout, self.x[:, :, rows, columns])
            dx[:, :, rows, columns] += np.einsum("nohw,oc->nchw", dout, self.W[:, :, i, j])
        p, (height, width) = self.padding, dx.shape[2:]
        return dx[:, :, p : height - p, p : width - p]


class Returning(Tutorial):
    """Returns all gradients at once."""

    def backward(self, dout: NDArray[Any]) -> Any:
        """Return (dx, dW, db)."""
        return super().backward(dout), self.__dict__.pop("dW"), self.__dict__.pop("db")


class WithoutBias(Tutorial):
    """Forgets the bias in the forward pass."""

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the output without the bias."""
        return super().forward(x) - self.b[:, :, None]


class Averaging(Tutorial):
    """Averages the gradient of the bias over the batch."""

    def backward(self, dout: NDArray[Any]) -> Any:
        """Return dx."""
        dx = super().backward(dout)
        self.db = self.db / len(dout)
        return dx


class ReturningWrong(Returning):
    """Returns twice the gradient of the weight."""

    def backward(self, dout: NDArray[Any]) -> Any:
        """Return (dx, 2 dW, db)."""
        dx, dweight, dbias = super().backward(dout)
        return dx, 2 * dweight, dbias


class KeepingTheBatch(Tutorial):
    """Sums the gradient of the bias over the pixels only."""

    def backward(self, dout: NDArray[Any]) -> Any:
        """Return dx."""
        dx = super().backward(dout)
        self.db = dout.sum((2, 3))
        return dx


class KeepingTheBatchOfTaps(Tutorial):
    """Leaves the batch axis in the gradient of the weight."""

    def backward(self, dout: NDArray[Any]) -> Any:
        """Return dx."""
        dx = super().backward(dout)
        self.dW = np.stack([self.dW / 2, self.dW / 2])
        return dx


class KeepingTwo(Tutorial):
    """Returns dx in two halves."""

    def backward(self, dout: NDArray[Any]) -> Any:
        """Return dx with an axis in front."""
        dx = super().backward(dout)
        return np.stack([dx / 2, dx / 2])


class CuttingAll(Tutorial):
    """Cuts the padding off with dx[p:-p], which leaves nothing where there is none."""

    def backward(self, dout: NDArray[Any]) -> Any:
        """Return dx."""
        self.padding, p = 0, self.padding
        dx = super().backward(dout)
        self.padding = p
        return dx[:, :, p:-p, p:-p]


class WideBias(Tutorial):
    """Sums the gradient of the bias in double precision."""

    def backward(self, dout: NDArray[Any]) -> Any:
        """Return dx."""
        dx = super().backward(dout)
        self.db = self.db.astype(np.float64)
        return dx


class AddingUp(Tutorial):
    """Adds the gradient of the weight to that of the call before."""

    def backward(self, dout: NDArray[Any]) -> Any:
        """Return dx."""
        before = self.__dict__.get("dW", 0)
        dx = super().backward(dout)
        self.dW = before + self.dW
        return dx


class ClearedByZeroGrad(AddingUp):
    """Adds gradients up until it is told not to."""

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.__dict__.pop("dW", None)


class Descending(Tutorial):
    """Takes a step of gradient descent in the backward pass."""

    def backward(self, dout: NDArray[Any]) -> Any:
        """Return dx."""
        dx = super().backward(dout)
        self.W -= self.dW
        return dx


class Creeping(Tutorial):
    """Adds to its bias after use."""

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the output."""
        output = super().forward(x)
        self.b = self.b + 1
        return output


class UsableOnce(Tutorial):
    """Raises when it is called again."""

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the output."""
        if hasattr(self, "x"):
            raise RuntimeError("used up")
        return super().forward(x)


class WithCache(Tutorial):
    """Returns what the backward pass needs beside the output."""

    def forward(self, x: NDArray[Any]) -> Any:
        """Return the output and the input."""
        return super().forward(x), x


class ChannelsLastKernel(Tutorial):
    """Keeps its weight as (height, width, in, out)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size)
        self.W = np.ones((kernel_size, kernel_size, in_channels, out_channels))


class OnlyForward:
    """Has no backward, and its parameters in a dictionary."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0
    ):
        self.layer = Tutorial(in_channels, out_channels, kernel_size, stride, padding)
        self.params = {"W": self.layer.W, "b": self.layer.b}

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the output."""
        self.layer.W, self.layer.b = self.params["W"], self.params["b"]
        return self.layer.forward(x)


class Doubled(OnlyForward):
    """Returns twice the output."""

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return twice the output."""
        return 2 * super().forward(x)


class Nameless(Tutorial):
    """Calls its weight by a name that nobody knows."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size)
        del self.W


class Forgetting(Tutorial):
    """Keeps no gradient of its parameters."""

    def backward(self, dout: NDArray[Any]) -> Any:
        """Return dx alone."""
        dx = super().backward(dout)
        del self.dW, self.db
        return dx


class InDoublePrecision(Tutorial):
    """Sums up in what np.zeros gives."""

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the output in double precision."""
        return np.zeros(1) + super().forward(x)
