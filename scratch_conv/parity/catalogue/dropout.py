"""Faults in dropout and dropout2d."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity.catalogue.fault import Collection
from scratch_conv.parity.catalogue.gradients import Backward, Gradients, with_gradients

DROPOUT = Collection("dropout")
DROPOUT2D = Collection("dropout2d")
_GITHUB = "https://github.com/"


@DROPOUT.add("not-scaled", "keeps values as they are instead of dividing them by 1 - p")
def _not_scaled(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    output = F.dropout(input, p, training, inplace)
    return output * (1 - p) if training and 0 < p < 1 else output


@DROPOUT.add("scaled-in-evaluation", "multiplies by 1 - p in evaluation, as the first paper did")
def _scaled_in_evaluation(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    output = F.dropout(input, p, training, inplace)
    return output if training or p == 0 else output * (1 - p)


@DROPOUT.add("probability-of-keeping", "takes p for the probability of keeping a value")
def _probability_of_keeping(input: Tensor, p: float = 0.5, **arguments: Any) -> Tensor:
    return F.dropout(input, 1 - p, **arguments)


@DROPOUT.add("always-training", "drops values in evaluation too")
def _always_training(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return F.dropout(input, p, True, inplace)


@DROPOUT.add("one-mask-for-the-batch", "drops the same values of each sample")
def _one_mask_for_the_batch(input: Tensor, p: float = 0.5, training: bool = True, **arguments: Any) -> Tensor:
    output = F.dropout(input, p, training, **arguments)
    if not training or input.ndim < 2 or not input.numel() or not 0 < p < 1:
        return output
    mask = F.dropout(torch.ones_like(input[:1]), p)
    return input * mask


@DROPOUT.add("gradient-unmasked", "the gradient passes where the value was dropped")
@partial(with_gradients, F.dropout)
def _gradient_unmasked(b: Backward) -> Gradients:
    p = b.arguments.get("p", 0.5)
    scaled = b.arguments.get("training", True) and p < 1
    return [b.grad_output / (1 - p) if scaled else b.right[0]]


@DROPOUT2D.add("each-pixel-alone", "drops pixels instead of whole channels")
def _each_pixel_alone(input: Tensor, **arguments: Any) -> Tensor:
    return F.dropout(input, **arguments)


@DROPOUT2D.add("one-mask-for-the-batch", "drops the same channels of each sample")
def _one_channel_mask(input: Tensor, p: float = 0.5, training: bool = True, **arguments: Any) -> Tensor:
    output = F.dropout2d(input, p, training, **arguments)
    if not training or input.ndim != 4 or not input.numel() or not 0 < p < 1:
        return output
    return input * F.dropout2d(torch.ones_like(input[:1, :, :1, :1]), p)


@DROPOUT2D.add("not-scaled", "keeps channels as they are instead of dividing them by 1 - p")
def _channels_not_scaled(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    output = F.dropout2d(input, p, training, inplace)
    return output * (1 - p) if training and 0 < p < 1 else output
