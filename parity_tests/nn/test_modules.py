"""Modules that can't be told from torch's, except by reading the class's module."""

import copy
import io
import pickle
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

import scratch_conv as sc

LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("Conv2d", {"in_channels": 3, "out_channels": 4, "kernel_size": 3, "padding": 1}),
    ("Conv2d", {"in_channels": 4, "out_channels": 4, "kernel_size": (2, 3), "groups": 2, "bias": False}),
    (
        "Conv2d",
        {"in_channels": 3, "out_channels": 2, "kernel_size": 3, "padding": 2, "padding_mode": "reflect"},
    ),
    (
        "Conv2d",
        {"in_channels": 3, "out_channels": 2, "kernel_size": 2, "padding": "same", "dtype": torch.float64},
    ),
    ("Conv1d", {"in_channels": 3, "out_channels": 4, "kernel_size": 3, "stride": 2, "padding": 1}),
    (
        "Conv1d",
        {
            "in_channels": 4,
            "out_channels": 2,
            "kernel_size": 2,
            "padding": "same",
            "padding_mode": "circular",
        },
    ),
    (
        "ConvTranspose2d",
        {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "stride": (2, 3), "groups": 2, "padding": 1},
    ),
    (
        "ConvTranspose2d",
        {
            "in_channels": 3,
            "out_channels": 2,
            "kernel_size": (2, 3),
            "dilation": 3,
            "output_padding": 2,
            "bias": False,
        },
    ),
    (
        "Conv3d",
        {
            "in_channels": 2,
            "out_channels": 4,
            "kernel_size": (1, 3, 2),
            "stride": (2, 1, 3),
            "padding": 1,
            "padding_mode": "replicate",
            "groups": 2,
        },
    ),
    (
        "Conv3d",
        {
            "in_channels": 2,
            "out_channels": 3,
            "kernel_size": 2,
            "padding": "same",
            "padding_mode": "circular",
        },
    ),
    (
        "ConvTranspose1d",
        {"in_channels": 3, "out_channels": 2, "kernel_size": 4, "stride": 3, "output_padding": 2},
    ),
    (
        "ConvTranspose3d",
        {
            "in_channels": 2,
            "out_channels": 4,
            "kernel_size": 2,
            "stride": (1, 2, 3),
            "groups": 2,
            "padding": 1,
        },
    ),
    ("AdaptiveAvgPool2d", {"output_size": 1}),
    ("AdaptiveAvgPool2d", {"output_size": (1, None)}),
    ("AvgPool2d", {"kernel_size": 2}),
    ("AvgPool2d", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "divisor_override": 4}),
    ("AdaptiveAvgPool1d", {"output_size": 2}),
    ("AdaptiveAvgPool3d", {"output_size": (1, None, 2)}),
    ("AdaptiveMaxPool1d", {"output_size": 2, "return_indices": True}),
    ("AdaptiveMaxPool2d", {"output_size": (2, None)}),
    ("AdaptiveMaxPool3d", {"output_size": 2}),
    ("AvgPool1d", {"kernel_size": 2, "padding": 1}),
    ("AvgPool3d", {"kernel_size": 2, "divisor_override": 3}),
    ("MaxPool1d", {"kernel_size": 3, "dilation": 2, "return_indices": True}),
    ("MaxPool3d", {"kernel_size": (1, 2, 2), "ceil_mode": True}),
    ("MaxUnpool1d", {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("MaxUnpool2d", {"kernel_size": (2, 3)}),
    ("MaxUnpool3d", {"kernel_size": 2, "stride": (1, 2, 2)}),
    ("BatchNorm1d", {"num_features": 7}),
    ("BatchNorm2d", {"num_features": 3}),
    ("BatchNorm2d", {"num_features": 3, "momentum": None, "affine": False}),
    ("BatchNorm2d", {"num_features": 3, "track_running_stats": False, "dtype": torch.float64}),
    ("BatchNorm3d", {"num_features": 3}),
    ("LayerNorm", {"normalized_shape": 6}),
    ("LayerNorm", {"normalized_shape": [7, 6], "bias": False, "eps": 0.1}),
    ("LayerNorm", {"normalized_shape": (6,), "elementwise_affine": False}),
    ("GroupNorm", {"num_groups": 3, "num_channels": 3}),
    ("GroupNorm", {"num_groups": 1, "num_channels": 3, "affine": False, "dtype": torch.float64}),
    ("InstanceNorm1d", {"num_features": 7, "affine": True}),
    ("InstanceNorm2d", {"num_features": 3, "track_running_stats": True, "momentum": None}),
    ("InstanceNorm3d", {"num_features": 3}),
    ("LocalResponseNorm", {"size": 3, "alpha": 0.5}),
    ("Upsample", {"scale_factor": (1.5, 2)}),
    ("Upsample", {"size": 5, "mode": "bicubic", "align_corners": True}),
    ("UpsamplingNearest2d", {"size": (3, 4)}),
    ("UpsamplingBilinear2d", {"scale_factor": 2}),
    ("ConstantPad1d", {"padding": (1, -2), "value": 1.5}),
    ("ConstantPad2d", {"padding": 2, "value": -1}),
    ("ConstantPad3d", {"padding": (0, 1, 2, 0, 1, -1), "value": 0.5}),
    ("ZeroPad2d", {"padding": (1, 0, 2, 1)}),
    ("ReflectionPad1d", {"padding": 2}),
    ("ReflectionPad2d", {"padding": (1, 2, 0, 1)}),
    ("ReplicationPad3d", {"padding": 1}),
    ("CircularPad2d", {"padding": (1, 0, 0, 2)}),
    ("ChannelShuffle", {"groups": 3}),
    ("Unfold", {"kernel_size": (2, 3), "padding": 1}),
    ("Fold", {"output_size": (3, 4), "kernel_size": (1, 1), "stride": (2, 1)}),
    ("PixelShuffle", {"upscale_factor": 1}),
    ("PixelUnshuffle", {"downscale_factor": 1}),
    ("CrossEntropyLoss", {"weight": torch.ones(3), "reduction": "sum", "label_smoothing": 0.5}),
    ("NLLLoss", {"weight": torch.ones(3), "ignore_index": 1}),
    ("MSELoss", {"reduction": "sum"}),
    ("L1Loss", {}),
    ("SmoothL1Loss", {"beta": 0.5}),
    ("HuberLoss", {"delta": 2}),
    ("BCELoss", {"weight": torch.ones(3)}),
    ("BCEWithLogitsLoss", {"pos_weight": torch.ones(3), "reduction": "none"}),
    ("Dropout", {"p": 0.3, "inplace": True}),
    ("Dropout2d", {"p": 0.3}),
    ("Dropout1d", {"p": 0.3}),
    ("AlphaDropout", {"p": 0.3}),
    ("FeatureAlphaDropout", {}),
    ("Dropout3d", {"p": 0.3, "inplace": True}),
    ("Flatten", {"start_dim": 0, "end_dim": -2}),
    ("Linear", {"in_features": 6, "out_features": 4}),
    ("Linear", {"in_features": 6, "out_features": 2, "bias": False, "dtype": torch.float64}),
    ("LogSoftmax", {"dim": 1}),
    ("CELU", {"alpha": 0.5, "inplace": True}),
    ("ELU", {"alpha": 2}),
    ("GELU", {}),
    ("GELU", {"approximate": "tanh"}),
    ("Hardsigmoid", {}),
    ("Hardswish", {"inplace": True}),
    ("Hardtanh", {"min_val": -2, "max_val": 0.5}),
    ("LeakyReLU", {"negative_slope": 0.2}),
    ("Mish", {}),
    ("PReLU", {}),
    ("PReLU", {"num_parameters": 3, "init": 0.1, "dtype": torch.float64}),
    ("ReLU6", {}),
    ("SELU", {}),
    ("SiLU", {"inplace": True}),
    ("Sigmoid", {}),
    ("Softplus", {"beta": 2, "threshold": 5}),
    ("Softsign", {}),
    ("Tanh", {}),
    ("ReLU", {"inplace": True}),
    ("Softmax", {"dim": -1}),
    ("MaxPool2d", {"kernel_size": 2}),
    ("MaxPool2d", {"kernel_size": 3, "stride": 1, "padding": 1, "ceil_mode": True, "return_indices": True}),
]


def pair(name: str, arguments: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    torchs = getattr(nn, name)(**arguments)
    torch.manual_seed(0)
    return torchs, getattr(sc.nn, name)(**arguments)


@pytest.mark.parametrize(("name", "arguments"), LAYERS)
def test_constructor_initialisation_repr_and_state_are_torchs(name: str, arguments: dict[str, Any]) -> None:
    torchs, ours = pair(name, arguments)
    assert isinstance(ours, type(torchs))
    assert type(ours).__name__ == name
    assert repr(ours) == repr(torchs)
    assert ours.state_dict().keys() == torchs.state_dict().keys()
    for key, value in torchs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8]
EXACT = [layer for layer in LAYERS if layer[0] in ("Conv2d", "Flatten", "Linear", "MaxPool2d", "ReLU")]


@pytest.mark.parametrize(("name", "arguments"), EXACT)
def test_outputs_are_torchs(name: str, arguments: dict[str, Any]) -> None:
    torchs, ours = pair(name, arguments)
    dtype = arguments.get("dtype", torch.float32)
    image = (arguments.get("in_channels", 3), *((7,) if name.endswith("1d") else (7, 6)))
    for shape in ((2, *image), image):
        for integers in (torchs, ours):  # whole numbers, so that every order of summation gives the same
            for parameter in integers.parameters():
                parameter.data.mul_(8).round_()
        x = torch.randint(-3, 4, shape).to(dtype)
        torch.testing.assert_close(ours(x), torchs(x), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "arguments"), LAYERS)
def test_a_layer_is_one_node_to_fx(name: str, arguments: dict[str, Any]) -> None:
    graphs = [torch.fx.symbolic_trace(nn.Sequential(layer)).graph for layer in pair(name, arguments)[:2]]
    nodes = [[(node.op, node.target) for node in graph.nodes] for graph in graphs]
    assert nodes[0] == nodes[1]
    assert ("call_module", "0") in nodes[1]


@pytest.mark.parametrize(("name", "arguments"), LAYERS)
def test_copies_pickles_and_files(name: str, arguments: dict[str, Any]) -> None:
    torchs, ours = pair(name, arguments)
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(copied) is type(ours)
        assert repr(copied) == repr(ours)
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    torchs.load_state_dict(torch.load(file, weights_only=True))


LAZY: list[tuple[str, dict[str, Any]]] = [
    ("LazyConv1d", {"out_channels": 2, "kernel_size": 3, "bias": False}),
    ("LazyConv2d", {"out_channels": 2, "kernel_size": 3, "padding": 1}),
    ("LazyConvTranspose2d", {"out_channels": 2, "kernel_size": 3, "stride": 2}),
    ("LazyConv3d", {"out_channels": 2, "kernel_size": 3, "padding": "same"}),
    ("LazyConvTranspose1d", {"out_channels": 2, "kernel_size": 3, "stride": 2}),
    ("LazyConvTranspose3d", {"out_channels": 2, "kernel_size": 3, "stride": 2}),
    ("LazyBatchNorm1d", {}),
    ("LazyBatchNorm2d", {"affine": False}),
    ("LazyBatchNorm3d", {"track_running_stats": False}),
    ("LazyInstanceNorm1d", {"track_running_stats": True}),
    ("LazyInstanceNorm2d", {"affine": True}),
    ("LazyInstanceNorm3d", {}),
]


@pytest.mark.parametrize(("name", "arguments"), LAZY)
def test_a_lazy_layer_becomes_this_packages_layer(name: str, arguments: dict[str, Any]) -> None:
    torchs, ours = pair(name, arguments)
    assert isinstance(ours, type(torchs))
    assert repr(ours) == repr(torchs)
    if "Norm" not in name:  # torch cannot copy statistics that are not there yet
        ours = copy.deepcopy(ours)
    ours = pickle.loads(pickle.dumps(ours))
    x = torch.randn(2, 3, *(7, 6, 5)[: int(name[-2])])
    outputs = []
    for layer in (torchs, ours):
        torch.manual_seed(1)  # the parameters are drawn at the first input
        outputs.append(layer(x))
    torch.testing.assert_close(outputs[1], outputs[0])
    assert type(ours) is getattr(sc.nn, name.removeprefix("Lazy"))
    assert repr(ours) == repr(torchs)
    torchs.load_state_dict(ours.state_dict())


@pytest.mark.parametrize("output_size", [(14, 15), [2, 4, 14, 16], (13, 15)])
def test_a_transposed_convolution_gives_the_size_it_is_asked_for(output_size: Any) -> None:
    torchs, ours = pair(
        "ConvTranspose2d", {"in_channels": 3, "out_channels": 4, "kernel_size": 3, "stride": 2}
    )
    x = torch.randn(2, 3, 6, 7)
    torch.testing.assert_close(ours(x, output_size), torchs(x, output_size))
    for layer in (torchs, ours):
        with pytest.raises(ValueError, match="output size"):
            layer(x, (20, 20))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_torchs_dtypes(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(8, 8),
        nn.Conv2d(3, 4, 3),
        nn.PReLU(),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(4, 3, 2),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d((1, 5)),
        nn.Flatten(2),
        nn.Conv1d(3, 2, 2),
        nn.Dropout(0.0),
        nn.Softmax(dim=1),
    )
    x = torch.randn(1, 3, 8, 8)
    with torch.autocast("cpu", dtype):
        expected = model(x)
        sc.swap(model)
        got = model(x)
    assert got.dtype == expected.dtype
    # Each layer rounds its result in both, and some of torch's round on the way, depending on the processor.
    torch.testing.assert_close(got, expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)
    got.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_padding_under_autocast_is_in_torchs_dtypes(dtype: torch.dtype) -> None:
    for mode, axes in product(("constant", "reflect", "replicate", "circular"), (1, 2, 3)):
        x = torch.arange(2.0 ** (axes + 2)).reshape((2,) * (axes + 2)).to(dtype).requires_grad_()
        with torch.autocast("cpu"):
            want, got = (lib.pad(x, (1, 0) * axes, mode) for lib in (F, sc.functional))
        torch.testing.assert_close(got, want, rtol=0, atol=0)
        grads = [torch.autograd.grad(each.sum(), x)[0] for each in (got, want)]
        torch.testing.assert_close(*grads, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_unpooling_under_autocast_is_in_torchs_dtypes(dtype: torch.dtype) -> None:
    for axes in (1, 2, 3):
        indices = torch.arange(2 ** (axes + 2)).reshape((2,) * (axes + 2)) % 2**axes
        x = indices.to(dtype).requires_grad_()
        with torch.autocast("cpu"):
            want, got = (
                getattr(lib, f"max_unpool{axes}d")(x, indices, (2,) * axes) for lib in (F, sc.functional)
            )
        torch.testing.assert_close(got, want, rtol=0, atol=0)
        grads = [torch.autograd.grad(each.sum(), x)[0] for each in (got, want)]
        torch.testing.assert_close(*grads, rtol=0, atol=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.to_sparse(),
        lambda x: x.to(torch.float8_e4m3fn),
        lambda x: x > 0,
        lambda x: x.to(torch.complex64),
        lambda x: x.numpy(),
    ],
)
@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1), nn.AvgPool2d(1), nn.MaxPool2d(1), nn.Linear(2, 2)],
)
def test_what_torch_refuses_is_refused_with_the_same_exception(layer: nn.Module, make: Any) -> None:
    layer, x = copy.deepcopy(layer), make(torch.ones(1, 1, 2, 2))
    with pytest.raises((RuntimeError, TypeError)) as torchs:
        layer(x)
    sc.swap(layer)
    with pytest.raises(torchs.type):
        layer(x)


@pytest.mark.parametrize("momentum", [0.3, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("track", [True, False])
def test_batch_norm_learns_and_applies_torchs_statistics(
    momentum: float | None, affine: bool, track: bool
) -> None:
    arguments = {"momentum": momentum, "affine": affine, "track_running_stats": track, "dtype": torch.float64}
    torchs, ours = pair("BatchNorm2d", {"num_features": 3, **arguments})
    for training in (True, True, False, True, False):
        x = torch.randn(4, 3, 2, 2, dtype=torch.float64) * 3 + 1
        got, want = ours.train(training)(x), torchs.train(training)(x)
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
        for key, value in torchs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-12, atol=1e-12)


def test_running_statistics_may_be_operands_of_a_checkpoint() -> None:
    """Autograd takes them for unchanged, as torch's own batch norm does not count the update either."""
    for library in (nn.functional, sc.functional):
        mean, var = torch.zeros(2), torch.ones(2)
        x = torch.randn(3, 2, 4, requires_grad=True)
        checkpoint(library.batch_norm, x, mean, var, None, None, True, use_reentrant=False).sum().backward()
        assert mean.abs().sum() > 0
        assert mean._version == var._version == 0


@pytest.mark.parametrize("layer", [nn.ReLU(inplace=True), nn.Dropout(0.5, inplace=True)])
def test_in_place_layers_give_the_same_tensor_and_refuse_leaves(layer: nn.Module) -> None:
    layer = copy.deepcopy(layer)
    sc.swap(layer)
    leaf = torch.randn(20, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        layer(leaf)
    x = leaf * 2
    assert layer(x) is x
    assert x._version == 1
    x.sum().backward()
    assert leaf.grad is not None
    assert torch.equal(leaf.grad != 0, x.detach() != 0)


@pytest.mark.parametrize("name", ["Dropout", "Dropout2d"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout_is_torchs_bit_for_bit(name: str, dtype: torch.dtype, p: float) -> None:
    torchs, ours = pair(name, {"p": p})
    x = torch.randn(4, 3, 5, 2).to(dtype)
    strided = x.to(memory_format=torch.channels_last), x[::2], x.transpose(0, 1), x[:, :1].expand(x.shape)
    for image in (x, *strided):
        torch.manual_seed(1)
        got = ours(image)
        torch.manual_seed(1)
        want = torchs(image)
        assert torch.equal(got, want)
        assert got.stride() == want.stride()
    assert ours.eval()(x) is x


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@given(st.sampled_from(DTYPES), st.sampled_from(DTYPES[:4]), st.integers(0, 2), st.integers(0, 99))
def test_a_given_dtype_is_cast_to_before_the_softmax(
    name: str, dtype: torch.dtype, wanted: torch.dtype, dim: int, seed: int
) -> None:
    values = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(seed)).mul(4).to(dtype)
    x = values.requires_grad_(dtype.is_floating_point)
    got = getattr(sc.functional, name)(x, dim, dtype=wanted)
    assert torch.equal(got, getattr(sc.functional, name)(x.to(wanted), dim))
    want = getattr(nn.functional, name)(x, dim, dtype=wanted)
    assert (got.dtype, got.requires_grad) == (want.dtype, want.requires_grad)
    if x.requires_grad:
        assert torch.autograd.grad(got.sum(), x)[0].dtype == dtype


@pytest.mark.parametrize("layer", ["Softmax", "LogSoftmax"])
def test_an_implicit_dimension_is_warned_of_where_it_is_called(layer: str) -> None:
    for library in (nn, sc.nn):
        with pytest.warns(UserWarning, match="Implicit dimension choice"):
            getattr(library, layer)()(torch.ones(2, 3))
    for functional in (torch.nn.functional, sc.functional):
        with pytest.warns(UserWarning, match="Implicit dimension choice") as caught:
            functional.softmax(torch.ones(2, 3))
        assert caught[0].filename == __file__


@pytest.mark.parametrize("name", ["Conv1d", "Conv2d", "ConvTranspose2d", "Linear", "BatchNorm2d"])
def test_a_layer_made_in_inference_mode_is_not_left_untrained(name: str) -> None:
    arguments = {"Linear": (5, 2), "BatchNorm2d": (3,)}.get(name, (3, 2, 1))
    x = torch.ones(2, 3, 5) if name == "Conv1d" else torch.ones(2, 3, 5, 5)
    with torch.inference_mode():
        layer = getattr(sc.nn, name)(*arguments)
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        layer.eval()(x)


@pytest.mark.parametrize("make", [lambda: torch.zeros(2), lambda: torch.zeros(1).expand(2)])
@pytest.mark.parametrize("inference", [True, False])
def test_batch_norm_updates_statistics_of_inference_mode_and_expanded_ones(
    make: Any, inference: bool
) -> None:
    x, learnt = torch.arange(8.0).view(4, 2), []
    with torch.inference_mode(inference):
        for library in (torch.nn, sc.nn):
            layer = library.BatchNorm1d(2)
            layer.running_mean = make()
            layer(x)
            learnt.append([*layer.buffers()])
    torch.testing.assert_close(learnt[1], learnt[0])


def test_batch_norm_updates_a_statistic_that_is_negated_when_it_is_read() -> None:
    variance = torch.complex(torch.zeros(2), -torch.ones(2)).conj().imag
    expected = torch.ones(2)
    x = torch.arange(8.0).view(4, 2)
    for running in (variance, expected):
        sc.functional.batch_norm(x, torch.zeros(2), running, training=True)
    torch.testing.assert_close(variance.resolve_neg(), expected)
