"""The optimisers of torch, and the schedule of the learning rate."""

import torch
from torch import nn

from scratch_conv.training.settings import MOMENTUM, Settings


def new_optimizer(parameters: list[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """Return Adam with torch's defaults but for the learning rate, or gradient descent with momentum."""
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, settings.lr)
    return torch.optim.SGD(parameters, settings.lr, MOMENTUM)


def one_cycle(
    optimizer: torch.optim.Optimizer, settings: Settings, steps: int
) -> torch.optim.lr_scheduler.OneCycleLR:
    """Return torch's schedule: up to the learning rate in 30 % of the steps, then down to nearly zero."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, settings.epochs * steps, cycle_momentum=False
    )
