"""Normalization of layers, of groups of channels, and of instances: of one sample at a time."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.autograd import (
    BatchNormInference,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    call,
    call_constant,
    mean_of_samples,
    reshaped,
    update_running,
)
from scratch_conv.functional import arguments
from scratch_conv.functional.calling import overridable, replaces, size_of
from scratch_conv.functional.normalization import check_dtypes, check_floating, check_statistics

__all__ = ["group_norm", "instance_norm", "layer_norm"]


@replaces(F.layer_norm)
@overridable
def layer_norm(
    input: Tensor,
    normalized_shape: list[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize over the last dimensions, as `torch.nn.functional.layer_norm` does.

    Args:
        input: (*, *normalized_shape), float64, float32, float16 or bfloat16.
        normalized_shape: the sizes of the dimensions over which mean and variance are taken.
        weight: of the normalized shape, or None for 1.
        bias: of the normalized shape, or None for 0.
        eps: what is added to the variance.

    The parameters have the input's dtype; beside float16 or bfloat16, both may have float32.

    Returns:
        (input - mean) / √(variance + eps) · weight + bias, of the input's shape, contiguous.

    Raises:
        TypeError: an argument has a type that torch does not take.
        RuntimeError: shapes or dtypes do not fit; the normalized shape is empty; or a tensor is not on the
            CPU.
        NotImplementedError: the input is of whole numbers, bool or complex.
    """
    present = _present(weight=weight, bias=bias)
    arguments.tensors("layer_norm", input=input, **present)
    sizes = arguments.shape("layer_norm", "normalized_shape", normalized_shape)
    eps = arguments.number("layer_norm", "eps", eps)
    if not sizes:
        raise RuntimeError("layer_norm: expected normalized_shape to be at least 1-dimensional, but got []")
    for name, tensor in present.items():
        if tuple(tensor.shape) != sizes:
            raise RuntimeError(
                f"layer_norm: expected {name} to be of same shape as normalized_shape={list(sizes)}, "
                f"but got size {size_of(tensor)}"
            )
    if len(sizes) > input.dim() or tuple(input.shape[-len(sizes) :]) != sizes:
        expected = ", ".join(["*", *map(str, sizes)])
        raise RuntimeError(
            f"Given normalized_shape={list(sizes)}, expected input with shape [{expected}], "
            f"but got input of size{size_of(input)}"
        )
    check_dtypes("layer_norm", input, present)
    check_floating("layer_norm", input)
    if input.dim() > arguments.MOST_DIMENSIONS:
        rows = input.reshape(math.prod(input.shape[: -len(sizes)]), math.prod(sizes))
        affine = (each if each is None else each.reshape(-1) for each in (weight, bias))
        return reshaped(call(LayerNorm, rows, *affine, 1, eps)[0], input.shape)
    output: Tensor = call(LayerNorm, input, weight, bias, len(sizes), eps)[0]
    return output


@replaces(torch.layer_norm)
def _layer_norm(input: Any, normalized_shape: Any, *rest: Any, **named: Any) -> Any:
    """Take the arguments of `torch.layer_norm`, which end with whether to use cuDNN."""
    named.pop("cudnn_enable", None)
    return layer_norm(input, normalized_shape, *rest[:3], **named)


@replaces(F.group_norm)
@overridable
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize groups of neighbouring channels, as `torch.nn.functional.group_norm` does.

    Args:
        input: (N, C, *), where * is any number of dimensions; float64, float32, float16 or bfloat16.
        num_groups: how many groups of C / num_groups channels there are.
        weight: (C,), or None for 1.
        bias: (C,), or None for 0.
        eps: what is added to the variance.

    The parameters have the input's dtype; beside float16 or bfloat16, both may have float32.

    Returns:
        (input - mean) / √(variance + eps) · weight + bias, of the input's shape and memory format.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: there is one value a group, of one sample.
        ZeroDivisionError: there are no groups.
        RuntimeError: shapes or dtypes do not fit; the groups do not divide the channels; a sample is empty;
            or a tensor is not on the CPU.
        NotImplementedError: the input is of whole numbers, bool or complex.
    """
    present = _present(weight=weight, bias=bias)
    arguments.tensors("group_norm", input=input, **present)
    if input.dim() < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.dim()}")
    groups = arguments.integer("group_norm", "num_groups", num_groups, strict=True)
    _check_groups(input, groups)
    eps = arguments.number("group_norm", "eps", eps)
    for name, tensor in present.items():
        if tensor.dim() != 1 or tensor.numel() != input.shape[1]:
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, "
                f"but got {name} of shape {size_of(tensor)} and input of shape {size_of(input)}"
            )
    check_dtypes("group_norm", input, present)
    check_floating("group_norm", input)
    if input.dim() > arguments.MOST_DIMENSIONS:
        flat = input.reshape(*input.shape[:2], math.prod(input.shape[2:]))
        return reshaped(call(GroupNorm, flat, weight, bias, groups, eps)[0], input.shape)
    output: Tensor = call(GroupNorm, input, weight, bias, groups, eps)[0]
    return output


@replaces(torch.group_norm)
def _group_norm(input: Any, num_groups: Any, *rest: Any, **named: Any) -> Any:
    """Take the arguments of `torch.group_norm`, which end with whether to use cuDNN."""
    named.pop("cudnn_enabled", None)
    return group_norm(input, num_groups, *rest[:3], **named)


def _check_groups(input: Tensor, groups: int) -> None:
    samples, channels, *sizes = input.shape
    if samples * channels // groups * math.prod(sizes) == 1:
        size = [samples * channels // groups, groups, *sizes]
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {size}")
    if groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {groups}")
    if channels % groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, "
            f"but got input of shape {size_of(input)} and num_groups={groups}"
        )
    if not channels * math.prod(sizes):
        raise RuntimeError(f"group_norm: expected samples to have elements, but got size {size_of(input)}")


@replaces(F.instance_norm)
@overridable
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of each sample, as `torch.nn.functional.instance_norm` does.

    Args:
        input: (N, C, *), where * is any number of dimensions; float64, float32, float16 or bfloat16.
        running_mean: (C,); with `use_input_stats` it is moved towards the samples' mean; or None.
        running_var: (C,); with `use_input_stats` it is moved towards their mean unbiased variance; or None.
        weight: (C,), or None for 1.
        bias: (C,), or None for 0.
        use_input_stats: whether to normalize by the samples' statistics rather than by the running ones.
        momentum: the samples' share in the new running statistics.
        eps: what is added to the variance.

    The parameters have the input's dtype; beside float16 or bfloat16, both may have float32. The running
    statistics are of any floating point dtype.

    Returns:
        (input - mean) / √(variance + eps) · weight + bias, of the input's shape, contiguous.

    Raises:
        TypeError: an argument has a type that torch does not take.
        ValueError: there is one value a channel, by its own statistics; or one of the running ones is
            missing.
        RuntimeError: shapes or dtypes do not fit; the running statistics are missing where they are used, or
            require a gradient; or a tensor is not on the CPU.
        IndexError: the input has no channels.
        NotImplementedError: it is of whole numbers, bool or complex.
    """
    affine = _present(weight=weight, bias=bias)
    statistics = _present(running_mean=running_mean, running_var=running_var)
    arguments.tensors("instance_norm", input=input, **statistics, **affine)
    if use_input_stats and math.prod(input.shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")
    use_input_stats = arguments.boolean("instance_norm", "use_input_stats", use_input_stats)
    momentum = arguments.number("instance_norm", "momentum", momentum)
    eps = arguments.number("instance_norm", "eps", eps)
    check_statistics(running_mean, running_var, use_input_stats)
    _check_instances(input, {**statistics, **affine})
    check_floating("instance_norm", input)
    # Torch converts the statistics to this dtype, and then refuses a bias of another.
    converted = dict.fromkeys(statistics, input if weight is None else weight)
    check_dtypes("instance_norm", input, {**converted, **affine})
    input = input.contiguous()
    # Torch repeats the parameters for the samples: it does not see later writes to them.
    weight, bias = (None if each is None else each.clone() for each in (weight, bias))
    if not use_input_stats:
        dtype = torch.promote_types(input.dtype, torch.float32)
        mean, variance = (each.to(dtype, copy=True) for each in statistics.values())
        result: Tensor = call(BatchNormInference, input, weight, bias, mean, variance, eps)
        return result
    if not input.shape[1]:
        return input.clone()
    output, *own = call(InstanceNorm, input, weight, bias, eps)
    elements = math.prod(input.shape[2:])
    if statistics and elements:
        for running, statistic, count in zip(statistics.values(), own, (0, elements), strict=True):
            _learn(running, mean_of_samples(statistic), momentum, count)
    return output


def _learn(running: Tensor, mean: Tensor, momentum: float, count: int) -> None:
    """Update a running statistic; a write that autograd sees, as with torch."""
    if 0 in running.stride() and running.numel() > 1:
        raise RuntimeError(
            "instance_norm: more than one element of a running statistic refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )
    if torch.compiler.is_compiling():
        update_running(running, mean, momentum, count)
        return
    updated = running.resolve_neg()
    call_constant(update_running, updated, mean, momentum, count)
    if running.is_neg():
        running.copy_(updated)


@replaces(torch.instance_norm)
def _instance_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, *rest: Any, **named: Any
) -> Any:
    """Take the arguments of `torch.instance_norm`, which end with whether to use cuDNN."""
    named.pop("cudnn_enabled", None)
    return instance_norm(input, running_mean, running_var, weight, bias, *rest[:3], **named)


def _check_instances(input: Tensor, present: dict[str, Tensor]) -> None:
    if input.dim() < 2:
        raise IndexError(
            f"instance_norm: expected input of at least 2 dimensions (N, C), but got size {size_of(input)}"
        )
    for name, tensor in present.items():
        if tensor.dim() != 1 or tensor.numel() != input.shape[1]:
            raise RuntimeError(
                f"{name} should contain {input.shape[1]} elements in one dimension, "
                f"but got size {size_of(tensor)}"
            )


def _present(**tensors: Tensor | None) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}
