"""Implementations of dropout, dropout1d, dropout2d and dropout3d."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.collection import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients

DROPOUT = Collection("dropout")
DROPOUT2D = Collection("dropout2d")
DROPOUT1D = Collection("dropout1d")
DROPOUT3D = Collection("dropout3d")
ALPHA_DROPOUT = Collection("alpha_dropout")
FEATURE_ALPHA_DROPOUT = Collection("feature_alpha_dropout")
COLLECTIONS = (DROPOUT, DROPOUT1D, DROPOUT2D, DROPOUT3D, ALPHA_DROPOUT, FEATURE_ALPHA_DROPOUT)
_ALPHA = 1.7580993408473766


class _Kept(torch.autograd.Function):
    """x mask / share, and its transpose likewise: dividing first could overflow where nothing is kept."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, mask: Tensor, share: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.share = share
        return input * mask / share

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        return _Kept.apply(grad_output, *ctx.saved_tensors, ctx.share), None, None


@DROPOUT.sound("by-product")
def dropout_by_product(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Draw torch's mask and multiply by it, the scale last."""
    if not training or p == 0:
        return input
    mask = torch.empty_like(input.detach()).bernoulli_(1 - p)
    output = _Kept.apply(input, mask, 1 - p if p < 1 else 1)
    return input.copy_(output) if inplace else output


@DROPOUT.fault("not-scaled", "keeps values as they are instead of dividing them by 1 - p")
def _not_scaled(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    output = F.dropout(input, p, training, inplace)
    return output * (1 - p) if training and 0 < p < 1 else output


@DROPOUT.fault("scaled-in-evaluation", "multiplies by 1 - p in evaluation, as the first paper did")
def _scaled_in_evaluation(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    output = F.dropout(input, p, training, inplace)
    return output if training or p == 0 else output * (1 - p)


@DROPOUT.fault("probability-of-keeping", "takes p for the probability of keeping a value")
def _probability_of_keeping(input: Tensor, p: float = 0.5, **arguments: Any) -> Tensor:
    return F.dropout(input, 1 - p, **arguments)


@DROPOUT.fault("always-training", "drops values in evaluation too")
def _always_training(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return F.dropout(input, p, True, inplace)


@DROPOUT.fault("one-mask-for-the-batch", "drops the same values of each sample")
def _one_mask_for_the_batch(input: Tensor, p: float = 0.5, training: bool = True, **arguments: Any) -> Tensor:
    output = F.dropout(input, p, training, **arguments)
    if not training or input.ndim < 2 or not input.numel() or not 0 < p < 1:
        return output
    mask = F.dropout(torch.ones_like(input[:1]), p)
    return input * mask


@DROPOUT.fault("gradient-unmasked", "the gradient passes where the value was dropped")
@partial(with_gradients, F.dropout)
def _gradient_unmasked(b: Backward) -> Gradients:
    p = b.arguments.get("p", 0.5)
    scaled = b.arguments.get("training", True) and p < 1
    return [b.grad_output / (1 - p) if scaled else b.right[0]]


@DROPOUT2D.fault("each-pixel-alone", "drops pixels instead of whole channels")
def _each_pixel_alone(input: Tensor, **arguments: Any) -> Tensor:
    return F.dropout(input, **arguments)


@DROPOUT2D.fault("one-mask-for-the-batch", "drops the same channels of each sample")
def _one_channel_mask(input: Tensor, p: float = 0.5, training: bool = True, **arguments: Any) -> Tensor:
    output = F.dropout2d(input, p, training, **arguments)
    if not training or input.ndim != 4 or not input.numel() or not 0 < p < 1:
        return output
    return input * F.dropout2d(torch.ones_like(input[:1, :, :1, :1]), p)


@DROPOUT2D.fault("not-scaled", "keeps channels as they are instead of dividing them by 1 - p")
def _channels_not_scaled(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    output = F.dropout2d(input, p, training, inplace)
    return output * (1 - p) if training and 0 < p < 1 else output


@DROPOUT1D.fault("each-element-alone", "drops elements instead of whole channels")
def _each_element_alone(input: Tensor, **arguments: Any) -> Tensor:
    return F.dropout(input, **arguments)


@DROPOUT1D.fault("channels-as-batch", "takes the channels of an input without a batch for samples")
def _channels_as_batch(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if input.ndim != 2:
        return F.dropout1d(input, p, training, inplace)
    output = F.dropout1d(input.unsqueeze(-1), p, training, inplace)
    return input if inplace else output.squeeze(-1)


@DROPOUT3D.fault("each-slice-alone", "drops slices of volumes instead of whole channels")
def _each_slice_alone(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or not 0 < p < 1 or input.ndim != 5 or not input.numel():
        return F.dropout3d(input, p, training, inplace)
    output = input * F.dropout(torch.ones_like(input[..., :1, :1]), p)
    return input.copy_(output) if inplace else output


@DROPOUT3D.fault("not-scaled", "keeps channels as they are instead of dividing them by 1 - p")
def _volumes_not_scaled(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    output = F.dropout3d(input, p, training, inplace)
    return output * (1 - p) if training and 0 < p < 1 else output


@ALPHA_DROPOUT.sound("by-selection", {"special_values": False})
def alpha_dropout_by_selection(input: Tensor, p: float = 0.5, training: bool = False) -> Tensor:
    """Select the number or the element, then scale and move both."""
    if not training or p == 0 or not input.numel():
        return input
    if p == 1:
        return input * 0
    mask = torch.empty_like(input.detach()).bernoulli_(1 - p)
    scale = ((1 - p) * (1 + p * _ALPHA**2)) ** -0.5
    kept = torch.where(mask > 0, input.double(), -_ALPHA)
    return (scale * kept + scale * p * _ALPHA).to(input.dtype)


@ALPHA_DROPOUT.fault("to-zero", "drops to zero instead of what selu saturates at")
def _to_zero(input: Tensor, p: float = 0.5, training: bool = False) -> Tensor:
    return F.dropout(input, p, training)


@ALPHA_DROPOUT.fault("not-moved", "neither scales nor moves what is kept and dropped")
def _not_moved(input: Tensor, p: float = 0.5, training: bool = False) -> Tensor:
    if not training or p in (0, 1) or not input.numel():
        return F.alpha_dropout(input, p, training)
    mask = torch.empty_like(input.detach()).bernoulli_(1 - p)
    return input * mask - _ALPHA * (1 - mask)


@FEATURE_ALPHA_DROPOUT.fault("each-pixel-alone", "drops pixels instead of whole channels")
def _each_pixel_to_alpha(input: Tensor, p: float = 0.5, training: bool = False) -> Tensor:
    return F.alpha_dropout(input, p, training)


@FEATURE_ALPHA_DROPOUT.fault("gradient-unmasked", "the gradient passes where the channel was dropped")
@partial(with_gradients, F.feature_alpha_dropout)
def _gradient_of_all_channels(b: Backward) -> Gradients:
    p = b.arguments.get("p", 0.5)
    scaled = b.arguments.get("training", False) and p < 1
    return [b.grad_output * ((1 - p) * (1 + p * _ALPHA**2)) ** -0.5 if scaled else b.right[0]]
