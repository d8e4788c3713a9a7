"""Layers as people publish them, each checked as it stands: names, layouts, containers, claims."""

import re
from typing import Any

import published_layers as published
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity import check

EXAMPLES = 30
ROWS = "unbatched,empty,further_axes"
IMAGES = "unbatched,empty,rectangular,string_padding"

RIGHT: list[Any] = [
    (published.OfArrays, "conv2d", {"without": IMAGES}),
    (published.Stepping, "linear", {"names": "bias=offset", "without": ROWS}),
    (published.InOneDictionary, "linear", {"without": ROWS}),
    (published.InLists, "linear", {"without": ROWS}),
    (published.ReturningADictionary, "linear", {"without": ROWS}),
    (published.OfParameters, "linear", {"without": ROWS}),
    (published.Outer, "linear", {"without": ROWS}),
    (published.Late, "linear", {"without": ROWS}),
    (
        published.LastAxis,
        "conv2d",
        {"layout": "nhwc", "fix": "padding=valid", "without": "rectangular.stride"},
    ),
    (
        published.OneImage,
        "conv2d",
        {"layout": "hw:hwc", "weights": "ohw", "fix": {"kernel_size": 3}, "without": "bias,grad_input"},
    ),
    (
        published.OtherNames,
        "conv2d",
        {
            "names": "num_filters=out_channels,filter_size=kernel_size,input_channels=in_channels,"
            "weight=filters,bias=offsets,forward=forward_pass,backward=backward_pass,"
            "grad_weight=filters_slope,grad_bias=offsets_slope",
            "without": IMAGES + ",grad_input",
        },
    ),
    (published.OfItsInputsShape, "conv2d", {"layout": "chw", "without": "bias,rectangular"}),
    (
        published.SmallEpsilon,
        "batch_norm",
        {
            "fix": "eps=1e-7",
            "names": "momentum=1-momentum",
            "without": "special_values,empty",
            "dtypes": "float64",
        },
    ),
    (
        published.conv_forward,
        "conv2d",
        {"backward": published.conv_backward, "without": "unbatched,rectangular,string_padding"},
    ),
    (
        published.batchnorm_forward,
        "batch_norm",
        {
            "layout": "nc",
            "names": {"bn_param.momentum": "1-momentum"},
            "outputs": "output,cache",
            "without": "special_values,empty",
            "dtypes": "float64",
        },
    ),
    (published.rows_times, "linear", {"weights": "io"}),
    (published.convolved_on, "conv2d", {"layout": "nhwc", "weights": "ohwi"}),
    pytest.param(published.OfTwoAxes, "conv2d", {"without": "unbatched,rectangular"}, id="OfTwoAxes"),
    (published.normalise, "batch_norm", {"without": "special_values"}),
    (published.only_same, "conv2d", {"fix": "padding=same"}),
    (published.whole, "max_pool2d", {"without": "unbatched,rectangular,remainders,empty"}),
    (published.whole, "max_pool2d", {"without": "unbatched,rectangular,empty", "skip_on": ValueError}),
    (published.RowsNorm, "layer_norm", {"without": "unbatched,empty,special_values"}),
    (
        published.groupnorm_forward,
        "group_norm",
        {"backward": published.groupnorm_backward, "without": "empty,special_values"},
    ),
    (published.Squares, "mse_loss", {"fix": "reduction=mean", "without": "unbatched,empty"}),
    (
        published.OfTargetFirst,
        "mse_loss",
        {"fix": "reduction=none", "names": "forward=loss,backward=gradient"},
    ),
    (
        published.loss_and_gradient,
        "mse_loss",
        {"fix": "reduction=mean", "outputs": "output,grad_input", "without": "empty"},
    ),
    (
        published.entropy,
        "binary_cross_entropy",
        {
            "fix": "reduction=mean",
            "backward": published.entropy_prime,
            "without": "empty,special_values",
        },
    ),
    (published.PoolOfPairs, "max_pool2d", {"without": "unbatched,empty,special_values"}),
    (published.PoolByDefaults, "max_pool2d", {"without": "unbatched,empty,special_values"}),
    (
        published.NormOfImages,
        "batch_norm",
        {
            "fix": "axes=4,training=True",
            "without": "momentum,running_statistics,empty,special_values",
            "dtypes": "float64",
        },
    ),
    (
        published.LateStatistics,
        "batch_norm",
        {
            "fix": "eps=1e-5,axes=2",
            "names": "momentum=1-momentum",
            "without": "empty,special_values",
            "dtypes": "float64",
        },
    ),
    (published.Enlarging, "interpolate", {"fix": "axes=4,scale_factor=2", "without": "empty"}),
    (F.conv2d, "conv2d", {"device": "cpu"}),
    (torch.nn.Conv2d, "conv2d", {"device": "cpu"}),
]


@pytest.mark.parametrize(("candidate", "like", "options"), RIGHT)
def test_a_right_layer_is_tested_as_it_stands(candidate: Any, like: str, options: dict[str, Any]) -> None:
    report = check(candidate, like, EXAMPLES, **options)
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("candidate", "like", "options", "what"),
    [
        (published.SteppingTwice, "linear", {"names": "bias=offset", "without": ROWS}, "grad_weight"),
        (
            published.SquaresOfSamples,
            "mse_loss",
            {"fix": "reduction=mean", "without": "unbatched,empty"},
            "grad_input",
        ),
        (
            published.conv_forward,
            "conv2d",
            {"backward": published.conv_backward_averaged, "without": IMAGES},
            "grad_weight",
        ),
    ],
)
def test_a_wrong_one_is_found_through_its_adapter(
    candidate: Any, like: str, options: dict[str, Any], what: str
) -> None:
    report = check(candidate, like, 100, **options, further=False)
    assert report.tested
    assert what in [each.what for each in report.differences], str(report)


def test_what_a_loop_over_samples_lacks_is_an_empty_batch() -> None:
    report = check(
        published.FromSampleToSample, "conv2d", 200, without="unbatched", dtypes="float32", further=False
    )
    (hint,) = (line for line in report.diagnosis if "leave it out" in line)
    assert hint.endswith("--without empty"), str(report)
    assert check(
        published.FromSampleToSample, "conv2d", 200, without="unbatched,empty", dtypes="float32"
    ).passed


def test_of_a_layer_that_is_trained_only_the_count_of_its_values_is_found_wrong() -> None:
    claims = "special_values,empty,running_statistics,further_axes"
    report = check(
        published.TrainedOnly, "batch_norm", 200, without=claims, fix="training=True", dtypes="float64"
    )
    assert [each.what for each in report.differences] == ["grad_input"], str(report)
    assert report.aspects["values"] == report.aspects["grad_weight"] == "passed", str(report)


def test_gradients_that_add_up_and_a_forgotten_padding_are_both_found() -> None:
    report = check(published.AddingUpUnpadded, "conv2d", 200, without=IMAGES, dtypes="float64")
    assert "it is the sum of both calls' then; set it anew in backward" in str(report)
    assert {name for name, outcome in report.aspects.items() if outcome == "differs"} == {
        "values",
        "repeated calls",
    }
    found = [report.counterexample, *(each.case for each in report.further)]
    assert any(each is not None and each.keywords.get("padding") for each in found), str(report)


def test_a_layer_that_says_what_it_does_not_claim_is_skipped_and_counted() -> None:
    report = check(published.ThreeByThree, "conv2d", 40, without="unbatched,empty,bias")
    assert report.passed, str(report)
    assert 0 < report.skipped["NotImplementedError"] < 40
    share = f"{report.skipped['NotImplementedError'] / 40:.0%}"
    assert f"of 40 ({share}): raised NotImplementedError: not claimed" in str(report)


def test_a_layer_that_holds_no_bias_is_tested_without_one() -> None:
    report = check(published.ThreeByThree, "conv2d", 10, without="unbatched,empty", fix={"kernel_size": 3})
    assert report.passed, str(report)
    assert any(line.startswith("bias: ThreeByThree holds none; --names bias=...") for line in report.left_out)


@pytest.mark.parametrize(
    ("candidate", "right"), [(published.by_fft, True), (published.by_fft_blurred, False)]
)
def test_accuracy_by_norm_is_a_bound_of_its_own(candidate: Any, right: bool) -> None:
    claims = "unbatched,empty,string_padding"
    assert (
        check(candidate, "conv2d", EXAMPLES, without=claims, accuracy="norm", further=False).passed == right
    )
    assert not check(candidate, "conv2d", 60, without=claims, further=False).passed


def test_a_bound_by_norm_is_asked_of_convolutions_only() -> None:
    with pytest.raises(ValueError, match="accuracy: there is no bound by norm for relu"):
        check(F.relu, "relu", 5, accuracy="norm")


def test_a_layer_that_claims_nothing_is_not_said_to_be_equal() -> None:
    def never(*tensors: Tensor, **arguments: Any) -> Tensor:
        raise NotImplementedError

    report = check(never, "relu", 5)
    assert not report.passed
    assert not report.tested
    assert "nothing was computed" in str(report)


def test_a_default_that_is_not_torchs_is_said() -> None:
    report = check(published.normalise, "batch_norm", 5)
    note = (
        "training: its own default is True, torch's is False: it is given torch's, where a call has no other"
    )
    assert report.notes == [note]


def test_what_a_candidate_prints_is_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    def talking(input: Tensor) -> Tensor:
        print("hello")
        return input.relu()

    report = check(talking, "relu", 5)
    assert report.notes == ["what it prints is held back"]
    assert "hello" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"names": "num_filters=outputs"}, "names: neither 'num_filters' nor 'outputs' is a name of torch's"),
        ({"names": "num_filters"}, "names: written as theirs=torch's"),
        ({"names": "a b=weight"}, "names: 'a b' names no argument"),
        ({"layout": "nhw"}, "one channel"),
        ({"layout": "nhwx"}, "layout: 'nhwx' is no order of the letters nchw"),
        ({"layout": "nc"}, "layout: 'nc' lacks h, w of nchw"),
        ({"weights": "hwii"}, "weights: 'hwii' is no order of the letters oihw"),
        ({"arrays": "cupy"}, "arrays must be one of torch, numpy, jax, mlx"),
        ({"device": "nowhere"}, "device: 'nowhere' is none of torch's devices"),
        ({"outputs": "cache"}, "outputs: one of them has to be 'output'"),
        ({"gradients": "weights"}, "gradients: unknown 'weights'"),
        ({"fix": "epsilon=1"}, "fix: unknown 'epsilon'"),
        ({"fix": "stride"}, "fix: written as name=value"),
        ({"fix": "stride=0"}, "fix: no call of conv2d has stride=0"),
        ({"skip_on": "a b"}, "skip_on: names of exceptions"),
        ({"accuracy": "loose"}, "accuracy must be one of elementwise, norm"),
        ({"without": "rectangular.groups"}, "unknown 'rectangular.groups'"),
    ],
)
def test_a_wrong_word_is_refused_before_anything_is_tested(options: dict[str, Any], said: str) -> None:
    def candidate(*tensors: Tensor, **arguments: Any) -> Tensor:
        raise AssertionError("was called")

    if options == {"layout": "nhw"}:
        assert any("nhw" in line for line in check(candidate, "conv2d", 1, **options).left_out)
        return
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        check(candidate, "conv2d", 5, **options)
    assert "\n" not in str(refused.value)


def test_kernels_are_pairs_where_other_arguments_are_annotated_as_numbers() -> None:
    report = check(
        published.OfLongKernels, "conv2d", 200, without="unbatched,empty,special_values", further=False
    )
    assert not report.passed
    assert report.counterexample is not None
    height, width = report.counterexample.shapes["weight"][2:]
    assert height > width
