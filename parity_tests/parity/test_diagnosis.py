"""What a report says of the cause of a difference, and what it does not say."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from scratch_conv.parity import check
from scratch_conv.parity.catalogue import FAULTS

ROWS = {"unbatched": False, "further_axes": False, "empty": False, "special_values": False}
IMAGES = {"unbatched": False, "empty": False, "special_values": False}


class Dense:
    """Multiplies rows; its gradients are means over the batch."""

    def __init__(self, in_features: int, out_features: int) -> None:
        self.W, self.b = np.zeros((out_features, in_features)), np.zeros(out_features)

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the output."""
        self.x = x
        return np.asarray(x @ self.W.T + self.b)

    def backward(self, dy: NDArray[Any]) -> Any:
        """Return dx, dW and db."""
        return dy @ self.W, dy.T @ self.x / len(dy), dy.sum(0) / len(dy)


class Summing(Dense):
    """Adds its gradients to those of the call before."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.dW, self.db = np.zeros_like(self.W), np.zeros_like(self.b)

    def backward(self, dy: NDArray[Any]) -> Any:
        """Return dx."""
        self.dW += dy.T @ self.x
        self.db += dy.sum(0)
        return dy @ self.W


class Failing(Dense):
    """Looks for what was never kept."""

    def backward(self, dy: NDArray[Any]) -> Any:
        """Raise an AttributeError."""
        return dy @ self.kept  # type: ignore[attr-defined]


class Pad:
    """Averages windows of one pixel of a padded image, and cuts the padding off its gradient by [p:-p]."""

    def __init__(self, kernel_size: int, stride: int, padding: int = 0) -> None:
        if (kernel_size, stride) != (1, 1):
            raise NotImplementedError
        self.padding = padding

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the output."""
        return x.copy()

    def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
        """Return dx."""
        return dy[:, :, self.padding : -self.padding, self.padding : -self.padding]


def rounded(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply, and lose some of the last bits."""
    return F.linear(input, weight, bias) * (1 + 20 * torch.finfo(input.dtype).eps)


def noisy(input: Tensor) -> Tensor:
    """Rectify, and add noise."""
    return F.relu(input) + torch.from_numpy(np.random.default_rng().random(input.shape)).to(input.dtype)


def tall(input: Tensor, kernel_size: Any) -> Tensor:
    """Pool; wrong where an image is no square."""
    output = F.avg_pool2d(input, kernel_size)
    return output if input.shape[-1] == input.shape[-2] else output + output.mean()


def unsafe(input: Tensor, dim: int) -> Tensor:
    """Take the logarithm of a softmax and a little."""
    return (input.softmax(dim) + 1e-6).log()


def without_nan(input: Tensor) -> Tensor:
    """Rectify; NaN becomes 1."""
    return F.relu(input).nan_to_num(1.0, torch.inf)


def turned(input: Tensor, kernel_size: Any) -> Tensor:
    """Pool; height and width are exchanged."""
    return F.avg_pool2d(input, kernel_size).mT.contiguous()


def on_the_last_axis(input: Tensor, dim: int) -> Tensor:
    """Take the softmax over the last axis, and none of three axes."""
    if input.ndim == 3:
        raise IndexError("not of three axes")
    return input.softmax(-1)


SAID: list[tuple[Any, str, dict[str, Any], str]] = [
    (Dense, "linear", ROWS, "grad_weight and grad_bias are torch's divided by the batch size, 2 here"),
    (noisy, "relu", {}, "results change from run to run: 10 of 10 differ from the first"),
    (tall, "avg_pool2d", IMAGES, "only where height and width differ"),
    (unsafe, "log_softmax", {"special_values": False}, "takes log(p + 1e-06)"),
    (without_nan, "relu", {"gradients": False}, "output: the input is NaN there"),
    (turned, "avg_pool2d", IMAGES, "output: height and width are exchanged"),
    (on_the_last_axis, "softmax", {"special_values": False}, "classic fault, over-the-last-axis"),
    (rounded, "linear", ROWS, "output differs by rounding only: by "),
    (Pad, "avg_pool2d", {**IMAGES, "rectangular": False, "fix": {"kernel_size": 1, "stride": 1}}, "[p:-p]"),
]


@pytest.mark.parametrize(("candidate", "like", "claims", "said"), SAID)
def test_a_cause_is_named(candidate: Any, like: str, claims: dict[str, Any], said: str) -> None:
    report = check(candidate, like, 150, supports=claims, further=False)
    assert any(said in line for line in report.diagnosis), str(report)


def test_gradients_that_add_up_are_named_once() -> None:
    report = check(Summing, "linear", 60, supports={**ROWS, "dtypes": "float64"}, further=False)
    assert "it is the sum of both calls' then; set it anew in backward" in str(report)
    assert "writes into the memory" not in str(report)


def test_two_exceptions_are_not_the_same_fault() -> None:
    report = check(Failing, "linear", 60, supports=ROWS, further=False)
    assert report.differences[0].message.startswith("raised AttributeError")
    assert "classic" not in str(report)


def test_a_systematic_error_is_not_taken_for_rounding() -> None:
    def slightly_off(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.linear(input, weight, bias) * (1 + 1e-6)

    assert "rounding" not in str(check(slightly_off, "linear", 60, supports=ROWS, further=False))


def test_where_a_classic_fault_explains_all_places_are_not_named() -> None:
    fault = next(each for each in FAULTS if each.name == "ties-to-every-winner")
    report = check(fault.candidate, "max_pool2d", 300, further=False)
    assert any(f", {fault.name}: " in line for line in report.diagnosis), str(report)
    assert "only " not in " ".join(report.diagnosis), str(report)
    assert "shifted by" not in " ".join(report.diagnosis), str(report)


class Windows:
    """Takes numbers for its window and its stride, not annotated."""

    def __init__(self, kernel_size: Any, stride: Any) -> None:
        self.size, self.stride = kernel_size, stride

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the maxima."""
        windows = np.lib.stride_tricks.sliding_window_view(x, (self.size, self.size), (2, 3))
        return np.asarray(windows[:, :, :: self.stride, :: self.stride].max((4, 5)))


def test_what_fails_as_a_pair_only_is_left_out_as_a_pair_only() -> None:
    report = check(Windows, "max_pool2d", 60, supports=IMAGES, further=False)
    hint = next(line for line in report.diagnosis if "leave it out" in line)
    assert "rectangular." in hint
    assert not {"stride", "kernel_size"} & set(hint.partition("--without ")[2].split(","))
    assert any(line.startswith("no call with it is tested then: rectangular.") for line in report.diagnosis)


def test_what_fails_now_and_then_is_not_said_to_be_left_out() -> None:
    def sometimes(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
        if padding and stride in (2, (2, 2)):
            raise IndexError("out of the image")
        return F.avg_pool2d(input, kernel_size, stride, padding)

    report = check(sometimes, "avg_pool2d", 300, supports=IMAGES, further=False)
    assert "IndexError" in str(report)
    assert not any("leave it out" in line for line in report.diagnosis), report.diagnosis


def test_a_dtype_that_some_calls_have_is_not_said_to_be_that_of_all() -> None:
    def sometimes_wide(input: Tensor) -> Tensor:
        return F.relu(input).to(torch.float64 if input.ndim == 3 else input.dtype)

    report = check(sometimes_wide, "relu", 60, further=False)
    assert "has dtype torch.float64" in str(report)
    assert not report.diagnosis


def test_a_layer_of_images_is_told_how_to_leave_rows_out() -> None:
    class Repeating:
        def __init__(self, scale_factor: int = 2) -> None:
            self.factor = scale_factor

        def forward(self, x: NDArray[Any]) -> NDArray[Any]:
            return x.repeat(self.factor, 2).repeat(self.factor, 3)

    report = check(Repeating, "interpolate", 60, supports={"fix": {"mode": "nearest"}}, further=False)
    assert any("images only: --fix axes=4" in line for line in report.diagnosis), str(report)
    images = {"fix": {"mode": "nearest", "axes": 4}}
    again = check(Repeating, "interpolate", 60, supports=images, further=False)
    assert "rectangular.scale_factor" not in str(again)  # which no option leaves out


def test_an_exception_in_cython_is_placed_where_it_was_called() -> None:
    class Drawn:
        def __init__(self) -> None:
            self.scale = np.random.default_rng(0).random("2")  # type: ignore[arg-type]

        def forward(self, x: NDArray[Any]) -> NDArray[Any]:
            return np.asarray(x * self.scale)

    (difference,) = check(Drawn, "relu", 5, further=False).differences
    assert "in __init__ (`self.scale = " in difference.message


def test_all_digits_are_shown_whatever_torchs_options_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "__repr__", lambda tensor: "?")
    report = check(
        lambda tensor: F.relu(tensor) * (1 + 2e-7), "relu", 200, supports={"dtypes": "float32"}, further=False
    )
    shown = str(report).partition("output, expected:\n")[2].partition("\n\n")[0]
    expected, got = shown.split("\noutput, got:\n")
    assert expected != got
