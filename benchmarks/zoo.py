"""The whole models that `benchmarks.models` runs: torchvision's, and 60 of timm's networks of convolutions.

A model of timm is named `timm/<its name there>`, as both have a resnet18. All have random weights.
"""

from fnmatch import fnmatch
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

HAS_TIMM = find_spec("timm") is not None

TIMM = (
    "resnet10t",
    "resnet50_gn",
    "resnetblur18",
    "resnext26ts",
    "resnext50_32x4d",
    "seresnet18",
    "seresnext26t_32x4d",
    "ecaresnet26t",
    "resnetv2_50",
    "resnetv2_50x1_bit",  # standardised weights, group norm
    "resnetv2_50d_frn",  # filter response norm
    "nfnet_l0",  # standardised weights, no norm
    "eca_nfnet_l0",
    "nf_regnet_b0",
    "efficientnet_b0",
    "efficientnetv2_rw_t",
    "efficientnet_cc_b0_4e",  # each image has its own weights
    "tf_efficientnet_b0",  # padding as TensorFlow's
    "tf_efficientnetv2_b0",
    "mobilenetv1_100",
    "mobilenetv2_050",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_small",
    "mixnet_s",
    "mnasnet_small",
    "semnasnet_050",
    "fbnetc_100",
    "fbnetv3_b",
    "ghostnet_050",
    "ghostnetv2_100",
    "mobileone_s0",
    "regnetx_002",
    "regnety_002",
    "regnetz_005",
    "convnext_atto",
    "convnextv2_atto",
    "inception_next_atto",
    "densenet121",
    "dla34",
    "dla46x_c",
    "dpn48b",
    "vgg11_bn",
    "inception_v4",
    "inception_resnet_v2",
    "xception41",
    "hrnet_w18_small",
    "res2net50_14w_8s",
    "resnest14d",
    "skresnet18",
    "selecsls42b",
    "ese_vovnet19b_dw",
    "hgnetv2_b0",
    "cspresnet50",
    "cs3darknet_s",
    "darknet17",
    "repvgg_a0",
    "rexnet_100",
    "hardcorenas_a",
    "tinynet_e",
    "lcnet_035",
)

GROUPS: dict[str, tuple[str, ...]] = {
    "classification": tuple(models.list_models(module=models)),
    "segmentation": tuple(models.list_models(module=models.segmentation)),
    "detection": tuple(models.list_models(module=models.detection)),
    "video": tuple(models.list_models(module=models.video)),
    "timm": tuple(f"timm/{name}" for name in TIMM),
}
"""The names of the models; those of timm too where it is not installed."""

_TRANSFORMERS = ("vit_*", "swin*", "maxvit*", "mvit*")
_LEAST_SIZES = {"inception_v3": 299, "timm/inception_v4": 96, "timm/inception_resnet_v2": 96}
"""The smallest images that those models take that do not take 64 pixels."""


def is_transformer(name: str) -> bool:
    """Return whether a model of torchvision consists of attention rather than of convolutions."""
    return any(fnmatch(name, pattern) for pattern in _TRANSFORMERS)


def group_of(name: str) -> str:
    """Return the group of a model."""
    return next(group for group, names in GROUPS.items() if name in names)


def build(
    name: str, *, small: bool = False, dtype: torch.dtype = torch.float32
) -> tuple[nn.Module, tuple[Any, ...]]:
    """Return a model in training mode, and two images of the size it was made for, or `small` ones.

    Models for detection also take what is in the images, and return their losses.
    """
    kind = {"detection": _detection, "segmentation": _segmentation, "video": _video, "timm": _timm}
    model, inputs = kind.get(group_of(name), _classification)(name, small)
    return model.to(dtype).train(), _as_type(inputs, dtype)


def _as_type(given: Any, dtype: torch.dtype) -> Any:
    """Return nested tensors of float64 in a dtype, others as they are."""
    if isinstance(given, dict):
        return {name: _as_type(value, dtype) for name, value in given.items()}
    if isinstance(given, (list, tuple)):
        return type(given)(_as_type(value, dtype) for value in given)
    return given.to(dtype) if given.dtype == torch.float64 else given


def _images(*size: int) -> Tensor:
    """Draw two images, or clips: (2, 3, *size)."""
    return torch.rand(2, 3, *size, dtype=torch.float64)


def _classification(name: str, small: bool) -> tuple[nn.Module, tuple[Any, ...]]:
    arguments: dict[str, Any] = {"weights": None}
    size = _LEAST_SIZES.get(name, 64) if small else 299 if name == "inception_v3" else 224
    if name.startswith("vit"):
        size = 56 if name.endswith("14") else 64
        arguments["image_size"] = size
    elif name.startswith("maxvit"):
        size = 224
    if name in ("googlenet", "inception_v3"):
        arguments["init_weights"] = True
    model = models.get_model(name, **arguments)
    if name.startswith("vit"):
        model.heads.head.reset_parameters()  # torchvision's are zero, and so would be outputs and gradients
    return model, (_images(size, size),)


def _segmentation(name: str, small: bool) -> tuple[nn.Module, tuple[Any, ...]]:
    size = 64 if small else 520
    auxiliary = {} if name.startswith("lraspp") else {"aux_loss": True}
    model = models.get_model(name, weights=None, weights_backbone=None, num_classes=21, **auxiliary)
    return model, (_images(size, size),)


def _detection(name: str, small: bool) -> tuple[nn.Module, tuple[Any, ...]]:
    """Return a model with two images, in each of which it is to find one thing.

    The images are small in any case: what is done for each box does not depend on their size.
    """
    size = 300 if name == "ssd300_vgg16" else 320 if name.startswith("ssdlite") else 128 if small else 320
    sizes = {} if name.startswith("ssd") else {"min_size": size, "max_size": size}
    classes = 2 if name.startswith("keypoint") else 5
    model = models.get_model(name, weights=None, weights_backbone=None, num_classes=classes, **sizes)
    box = torch.tensor([[0.1, 0.2, 0.7, 0.8]], dtype=torch.float64) * size
    found: dict[str, Tensor] = {"boxes": box}
    if name.startswith("mask"):
        found["masks"] = torch.ones(1, size, size, dtype=torch.uint8)
    if name.startswith("keypoint"):
        points = float(box.mean()) * torch.ones(1, 17, 2)  # in float32: torchvision takes no other
        found["keypoints"] = torch.cat([points, torch.ones(1, 17, 1)], 2)
    targets = [{**found, "labels": torch.tensor([label])} for label in (1, classes - 1)]
    return model, (list(_images(size, size)), targets)


def _video(name: str, small: bool) -> tuple[nn.Module, tuple[Any, ...]]:
    """Return a model with two clips of 16 images; S3D takes no smaller ones than it was made for."""
    size = 224 if name == "s3d" else 64 if small else 112
    return models.get_model(name, weights=None), (_images(16, size, size),)


def _timm(name: str, small: bool) -> tuple[nn.Module, tuple[Any, ...]]:
    import timm

    model = timm.create_model(name.removeprefix("timm/"), pretrained=False)
    size = _LEAST_SIZES.get(name, 64) if small else model.pretrained_cfg["input_size"][-1]
    return model, (_images(size, size),)
