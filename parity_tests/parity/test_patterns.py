"""The patterns of a difference, named."""

import pytest
import torch
from torch import Tensor

from scratch_conv.parity.reporting.patterns import describe_pattern

EXPECTED = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def described(got: Tensor) -> str:
    """Return what is said of a result."""
    return "; ".join(describe_pattern(got, EXPECTED, ~torch.isclose(got, EXPECTED)))


@pytest.mark.parametrize(
    ("got", "text"),
    [
        (EXPECTED * 0.5, "times 0.5 everywhere"),
        (EXPECTED * 0, "zero everywhere"),
        (EXPECTED.mT, "transposed"),
        (EXPECTED.flip(-2), "upside down"),
        (EXPECTED.flip(-1), "mirrored"),
        (EXPECTED.flip(-1, -2), "180 degrees"),
        (EXPECTED[:, [2, 0, 1]], "order [2, 0, 1]"),
        (EXPECTED.roll(1, -1), "shifted by 0 rows and 1 columns"),
    ],
)
def test_wrong_values_are_named(got: Tensor, text: str) -> None:
    assert text in described(got)


def test_wrong_places_are_named() -> None:
    border = EXPECTED.clone()
    border[..., 0, :] += 1
    border[..., -1] += 1
    assert "only the border" in described(border)
    columns = EXPECTED.clone()
    columns[..., 1::2] += 1
    assert "only odd positions of axis 3 (column)" in described(columns)
    sample = EXPECTED.clone()
    sample[1] += torch.randn(3, 5, 5, dtype=torch.float64)
    assert "only the last (1) of axis 0 (sample)" in described(sample)


def test_noise_has_no_pattern() -> None:
    noise = torch.randn(EXPECTED.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert described(EXPECTED + noise) == ""
