"""Arguments of odd types and sizes: torch computes or refuses them, and so do these functions."""

import itertools
import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import scratch_conv as sc


class Index:
    """An integer by `__index__` alone."""

    def __index__(self) -> int:
        return 2


IMAGE, KERNEL = torch.ones(1, 2, 6, 6), torch.ones(2, 2, 1, 1)
RAMP = torch.arange(72.0).reshape(IMAGE.shape)
PLACES = torch.arange(72).reshape(IMAGE.shape) % 36
LOGITS, TARGETS = torch.ones(2, 3), torch.tensor([0, 1])

INTEGERS: dict[str, Callable[[Any, Any], Any]] = {
    "conv1d, stride": lambda lib, value: lib.conv1d(IMAGE[0, :, :], torch.ones(2, 2, 1), stride=value),
    "conv2d, stride": lambda lib, value: lib.conv2d(IMAGE, KERNEL, stride=value),
    "conv2d, padding": lambda lib, value: lib.conv2d(IMAGE, KERNEL, padding=value),
    "conv2d, groups": lambda lib, value: lib.conv2d(IMAGE, KERNEL, groups=value),
    "conv_transpose2d, dilation": lambda lib, value: lib.conv_transpose2d(IMAGE, KERNEL, dilation=value),
    "conv3d, padding": lambda lib, value: lib.conv3d(IMAGE[None], KERNEL[:, :1, None], padding=value),
    "conv_transpose1d, output_padding": lambda lib, value: lib.conv_transpose1d(
        IMAGE[0], torch.ones(6, 1, 1), output_padding=value, stride=3
    ),
    "conv_transpose3d, stride": lambda lib, value: lib.conv_transpose3d(
        IMAGE[None], KERNEL[:1, :, None], stride=value
    ),
    "conv_transpose2d, stride": lambda lib, value: lib.conv_transpose2d(IMAGE, KERNEL, stride=value),
    "max_pool2d, kernel_size": lambda lib, value: lib.max_pool2d(IMAGE, value),
    "max_pool2d, stride": lambda lib, value: lib.max_pool2d(IMAGE, 1, stride=value),
    "avg_pool2d, padding": lambda lib, value: lib.avg_pool2d(IMAGE, 4, padding=value),
    "avg_pool2d, divisor_override": lambda lib, value: lib.avg_pool2d(IMAGE, 2, divisor_override=value),
    "adaptive_avg_pool2d": lambda lib, value: lib.adaptive_avg_pool2d(IMAGE, value),
    "max_pool1d, kernel_size": lambda lib, value: lib.max_pool1d(IMAGE[0], value),
    "max_pool3d, kernel_size": lambda lib, value: lib.max_pool3d(IMAGE, value),
    "avg_pool1d, padding": lambda lib, value: lib.avg_pool1d(IMAGE[0], 4, padding=value),
    "avg_pool3d, stride": lambda lib, value: lib.avg_pool3d(IMAGE, 1, stride=value),
    "avg_pool3d, divisor_override": lambda lib, value: lib.avg_pool3d(IMAGE, 2, divisor_override=value),
    "adaptive_avg_pool1d": lambda lib, value: lib.adaptive_avg_pool1d(IMAGE[0], value),
    "adaptive_avg_pool3d": lambda lib, value: lib.adaptive_avg_pool3d(IMAGE, value),
    "adaptive_max_pool1d": lambda lib, value: lib.adaptive_max_pool1d(IMAGE[0], value),
    "adaptive_max_pool2d": lambda lib, value: lib.adaptive_max_pool2d(IMAGE, value),
    "adaptive_max_pool3d": lambda lib, value: lib.adaptive_max_pool3d(IMAGE, value),
    "max_unpool2d, kernel_size": lambda lib, value: lib.max_unpool2d(RAMP, 0 * PLACES, value),
    "max_unpool1d, stride": lambda lib, value: lib.max_unpool1d(RAMP[0], 0 * PLACES[0], 2, value),
    "max_unpool3d, stride": lambda lib, value: lib.max_unpool3d(RAMP, 0 * PLACES, 3, value, 1),
    "max_unpool3d, padding": lambda lib, value: lib.max_unpool3d(RAMP, 0 * PLACES, 3, 2, value),
    "max_unpool2d, output_size": lambda lib, value: lib.max_unpool2d(
        RAMP[..., :1, :1], 0 * PLACES[..., :1, :1], 2, output_size=value
    ),
    "softmax, dim": lambda lib, value: lib.softmax(IMAGE, value),
    "pixel_shuffle, upscale_factor": lambda lib, value: lib.pixel_shuffle(torch.ones(4, 1, 2), value),
    "channel_shuffle, groups": lambda lib, value: lib.channel_shuffle(RAMP, value),
    "group_norm, num_groups": lambda lib, value: lib.group_norm(IMAGE, value),
    "interpolate, size": lambda lib, value: lib.interpolate(IMAGE, value),
    "nll_loss, ignore_index": lambda lib, value: lib.nll_loss(LOGITS, TARGETS, ignore_index=value),
    "cross_entropy, ignore_index": lambda lib, value: lib.cross_entropy(LOGITS, TARGETS, ignore_index=value),
}
NUMBERS: dict[str, Callable[[Any, Any], Any]] = {
    "dropout, p": lambda lib, value: lib.dropout(IMAGE, value),
    "dropout2d, p": lambda lib, value: lib.dropout2d(IMAGE, value),
    "batch_norm, momentum": lambda lib, value: lib.batch_norm(
        IMAGE, torch.zeros(2), torch.ones(2), training=True, momentum=value
    ),
    "batch_norm, eps": lambda lib, value: lib.batch_norm(IMAGE, torch.zeros(2), torch.ones(2), eps=value),
    "layer_norm, eps": lambda lib, value: lib.layer_norm(RAMP, (6,), eps=value).nan_to_num(),
    "group_norm, eps": lambda lib, value: lib.group_norm(RAMP, 2, eps=value).nan_to_num(),
    "instance_norm, eps": lambda lib, value: lib.instance_norm(RAMP, eps=value).nan_to_num(),
    "instance_norm, momentum": lambda lib, value: lib.instance_norm(RAMP, momentum=value),
    "interpolate, scale_factor": lambda lib, value: lib.interpolate(IMAGE, None, value),
    "interpolate, scale_factor that gives a size": lambda lib, value: lib.interpolate(
        IMAGE, None, value, "bilinear", None, True
    ),
    "interpolate, area": lambda lib, value: lib.interpolate(IMAGE, None, value, "area"),
    "smooth_l1_loss, beta": lambda lib, value: lib.smooth_l1_loss(RAMP, RAMP + 1, beta=value),
    "huber_loss, delta": lambda lib, value: lib.huber_loss(RAMP, RAMP + 1, delta=value),
    "cross_entropy, label_smoothing": lambda lib, value: lib.cross_entropy(
        LOGITS, TARGETS, label_smoothing=value
    ),
}
BOOLEANS: dict[str, Callable[[Any, Any], Any]] = {
    "max_pool2d, ceil_mode": lambda lib, value: lib.max_pool2d(IMAGE, 2, ceil_mode=value),
    "avg_pool2d, count_include_pad": lambda lib, value: lib.avg_pool2d(IMAGE, 2, count_include_pad=value),
    "max_pool3d, ceil_mode": lambda lib, value: lib.max_pool3d(IMAGE, 2, ceil_mode=value),
    "avg_pool3d, count_include_pad": lambda lib, value: lib.avg_pool3d(IMAGE, 2, count_include_pad=value),
    "instance_norm, use_input_stats": lambda lib, value: lib.instance_norm(
        IMAGE, torch.zeros(2), torch.ones(2), use_input_stats=value
    ),
    "interpolate, align_corners": lambda lib, value: lib.interpolate(IMAGE, 2, None, "bicubic", value),
    "interpolate, recompute_scale_factor": lambda lib, value: lib.interpolate(
        RAMP, None, 1.7, "bilinear", None, value
    ),
    "interpolate, antialias": lambda lib, value: lib.interpolate(
        RAMP, 2, None, "bilinear", None, None, value
    ),
    "dropout, training": lambda lib, value: lib.dropout(IMAGE, training=value),
}

HUGE = 10**400
"""Beyond float, which torch notices later or earlier than other faults."""

ODD: tuple[Any, ...] = (
    *(True, None, 1.0, 1j, "1", b"1", Fraction(1), Decimal(1), 2**63, -(2**63) - 1, 2**70, HUGE),
    *(np.int64(2), np.int8(2), np.uint64(2), np.uint64(2**63), np.bool_(True), np.float64(2)),
    *(np.array([2]), np.array([1, 2]), np.array([1.0, 2.0])),
    *(torch.tensor(2), torch.tensor([2]), torch.tensor([1, 2]), torch.tensor(2.0), torch.tensor(True)),
    *(torch.tensor(0.5), torch.tensor([0.5]), torch.tensor(0.5, requires_grad=True)),
    *((), (1,), [2], (1, 2), (1, 2, 3), (1, 1.0), (1.0, 1), (True, 1), (2**63, 1), (1, -(2**63) - 1)),
    *((np.int64(1), 2), (torch.tensor(1), 2), (torch.tensor(1.0), 2), (Index(), 1), (b"1", 1)),
    *(range(1, 3), {1, 2}, {1: 2, 3: 4}, object(), Fraction(1, 2), Decimal("0.5"), b"0.5"),
    *(np.float32(0.5), np.float16(0.5), np.longdouble(0.5), np.array(0.5), np.complex64(1), torch.tensor(1j)),
)


def outcome(call: Callable[[Any, Any], Any], lib: Any, value: Any) -> Any:
    """Return what comes of a call: the result's shape and dtype, or the exception."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = call(lib, value)
        except Exception as error:
            return error
    return result.shape, result.dtype, result


@pytest.mark.parametrize("name", [*INTEGERS, *NUMBERS, *BOOLEANS])
def test_what_stands_for_a_number_is_what_torch_takes(name: str) -> None:
    call = {**INTEGERS, **NUMBERS, **BOOLEANS}[name]
    for value in ODD:
        want, got = outcome(call, F, value), outcome(call, sc.functional, value)
        if isinstance(want, Exception):
            assert isinstance(got, Exception), f"{value!r}: torch refuses: {want!r}"
            if value is not HUGE and not isinstance(value, (str, bytes, np.ndarray, Decimal, Tensor)):
                assert isinstance(got, type(want)), f"{value!r}: {got!r}, torch {want!r}"
        else:
            assert not isinstance(got, Exception), f"{value!r}: {got!r}"
            assert got[:2] == want[:2]
            assert torch.allclose(got[2], want[2])


@pytest.mark.parametrize(
    "name",
    # A signal of 2**31 elements is one that memory may hold.
    [name for name in INTEGERS if "transpose2d, stride" in name or ("pool" in name and "1d" not in name)],
)
def test_sizes_that_no_memory_holds_are_refused_as_torch_refuses_them(name: str) -> None:
    for value in (2**31, 2**40, 2**62, 2**63 - 1, (2**40, 2**40)):
        want, got = (outcome(INTEGERS[name], lib, value) for lib in (F, sc.functional))
        if isinstance(want, Exception):
            assert isinstance(got, type(want)), f"{value!r}: {got!r}, torch {want!r}"


COMPUTED: dict[str, Callable[[Any], Tensor]] = {
    "dropout2d of a vector in evaluation": lambda lib: lib.dropout2d(torch.ones(2), 0.5, False),
    "dropout2d of a number in evaluation": lambda lib: lib.dropout2d(torch.ones(()), 0.5, False),
    "dropout2d of a vector, p=0": lambda lib: lib.dropout2d(torch.ones(2), 0.0),
    "dropout2d of a vector, p=1": lambda lib: lib.dropout2d(torch.ones(2), 1.0),
    "alpha_dropout of a number": lambda lib: lib.alpha_dropout(torch.ones(()), 1.0, True),
    "alpha_dropout of whole numbers in evaluation": lambda lib: lib.alpha_dropout(TARGETS),
    "feature_alpha_dropout of whole numbers, p=1": lambda lib: lib.feature_alpha_dropout(TARGETS, 1.0, True),
    "dropout1d of two dimensions": lambda lib: lib.dropout1d(LOGITS),
    "dropout1d of two dimensions in place": lambda lib: lib.dropout1d(LOGITS.clone(), inplace=True),
    "dropout1d of two dimensions in evaluation": lambda lib: lib.dropout1d(LOGITS, 0.5, False),
    "dropout3d of a vector": lambda lib: lib.dropout3d(torch.ones(8)),
    "dropout3d of six dimensions": lambda lib: lib.dropout3d(torch.ones(8, 1, 1, 1, 1, 2)),
    "dropout2d of no elements": lambda lib: lib.dropout2d(torch.ones(0), 0.5),
    "conv2d of an empty batch of bytes": lambda lib: lib.conv2d(IMAGE[:0].byte(), KERNEL),
    "conv1d of an empty batch of bools": lambda lib: lib.conv1d(
        IMAGE[0, :0].bool(), torch.ones(2, 6, 1).long(), torch.ones(2).bool()
    ),
    "conv3d of an empty batch, a wider weight": lambda lib: lib.conv3d(
        torch.ones(0, 2, 3, 3, 3), KERNEL[..., None].double()
    ),
    "conv_transpose2d of an empty batch of whole numbers": lambda lib: lib.conv_transpose2d(
        IMAGE[:0].long(), KERNEL.double(), torch.ones(2)
    ),
    "dropout of whole numbers, p=1": lambda lib: lib.dropout(torch.ones(2, 3, dtype=torch.int64), 1.0),
    "dropout of bools, p=1": lambda lib: lib.dropout(torch.ones(2, 3, dtype=torch.bool), 1.0),
    "dropout of complex numbers, p=1": lambda lib: lib.dropout(torch.ones(2, dtype=torch.complex64), 1.0),
    "dropout of float8 in evaluation": lambda lib: lib.dropout(
        torch.ones(2).to(torch.float8_e4m3fn), 0.5, False
    ).float(),
    "relu of 65 dimensions": lambda lib: lib.relu(-torch.ones([1] * 64 + [3])),
    "relu of 65 dimensions in place": lambda lib: lib.relu(-torch.ones([1] * 64 + [3]), inplace=True),
    "leaky_relu of 65 dimensions": lambda lib: lib.leaky_relu(-torch.ones([1] * 64 + [3])),
    "hardtanh of 65 dimensions in place": lambda lib: lib.hardtanh(
        -2 * torch.ones([1] * 64 + [3]), inplace=True
    ),
    "prelu of 65 dimensions": lambda lib: lib.prelu(-torch.ones([2, 3] + [1] * 63), torch.arange(3.0)),
    "sigmoid of whole numbers": lambda lib: lib.sigmoid(torch.zeros(3, dtype=torch.int64)),
    "tanh of bools": lambda lib: lib.tanh(torch.tensor([False])),
    "softsign of bytes": lambda lib: lib.softsign(torch.arange(3, dtype=torch.uint8)),
    "hardtanh of whole numbers": lambda lib: lib.hardtanh(torch.arange(-5, 5), -1.5, 2.5),
    "relu6 of bytes": lambda lib: lib.relu6(torch.arange(9, dtype=torch.uint8)),
    "hardtanh to one number": lambda lib: lib.hardtanh(IMAGE, 0.5, 0.5),
    "elu of a negative alpha": lambda lib: lib.elu(IMAGE, -1),
    "elu of a tensor's alpha": lambda lib: lib.elu(IMAGE, torch.tensor(2.0)),
    "leaky_relu of an infinite slope": lambda lib: lib.leaky_relu(IMAGE, float("inf")),
    "softplus of a beta of zero": lambda lib: lib.softplus(IMAGE, 0.0),
    "prelu of a number": lambda lib: lib.prelu(torch.tensor(-2.0), torch.tensor(0.5)),
    "prelu of nothing": lambda lib: lib.prelu(torch.ones(2, 0), torch.ones(0)),
    "dropout of 65 dimensions": lambda lib: lib.dropout(torch.ones([1] * 64 + [9])),
    "dropout2d of 65 dimensions": lambda lib: lib.dropout2d(torch.ones([3, 4] + [1] * 63)),
    "softmax of 65 dimensions": lambda lib: lib.softmax(torch.arange(6.0).reshape([2] + [1] * 63 + [3]), 0),
    "log_softmax of 65 dimensions": lambda lib: lib.log_softmax(
        torch.arange(9.0).reshape([9] + [1] * 64), 64
    ),
    "layer_norm of 65 dimensions": lambda lib: lib.layer_norm(
        torch.tensor([0.0, 2.0]).reshape([1] * 64 + [2]), [1] * 30 + [2]
    ),
    "group_norm of 65 dimensions": lambda lib: lib.group_norm(
        torch.tensor([0.0, 2.0]).reshape([1, 2] + [1] * 63), 1
    ),
    "layer_norm of no rows": lambda lib: lib.layer_norm(torch.ones(0, 3), [3]),
    "layer_norm of rows of nothing": lambda lib: lib.layer_norm(torch.ones(3, 0), [0]),
    "layer_norm, sizes as numbers of NumPy and tensors": lambda lib: lib.layer_norm(
        torch.tensor([[0.0, 2.0]]), [np.int64(1), torch.tensor(2)]
    ),
    "group_norm of no samples": lambda lib: lib.group_norm(torch.ones(0, 4, 2), 2),
    "group_norm of one value a group in two samples": lambda lib: lib.group_norm(torch.ones(2, 3), 3),
    "instance_norm of no samples": lambda lib: lib.instance_norm(torch.ones(0, 4, 2)),
    "instance_norm of no channels": lambda lib: lib.instance_norm(torch.ones(2, 0, 2)),
    "instance_norm of no pixels": lambda lib: lib.instance_norm(torch.ones(2, 3, 0)),
    "instance_norm of channels alone, by given statistics": lambda lib: lib.instance_norm(
        torch.ones(2, 3), torch.zeros(3), torch.ones(3), use_input_stats=False, eps=0.0
    ),
    "interpolate of no images": lambda lib: lib.interpolate(IMAGE[:0], 3, mode="bicubic"),
    "interpolate of bytes": lambda lib: lib.interpolate(RAMP.byte(), (3, 13), mode="nearest-exact"),
    "interpolate by a negative number, averaging to nothing": lambda lib: lib.interpolate(
        IMAGE, scale_factor=-0.1, mode="area"
    ),
    "interpolate by no size but a factor of one": lambda lib: lib.interpolate(RAMP, scale_factor=1),
    "interpolate by a factor in words": lambda lib: lib.interpolate(
        RAMP[0, :, :, :2], scale_factor="2", recompute_scale_factor=True
    ),
    "interpolate one pixel to another": lambda lib: lib.interpolate(
        RAMP[..., :1], (1, 1), mode="bilinear", align_corners=True
    ),
    "pad of a number, by nothing": lambda lib: lib.pad(torch.ones(()), ()),
    "pad of numbers, a value cut off": lambda lib: lib.pad(TARGETS, [1, 1], "constant", -2.7),
    "pad of bools, a value for true": lambda lib: lib.pad(TARGETS.bool(), [1, 1], "constant", 0.5),
    "pad of half precision by a negative zero": lambda lib: 1 / lib.pad(IMAGE.half(), [1, 0], value=-0.0),
    "pad by infinity": lambda lib: lib.pad(IMAGE.bfloat16(), [1, 0], value=-torch.inf),
    "pad of 65 dimensions": lambda lib: lib.pad(torch.ones([3, 4] + [1] * 63), (1, 0), value=2.0),
    "pad, all that there was cut off": lambda lib: lib.pad(IMAGE, (-7 + 1, 3)),
    "pad of bools in circles": lambda lib: lib.pad(IMAGE[0] > 0, (1, 1), "circular"),
    "pad by reflection, cropped beyond the image": lambda lib: lib.pad(RAMP, (-7, 5, 0, 0), "reflect"),
    "unfold of bools": lambda lib: lib.unfold(RAMP > 9, 2, padding=1),
    "unfold, pairs in a tensor and in a set": lambda lib: lib.unfold(RAMP, torch.tensor([2, 1]), {1, 2}),
    "unfold of taps far apart": lambda lib: lib.unfold(RAMP, (1, 2), (2**62, 40), (0, 40)),
    "fold of bools": lambda lib: lib.fold(RAMP.reshape(8, 9) > 9, 4, 2),
    "channel_shuffle of an empty batch": lambda lib: lib.channel_shuffle(IMAGE[:0], 2),
    "channel_shuffle of 65 dimensions": lambda lib: lib.channel_shuffle(RAMP.reshape(1, 4, *[1] * 62, 18), 2),
    "pixel_shuffle of no rows": lambda lib: lib.pixel_shuffle(torch.ones(2, 4, 0, 3), 2),
    "pixel_shuffle of 65 dimensions": lambda lib: lib.pixel_shuffle(RAMP.reshape([1] * 62 + [4, 3, 6]), 2),
    "pixel_unshuffle of 65 dimensions": lambda lib: lib.pixel_unshuffle(
        RAMP.reshape([1] * 62 + [2, 6, 6]), 3
    ),
    "local_response_norm of nothing": lambda lib: lib.local_response_norm(RAMP[:0], -1),
    "max_unpool2d to no pixels": lambda lib: lib.max_unpool2d(RAMP, PLACES, 0),
    "max_unpool2d of no images of whole numbers": lambda lib: lib.max_unpool2d(
        TARGETS[:0, None, None, None], PLACES[:0, :1, :1, :1], 2
    ),
    "max_unpool2d of no channels without a batch": lambda lib: lib.max_unpool2d(
        IMAGE[0, :0], PLACES[0, :0], 2
    ),
    "max_unpool2d, a larger stride than the window": lambda lib: lib.max_unpool2d(RAMP, PLACES, 1, (2, 3)),
    "max_unpool2d, a window of no pixels between others": lambda lib: lib.max_unpool2d(
        RAMP, PLACES, (0, 1), 2
    ),
    "max_unpool2d, a negative padding": lambda lib: lib.max_unpool2d(RAMP, PLACES, 2, padding=(-1, 1)),
    "max_unpool2d, a stride for a third axis": lambda lib: lib.max_unpool2d(RAMP, PLACES, 2, (2, 2, 9)),
    "max_unpool2d, a size in a list after two others": lambda lib: lib.max_unpool2d(
        RAMP, PLACES, 2, output_size=[None, "C", 13, 11]
    ),
    "max_unpool2d, a stride of nearly two": lambda lib: lib.max_unpool2d(
        RAMP, PLACES, 2, 1.9, output_size=(12, 11)
    ),
    "max_unpool1d, indices that occur twice": lambda lib: lib.max_unpool1d(RAMP[0], PLACES[0] % 4, 2),
    "max_unpool3d, indices that occur twice": lambda lib: lib.max_unpool3d(RAMP, PLACES % 7, 1),
    "softmax of nothing into whole numbers": lambda lib: lib.softmax(LOGITS[:0], 1, dtype=int),
    "log_softmax of no complex numbers": lambda lib: lib.log_softmax(torch.ones(0, 3) * 1j, 1),
    "softmax of many rows without classes": lambda lib: lib.softmax(torch.empty(2**31, 0), 1),
    "softmax into a Python type": lambda lib: lib.softmax(torch.ones(2, 3), 1, dtype=float),
    "linear, a bias for the product": lambda lib: lib.linear(
        torch.ones(2, 3, 4), torch.ones(4), torch.ones(())
    ),
    "linear, a bias for each row": lambda lib: lib.linear(
        torch.ones(2, 3, 4), torch.ones(4), torch.arange(6.0).reshape(2, 3)
    ),
    "linear, a bias of another dtype": lambda lib: lib.linear(
        torch.ones(2, 3, 4), torch.ones(5, 4), torch.tensor(2, dtype=torch.uint8)
    ),
    "conv_transpose2d, a wider bias": lambda lib: lib.conv_transpose2d(
        torch.ones(1, 1, 3, 3).half(), torch.ones(1, 2, 2, 2).half(), torch.tensor([1.0, 0.5])
    ),
    "conv2d of one tap, dilated beyond 32 bits": lambda lib: lib.conv2d(IMAGE, KERNEL, dilation=2**63 - 1),
    "conv1d, a stride beyond the row": lambda lib: lib.conv1d(IMAGE[:, :, 0], KERNEL[..., 0], stride=2**62),
    "conv2d, a stride beyond the image": lambda lib: lib.conv2d(IMAGE, KERNEL, stride=(2, 2**63 - 1)),
    "conv3d, a stride beyond the volume": lambda lib: lib.conv3d(
        IMAGE[None], KERNEL[:, :1, None], stride=(2, 2**63 - 1, 1)
    ),
    "conv_transpose1d, a wider bias": lambda lib: lib.conv_transpose1d(
        torch.ones(1, 1, 3).half(), torch.ones(1, 2, 2).half(), torch.tensor([1.0, 0.5])
    ),
    "conv_transpose3d of whole numbers": lambda lib: lib.conv_transpose3d(
        IMAGE[None].long(), KERNEL[:1, :, None].long(), padding=(0, 1, 2)
    ),
    "conv_transpose3d into nothing": lambda lib: lib.conv_transpose3d(
        torch.ones(2, 2, 1, 1, 1), torch.ones(2, 3, 2, 2, 2), padding=(1, 0, 0)
    ),
    "conv_transpose2d into nothing": lambda lib: lib.conv_transpose2d(
        torch.ones(2, 2, 1, 1), torch.ones(2, 3, 2, 2), padding=(1, 0)
    ),
}


@pytest.mark.filterwarnings("ignore:.*dropout[23]d")
@pytest.mark.parametrize("name", COMPUTED)
def test_what_torch_computes_is_computed(name: str) -> None:
    torch.manual_seed(0)
    want = COMPUTED[name](F)
    torch.manual_seed(0)
    got = COMPUTED[name](sc.functional)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    assert torch.equal(got.reshape(-1), want.reshape(-1))


REFUSED: dict[str, Callable[[Any], Tensor]] = {
    "adaptive_avg_pool2d of a vector to two rows": lambda lib: lib.adaptive_avg_pool2d(torch.ones(3), 2),
    "adaptive_avg_pool2d of an empty batch beyond 64 bits": lambda lib: lib.adaptive_avg_pool2d(
        IMAGE[:0], 2**63 - 1
    ),
    "adaptive_avg_pool2d of a number": lambda lib: lib.adaptive_avg_pool2d(torch.ones(()), 1),
    "adaptive_avg_pool2d of a vector": lambda lib: lib.adaptive_avg_pool2d(torch.ones(3), 1),
    "batch_norm, eps below all floats": lambda lib: lib.batch_norm(
        IMAGE, torch.zeros(2), torch.ones(2), eps=-HUGE
    ),
    "batch_norm of one value a channel, a momentum below all floats": lambda lib: lib.batch_norm(
        IMAGE[..., 0, 0], None, None, training=True, momentum=-HUGE
    ),
    "batch_norm of one value a channel, a vector for whether to train": lambda lib: lib.batch_norm(
        IMAGE[..., 0, 0], None, None, training=torch.ones(1)
    ),
    "batch_norm, whether to train without data": lambda lib: lib.batch_norm(
        IMAGE, None, None, training=torch.tensor(True, device="meta")
    ),
    "conv1d of an empty batch, a padding beyond 64 bits": lambda lib: lib.conv1d(
        IMAGE[:0, :, 0], KERNEL[..., 0], padding=2**63 - 1
    ),
    "conv2d, bytes for a word": lambda lib: lib.conv2d(IMAGE, KERNEL, padding=b"1"),
    "conv_transpose2d of an empty batch to a size beyond 64 bits": lambda lib: lib.conv_transpose2d(
        IMAGE[:0], KERNEL, stride=2**62
    ),
    "conv3d, two strides": lambda lib: lib.conv3d(IMAGE[None], KERNEL[:, :1, None], stride=(1, 2)),
    "conv3d of images": lambda lib: lib.conv3d(IMAGE[0], KERNEL),
    "conv_transpose1d of bytes": lambda lib: lib.conv_transpose1d(
        IMAGE[0].byte(), torch.ones(6, 1, 1).byte()
    ),
    "conv_transpose3d, a wider bias": lambda lib: lib.conv_transpose3d(
        torch.ones(1, 1, 3, 3, 3).half(), torch.ones(1, 2, 2, 2, 2).half(), torch.tensor([1.0, 0.5])
    ),
    "conv_transpose3d, dilated beyond 64 bits into nothing": lambda lib: lib.conv_transpose3d(
        torch.ones(2, 2, 2, 2, 2), torch.ones(2, 2, 2, 1, 1), padding=(0, 0, 1), dilation=2**62
    ),
    "celu of an alpha of zero": lambda lib: lib.celu(IMAGE, 0),
    "celu of an alpha beyond all floats": lambda lib: lib.celu(IMAGE, HUGE),
    "elu of an alpha in words": lambda lib: lib.elu(IMAGE, "one"),
    "gelu, a form that there is not": lambda lib: lib.gelu(IMAGE, approximate="erf"),
    "gelu, no form": lambda lib: lib.gelu(IMAGE, approximate=None),
    "hardtanh, limits exchanged": lambda lib: lib.hardtanh(IMAGE, 2.0, 1.0),
    "hardtanh of bytes, a negative limit": lambda lib: lib.hardtanh(torch.arange(3, dtype=torch.uint8)),
    "hardtanh of bools": lambda lib: lib.hardtanh(torch.tensor([True])),
    "leaky_relu without a slope": lambda lib: lib.leaky_relu(IMAGE, None),
    "prelu, a weight of two dimensions": lambda lib: lib.prelu(IMAGE, torch.ones(1, 2)),
    "prelu, a weight of another size": lambda lib: lib.prelu(IMAGE, torch.ones(3)),
    "prelu, a weight of another dtype": lambda lib: lib.prelu(IMAGE, torch.ones(2).double()),
    "prelu, a number for a weight": lambda lib: lib.prelu(IMAGE, 0.5),
    "prelu of whole numbers": lambda lib: lib.prelu(IMAGE.long(), torch.ones(2).long()),
    "prelu of a number, two weights": lambda lib: lib.prelu(torch.ones(()), torch.ones(2)),
    "silu of whole numbers": lambda lib: lib.silu(torch.arange(3)),
    "softplus, a threshold in words": lambda lib: lib.softplus(IMAGE, 1.0, "far"),
    "softsign of bools": lambda lib: lib.softsign(torch.tensor([True])),
    "dropout, in place or not": lambda lib: lib.dropout(IMAGE, 0.0, True, torch.ones(2)),
    "alpha_dropout of whole numbers": lambda lib: lib.alpha_dropout(TARGETS, 0.5, True),
    "alpha_dropout of complex numbers": lambda lib: lib.alpha_dropout(LOGITS * 1j, 0.5, True),
    "feature_alpha_dropout of a vector": lambda lib: lib.feature_alpha_dropout(torch.ones(3), 0.5, True),
    "dropout1d of four dimensions": lambda lib: lib.dropout1d(IMAGE),
    "dropout1d of four dimensions, an impossible p": lambda lib: lib.dropout1d(IMAGE, 1.5),
    "dropout3d of a number": lambda lib: lib.dropout3d(torch.ones(()), 0.5),
    "dropout2d, in place or not": lambda lib: lib.dropout2d(IMAGE, 0.5, False, np.ones(2)),
    "linear of rows, a weight of one dimension": lambda lib: lib.linear(
        torch.ones(2, 4), torch.ones(4), torch.ones(())
    ),
    "linear of rows, a bias of another dtype": lambda lib: lib.linear(
        torch.ones(2, 4), torch.ones(3, 4), torch.ones(3).double()
    ),
    "conv_transpose2d, a complex bias": lambda lib: lib.conv_transpose2d(
        IMAGE, KERNEL, torch.ones(2, dtype=torch.complex64)
    ),
    "layer_norm over one size": lambda lib: lib.layer_norm(IMAGE, 6),
    "layer_norm over nothing": lambda lib: lib.layer_norm(IMAGE, []),
    "layer_norm over a truth": lambda lib: lib.layer_norm(torch.ones(2, 1), [True]),
    "layer_norm over half a size": lambda lib: lib.layer_norm(IMAGE, (6.0,)),
    "layer_norm over another size": lambda lib: lib.layer_norm(IMAGE, (5,)),
    "layer_norm over more sizes than there are": lambda lib: lib.layer_norm(LOGITS, (1, 2, 3)),
    "layer_norm, a flat weight": lambda lib: lib.layer_norm(IMAGE, (6, 6), torch.ones(36)),
    "layer_norm, a flat bias": lambda lib: lib.layer_norm(IMAGE, (6, 6), None, torch.ones(36)),
    "layer_norm, a wider weight": lambda lib: lib.layer_norm(IMAGE, (6,), torch.ones(6).double()),
    "layer_norm of whole numbers": lambda lib: lib.layer_norm(TARGETS, (2,)),
    "layer_norm of whole numbers, weighted": lambda lib: lib.layer_norm(TARGETS, (2,), torch.ones(2)),
    "layer_norm of half precision, a bias of another": lambda lib: lib.layer_norm(
        LOGITS.half(), (3,), torch.ones(3).half(), torch.ones(3)
    ),
    "group_norm of a vector": lambda lib: lib.group_norm(torch.ones(3), 1),
    "group_norm of no groups": lambda lib: lib.group_norm(IMAGE, 0),
    "group_norm of fewer than no groups": lambda lib: lib.group_norm(IMAGE, -1),
    "group_norm of more groups than channels": lambda lib: lib.group_norm(IMAGE, 4),
    "group_norm of one value a group": lambda lib: lib.group_norm(IMAGE[..., 0, 0], 2),
    "group_norm of no channels": lambda lib: lib.group_norm(IMAGE[:, :0], 1),
    "group_norm of no pixels": lambda lib: lib.group_norm(IMAGE[..., :0], 1),
    "group_norm, a weight of two dimensions": lambda lib: lib.group_norm(IMAGE, 1, torch.ones(2, 1)),
    "group_norm, a bias too long": lambda lib: lib.group_norm(IMAGE, 1, None, torch.ones(3)),
    "group_norm, a narrower weight": lambda lib: lib.group_norm(IMAGE, 1, torch.ones(2).half()),
    "group_norm of whole numbers": lambda lib: lib.group_norm(IMAGE.long(), 1),
    "instance_norm of one pixel": lambda lib: lib.instance_norm(IMAGE[..., :1, :1]),
    "instance_norm of a number": lambda lib: lib.instance_norm(torch.ones(())),
    "instance_norm of a vector by given statistics": lambda lib: lib.instance_norm(
        torch.ones(2), torch.zeros(2), torch.ones(2), use_input_stats=False
    ),
    "instance_norm without the statistics to use": lambda lib: lib.instance_norm(
        IMAGE, use_input_stats=False
    ),
    "instance_norm, a mean without a variance": lambda lib: lib.instance_norm(IMAGE, torch.zeros(2)),
    "instance_norm, a trained mean": lambda lib: lib.instance_norm(
        IMAGE, torch.zeros(2, requires_grad=True), torch.ones(2)
    ),
    "instance_norm, a mean of one number in memory": lambda lib: lib.instance_norm(
        IMAGE, torch.zeros(1).expand(2), torch.ones(2)
    ),
    "instance_norm, a weight of two dimensions": lambda lib: lib.instance_norm(
        IMAGE, None, None, torch.ones(2, 1)
    ),
    "instance_norm, a bias of another dtype": lambda lib: lib.instance_norm(
        IMAGE, None, None, None, torch.ones(2).double()
    ),
    "instance_norm, a wider bias alone beside statistics": lambda lib: lib.instance_norm(
        IMAGE.half(), torch.zeros(2), torch.ones(2), None, torch.ones(2)
    ),
    "instance_norm of whole numbers": lambda lib: lib.instance_norm(IMAGE.long()),
    "interpolate to nothing in particular": lambda lib: lib.interpolate(IMAGE),
    "interpolate by size and factor": lambda lib: lib.interpolate(IMAGE, 2, 2),
    "interpolate to one size of two": lambda lib: lib.interpolate(IMAGE, (2,)),
    "interpolate by three factors of two": lambda lib: lib.interpolate(IMAGE, None, (2, 2, 2)),
    "interpolate to a size and a half": lambda lib: lib.interpolate(IMAGE, (2, 2.5), mode="foo"),
    "interpolate to none of two sizes": lambda lib: lib.interpolate(IMAGE, (2, None)),
    "interpolate to no pixels": lambda lib: lib.interpolate(IMAGE, 0),
    "interpolate to fewer than no pixels": lambda lib: lib.interpolate(IMAGE, None, (2, -1)),
    "interpolate no pixels": lambda lib: lib.interpolate(IMAGE[..., :0], 2),
    "interpolate no channels": lambda lib: lib.interpolate(IMAGE[:, :0], 2),
    "interpolate nothing into more than 64 bits count": lambda lib: lib.interpolate(IMAGE[:0], 2**31),
    "interpolate by infinity": lambda lib: lib.interpolate(IMAGE, scale_factor=float("inf")),
    "interpolate by no number": lambda lib: lib.interpolate(IMAGE, scale_factor=float("nan")),
    "interpolate by infinity, to a size": lambda lib: lib.interpolate(
        IMAGE, scale_factor=float("inf"), recompute_scale_factor=True
    ),
    "interpolate by a tensor": lambda lib: lib.interpolate(IMAGE, None, (torch.tensor(2.0), 2)),
    "interpolate to a size, recomputing": lambda lib: lib.interpolate(IMAGE, 2, recompute_scale_factor=True),
    "interpolate, nearest corners": lambda lib: lib.interpolate(IMAGE, 2, align_corners=False),
    "interpolate, mean corners": lambda lib: lib.interpolate(IMAGE, 2, mode="area", align_corners=True),
    "interpolate, antialias of nearest": lambda lib: lib.interpolate(IMAGE, 2, antialias=True),
    "interpolate, antialias of one axis": lambda lib: lib.interpolate(
        IMAGE[0], 2, mode="linear", antialias=True
    ),
    "interpolate, linear of two axes": lambda lib: lib.interpolate(IMAGE, 2, mode="linear"),
    "interpolate, bilinear of one axis": lambda lib: lib.interpolate(IMAGE[0], 2, mode="bilinear"),
    "interpolate, bicubic of three axes": lambda lib: lib.interpolate(IMAGE[None], 2, mode="bicubic"),
    "interpolate, a mode that is none": lambda lib: lib.interpolate(IMAGE, 2, mode=["linear"]),
    "interpolate of two dimensions": lambda lib: lib.interpolate(LOGITS, ()),
    "interpolate of a list": lambda lib: lib.interpolate([[[1.0]]], 2),
    "interpolate of whole numbers": lambda lib: lib.interpolate(IMAGE.long(), 2),
    "interpolate of bytes, linear": lambda lib: lib.interpolate(IMAGE[0].byte(), 2, mode="linear"),
    "interpolate of complex numbers": lambda lib: lib.interpolate(IMAGE * 1j, 2, mode="bilinear"),
    "interpolate of half precision, antialias": lambda lib: lib.interpolate(
        IMAGE.half(), 2, mode="bicubic", antialias=True
    ),
    "pad by an odd number of sides": lambda lib: lib.pad(IMAGE, (1, 1, 1)),
    "pad of more axes than there are": lambda lib: lib.pad(LOGITS, (1,) * 6),
    "pad by one number": lambda lib: lib.pad(IMAGE, 1),
    "pad by halves": lambda lib: lib.pad(IMAGE, (1, 0.5)),
    "pad by a truth": lambda lib: lib.pad(IMAGE, (True, 1)),
    "pad by more than 64 bits": lambda lib: lib.pad(IMAGE, (2**63, 1)),
    "pad to more than 64 bits": lambda lib: lib.pad(IMAGE, (2**62, 2**62)),
    "pad by less than nothing": lambda lib: lib.pad(IMAGE, (-8, 9)),
    "pad by a way that there is not": lambda lib: lib.pad(IMAGE, (1, 1), "mirror"),
    "pad by no way": lambda lib: lib.pad(IMAGE, (1, 1), None),
    "pad by a complex value": lambda lib: lib.pad(IMAGE, (1, 1), value=1j),
    "pad by a value beyond half precision": lambda lib: lib.pad(IMAGE.half(), (1, 1), value=1e5),
    "pad of bytes by a negative value": lambda lib: lib.pad(TARGETS.byte(), (1, 1), value=-1.0),
    "pad of whole numbers by no number": lambda lib: lib.pad(TARGETS, (1, 1), value=torch.nan),
    "pad by a value beyond all floats": lambda lib: lib.pad(IMAGE, (1, 1), value=HUGE),
    "pad by reflection and a value": lambda lib: lib.pad(IMAGE, (1, 1, 1, 1), "reflect", 1.0),
    "pad by reflection of rows of images": lambda lib: lib.pad(IMAGE, (1, 1), "reflect"),
    "pad by reflection as far as the edge": lambda lib: lib.pad(IMAGE, (6, 0, 0, 0), "reflect"),
    "pad by reflection of no rows": lambda lib: lib.pad(IMAGE[:, :, :0], (1, 1, 0, 0), "reflect"),
    "pad by reflection of bools": lambda lib: lib.pad(IMAGE > 0, (1, 1, 1, 1), "reflect"),
    "pad by the edge to nothing": lambda lib: lib.pad(IMAGE, (-3, -3, 0, 0), "replicate"),
    "pad by circles twice around": lambda lib: lib.pad(IMAGE, (7, 0, 0, 0), "circular"),
    "unfold of two dimensions": lambda lib: lib.unfold(LOGITS, 1),
    "unfold of no channels": lambda lib: lib.unfold(IMAGE[:, :0], 1),
    "unfold of whole numbers": lambda lib: lib.unfold(IMAGE.long(), 2),
    "unfold, one size in a list": lambda lib: lib.unfold(IMAGE, [2]),
    "unfold, a size in words": lambda lib: lib.unfold(IMAGE, "22"),
    "unfold, a size in a number's tensor": lambda lib: lib.unfold(IMAGE, torch.tensor(2)),
    "unfold, a window beyond the image": lambda lib: lib.unfold(IMAGE, 9),
    "unfold, no stride": lambda lib: lib.unfold(IMAGE, 2, stride=0),
    "unfold, a negative padding": lambda lib: lib.unfold(IMAGE, 2, padding=-1),
    "unfold, a padding beyond 64 bits": lambda lib: lib.unfold(IMAGE, 2, padding=2**61),
    "fold of four dimensions": lambda lib: lib.fold(IMAGE, 6, 1),
    "fold of no columns": lambda lib: lib.fold(torch.ones(4, 0), 1, 2),
    "fold of whole numbers": lambda lib: lib.fold(torch.ones(4, 9).long(), 4, 2),
    "fold of too few columns": lambda lib: lib.fold(torch.ones(4, 8), 4, 2),
    "fold of rows that are no blocks": lambda lib: lib.fold(torch.ones(3, 9), 4, 2),
    "fold into no rows": lambda lib: lib.fold(torch.ones(2, 3), (0, 3), (2, 1), padding=(1, 0)),
    "fold into less than nothing": lambda lib: lib.fold(torch.ones(4, 35), (-4, -6), 2),
    "channel_shuffle of two dimensions": lambda lib: lib.channel_shuffle(LOGITS, 1),
    "channel_shuffle of half a group": lambda lib: lib.channel_shuffle(IMAGE, 0.5),
    "channel_shuffle of more groups than channels": lambda lib: lib.channel_shuffle(IMAGE, 4),
    "pixel_shuffle of two dimensions": lambda lib: lib.pixel_shuffle(LOGITS, 1),
    "pixel_shuffle of too few channels": lambda lib: lib.pixel_shuffle(IMAGE, 2),
    "pixel_shuffle of a negative factor": lambda lib: lib.pixel_shuffle(IMAGE, -1),
    "pixel_shuffle of a square beyond 64 bits": lambda lib: lib.pixel_shuffle(IMAGE, 2**40),
    "pixel_shuffle of no channels to more than 64 bits": lambda lib: lib.pixel_shuffle(IMAGE[:, :0], 2**31),
    "pixel_shuffle of a volume": lambda lib: lib.pixel_shuffle(
        torch.ones(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d), 2
    ),
    "pixel_unshuffle of a height that is no multiple": lambda lib: lib.pixel_unshuffle(IMAGE[:, :, 1:], 2),
    "local_response_norm of two dimensions": lambda lib: lib.local_response_norm(LOGITS, 2),
    "local_response_norm of no channels": lambda lib: lib.local_response_norm(RAMP, 0),
    "local_response_norm of fewer than none": lambda lib: lib.local_response_norm(RAMP, -3),
    "local_response_norm of half a channel": lambda lib: lib.local_response_norm(RAMP, 2.5),
    "local_response_norm without a power": lambda lib: lib.local_response_norm(RAMP, 2, beta=None),
    "local_response_norm of half precision": lambda lib: lib.local_response_norm(RAMP.half(), 2),
    "local_response_norm of bools": lambda lib: lib.local_response_norm(RAMP[0].bool(), 2),
    "local_response_norm of complex numbers": lambda lib: lib.local_response_norm(RAMP * 1j, 2),
    "max_unpool2d, an index beyond the output": lambda lib: lib.max_unpool2d(RAMP, PLACES + 109, 2),
    "max_unpool1d, a negative index": lambda lib: lib.max_unpool1d(RAMP[0], -PLACES[0], 99),
    "max_unpool2d, indices of 32 bits": lambda lib: lib.max_unpool2d(RAMP, PLACES.int(), 2),
    "max_unpool2d, indices of another shape": lambda lib: lib.max_unpool2d(RAMP, PLACES[0], 2),
    "max_unpool2d of two dimensions": lambda lib: lib.max_unpool2d(RAMP[0, 0], PLACES[0, 0], 2),
    "max_unpool2d of five dimensions": lambda lib: lib.max_unpool2d(RAMP[None], PLACES[None], 2),
    "max_unpool1d of four dimensions": lambda lib: lib.max_unpool1d(RAMP, PLACES, 20),
    "max_unpool3d of no channels": lambda lib: lib.max_unpool3d(RAMP[None, :, :0], PLACES[None, :, :0], 2),
    "max_unpool2d of no rows": lambda lib: lib.max_unpool2d(RAMP[:, :, :0], PLACES[:, :, :0], 2),
    "max_unpool2d of whole numbers": lambda lib: lib.max_unpool2d(RAMP.long(), PLACES, 2),
    "max_unpool2d of complex numbers": lambda lib: lib.max_unpool2d(RAMP * 1j, PLACES, 2),
    "max_unpool2d to less than nothing": lambda lib: lib.max_unpool2d(RAMP, PLACES, -11),
    "max_unpool2d to a size a stride away": lambda lib: lib.max_unpool2d(
        RAMP, PLACES, 2, output_size=(14, 12)
    ),
    "max_unpool2d to three sizes": lambda lib: lib.max_unpool2d(RAMP, PLACES, 2, output_size=(12, 12, 12)),
    "max_unpool2d to one size": lambda lib: lib.max_unpool2d(RAMP, PLACES, 2, output_size=12),
    "max_unpool2d to a size and a half": lambda lib: lib.max_unpool2d(
        RAMP, PLACES, 2, output_size=(12, 12.5)
    ),
    "max_unpool2d to a size of NumPy's": lambda lib: lib.max_unpool2d(
        RAMP, PLACES, 2, output_size=(np.int64(12), 12)
    ),
    "max_unpool2d, a kernel of one axis": lambda lib: lib.max_unpool2d(RAMP, PLACES, (2,)),
    "max_unpool1d, a kernel of two axes": lambda lib: lib.max_unpool1d(RAMP[0], PLACES[0] * 0, (2, 2)),
    "max_unpool3d, a stride of two axes": lambda lib: lib.max_unpool3d(RAMP, PLACES * 0, 2, (2, 2)),
    "max_unpool3d, a stride of four axes": lambda lib: lib.max_unpool3d(RAMP, PLACES * 0, 2, (2, 2, 2, 2)),
    "max_unpool3d, no stride": lambda lib: lib.max_unpool3d(RAMP, PLACES * 0, 2, 0),
    "max_unpool3d, a stride of nearly two": lambda lib: lib.max_unpool3d(
        RAMP, PLACES * 0, 2, 1.9, output_size=(4, 12, 11)
    ),
    "max_unpool2d of nothing to more than 64 bits": lambda lib: lib.max_unpool2d(RAMP[:0], PLACES[:0], 2**31),
    "conv2d of an empty batch, a wider bias": lambda lib: lib.conv2d(
        IMAGE[:0], KERNEL, torch.ones(2).double()
    ),
    "conv1d of an empty batch, a wider weight and bias": lambda lib: lib.conv1d(
        IMAGE[0, :0], torch.ones(2, 6, 1).double(), torch.ones(2).double()
    ),
    "conv3d of an empty batch of complex numbers": lambda lib: lib.conv3d(
        torch.ones(0, 2, 3, 3, 3) * 1j, KERNEL[..., None]
    ),
    "softmax into float8": lambda lib: lib.softmax(LOGITS, 1, dtype=torch.float8_e4m3fn),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_torch_refuses_is_refused(name: str) -> None:
    with pytest.raises(Exception) as wanted:  # noqa: PT011
        REFUSED[name](F)
    with pytest.raises(wanted.type):
        REFUSED[name](sc.functional)


TENSORS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool3d"), (IMAGE, 1)),
    **{"adaptive_avg_pool1d": (IMAGE[0], 1), "conv2d": (IMAGE, KERNEL), "conv_transpose2d": (IMAGE, KERNEL)},
    **{
        "linear": (LOGITS, LOGITS),
        "max_pool2d": (IMAGE, 2),
        "avg_pool2d": (IMAGE, 2),
        "interpolate": (IMAGE, 3),
    },
    **{"layer_norm": (IMAGE, (6,)), "group_norm": (IMAGE, 2), "local_response_norm": (IMAGE, 2)},
    **{"instance_norm": (IMAGE,), "batch_norm": (IMAGE, torch.zeros(2), torch.ones(2))},
    **dict.fromkeys(("relu", "gelu", "silu", "elu", "sigmoid", "tanh", "softsign", "hardtanh"), (IMAGE,)),
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"), (IMAGE,)),
    **dict.fromkeys(("softmax", "log_softmax", "pixel_unshuffle"), (IMAGE, 1)),
    **{"max_unpool1d": (RAMP[0], PLACES[0], 2), "max_unpool2d": (RAMP, PLACES, 2), "pad": (IMAGE, (1, 1))},
    **dict.fromkeys(("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"), (LOGITS, LOGITS)),
    **dict.fromkeys(("binary_cross_entropy", "binary_cross_entropy_with_logits"), (LOGITS, LOGITS)),
    **dict.fromkeys(("cross_entropy", "nll_loss"), (LOGITS, TARGETS)),
    **{"prelu": (IMAGE, torch.ones(2)), "unfold": (IMAGE, 2), "fold": (torch.ones(1, 4, 1), 2, 2)},
}


@pytest.mark.parametrize("name", TENSORS)
def test_what_is_no_tensor_is_refused_as_torch_refuses_it(name: str) -> None:
    given = TENSORS[name]
    places = [place for place, value in enumerate(given) if isinstance(value, Tensor)]
    for place, other in itertools.product(places, (None, 1.0, [1.0], "tensor")):
        if other is None and name == "batch_norm" and place:  # a statistic may be left out
            continue
        arguments = [*given[:place], other, *given[place + 1 :]]
        with pytest.raises(Exception) as wanted:  # noqa: PT011
            getattr(F, name)(*arguments)
        with pytest.raises(wanted.type):
            getattr(sc.functional, name)(*arguments)


@pytest.mark.filterwarnings("ignore:.*nested tensors")  # once in a process
def test_what_is_left_to_torch_is_refused_in_its_name() -> None:
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    for tensor, layout in ((nested, "nested"), (torch.ones(2, 2).to_sparse(), "sparse")):
        with pytest.raises(NotImplementedError, match=f"relu: expected input to be a strided.*{layout}"):
            sc.functional.relu(tensor)


def test_gradients_of_a_bias_of_another_dtype_are_in_it() -> None:
    for lib in (F, sc.functional):
        bias = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        lib.conv_transpose2d(IMAGE, torch.ones(2, 3, 1, 1), bias).sum().backward()
        assert bias.grad is not None
        assert bias.grad.dtype == torch.float64
        assert bias.grad.tolist() == [36.0] * 3


def test_memory_that_does_not_suffice_is_an_error_of_torchs_type() -> None:
    endless = torch.ones(1).expand(2**24, 2**24)
    for lib in (F, sc.functional):
        with pytest.raises(RuntimeError, match="memory"):
            lib.relu(endless)


def test_an_average_to_nothing_has_no_gradient() -> None:
    for lib in (F, sc.functional):
        for size in (0, (0, 2)):
            output = lib.adaptive_avg_pool2d(IMAGE.clone().requires_grad_(), size)
            with pytest.raises(RuntimeError, match="adaptive_avg_pool2d"):
                output.sum().backward()


def test_a_single_tap_may_be_dilated_beyond_64_bits_of_bytes() -> None:
    for stride in (1, 2):  # some of torch's paths narrow the number to 32 bits, and refuse that
        want = F.conv_transpose2d(IMAGE, KERNEL, stride=stride)
        got = sc.functional.conv_transpose2d(IMAGE, KERNEL, stride=stride, dilation=2**63 - 1)
        assert torch.equal(got, want)


def test_statistics_of_inference_mode_are_updated() -> None:
    learnt = []
    for lib in (F, sc.functional):
        with torch.inference_mode():
            mean, variance = torch.zeros(3), torch.ones(3)
        lib.batch_norm(LOGITS * torch.tensor([[1.0], [2.0]]), mean, variance, torch.ones(3), training=True)
        learnt.append((mean.tolist(), variance.tolist()))
    assert learnt[0] == learnt[1]


@pytest.mark.parametrize("training", [False, True])
def test_statistics_of_inference_mode_may_meet_an_empty_batch(training: bool) -> None:
    with torch.inference_mode():
        mean, variance = torch.zeros(2), torch.ones(2)
    for lib in (F, sc.functional):
        output = lib.batch_norm(IMAGE[:0].clone().requires_grad_(), mean, variance, training=training)
        assert output.shape == (0, 2, 6, 6)


def test_the_mean_loss_of_no_weight_is_not_a_number_whatever_smoothing_adds() -> None:
    for lib in (F, sc.functional):
        loss = lib.cross_entropy(
            LOGITS[:1], torch.tensor([0]), torch.tensor([0.0, 1, 1]), label_smoothing=0.1
        )
        assert loss.isnan()


def test_the_mean_loss_of_an_empty_batch_has_gradients_of_zeros() -> None:
    for lib in (F, sc.functional):
        weight = torch.ones(3, requires_grad=True)
        loss = lib.cross_entropy(LOGITS[:0], LOGITS[:0], weight)
        loss.backward()
        assert loss.isnan()
        assert weight.grad is not None
        assert weight.grad.tolist() == [0.0] * 3


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [None, 0, 1, 3])
def test_batch_norm_asks_an_empty_vector_for_no_channels(size: int | None, training: bool) -> None:
    outcomes = []
    for library in (F, sc.functional):
        input = torch.ones(0, requires_grad=True)
        weight = None if size is None else torch.ones(size, requires_grad=True)
        try:
            output = library.batch_norm(input, None, None, weight, None, training)
            output.sum().backward()
        except IndexError:
            outcomes.append("IndexError")
        else:
            assert input.grad is not None
            outcomes.append(str((output.shape, input.grad, None if weight is None else weight.grad)))
    assert outcomes[0] == outcomes[1]
