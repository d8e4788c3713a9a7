"""The names that users call: a new one, or one that is gone, is a decision and not an accident."""

import pytest
import torch
import torch.nn.functional as F

import scratch_conv as sc
from scratch_conv.functional.overriding import REPLACEMENTS

FUNCTIONS = [
    *("adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "conv1d", "conv2d", "conv_transpose2d"),
    *("cross_entropy", "dropout", "dropout2d", "flatten", "linear", "log_softmax", "max_pool2d"),
    *("relu", "softmax"),
    *("celu", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "prelu", "relu6"),
    *("selu", "sigmoid", "silu", "softplus", "softsign", "tanh"),
    *("group_norm", "instance_norm", "layer_norm", "local_response_norm"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d"),
    *("adaptive_max_pool3d", "avg_pool1d", "avg_pool3d", "max_pool1d", "max_pool3d"),
    *("max_unpool1d", "max_unpool2d", "max_unpool3d"),
    *("conv3d", "conv_transpose1d", "conv_transpose3d"),
    "interpolate",
    *("alpha_dropout", "dropout1d", "dropout3d", "feature_alpha_dropout"),
    *("channel_shuffle", "fold", "pad", "pixel_shuffle", "pixel_unshuffle", "unfold"),
    *("binary_cross_entropy", "binary_cross_entropy_with_logits", "huber_loss", "l1_loss", "mse_loss"),
    *("nll_loss", "smooth_l1_loss"),
]
PADDING = ("Circular", "Constant", "Reflection", "Replication", "Zero")
NAMES = {
    "scratch_conv": [
        *("__version__", "enable_winograd", "free_scratch", "functional", "is_swapped", "kernels"),
        *("layers", "nn", "override", "parity", "restore", "set_num_threads", "swap"),
        *("using_num_threads", "using_winograd", "verify"),
    ],
    "functional": FUNCTIONS,
    "layers": [
        *("Adam", "AvgPool2D", "BatchNorm2D", "Conv2D", "Dense", "Dropout", "Flatten", "GradientCheck"),
        *("Layer", "MaxPool2D", "ReLU", "ResidualBlock", "SGD", "Sequential", "Softmax"),
        *("LayerNorm", "LeakyReLU", "Sigmoid", "Tanh", "accuracy", "fit", "predict"),
        *("GlobalAvgPool2D", "MSE"),
        *("SoftmaxCrossEntropy", "glorot_normal", "glorot_uniform", "gradient_check", "he_normal"),
        "he_uniform",
    ],
    "nn": [
        *("AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm1d", "BatchNorm2d", "Conv1d", "Conv2d"),
        *("ConvTranspose2d", "CrossEntropyLoss", "Dropout", "Dropout2d", "Flatten", "LazyConv1d"),
        *("LazyConv2d", "LazyConvTranspose2d", "Linear", "LogSoftmax", "MaxPool2d", "ReLU", "Softmax"),
        *("CELU", "ELU", "GELU", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "Mish", "PReLU"),
        *("ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softsign", "Tanh"),
        *("BatchNorm3d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LayerNorm"),
        *("LocalResponseNorm", "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d"),
        *("LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d"),
        *("AdaptiveAvgPool1d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d"),
        *("AdaptiveMaxPool3d", "AvgPool1d", "AvgPool3d", "MaxPool1d", "MaxPool3d"),
        *("MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"),
        *("Conv3d", "ConvTranspose1d", "ConvTranspose3d"),
        *("LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose3d"),
        *("Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"),
        *("AlphaDropout", "Dropout1d", "Dropout3d", "FeatureAlphaDropout"),
        *("ChannelShuffle", "Fold", "PixelShuffle", "PixelUnshuffle", "Unfold"),
        *(f"{kind}Pad{n}d" for kind in PADDING for n in (1, 2, 3)),
        *("BCELoss", "BCEWithLogitsLoss", "HuberLoss", "L1Loss", "MSELoss", "NLLLoss", "SmoothL1Loss"),
    ],
    "parity": ["Case", "Report", "Supports", "assert_parity", "cases", "check", "probe"],
}


@pytest.mark.parametrize("room", NAMES)
def test_the_public_names_are_these(room: str) -> None:
    module = sc if room == "scratch_conv" else getattr(sc, room)
    assert sorted(module.__all__) == sorted(NAMES[room])
    assert set(NAMES[room]) <= set(dir(module))
    for name in NAMES[room]:
        getattr(module, name)


def test_unknown_names_raise_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        sc.no_such_name  # type: ignore[attr-defined]  # noqa: B018  # mypy sees it too: else this is unused


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("owner", [F, torch, torch.Tensor])
def test_override_replaces_each_function_wherever_torch_has_it(owner: object, name: str) -> None:
    for each in (name, f"{name}_"):
        torchs = getattr(owner, each, None)
        assert torchs in {None, torch.Tensor.unfold} or torchs in REPLACEMENTS  # a view along one axis
