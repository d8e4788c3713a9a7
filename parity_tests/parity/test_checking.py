"""`check`: what it reports, and what it survives."""

import os
import subprocess
import sys
import time
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from scratch_conv.parity import check
from scratch_conv.parity.catalogue.convolution.sound import NumpyConvolution

EXAMPLES = 60


def flipped(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Convolve with the kernel flipped."""
    return F.conv2d(input, weight.flip(-1), bias, **arguments)


def test_a_right_candidate_passes() -> None:
    report = check(F.conv2d, like="conv2d", examples=EXAMPLES, seed=3)
    assert report.passed
    assert report.examples == EXAMPLES
    assert report.counterexample is None
    assert 0 < report.share <= 1
    assert "equal to torch" in str(report)


def test_a_report_is_true_where_the_candidate_passed() -> None:
    assert check(F.relu, like="relu", examples=EXAMPLES)
    assert not check(torch.sigmoid, like="relu", examples=EXAMPLES, further=False)


def test_a_wrong_candidate_is_reported_by_its_smallest_case() -> None:
    report = check(flipped, like="conv2d", examples=EXAMPLES, further=False)
    assert not report.passed
    assert report.counterexample is not None
    assert report.counterexample.tensors["input"].shape == (1, 1, 2, 2)
    assert report.counterexample.tensors["weight"].shape == (1, 1, 2, 2)
    assert report.counterexample.arguments == ()


def test_the_report_holds_code_that_shows_the_difference(capsys: pytest.CaptureFixture[str]) -> None:
    report = check(flipped, like="conv2d", examples=EXAMPLES, further=False)
    exec(report.code, {"candidate": flipped})
    _, expected, got = capsys.readouterr().out.splitlines()
    assert expected != got
    assert report.code in str(report)


def overwriting(input: Tensor) -> Tensor:
    output = F.relu(input)
    input.data.zero_()
    return output


class Widening:
    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        return x.clip(0).astype("float64")


class Adding(torch.nn.Module):
    calls = 0

    def forward(self, input: Tensor) -> Tensor:
        self.calls += 1
        return F.relu(input) + (self.calls > 1)


def aliasing(input: Tensor, upscale_factor: int) -> Tensor:
    return input if upscale_factor == 1 else F.pixel_shuffle(input, upscale_factor)


@pytest.mark.parametrize(
    ("candidate", "like", "shown"),
    [
        (overwriting, "relu", "input before and after"),
        (Widening, "relu", "dtypes torch.float32 float64"),
        (Adding, "relu", "the same call again"),
        (aliasing, "pixel_shuffle", "memory shared with input False True"),
    ],
)
def test_the_code_shows_what_differs_besides_values(
    candidate: Any, like: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = check(candidate, like, EXAMPLES, further=False)
    exec(report.code, {"candidate": candidate})
    printed = capsys.readouterr().out
    assert shown in printed
    first, _, again = printed.partition("the same call again\n")
    assert not again or first != again


def test_the_same_seed_gives_the_same_report() -> None:
    first, second = (
        check(flipped, like="conv2d", examples=EXAMPLES, seed=5, further=False) for _ in range(2)
    )
    assert first.counterexample == second.counterexample
    assert first.examples == second.examples


def test_a_candidate_that_hangs_is_reported() -> None:
    def hanging(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
        if "stride" in arguments:
            time.sleep(60)
        return F.conv2d(input, weight, bias, **arguments)

    report = check(hanging, like="conv2d", examples=EXAMPLES, time_limit=1.0, further=False)
    assert report.counterexample is not None
    assert "stride" in report.counterexample.keywords
    assert "took longer than 1 s" in str(report)


def test_a_candidate_that_ends_its_process_is_reported() -> None:
    def deadly(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
        if bias is not None:
            os.abort()
        return F.conv2d(input, weight, bias, **arguments)

    report = check(deadly, like="conv2d", examples=EXAMPLES, further=False)
    assert report.counterexample is not None
    assert "bias" in report.counterexample.tensors
    assert "SIGABRT" in str(report)


def test_a_candidate_that_exits_is_reported() -> None:
    def leaving(*tensors: Tensor, **arguments: Any) -> Tensor:
        raise SystemExit(3)

    assert "exit status" in str(check(leaving, like="conv2d", examples=EXAMPLES, further=False))


def test_a_candidate_that_raises_an_interrupt_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    def interrupting(input: Tensor) -> Tensor:
        raise KeyboardInterrupt

    report = check(interrupting, like="relu", examples=EXAMPLES, further=False)
    assert report.differences[0].message.startswith("raised KeyboardInterrupt at ")
    assert "Traceback" not in capfd.readouterr().err


def test_a_candidate_that_always_raises_is_reported() -> None:
    def angry(*tensors: Tensor, **arguments: Any) -> Tensor:
        raise ZeroDivisionError("again")

    assert "ZeroDivisionError: again" in str(
        check(angry, like="max_pool2d", examples=EXAMPLES, further=False)
    )


def test_torch_works_in_this_process_afterwards() -> None:
    threads = torch.get_num_threads()
    x = torch.randn(2, 3, 16, 16, requires_grad=True)
    torch.autograd.grad(F.conv2d(x, torch.randn(4, 3, 3, 3)).sum(), x)
    assert check(F.conv2d, like="conv2d", examples=5).passed
    torch.autograd.grad(F.conv2d(x, torch.randn(4, 3, 3, 3)).sum(), x)
    assert torch.get_num_threads() == threads


def test_a_module_is_checked_by_its_class() -> None:
    class Shifted(torch.nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) + 1

    assert str(check(torch.nn.Conv2d, like="conv2d", examples=EXAMPLES)).count("\n") == 0
    report = check(Shifted, like="conv2d", examples=EXAMPLES, further=False)
    assert "output differs" in str(report)
    assert "functional_call" in report.code


SIMPLE = {"dilation": False, "groups": False, "string_padding": False, "unbatched": False}


def test_a_layer_in_numpy_is_checked_by_its_class(capsys: pytest.CaptureFixture[str]) -> None:
    class Forgetful(NumpyConvolution):
        def backward(self, dy: NDArray[Any]) -> NDArray[Any]:
            grad = super().backward(dy)
            self.grad_weight = self.grad_weight / max(1, len(dy))
            return grad

    assert check(NumpyConvolution, like="conv2d", examples=EXAMPLES, supports=SIMPLE).passed
    report = check(Forgetful, like="conv2d", examples=EXAMPLES, supports=SIMPLE, further=False)
    assert [each.what for each in report.differences] == ["grad_weight"]
    assert any("weight-gradient-averaged" in line for line in report.diagnosis)
    exec(report.code, {"candidate": Forgetful})
    *_, expected, got = capsys.readouterr().out.splitlines()
    assert expected != got


def test_claims_are_kept() -> None:
    def plain(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
        assert {"dilation", "groups"}.isdisjoint(arguments)
        return F.conv2d(input, weight, bias, **arguments)

    assert not check(plain, like="conv2d", examples=EXAMPLES, further=False).passed
    report = check(plain, like="conv2d", examples=EXAMPLES, supports={"dilation": False, "groups": False})
    assert report.passed
    assert report.left_out == ["dilation, groups: not claimed"]


@pytest.mark.parametrize(
    ("candidate", "keywords", "error"),
    [
        (3, {"like": "conv2d"}, TypeError),
        (F.conv2d, {"like": "conv7d"}, ValueError),
        (F.conv2d, {"like": "conv2d", "supports": {"speed": True}}, ValueError),
        (F.conv2d, {"like": "conv2d", "supports": {"groups": "no"}}, TypeError),
        (F.conv2d, {"like": "conv2d", "supports": "groups"}, TypeError),
        (torch.nn.Conv2d(1, 1, 1), {"like": "conv2d"}, TypeError),
        (dict, {"like": "conv2d"}, TypeError),
        (torch.autograd.Function, {"like": "conv2d"}, TypeError),
        (F.conv2d, {"like": "conv2d", "examples": 0}, ValueError),
    ],
)
def test_a_wrong_call_of_check_raises(candidate: Any, keywords: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        check(candidate, **keywords)


def test_a_candidate_is_checked_in_its_own_process_where_no_forked_one_can_differentiate() -> None:
    code = (
        "import torch\n"
        "from scratch_conv.parity import check\n"
        "compiled = torch.compile(torch.nn.Linear(2, 2), backend='aot_eager')\n"
        "compiled(torch.ones(1, 2)).sum().backward()\n"
        "print(check(torch.sigmoid, like='relu', examples=5))\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "isolation: " in printed
    assert "differs from torch" in printed
