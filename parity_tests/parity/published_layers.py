"""Layers and functions in the forms in which people publish them, all right but where they say so."""

import functools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Arrays = NDArray[Any]


def windows(x: Arrays, size: Any, stride: int, axes: tuple[int, int]) -> Arrays:
    """Return the windows of images, by default the last two axes."""
    view = np.lib.stride_tricks.sliding_window_view(x, size, axes)
    steps = [slice(None)] * x.ndim
    for axis in axes:
        steps[axis] = slice(None, None, stride)
    return np.asarray(view[tuple(steps)])


class OfArrays:
    """Is constructed from its parameters."""

    def __init__(self, W: Arrays, b: Arrays, stride: int = 1, pad: int = 0) -> None:  # noqa: N803
        self.W, self.b, self.stride, self.pad = W, b, stride, pad

    def forward(self, x: Arrays) -> Arrays:
        """Return the output."""
        p = self.pad
        seen = windows(np.pad(x, ((0, 0), (0, 0), (p, p), (p, p))), self.W.shape[2:], self.stride, (2, 3))
        return np.asarray(np.einsum("nchwij,ocij->nohw", seen, self.W) + self.b[:, None, None])


class Stepping:
    """Takes a step in its backward pass, and has other names for everything."""

    def __init__(self, num_inputs: int, units: int) -> None:
        self.kernel, self.offset = np.ones((units, num_inputs)), np.zeros(units)

    def forward_pass(self, batch: Arrays) -> Arrays:
        """Return the output."""
        self.batch = batch
        return np.asarray(batch @ self.kernel.T + self.offset)

    def backward_pass(self, delta: Arrays, learning_rate: float) -> Arrays:
        """Return the gradient of the input, after a step."""
        before = delta @ self.kernel
        self.kernel -= learning_rate * delta.T @ self.batch
        self.offset = self.offset - learning_rate * delta.sum(0)
        return np.asarray(before)


class SteppingTwice(Stepping):
    """Takes a step of twice the gradient."""

    def backward_pass(self, delta: Arrays, learning_rate: float) -> Arrays:
        """Return the gradient of the input."""
        return super().backward_pass(delta, 2 * learning_rate)


class InOneDictionary:
    """Keeps values beside gradients."""

    def __init__(self, in_features: int, out_features: int) -> None:
        self.W: dict[str, Arrays] = {"val": np.ones((out_features, in_features))}
        self.b: dict[str, Arrays] = {"val": np.zeros(out_features)}

    def forward(self, x: Arrays) -> Arrays:
        """Return the output."""
        self.x = x
        return np.asarray(x @ self.W["val"].T + self.b["val"])

    def backward(self, dy: Arrays) -> Arrays:
        """Return dx."""
        self.W["grad"], self.b["grad"] = dy.T @ self.x, dy.sum(0)
        return np.asarray(dy @ self.W["val"])


class InLists:
    """Keeps parameters in one list and writes their gradients into another, again and again."""

    def __init__(self, in_features: int, out_features: int) -> None:
        self.params = [np.ones((out_features, in_features)), np.zeros(out_features)]
        self.grads = [np.zeros_like(each) for each in self.params]

    def forward(self, x: Arrays) -> Arrays:
        """Return the output."""
        self.x = x
        return np.asarray(x @ self.params[0].T + self.params[1])

    def backward(self, dy: Arrays) -> Arrays:
        """Return dx."""
        self.grads = [each.astype(dy.dtype, copy=False) for each in self.grads]
        self.grads[0][...], self.grads[1][...] = dy.T @ self.x, dy.sum(0)
        return np.asarray(dy @ self.params[0])


class ReturningADictionary(InLists):
    """Returns all gradients by name."""

    def backward(self, dy: Arrays) -> Any:
        """Return dx, dW and db."""
        dx = super().backward(dy)
        return {"dx": dx, "dW": self.grads[0].copy(), "db": self.grads[1].copy()}


class Parameter:
    """An array and its gradient."""

    def __init__(self, data: Arrays) -> None:
        self.data, self.grad = data, np.zeros_like(data)


class OfParameters:
    """Holds objects."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        self.weight, self.bias = Parameter(np.ones((out_dim, in_dim))), Parameter(np.zeros(out_dim))

    def forward(self, x: Arrays) -> Arrays:
        """Return the output."""
        self.x = x
        return np.asarray(x @ self.weight.data.T + self.bias.data)

    def backward(self, dy: Arrays) -> Arrays:
        """Return dx."""
        self.weight.grad, self.bias.grad = dy.T @ self.x, dy.sum(0)
        return np.asarray(dy @ self.weight.data)


class Outer:
    """Holds a layer that holds the parameters."""

    def __init__(self, in_features: int, out_features: int) -> None:
        self.linear = InOneDictionary(in_features, out_features)

    def forward(self, x: Arrays) -> Arrays:
        """Return the output."""
        return self.linear.forward(x)

    def backward(self, dy: Arrays) -> Arrays:
        """Return dx."""
        return self.linear.backward(dy)


class Late:
    """Makes its parameters in its first call."""

    def __init__(self, units: int) -> None:
        self.units = units
        self.params: dict[str, Arrays] = {}

    def __call__(self, x: Arrays) -> Arrays:
        """Return the output."""
        if not self.params:
            self.params = {"W": np.ones((x.shape[1], self.units)), "b": np.zeros(self.units)}
        return np.asarray(x @ self.params["W"] + self.params["b"])


class LastAxis:
    """Takes images with the channels at the end."""

    def __init__(self, filters: int, kernel_size: Any, strides: int = 1, padding: str = "valid") -> None:
        self.size = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        self.filters, self.strides = filters, strides

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Make the parameters."""
        self.kernel = np.ones((*self.size, input_shape[-1], self.filters))
        self.bias = np.zeros(self.filters)

    def call(self, x: Arrays) -> Arrays:
        """Return the output."""
        seen = windows(x, self.size, self.strides, (1, 2))
        return np.asarray(np.einsum("nhwcij,ijco->nhwo", seen, self.kernel) + self.bias)


class OneImage:
    """Takes one image without channels; keeps no gradient of it."""

    def __init__(self, num_filters: int) -> None:
        self.filters = np.ones((num_filters, 3, 3))

    def forward(self, image: Arrays) -> Arrays:
        """Return (height, width, filters)."""
        self.seen = windows(image, (3, 3), 1, (0, 1))
        return np.asarray(np.einsum("hwij,oij->hwo", self.seen, self.filters))

    def backprop(self, gradient: Arrays, learn_rate: float) -> None:
        """Take a step."""
        self.filters -= learn_rate * np.einsum("hwo,hwij->oij", gradient, self.seen)


class OfItsInputsShape:
    """Is told the size of its images."""

    def __init__(self, input_shape: tuple[int, int, int], kernel_size: int, depth: int) -> None:
        channels, height, width = input_shape
        self.kernels = np.ones((depth, channels, kernel_size, kernel_size))
        self.biases = np.zeros((depth, height - kernel_size + 1, width - kernel_size + 1))

    def forward(self, image: Arrays) -> Arrays:
        """Return the output of one image."""
        seen = windows(image, self.kernels.shape[2:], 1, (1, 2))
        return np.asarray(np.einsum("chwij,ocij->ohw", seen, self.kernels) + self.biases)


class OtherNames:
    """Calls everything in its own words."""

    def __init__(self, num_filters: int, filter_size: int, input_channels: int) -> None:
        self.filters = np.ones((num_filters, input_channels, filter_size, filter_size))
        self.offsets = np.zeros(num_filters)

    def forward_pass(self, images: Arrays) -> Arrays:
        """Return the output."""
        self.seen = windows(images, self.filters.shape[2:], 1, (2, 3))
        return np.einsum("nchwij,ocij->nohw", self.seen, self.filters) + self.offsets[:, None, None]

    def backward_pass(self, dy: Arrays) -> None:
        """Keep the gradients."""
        self.filters_slope = np.einsum("nohw,nchwij->ocij", dy, self.seen)
        self.offsets_slope = dy.sum((0, 2, 3))


class SmallEpsilon:
    """A batch norm with a small constant of its own, which weighs the old statistics by its momentum."""

    def __init__(self, num_features: int, momentum: float = 0.9) -> None:
        self.gamma, self.beta, self.momentum = np.ones(num_features), np.zeros(num_features), momentum
        self.running_mean, self.running_var = np.zeros(num_features), np.ones(num_features)

    def forward(self, x: Arrays, training: bool = True) -> Arrays:
        """Return the output."""
        axes = (0, 2, 3)
        mean, variance = self.running_mean, self.running_var
        if training:
            mean, variance = x.mean(axes), x.var(axes)
            count, kept = x.size / x.shape[1], self.momentum
            self.running_mean = kept * self.running_mean + (1 - kept) * mean
            self.running_var = kept * self.running_var + (1 - kept) * variance * count / (count - 1)
        shape = (1, -1, 1, 1)
        scaled = self.gamma / np.sqrt(variance + 1e-7)
        return np.asarray((x - mean.reshape(shape)) * scaled.reshape(shape) + self.beta.reshape(shape))


class ThreeByThree:
    """Says that it knows one size of kernel."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        if kernel_size != 3:
            raise NotImplementedError("3x3 only")
        self.weight = np.ones((out_channels, in_channels, 3, 3))

    def forward(self, x: Arrays) -> Arrays:
        """Return the output."""
        return np.asarray(np.einsum("nchwij,ocij->nohw", windows(x, (3, 3), 1, (2, 3)), self.weight))


def conv_forward(x: Arrays, w: Arrays, b: Arrays, conv_param: dict[str, int]) -> tuple[Arrays, Any]:
    """Return the output and what the backward needs."""
    stride, pad = conv_param["stride"], conv_param["pad"]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    seen = windows(padded, w.shape[2:], stride, (2, 3))
    out = np.einsum("nchwij,ocij->nohw", seen, w) + b[:, None, None]
    return out, (padded, seen, w, stride, pad)


def conv_backward(dout: Arrays, cache: Any) -> tuple[Arrays, Arrays, Arrays]:
    """Return dx, dw and db."""
    padded, seen, w, stride, pad = cache
    dx, (height, width) = np.zeros_like(padded), dout.shape[2:]
    for i, j in np.ndindex(*w.shape[2:]):
        rows, columns = (slice(tap, tap + stride * n, stride) for tap, n in ((i, height), (j, width)))
        dx[:, :, rows, columns] += np.einsum("nohw,oc->nchw", dout, w[:, :, i, j])
    inner = (slice(pad, size - pad) for size in padded.shape[2:])
    dw = np.einsum("nohw,nchwij->ocij", dout, seen)
    rows, columns = inner
    return dx[:, :, rows, columns], dw, dout.sum((0, 2, 3))


def conv_backward_averaged(dout: Arrays, cache: Any) -> tuple[Arrays, Arrays, Arrays]:
    """Return dw averaged over the batch, which is wrong."""
    dx, dw, db = conv_backward(dout, cache)
    return dx, dw / max(1, len(dout)), db


def batchnorm_forward(x: Arrays, gamma: Arrays, beta: Arrays, bn_param: dict[str, Any]) -> tuple[Arrays, Any]:
    """Normalise rows; the dictionary's momentum weighs the old statistics."""
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    if bn_param["mode"] == "train":
        mean, variance = x.mean(0), x.var(0)
        if "running_mean" in bn_param:
            unbiased = variance * len(x) / (len(x) - 1)
            bn_param["running_mean"] = momentum * bn_param["running_mean"] + (1 - momentum) * mean
            bn_param["running_var"] = momentum * bn_param["running_var"] + (1 - momentum) * unbiased
    else:
        mean, variance = bn_param["running_mean"], bn_param["running_var"]
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta, None


def rows_times(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Multiply rows by a matrix of shape (in, out)."""
    return x @ w + b


def convolved_on(input: Tensor, weight: Tensor) -> Tensor:
    """Convolve images with channels at the end, by a weight of (out, height, width, in)."""
    return F.conv2d(input.permute(0, 3, 1, 2), weight.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ByAxes(torch.nn.Module):
    """A convolution of any number of axes."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, ndim: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(out_channels, in_channels, *(kernel_size,) * ndim))
        self.bias = torch.nn.Parameter(torch.rand(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the output."""
        return F.conv2d(x, self.weight, self.bias)


OfTwoAxes = functools.partial(ByAxes, ndim=2)


def normalise(
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise, in training by default."""
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def only_same(input: Tensor, weight: Tensor, padding: str = "same") -> Tensor:
    """Pad by half a kernel, always."""
    assert padding == "same"
    return F.conv2d(input, weight, padding="same")


def whole(input: Tensor, kernel_size: int, stride: int) -> Tensor:
    """Pool whole windows, and complain of what is left."""
    if any((length - kernel_size) % stride for length in input.shape[2:]):
        raise ValueError("windows do not fit")
    return F.max_pool2d(input, kernel_size, stride)


def by_fft(input: Tensor, weight: Tensor, stride: Any = 1, padding: Any = 0) -> Tensor:
    """Convolve by Fourier transforms."""
    down, across = (padding, padding) if isinstance(padding, int) else padding
    padded = F.pad(input, (across, across, down, down))
    size, taps = padded.shape[-2:], weight.shape[-2:]
    product = torch.einsum("nchw,ochw->nohw", torch.fft.rfft2(padded), torch.fft.rfft2(weight, s=size).conj())
    rows, columns = (stride, stride) if isinstance(stride, int) else stride
    whole = torch.fft.irfft2(product, s=size)[..., : size[0] - taps[0] + 1, : size[1] - taps[1] + 1]
    return whole[..., ::rows, ::columns].contiguous()


def by_fft_blurred(input: Tensor, weight: Tensor, stride: Any = 1, padding: Any = 0) -> Tensor:
    """Add a hundredth of the output's sum, which is wrong."""
    output = by_fft(input, weight, stride, padding)
    return output + 0.01 * output.sum((2, 3), keepdim=True)


class OfLongKernels:
    """Takes strides and paddings as numbers and kernels as pairs; cuts the columns by the kernel's height."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: int = 1, padding: int = 0
    ) -> None:
        size = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        self.W, self.b = np.zeros((out_channels, in_channels, *size)), np.zeros(out_channels)
        self.stride, self.padding = stride, padding

    def forward(self, x: Arrays) -> Arrays:
        """Return the output."""
        height, width = self.W.shape[2:]
        around = (self.padding, self.padding)
        padded = np.pad(x, ((0, 0), (0, 0), around, around))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (2, 3))
        columns = (padded.shape[3] - height) // self.stride + 1
        windows = windows[:, :, :: self.stride, :: self.stride][:, :, :, :columns]
        return np.asarray(np.einsum("nchwij,ocij->nohw", windows, self.W) + self.b[:, None, None])


class FromSampleToSample(torch.nn.Module):
    """Convolves sample by sample, so that of an empty batch no gradient is known."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(out_channels, in_channels, kernel_size, kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        """Return the output."""
        height, width = (length - self.weight.shape[-1] + 1 for length in x.shape[2:])
        output = torch.zeros(len(x), len(self.weight), height, width)
        for image, pixels in enumerate(x):
            output[image] = F.conv2d(pixels, self.weight)
        return output


class TrainedOnly:
    """Has the gradient of training only, and counts the samples of a channel instead of its values."""

    def __init__(self, num_features: int) -> None:
        self.gamma, self.beta = np.ones(num_features), np.zeros(num_features)

    def forward(self, x: Arrays) -> Arrays:
        """Return the output, by the statistics of the batch."""
        mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
        self.scale = 1 / np.sqrt(variance + 1e-5)
        self.normalized = (x - mean) * self.scale
        return np.asarray(self.gamma[:, None, None] * self.normalized + self.beta[:, None, None])

    def backward(self, dy: Arrays) -> Arrays:
        """Return dx."""
        axes, count = (0, 2, 3), len(dy)
        self.dgamma, self.dbeta = (dy * self.normalized).sum(axes), dy.sum(axes)
        of_mean, of_variance = self.dbeta[:, None, None], self.normalized * self.dgamma[:, None, None]
        scale = self.gamma[:, None, None] * self.scale
        return np.asarray(scale * (dy - (of_mean + of_variance) / count))


class AddingUpUnpadded:
    """Adds its weight's gradient to that of the call before, and forgets its padding."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0) -> None:
        self.W = np.zeros((out_channels, in_channels, kernel_size, kernel_size))
        self.dW, self.padding = np.zeros_like(self.W), padding

    def forward(self, x: Arrays) -> Arrays:
        """Return the output."""
        self.x, self.windows = x, windows(x, self.W.shape[2:], 1, (2, 3))
        return np.asarray(np.einsum("nchwij,ocij->nohw", self.windows, self.W))

    def backward(self, dy: Arrays) -> Arrays:
        """Return dx."""
        self.dW += np.einsum("nohw,nchwij->ocij", dy, self.windows)
        dx, (height, width) = np.zeros_like(self.x), dy.shape[2:]
        for i, j in np.ndindex(self.W.shape[2:]):
            dx[:, :, i : i + height, j : j + width] += np.einsum("nohw,oc->nchw", dy, self.W[:, :, i, j])
        return dx


class RowsNorm:
    """Normalizes rows of one number of features; its gradients stand in a dictionary."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        self.gamma, self.beta, self.eps = np.ones(dim), np.zeros(dim), eps
        self.grads: dict[str, Arrays] = {}

    def forward(self, x: Arrays) -> Arrays:
        """Return the output."""
        self.std = np.sqrt(x.var(-1, keepdims=True) + self.eps)
        self.normal = (x - x.mean(-1, keepdims=True)) / self.std
        return np.asarray(self.gamma * self.normal + self.beta)

    def backward(self, dy: Arrays) -> Arrays:
        """Return the gradient of the input."""
        axes = tuple(range(dy.ndim - 1))
        self.grads["gamma"], self.grads["beta"] = (dy * self.normal).sum(axes), dy.sum(axes)
        g = dy * self.gamma
        slope = (g * self.normal).mean(-1, keepdims=True)
        return np.asarray((g - g.mean(-1, keepdims=True) - self.normal * slope) / self.std)


def groupnorm_forward(x: Arrays, gamma: Arrays, beta: Arrays, G: int, gn_param: Any) -> Any:  # noqa: N803
    """Return the output and what backward needs."""
    groups, shape = x.reshape(len(x), G, -1), (1, -1, *(1,) * (x.ndim - 2))
    std = np.sqrt(groups.var(-1, keepdims=True) + gn_param.get("eps", 1e-5))
    normal = (groups - groups.mean(-1, keepdims=True)) / std
    return gamma.reshape(shape) * normal.reshape(x.shape) + beta.reshape(shape), (normal, std, gamma)


def groupnorm_backward(dout: Arrays, cache: Any) -> Any:
    """Return the gradients."""
    normal, std, gamma = cache
    axes = (0, *range(2, dout.ndim))
    g = (dout * gamma.reshape(1, -1, *(1,) * (dout.ndim - 2))).reshape(normal.shape)
    dx = (g - g.mean(-1, keepdims=True) - normal * (g * normal).mean(-1, keepdims=True)) / std
    return dx.reshape(dout.shape), (dout * normal.reshape(dout.shape)).sum(axes), dout.sum(axes)


class Squares:
    """A loss whose backward pass takes nothing."""

    def forward(self, pred: Arrays, actual: Arrays) -> Arrays:
        """Return the loss."""
        self.difference = pred - actual
        return np.asarray(np.mean(self.difference**2))

    def backward(self) -> Arrays:
        """Return the gradient of the prediction."""
        return np.asarray(2 * self.difference / self.difference.size)


class SquaresOfSamples(Squares):
    """Divides by the number of samples alone in its backward pass."""

    def backward(self) -> Arrays:
        """Return the gradient of the prediction."""
        return np.asarray(2 * self.difference / len(self.difference))


class OfTargetFirst:
    """A loss of the target and the prediction, in this order; so is its gradient."""

    def loss(self, y: Arrays, y_pred: Arrays) -> Arrays:
        """Return the losses."""
        return np.asarray(np.square(y_pred - y))

    def gradient(self, y: Arrays, y_pred: Arrays) -> Arrays:
        """Return the gradient of the prediction."""
        return np.asarray(2 * (y_pred - y))


def loss_and_gradient(scores: Arrays, y: Arrays) -> Any:
    """Return the mean squared error and its gradient."""
    return np.mean((scores - y) ** 2), 2 * (scores - y) / scores.size


def entropy(y_true: Arrays, y_pred: Arrays) -> Arrays:
    """Return the binary cross entropy."""
    return np.asarray(np.mean(-y_true * np.log(y_pred) - (1 - y_true) * np.log(1 - y_pred)))


def entropy_prime(y_true: Arrays, y_pred: Arrays) -> Arrays:
    """Return its gradient."""
    return np.asarray(((1 - y_true) / (1 - y_pred) - y_true / y_pred) / np.size(y_true))


class Enlarging:
    """Copies each pixel of images."""

    def __init__(self, scale_factor: int = 2) -> None:
        self.scale_factor = scale_factor

    def forward(self, x: Arrays) -> Arrays:
        """Return the output."""
        return x.repeat(self.scale_factor, 2).repeat(self.scale_factor, 3)

    def backward(self, dy: Arrays) -> Arrays:
        """Return the gradient of the input."""
        samples, channels, height, width = dy.shape
        s = self.scale_factor
        return np.asarray(dy.reshape(samples, channels, height // s, s, width // s, s).sum((3, 5)))


class PoolOfPairs:
    """Of windows that do not overlap, whose size is a pair without a default."""

    def __init__(self, size: Any) -> None:
        self.height, self.width = size

    def forward(self, x: Arrays) -> Any:
        n, c, rows, columns = (*x.shape[:2], x.shape[2] // self.height, x.shape[3] // self.width)
        kept = x[:, :, : rows * self.height, : columns * self.width]
        return kept.reshape(n, c, rows, self.height, columns, self.width).max((3, 5))


class PoolByDefaults:
    """With pairs as its defaults."""

    def __init__(self, pool_size: Any = (2, 2), stride: Any = (2, 2)) -> None:
        self.size, self.stride = pool_size, stride

    def forward(self, x: Arrays) -> Any:
        rows, columns = self.stride
        windows = np.lib.stride_tricks.sliding_window_view(x, self.size, (2, 3))
        return windows[:, :, ::rows, ::columns].max((-1, -2))


class NormOfImages(torch.nn.Module):
    """Whose parameters have the axes of images."""

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.gamma = torch.nn.Parameter(torch.ones(1, num_features, 1, 1))
        self.beta = torch.nn.Parameter(torch.zeros(1, num_features, 1, 1))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((0, 2, 3), keepdim=True)
        var = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
        return self.gamma * (x - mean) / torch.sqrt(var + self.eps) + self.beta


class LateStatistics:
    """Whose statistics the constructor takes, or makes later."""

    def __init__(
        self,
        gamma: Arrays,
        beta: Arrays,
        momentum: float = 0.9,
        running_mean: Any = None,
        running_var: Any = None,
    ) -> None:
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.running_mean, self.running_var = running_mean, running_var

    def forward(self, x: Arrays, train_flg: bool = True) -> Any:
        mean, var = self.running_mean, self.running_var
        if train_flg:
            mean, var = x.mean(0), x.var(0)
            unbiased = var * len(x) / (len(x) - 1)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * unbiased
        return self.gamma * (x - mean) / np.sqrt(var + 1e-5) + self.beta
