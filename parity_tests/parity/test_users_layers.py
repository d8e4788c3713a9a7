"""Layers as people write them: what is found out by itself, what is said, and code that runs when pasted."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

import scratch_conv
from scratch_conv.parity import assert_parity, check
from scratch_conv.parity.catalogue.convolution.sound import NumpyConvolution
from scratch_conv.parity.drawing.arrays import Array
from scratch_conv.parity.drawing.case import Case

EXAMPLES = 80
ROOT = Path(scratch_conv.__file__).parent.parent
PLAIN = {"without": ["unbatched", "empty", "rectangular", "string_padding"], "dtypes": "float32"}


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
    """Gives twice the output."""

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return twice the output."""
        return 2 * super().forward(x)


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
    """Refuse groups."""
    if "groups" in arguments:
        raise NotImplementedError
    return F.conv2d(input, weight, bias, **arguments)


def test_a_tutorials_layer_is_narrowed_by_its_own_signature() -> None:
    report = check(Tutorial, "conv2d", EXAMPLES, supports={"unbatched": False, "empty": False})
    assert report.passed, str(report)
    assert report.left_out == [
        "dilation, groups: kept at torch's default, no such argument of Tutorial",
        "rectangular: kernel_size, stride, padding annotated as int",
        "string_padding: padding annotated as int",
        "unbatched, empty: not claimed",
    ]
    assert all(line in str(report) for line in report.left_out)


@pytest.mark.parametrize("candidate", [Returning, OnlyForward])
def test_other_forms_of_layers_pass(candidate: Any) -> None:
    assert check(candidate, "conv2d", EXAMPLES, supports=PLAIN).passed


def test_a_layer_without_backward_is_compared_by_its_output_alone() -> None:
    report = check(OnlyForward, "conv2d", 5, supports=PLAIN)
    assert "gradients: OnlyForward has no backward" in report.left_out


def test_a_function_without_a_place_for_the_bias_is_called_without_one() -> None:
    def plain(input: Tensor, weight: Tensor, stride: Any = 1, padding: Any = 0) -> Tensor:
        return F.conv2d(input, weight, None, stride, padding)

    report = check(plain, "conv2d", EXAMPLES)
    assert report.passed, str(report)
    assert report.left_out == ["bias, dilation, groups: kept at torch's default, no such argument of plain"]


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (KeepingTheBatch, "grad_bias has shape (1, 2), expected (2,) or (2, 1) as layer.b"),
        (KeepingTheBatchOfTaps, "grad_weight has shape (2, 1, 1, 1, 1), expected (1, 1, 1, 1)"),
        (KeepingTwo, "grad_input has shape (2, 1, 1, 1, 1), expected (1, 1, 1, 1)"),
        (CuttingAll, "grad_input has shape (1, 1, 0, 0), expected (1, 1, 1, 1)"),
        (WideBias, "grad_bias has dtype float64, expected float32"),
    ],
)
def test_a_gradient_that_autograd_would_make_fit_is_refused(candidate: Any, said: str) -> None:
    report = check(candidate, "conv2d", EXAMPLES, supports=PLAIN)
    assert report.tested
    assert [each.message for each in report.differences] == [said], str(report)


@pytest.mark.parametrize(
    ("candidate", "like", "said"),
    [
        (AddingUp, "conv2d", "grad_weight has other bits when the call is repeated"),
        (Descending, "conv2d", "weight was written into"),
        (Creeping, "conv2d", "output has other bits when the call is repeated"),
        (UsableOnce, "conv2d", "raised RuntimeError: used up"),
        (RightAtFirst, "conv2d", "output has other bits when the call is repeated"),
        (Replacing, "linear", "weight was written into"),
    ],
)
def test_what_a_layer_keeps_from_call_to_call_is_seen(candidate: Any, like: str, said: str) -> None:
    report = check(candidate, like, EXAMPLES, supports=PLAIN if like == "conv2d" else None)
    assert any(each.message.startswith(said) for each in report.differences), str(report)


def test_what_torch_itself_keeps_from_call_to_call_is_no_difference() -> None:
    assert check(ClearedByZeroGrad, "conv2d", EXAMPLES, supports=PLAIN).passed
    assert check(torch.nn.BatchNorm2d, "batch_norm", EXAMPLES).passed


class Nameless(Tutorial):
    """Calls its weight by a name that nobody knows."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size)
        del self.W


class Foreign:
    """Takes arguments of its own."""

    def __init__(self, filters: int) -> None:
        self.filters = filters

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return x."""
        return x


class Forgetting(Tutorial):
    """Keeps no gradient of its parameters."""

    def backward(self, dout: NDArray[Any]) -> Any:
        """Return dx alone."""
        dx = super().backward(dout)
        del self.dW, self.db
        return dx


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (Nameless, "Nameless holds no array called weight or weights or W"),
        (Foreign, "Foreign(in_channels=1, out_channels=1, kernel_size=1): "),
        (Forgetting, "after backward there is no gradient of"),
        (lambda: None, "too many positional arguments"),
        (lambda *tensors, **arguments: None, "expected a tensor to be returned, got NoneType"),
        (
            lambda *tensors, **arguments: [F.conv2d(*tensors, **arguments)],
            "expected a tensor to be returned, got a list of Tensor",
        ),
        (
            lambda *tensors, **arguments: (F.conv2d(*tensors, **arguments), {}),
            "expected a tensor to be returned, got a tuple of Tensor, dict",
        ),
        (WithCache, "expected an array to be returned, got a tuple of ndarray, ndarray"),
    ],
)
def test_what_cannot_be_tested_is_told_from_what_differs(candidate: Any, said: str) -> None:
    report = check(candidate, "conv2d", EXAMPLES, supports=PLAIN)
    assert not report.passed
    assert not report.tested
    assert "could not be tested" in str(report).splitlines()[0]
    assert said in str(report)


def both(input: Tensor, **arguments: Any) -> Any:
    """Pool; return the indices without being asked."""
    return F.max_pool2d(input, **{**arguments, "return_indices": True})


def listed(input: Tensor, **arguments: Any) -> Any:
    """Pool; return a list of output and indices."""
    result = F.max_pool2d(input, **arguments)
    return list(result) if arguments.get("return_indices") else result


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (both, "expected a tensor to be returned, got a tuple of Tensor, Tensor"),
        (listed, "expected a tuple of the tensors output, indices to be returned, got a list of Tensor"),
    ],
)
def test_a_pool_returns_indices_in_a_tuple_where_it_is_asked_for_them(candidate: Any, said: str) -> None:
    report = check(candidate, "max_pool2d", EXAMPLES)
    assert not report.tested
    assert said in str(report)


class Rectifier(torch.nn.Module):
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
    """Gives the gradient of the weight as torch has it, transposed to its own weight."""

    def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
        """Return dx."""
        dx = super().backward(dy)
        self.dW = self.dW.T
        return dx


class Tripled(Dense):
    """Gives three times the gradient of the weight."""

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


MATRICES = {"unbatched": False, "empty": False}


class HandingOn(torch.nn.Module):
    """Hands all keywords on to torch's layer."""

    def __init__(self, num_features: int, **keywords: Any) -> None:
        super().__init__()
        self.inner = torch.nn.BatchNorm2d(num_features, **keywords)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output."""
        return self.inner(x)


FORMS: list[tuple[Any, str, dict[str, Any], str]] = [
    (Rectifier, "relu", {}, "inplace: kept at torch's default, no such argument of Rectifier"),
    (
        LastSoftmax,
        "softmax",
        {"unbatched": False, "empty": False},
        "dim: the last axis in every call, no such",
    ),
    (softmax_of_rows, "softmax", {}, "dim: the last axis in every call, no such argument of softmax_of_rows"),
    (F.softmax, "softmax", {"without": ["dim"]}, "dim: not claimed"),
    (Loss, "cross_entropy", {}, "ignore_index, label_smoothing, reduction, weight: kept at torch's default"),
    (
        LossOfIndices,
        "cross_entropy",
        {"without": ["unbatched", "empty", "further_axes", "class_probabilities", "special_values"]},
        "ignore_index, label_smoothing, reduction, weight: kept at torch's default",
    ),
    (
        Rows,
        "linear",
        {"without": ["unbatched", "empty", "further_axes"]},
        "unbatched, further_axes, empty: not",
    ),
    (Pool, "avg_pool2d", {"unbatched": False, "special_values": False}, "gradients: Pool has no backward"),
    (Flat, "flatten", {"layouts": False}, "end_dim, start_dim: kept at torch's default"),
    (told_all, "conv2d", {}, "dilation, groups: kept at torch's default"),
    (HandingOn, "batch_norm", {"special_values": False}, "special_values: not claimed"),
]


@pytest.mark.parametrize(("candidate", "like", "claims", "said"), FORMS)
def test_a_right_layer_is_called_with_what_it_takes(
    candidate: Any, like: str, claims: dict[str, Any], said: str
) -> None:
    report = check(candidate, like, EXAMPLES, supports=claims)
    assert report.passed, str(report)
    assert any(line.startswith(said) for line in report.left_out), report.left_out


def test_a_weight_of_inputs_by_outputs_is_given_and_taken_transposed() -> None:
    report = check(Dense, "linear", EXAMPLES, supports=MATRICES)
    assert report.passed, str(report)
    note = "layer.W is torch's transposed: given so, and so is its gradient taken"
    assert report.notes == [note]
    assert f"  note: {note}" in str(report)


def test_a_weight_in_another_order_of_axes_is_not_taken_for_torchs() -> None:
    arrays = (("input", Array((1, 2, 3, 3))), ("weight", Array((3, 2, 2, 2))))
    with pytest.raises(AssertionError, match=r"layer.W has shape \(2, 2, 2, 3\), torch's weight has \(3, 2"):
        assert_parity(ChannelsLastKernel, Case("conv2d", arrays))


def test_a_gradient_transposed_to_the_layers_own_weight_is_refused() -> None:
    report = check(WithRowsGradient, "linear", EXAMPLES, supports=MATRICES)
    assert report.differences[0].message.endswith(" as layer.W"), str(report)


def test_class_probabilities_are_what_a_loss_of_indices_is_told_to_leave_out() -> None:
    report = check(LossOfIndices, "cross_entropy", EXAMPLES, supports={"unbatched": False, "empty": False})
    assert any("--without class_probabilities" in line for line in report.diagnosis), str(report)


class Swallowing(torch.nn.Module):
    """Hands on keywords that are not taken."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.inner = torch.nn.Conv2d(in_channels, out_channels, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output."""
        return self.inner(x)


def test_a_keyword_that_the_constructor_hands_on_in_vain_is_no_difference() -> None:
    report = check(Swallowing, "conv2d", EXAMPLES)
    assert not report.tested
    assert "got an unexpected keyword argument" in str(report)
    without = ["stride", "padding", "dilation", "groups"]
    assert check(Swallowing, "conv2d", EXAMPLES, supports={"without": without}).passed


def test_an_exception_is_shown_with_its_place_and_how_to_leave_it_out() -> None:
    report = check(refusing, "conv2d", EXAMPLES)
    assert report.tested
    message = report.differences[0].message
    assert message.startswith("raised NotImplementedError at ")
    assert "test_users_layers.py:" in message
    assert "in refusing (`raise NotImplementedError`), where torch computes a result" in message
    assert "if this is not claimed, leave it out: --without groups" in report.diagnosis
    assert check(refusing, "conv2d", EXAMPLES, supports={"without": ["groups"]}).passed


def in_numpy(input: Any, weight: Any, bias: Any = None) -> Any:
    """Multiply arrays; tensors have no such method."""
    return input.dot_product(weight)


def of_axis(input: Tensor, axis: int) -> Tensor:
    """Take a softmax by a keyword that torch has not."""
    return input.softmax(axis)


@pytest.mark.parametrize(
    ("candidate", "like"), [(in_numpy, "linear"), (np.maximum, "relu"), (of_axis, "softmax")]
)
def test_what_never_works_is_not_said_to_work_without_something(candidate: Any, like: str) -> None:
    report = check(candidate, like, EXAMPLES)
    assert not report.passed
    assert not any("leave it out" in line for line in report.diagnosis), report.diagnosis


class InDoublePrecision(Tutorial):
    """Sums up in what np.zeros gives."""

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the output in double precision."""
        return np.zeros(1) + super().forward(x)


@pytest.mark.parametrize("candidate", [InDoublePrecision, WideBias])
def test_a_layer_that_knows_float64_only_is_told_how_to_say_so(candidate: Any) -> None:
    report = check(candidate, "conv2d", EXAMPLES, supports=PLAIN)
    assert any("--dtypes float64, or supports={'dtypes': 'float64'}" in line for line in report.diagnosis)
    assert check(candidate, "conv2d", EXAMPLES, supports={**PLAIN, "dtypes": "float64"}).passed


WRONG: list[tuple[Any, str, Any, str]] = [
    (Averaging, "conv2d", PLAIN, "grad_bias"),
    (WithoutBias, "conv2d", PLAIN, "output"),
    (ReturningWrong, "conv2d", PLAIN, "grad_weight"),
    (Doubled, "conv2d", PLAIN, "output"),
    (Normalization, "batch_norm", {"dtypes": "float32"}, "running_mean"),
    (Wrapping, "conv2d", {"unbatched": False}, "output"),
    (in_float32, "linear", None, "output"),
    (Tripled, "linear", MATRICES, "grad_weight"),
]


def test_the_printed_code_shows_the_difference_when_pasted() -> None:
    codes = []
    for candidate, like, supports, what in WRONG:
        report = check(candidate, like, 200, supports=supports)
        assert what in [each.what for each in report.differences], str(report)
        assert "scratch_conv" not in report.code
        codes.append(report.code)
    ended = run_fresh("\nprint('next')\n".join(codes), Path(__file__).parent)
    assert ended.returncode == 0, "\n".join(codes) + ended.stderr
    outputs = ended.stdout.split("next\n")
    assert len(outputs) == len(WRONG)
    for (*_, what), output in zip(WRONG, outputs, strict=True):
        printed = output.partition(f"{what}\n")[2].splitlines()
        assert printed[0] != printed[1], output


def run_fresh(code: str, place: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter in a folder."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{place}"}
    return subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_is_left_in_the_working_directory(tmp_path: Path) -> None:
    code = "import mine; from scratch_conv.parity import check; print(check(mine.f, 'relu', 300).passed)"
    (tmp_path / "mine.py").write_text("import torch\n\n\ndef f(input):\n    return torch.relu(input)\n")
    ended = run_fresh(code, tmp_path)
    assert ended.stdout == "True\n", ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_layer_that_takes_pairs_is_tested_with_pairs() -> None:
    report = check(
        NumpyConvolution, "conv2d", EXAMPLES, supports={"without": ["unbatched", "string_padding"]}
    )
    assert report.passed, str(report)


def test_the_readmes_layer_is_found_wrong_as_the_readme_shows_it() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    code = "# my_layers.py" + readme.partition("# my_layers.py")[2].partition("```")[0]
    wrong, right = {"__name__": "my_layers"}, {"__name__": "my_layers"}
    exec(code, wrong)
    exec(code.replace("] = taps", "] += taps"), right)
    report = check(wrong["Conv"], "conv2d", supports={"unbatched": False})
    lines = str(report).splitlines()
    assert all(line in readme for line in lines[: lines.index("grad_input, expected:")])
    assert check(right["Conv"], "conv2d", EXAMPLES, supports={"unbatched": False}).passed
