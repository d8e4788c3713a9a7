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
from torch import Tensor
from tutorial_convolutions import (
    AddingUp,
    Averaging,
    ChannelsLastKernel,
    ClearedByZeroGrad,
    Creeping,
    CuttingAll,
    Descending,
    Doubled,
    Forgetting,
    InDoublePrecision,
    KeepingTheBatch,
    KeepingTheBatchOfTaps,
    KeepingTwo,
    Nameless,
    OnlyForward,
    Returning,
    ReturningWrong,
    Tutorial,
    UsableOnce,
    WideBias,
    WithCache,
    WithoutBias,
)
from users_layers import (
    Dense,
    Flat,
    Foreign,
    HandingOn,
    LastSoftmax,
    Loss,
    LossOfIndices,
    Normalization,
    PlainReLU,
    Pool,
    Replacing,
    RightAtFirst,
    Rows,
    Swallowing,
    Tripled,
    WithRowsGradient,
    Wrapping,
    both,
    in_float32,
    in_numpy,
    listed,
    of_axis,
    refusing,
    softmax_of_rows,
    told_all,
)

import scratch_conv
from scratch_conv.parity import assert_parity, check
from scratch_conv.parity.catalogue.convolution.sound import NumpyConvolution
from scratch_conv.parity.drawing.arrays import Array
from scratch_conv.parity.drawing.case import Case

EXAMPLES = 80
ROOT = Path(scratch_conv.__file__).parent.parent
PLAIN = {"without": ["unbatched", "empty", "rectangular", "string_padding"], "dtypes": "float32"}


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
    report = check(candidate, "conv2d", EXAMPLES, supports=PLAIN, further=False)
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
    report = check(candidate, like, EXAMPLES, supports=PLAIN if like == "conv2d" else None, further=False)
    assert any(each.message.startswith(said) for each in report.differences), str(report)


def test_what_torch_itself_keeps_from_call_to_call_is_no_difference() -> None:
    assert check(ClearedByZeroGrad, "conv2d", EXAMPLES, supports=PLAIN).passed
    assert check(torch.nn.BatchNorm2d, "batch_norm", EXAMPLES).passed


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
    report = check(candidate, "conv2d", EXAMPLES, supports=PLAIN, further=False)
    assert not report.passed
    assert not report.tested
    assert "could not be tested" in str(report).splitlines()[0]
    assert said in str(report)


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


MATRICES = {"unbatched": False, "empty": False}


FORMS: list[tuple[Any, str, dict[str, Any], str]] = [
    (PlainReLU, "relu", {}, "inplace: kept at torch's default, no such argument of PlainReLU"),
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
    report = check(WithRowsGradient, "linear", EXAMPLES, supports=MATRICES, further=False)
    assert report.differences[0].message.endswith(" as layer.W"), str(report)


def test_class_probabilities_are_what_a_loss_of_indices_is_told_to_leave_out() -> None:
    report = check(LossOfIndices, "cross_entropy", EXAMPLES, supports={"unbatched": False, "empty": False})
    assert any("--without class_probabilities" in line for line in report.diagnosis), str(report)


def test_broadcast_targets_are_what_a_loss_of_equal_shapes_is_told_to_leave_out() -> None:
    def squares(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
        assert input.shape == target.shape
        return torch.nn.functional.mse_loss(input, target, reduction=reduction)

    report = check(squares, "mse_loss", 100)
    assert any("--without broadcast_targets" in line for line in report.diagnosis), str(report)
    assert check(squares, "mse_loss", EXAMPLES, supports={"broadcast_targets": False}).passed


def test_a_keyword_that_the_constructor_hands_on_in_vain_is_no_difference() -> None:
    report = check(Swallowing, "conv2d", EXAMPLES)
    assert not report.tested
    assert "got an unexpected keyword argument" in str(report)
    without = ["stride", "padding", "dilation", "groups"]
    assert check(Swallowing, "conv2d", EXAMPLES, supports={"without": without}).passed


def test_an_exception_is_shown_with_its_place_and_how_to_leave_it_out() -> None:
    report = check(refusing, "conv2d", EXAMPLES, further=False)
    assert report.tested
    message = report.differences[0].message
    assert message.startswith("raised ValueError at ")
    assert "users_layers.py:" in message
    assert "in refusing (`raise ValueError`), where torch computes a result" in message
    assert "if this is not claimed, leave it out: --without groups" in report.diagnosis
    assert check(refusing, "conv2d", EXAMPLES, supports={"without": ["groups"]}).passed


@pytest.mark.parametrize(
    ("candidate", "like"), [(in_numpy, "linear"), (np.maximum, "relu"), (of_axis, "softmax")]
)
def test_what_never_works_is_not_said_to_work_without_something(candidate: Any, like: str) -> None:
    report = check(candidate, like, EXAMPLES, further=False)
    assert not report.passed
    assert not any("leave it out" in line for line in report.diagnosis), report.diagnosis


@pytest.mark.parametrize("candidate", [InDoublePrecision, WideBias])
def test_a_layer_that_knows_float64_only_is_told_how_to_say_so(candidate: Any) -> None:
    report = check(candidate, "conv2d", EXAMPLES, supports=PLAIN, further=False)
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
        report = check(candidate, like, 200, supports=supports, further=False)
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
