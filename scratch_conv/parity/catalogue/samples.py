"""Implementations of layer_norm, group_norm and instance_norm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients
from scratch_conv.parity.operators import OPERATORS
from scratch_conv.parity.operators.calling import Call

LAYERS, GROUPS, INSTANCES = (Collection(like) for like in ("layer_norm", "group_norm", "instance_norm"))
COLLECTIONS = (LAYERS, GROUPS, INSTANCES)

_layer_norm: Call = OPERATORS["layer_norm"].reference
_group_norm: Call = OPERATORS["group_norm"].reference
_instance_norm: Call = F.instance_norm

Scale = Callable[[Tensor, float], Tensor]
"""Returns the factors of rows (R, n) by which they are scaled, given these and eps."""


def _right(rows: Tensor, eps: float) -> Tensor:
    return ((rows - rows.mean(1, keepdim=True)).square().mean(1, keepdim=True) + eps).rsqrt()


def _standardized(rows: Tensor, eps: float, scale: Scale = _right) -> Tensor:
    return (rows - rows.mean(1, keepdim=True)) * scale(rows, eps)


def _affine(normal: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    scaled = normal if weight is None else normal * weight
    return scaled if bias is None else scaled + bias


def _per_channel(parameter: Tensor | None, input: Tensor) -> Tensor | None:
    return None if parameter is None else parameter.view(1, -1, *(1,) * (input.ndim - 2))


def _rows(input: Tensor, groups: int) -> Tensor:
    """View groups of channels (N, C, *) as rows, of which an empty batch has none."""
    return input.reshape(input.shape[0] * groups, input[:1].numel() // groups if len(input) else 0)


def _layers(scale: Scale = _right) -> Call:
    """Return a layer norm by a formula."""

    def candidate(input: Tensor, *affine: Tensor | None, **arguments: Any) -> Tensor:
        size = torch.Size(arguments["normalized_shape"]).numel()
        normal = _standardized(input.reshape(-1, size), arguments.get("eps", 1e-5), scale)
        return _affine(normal.reshape(input.shape), *affine)

    return candidate


def _groups(scale: Scale = _right) -> Call:
    """Return a group norm by a formula."""

    def candidate(input: Tensor, *affine: Tensor | None, **arguments: Any) -> Tensor:
        rows = _rows(input, arguments["num_groups"])
        normal = _standardized(rows, arguments.get("eps", 1e-5), scale).reshape(input.shape)
        return _affine(normal, *(_per_channel(each, input) for each in affine))

    return candidate


def _instances(scale: Scale = _right) -> Call:
    """Return an instance norm by a formula where it has no running statistics, else torch's own."""

    def candidate(
        input: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        *affine: Tensor | None,
        **arguments: Any,
    ) -> Tensor:
        if running_mean is not None:
            return _instance_norm(input, running_mean, running_var, *affine, **arguments)
        rows = _rows(input, input.shape[1])
        normal = _standardized(rows, arguments.get("eps", 1e-5), scale).reshape(input.shape)
        return _affine(normal, *(_per_channel(each, input) for each in affine))

    return candidate


_TWICE = {"second_derivatives": True}
LAYERS.sound("by-formula", _TWICE)(_layers())
GROUPS.sound("by-formula", _TWICE)(_groups())
INSTANCES.sound("by-formula", _TWICE)(_instances())
LAYERS.sound("torch.nn.LayerNorm twice", _TWICE)(torch.nn.LayerNorm)


@LAYERS.sound("by-group-norm", {"empty": False, "special_values": False})
def layer_norm_by_group_norm(input: Tensor, *affine: Tensor | None, **arguments: Any) -> Tensor:
    """Normalize rows as one group of as many channels as they have elements."""
    shape: tuple[int, ...] = arguments["normalized_shape"]
    size = torch.Size(shape).numel()
    rows = input.reshape(-1, size)
    flat = (None if each is None else each.reshape(size) for each in affine)
    if rows.numel() == 1:  # which group norm refuses
        return _layer_norm(input, *affine, **arguments)
    weight, bias = [*flat, None, None][:2]
    output: Tensor = F.group_norm(rows, 1, weight, bias, arguments.get("eps", 1e-5))
    return output.reshape(input.shape)


def _deviation(rows: Tensor, correction: int = 0) -> Tensor:
    return rows.var(1, correction=correction, keepdim=True)


def _eps_outside(rows: Tensor, eps: float) -> Tensor:
    return 1 / (_deviation(rows).sqrt() + eps)


def _unbiased(rows: Tensor, eps: float) -> Tensor:
    return (_deviation(rows, 1 if rows.shape[1] > 1 else 0) + eps).rsqrt()


def _in_one_pass(rows: Tensor, eps: float) -> Tensor:
    mean = rows.mean(1, keepdim=True)
    return ((rows * rows).mean(1, keepdim=True) - mean * mean + eps).rsqrt()


def _without_eps(rows: Tensor, eps: float) -> Tensor:
    return _deviation(rows).rsqrt()


for _collection, _made in ((LAYERS, _layers), (GROUPS, _groups), (INSTANCES, _instances)):
    _collection.fault("eps-outside-the-root", "adds eps to the standard deviation instead of the variance")(
        _made(_eps_outside)
    )
    _collection.fault("variance-unbiased", "normalises by the unbiased variance")(_made(_unbiased))
    _collection.fault("variance-in-one-pass", "computes the variance as mean(x²) - mean(x)², which cancels")(
        _made(_in_one_pass)
    )
    _collection.fault("eps-forgotten", "divides by the bare standard deviation")(_made(_without_eps))


@LAYERS.fault("last-axis-alone", "normalises over the last axis, whatever the normalized shape")
def _last_axis_alone(input: Tensor, *affine: Tensor | None, **arguments: Any) -> Tensor:
    eps = arguments.get("eps", 1e-5)
    return _affine(F.layer_norm(input, input.shape[-1:], eps=eps), *affine)


@LAYERS.fault("weight-only-with-bias", "leaves the weight out where there is no bias")
def _weight_only_with_bias(input: Tensor, *affine: Tensor | None, **arguments: Any) -> Tensor:
    given = [affine[0] * 0 + 1] if len(affine) == 1 and affine[0] is not None else affine
    return _layer_norm(input, *given, **arguments)


@LAYERS.fault(
    "weight-after-the-projection", "the input's gradient is centred before the weight multiplies it"
)
@partial(with_gradients, _layer_norm)
def _weight_after_the_projection(b: Backward) -> Gradients:
    input, *affine = b.tensors
    if not affine or affine[0] is None:
        return b.right
    with torch.enable_grad():
        leaf = input.detach().requires_grad_()
        (grad,) = torch.autograd.grad(_layer_norm(leaf, **b.arguments), leaf, b.grad_output)
    return [grad * affine[0], *b.right[1:]]


@LAYERS.fault(
    "statistics-taken-for-constants",
    "the gradient of the input ignores that mean and variance depend on it",
    "facebookresearch/CrypTen/pull/143",
)
@partial(with_gradients, _layer_norm)
def _statistics_taken_for_constants(b: Backward) -> Gradients:
    input, *affine = b.tensors
    size = torch.Size(b.arguments["normalized_shape"]).numel()
    rows = input.detach().reshape(-1, size)
    scale = _right(rows, b.arguments.get("eps", 1e-5)).expand(rows.shape).reshape(input.shape)
    return [b.grad_output * _affine(scale, *affine[:1]), *b.right[1:]]


@GROUPS.fault("channels-interleaved", "a group is every G-th channel, instead of neighbours")
def _channels_interleaved(input: Tensor, *affine: Tensor | None, **arguments: Any) -> Tensor:
    samples, channels, *sizes = input.shape
    groups = arguments["num_groups"]
    parts = input.reshape(samples, channels // groups, groups, *sizes).transpose(1, 2)
    bare = {name: value for name, value in arguments.items() if name in ("num_groups", "eps")}
    normal = _group_norm(parts.reshape(input.shape), **bare)
    back = normal.reshape(samples, groups, channels // groups, *sizes).transpose(1, 2).reshape(input.shape)
    return _affine(back, *(_per_channel(each, input) for each in affine))


@GROUPS.fault("groups-of-that-size", "takes the number of groups for the number of channels of one")
def _groups_of_that_size(input: Tensor, *affine: Tensor | None, **arguments: Any) -> Tensor:
    groups = input.shape[1] // arguments["num_groups"]
    if input.numel() == groups:
        return _group_norm(input, *affine, **arguments)
    return _group_norm(input, *affine, **{**arguments, "num_groups": groups})


@GROUPS.fault("each-channel-alone", "normalises each channel by itself")
def _each_channel_alone(input: Tensor, *affine: Tensor | None, **arguments: Any) -> Tensor:
    if input.numel() == input.shape[1]:
        return _group_norm(input, *affine, **arguments)
    return _group_norm(input, *affine, **{**arguments, "num_groups": input.shape[1]})


@GROUPS.fault("weight-gradient-of-the-first-sample", "the gradients of the parameters leave samples out")
@partial(with_gradients, _group_norm)
def _of_the_first_sample(b: Backward) -> Gradients:
    input, *affine = b.tensors
    if not affine or not input.shape[0] or input[:1].numel() == b.arguments["num_groups"]:
        return b.right
    with torch.enable_grad():
        leaves = [None if each is None else each.detach().requires_grad_() for each in affine]
        output = _group_norm(input[:1], *leaves, **b.arguments)
        held = [leaf for leaf in leaves if leaf is not None]
        grads = iter(torch.autograd.grad(output, held, b.grad_output[:1]))
    return [b.right[0], *(None if leaf is None else next(grads) for leaf in leaves)]


def _learning(change: Callable[..., None]) -> Call:
    """Return an instance norm whose running statistics are `change`d, given old and new ones."""

    def candidate(
        input: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        *affine: Tensor | None,
        **arguments: Any,
    ) -> Tensor:
        old = (
            None
            if running_mean is None or running_var is None
            else (running_mean.clone(), running_var.clone())
        )
        output = _instance_norm(input, running_mean, running_var, *affine, **arguments)
        if old is not None and arguments.get("use_input_stats", True):
            assert running_mean is not None
            assert running_var is not None
            with torch.no_grad():
                change(input.flatten(2), old, (running_mean, running_var), arguments.get("momentum", 0.1))
        return output

    return candidate


@INSTANCES.fault("running-variance-biased", "puts the biased variance into the running one")
@_learning
def _running_variance_biased(x: Tensor, old: Any, new: Any, momentum: float) -> None:
    new[1].copy_((1 - momentum) * old[1] + momentum * x.var(2, correction=0).mean(0))


@INSTANCES.fault("running-variance-of-the-batch", "puts the variance of the whole batch into the running one")
@_learning
def _running_variance_of_the_batch(x: Tensor, old: Any, new: Any, momentum: float) -> None:
    new[1].copy_((1 - momentum) * old[1] + momentum * x.var((0, 2)))


@INSTANCES.fault("running-mean-of-the-last-sample", "the running mean learns from the last sample alone")
@_learning
def _running_mean_of_the_last_sample(x: Tensor, old: Any, new: Any, momentum: float) -> None:
    new[0].copy_((1 - momentum) * old[0] + momentum * x[-1].mean(1))


@INSTANCES.fault("momentum-reversed", "weighs the old running statistics by the momentum")
def _momentum_reversed(*tensors: Tensor | None, **arguments: Any) -> Tensor:
    momentum = 1 - arguments.get("momentum", 0.1)
    return _instance_norm(*tensors, **{**arguments, "momentum": momentum})


@INSTANCES.fault("statistics-of-the-batch", "takes mean and variance over the samples too")
def _statistics_of_the_batch(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *affine: Tensor | None,
    **arguments: Any,
) -> Tensor:
    if running_mean is not None or not input.numel():
        return _instance_norm(input, running_mean, running_var, *affine, **arguments)
    weight, bias = [*affine, None, None][:2]
    return F.batch_norm(input, None, None, weight, bias, True, eps=arguments.get("eps", 1e-5))


@INSTANCES.fault("running-statistics-ignored", "normalises by the samples' own statistics in evaluation too")
def _running_statistics_ignored(input: Tensor, *others: Tensor | None, **arguments: Any) -> Tensor:
    if arguments.get("use_input_stats", True) or torch.Size(input.shape[2:]).numel() == 1:
        return _instance_norm(input, *others, **arguments)
    return _instance_norm(input, None, None, *others[2:], **{**arguments, "use_input_stats": True})
