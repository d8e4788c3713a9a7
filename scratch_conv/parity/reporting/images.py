"""A difference as heat maps: expected, got, and got minus expected."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from scratch_conv.parity.judging.compare import Difference


def draw_difference(difference: Difference, path: Path) -> bool:
    """Draw the most wrong plane of a result into a PNG file.

    Args:
        difference: what differs; its tensors have two axes at least to be drawn.
        path: the file to write.

    Returns:
        Whether there was something to draw.
    """
    got, expected, wrong = difference.got, difference.expected, difference.wrong
    if got is None or expected is None or wrong is None or got.ndim < 2 or got.is_complex():
        return False
    planes = [_planes(each) for each in (expected, got.to(expected.dtype), wrong)]
    worst = int(planes[2].flatten(1).sum(1).argmax())
    shown = [planes[0][worst], planes[1][worst]]
    plane = [int(each) for each in torch.unravel_index(torch.tensor(worst), got.shape[:-2])]
    _draw(f"{difference.what}{plane or ''}", [*shown, shown[1] - shown[0]], path)
    return True


def _planes(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, *tensor.shape[-2:])


def _draw(what: str, planes: list[Tensor], path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    figure.suptitle(f"{what}, the plane that is most wrong")
    finite = torch.cat([each[each.isfinite()].flatten().double() for each in planes[:2]])
    low, high = (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 1.0)
    titles = ("expected (torch)", "got", "got - expected")
    for axes, title, plane in zip(figure.subplots(1, 3), titles, planes, strict=True):
        values = plane.double().numpy()
        if plane is planes[2]:
            limit = float(plane[plane.isfinite()].abs().max()) if plane.isfinite().any() else 1.0
            image = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit)
        else:
            image = axes.imshow(values, cmap="viridis", vmin=low, vmax=high)
        axes.set(title=title, xlabel="column", ylabel="row")
        for axis in (axes.xaxis, axes.yaxis):  # rows and columns are counted: no tick at 0.5
            axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        figure.colorbar(image, ax=axes)
    figure.savefig(path, dpi=120)
