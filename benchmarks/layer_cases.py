"""The calls that `benchmarks.layers` times: for each function of ours at least one, of a real network.

`benchmarks.layers` has further ones of conv2d and of pooling, which are compared with other implementations.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Case(NamedTuple):
    """A call of a function of torch.nn.functional in a real network.

    Attributes:
        function: its name.
        origin: the network, and what it is there.
        operands: the differentiable arguments: a shape, of normal random numbers, or what draws the tensor.
        arguments: the others; of one that is to be a tensor, what draws it.
    """

    function: str
    origin: str
    operands: dict[str, Any]
    arguments: dict[str, Any]

    @property
    def name(self) -> str:
        """Return what the case is called in tables."""
        return f"{self.function}, {self.origin}"


def _weights(*shape: int) -> dict[str, tuple[int, ...]]:
    """Return a weight of this shape, and a bias."""
    return {"weight": shape, "bias": shape[:1]}


def _transposed(*shape: int) -> dict[str, tuple[int, ...]]:
    """Return a weight of this shape, and a bias, for a transposed convolution."""
    return {"weight": shape, "bias": shape[1:2]}


def _affine(channels: int) -> dict[str, tuple[int, ...]]:
    """Return the weight and the bias of a norm."""
    return {"weight": (channels,), "bias": (channels,)}


def _numbers(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(shape)


def _places(*shape: int) -> Callable[[], Tensor]:
    """Return what draws the indices of the maxima under windows of two pixels, of four in a signal."""
    axes = len(shape) - 2
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes - 1]
    return lambda: pool(torch.randn(shape), 4 if axes == 1 else 2, return_indices=True)[1]


def _labels(classes: int, *shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randint(classes, shape)


def _shares(*shape: int) -> Callable[[], Tensor]:
    """Return what draws probabilities, none of them 0 or 1."""
    return lambda: torch.rand(shape) * 0.98 + 0.01


def _indices(function: str, shape: tuple[int, ...], kernel_size: int) -> Callable[[], Tensor]:
    """Return what draws the indices of maxima."""
    return lambda: getattr(F, function)(torch.randn(shape), kernel_size, return_indices=True)[1]


_NORM = {"running_mean": None, "running_var": None, "training": True}

CASES: list[Case] = [
    Case("relu", "simple-cnn 1", {"input": (128, 32, 32, 32)}, {}),
    Case("relu6", "MobileNetV2 expansion", {"input": (8, 144, 56, 56)}, {}),
    Case("leaky_relu", "Darknet-53 stage 2", {"input": (8, 128, 64, 64)}, {"negative_slope": 0.1}),
    Case("prelu", "ESPCN", {"input": (8, 64, 64, 64), "weight": (64,)}, {}),
    Case("elu", "VGG-11 stage 2 with ELU", {"input": (128, 128, 16, 16)}, {}),
    Case("selu", "self-normalising dense layer", {"input": (128, 1024)}, {}),
    Case("celu", "VGG-11 stage 2 with CELU", {"input": (128, 128, 16, 16)}, {}),
    Case("gelu", "ConvNeXt-T stage 2", {"input": (8, 28, 28, 768)}, {}),
    Case("silu", "EfficientNet-B0 expansion", {"input": (8, 144, 56, 56)}, {}),
    Case("mish", "YOLOv4 stage 2", {"input": (8, 128, 64, 64)}, {}),
    Case("hardswish", "MobileNetV3 expansion", {"input": (8, 240, 28, 28)}, {}),
    Case("hardsigmoid", "MobileNetV3 squeeze-and-excitation", {"input": (128, 240, 1, 1)}, {}),
    Case("hardtanh", "binarised network", {"input": (128, 128, 16, 16)}, {}),
    Case("sigmoid", "EfficientNet squeeze-and-excitation", {"input": (128, 144, 1, 1)}, {}),
    Case("tanh", "DCGAN generator", {"input": (64, 3, 64, 64)}, {}),
    Case("softplus", "variance of a detector's boxes", {"input": (16, 4, 40, 40)}, {}),
    Case("softsign", "VGG-11 stage 2 with softsign", {"input": (128, 128, 16, 16)}, {}),
    Case("linear", "simple-cnn 1", {"input": (128, 2048), **_weights(256, 2048)}, {}),
    Case("linear", "simple-cnn 2", {"input": (128, 256), **_weights(10, 256)}, {}),
    Case("flatten", "simple-cnn", {"input": (128, 128, 4, 4)}, {"start_dim": 1}),
    Case("conv1d", "M5 on sound", {"input": (16, 64, 8000), **_weights(128, 64, 3)}, {"padding": 1}),
    Case(
        "conv3d", "R3D-18 stage 1", {"input": (2, 64, 8, 28, 28), **_weights(64, 64, 3, 3, 3)}, {"padding": 1}
    ),
    Case(
        "conv_transpose1d",
        "WaveGAN generator",
        {"input": (16, 128, 1024), **_transposed(128, 64, 24)},
        {"stride": 4, "padding": 10},
    ),
    Case(
        "conv_transpose2d",
        "DCGAN generator",
        {"input": (64, 256, 8, 8), **_transposed(256, 128, 4, 4)},
        {"stride": 2, "padding": 1},
    ),
    Case(
        "conv_transpose3d",
        "V-Net expansion",
        {"input": (1, 64, 16, 16, 16), **_transposed(64, 32, 2, 2, 2)},
        {"stride": 2},
    ),
    Case("max_pool1d", "M5 on sound", {"input": (16, 128, 8000)}, {"kernel_size": 4}),
    Case("max_pool3d", "C3D", {"input": (2, 64, 16, 56, 56)}, {"kernel_size": 2}),
    Case("avg_pool1d", "M5 on sound", {"input": (16, 128, 8000)}, {"kernel_size": 4}),
    Case("avg_pool3d", "3-D DenseNet transition", {"input": (2, 128, 8, 28, 28)}, {"kernel_size": 2}),
    Case("adaptive_avg_pool1d", "M5 head", {"input": (16, 512, 500)}, {"output_size": 1}),
    Case("adaptive_avg_pool3d", "R3D-18 head", {"input": (8, 512, 2, 7, 7)}, {"output_size": 1}),
    Case("adaptive_max_pool1d", "PointNet", {"input": (16, 1024, 1024)}, {"output_size": 1}),
    Case("adaptive_max_pool2d", "CBAM", {"input": (32, 256, 56, 56)}, {"output_size": 1}),
    Case("adaptive_max_pool3d", "3-D CBAM", {"input": (2, 128, 8, 28, 28)}, {"output_size": 1}),
    Case(
        "max_unpool1d",
        "M5 on sound, decoded",
        {"input": (16, 128, 2000)},
        {"indices": _places(16, 128, 8000), "kernel_size": 4},
    ),
    Case(
        "max_unpool2d",
        "SegNet, the last",
        {"input": (4, 64, 90, 120)},
        {"indices": _places(4, 64, 180, 240), "kernel_size": 2},
    ),
    Case(
        "max_unpool3d",
        "C3D, decoded",
        {"input": (2, 64, 8, 28, 28)},
        {"indices": _places(2, 64, 16, 56, 56), "kernel_size": 2},
    ),
    Case("batch_norm", "simple-cnn 1", {"input": (128, 32, 32, 32), **_affine(32)}, _NORM),
    Case("batch_norm", "simple-cnn 3", {"input": (128, 128, 8, 8), **_affine(128)}, _NORM),
    Case(
        "layer_norm",
        "ConvNeXt-T stage 2",
        {"input": (8, 28, 28, 192), **_affine(192)},
        {"normalized_shape": (192,)},
    ),
    Case(
        "group_norm",
        "ResNet-50 with group norm, stage 2",
        {"input": (8, 128, 28, 28), **_affine(128)},
        {"num_groups": 32},
    ),
    Case("instance_norm", "style transfer", {"input": (4, 128, 64, 64), **_affine(128)}, {}),
    Case("local_response_norm", "AlexNet", {"input": (32, 96, 55, 55)}, {"size": 5}),
    Case("dropout", "simple-cnn 1", {"input": (128, 32, 32, 32)}, {}),
    Case("dropout1d", "M5 on sound", {"input": (16, 128, 2000)}, {}),
    Case("dropout2d", "ENet bottleneck", {"input": (8, 128, 64, 64)}, {}),
    Case("dropout3d", "3-D U-Net", {"input": (2, 64, 16, 32, 32)}, {}),
    Case("alpha_dropout", "self-normalizing network", {"input": (4096, 256)}, {}),
    Case("feature_alpha_dropout", "ENet bottleneck", {"input": (8, 128, 64, 64)}, {}),
    Case("interpolate", "FPN, nearest", {"input": (2, 256, 40, 40)}, {"scale_factor": 2, "mode": "nearest"}),
    Case(
        "interpolate",
        "DeepLabV3 head, bilinear",
        {"input": (2, 21, 65, 65)},
        {"size": (520, 520), "mode": "bilinear", "align_corners": False},
    ),
    Case(
        "pad",
        "style transfer, reflected",
        {"input": (4, 64, 128, 128)},
        {"pad": (1, 1, 1, 1), "mode": "reflect"},
    ),
    Case("pad", "EfficientNet as TensorFlow's", {"input": (8, 96, 112, 112)}, {"pad": (0, 1, 0, 1)}),
    Case("pixel_shuffle", "ESPCN", {"input": (8, 48, 64, 64)}, {"upscale_factor": 4}),
    Case("pixel_unshuffle", "Real-ESRGAN", {"input": (8, 3, 256, 256)}, {"downscale_factor": 4}),
    Case("channel_shuffle", "ShuffleNetV2 stage 2", {"input": (32, 116, 28, 28)}, {"groups": 2}),
    Case(
        "unfold",
        "patches of 3x3, ResNet-18 stage 2",
        {"input": (8, 128, 28, 28)},
        {"kernel_size": 3, "padding": 1},
    ),
    Case(
        "fold",
        "patches of 3x3, ResNet-18 stage 2",
        {"input": (8, 1152, 784)},
        {"output_size": (28, 28), "kernel_size": 3, "padding": 1},
    ),
    Case("softmax", "simple-cnn", {"input": (128, 10)}, {"dim": 1}),
    Case("log_softmax", "ImageNet", {"input": (4096, 1000)}, {"dim": 1}),
    Case("cross_entropy", "simple-cnn", {"input": (128, 10)}, {"target": _labels(10, 128)}),
    Case("cross_entropy", "FCN", {"input": (2, 21, 128, 128)}, {"target": _labels(21, 2, 128, 128)}),
    Case("nll_loss", "ImageNet", {"input": (256, 1000)}, {"target": _labels(1000, 256)}),
    Case("mse_loss", "ESPCN", {"input": (8, 3, 256, 256)}, {"target": _numbers(8, 3, 256, 256)}),
    Case("l1_loss", "EDSR", {"input": (8, 3, 256, 256)}, {"target": _numbers(8, 3, 256, 256)}),
    Case("smooth_l1_loss", "boxes of Faster R-CNN", {"input": (1024, 4)}, {"target": _numbers(1024, 4)}),
    Case("huber_loss", "depth", {"input": (8, 1, 128, 160)}, {"target": _numbers(8, 1, 128, 160)}),
    Case(
        "binary_cross_entropy",
        "autoencoder of MNIST",
        {"input": _shares(128, 784)},
        {"target": _shares(128, 784)},
    ),
    Case(
        "binary_cross_entropy_with_logits",
        "U-Net's mask",
        {"input": (4, 1, 256, 256)},
        {"target": _shares(4, 1, 256, 256)},
    ),
]
