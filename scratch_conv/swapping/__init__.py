"""Put these layers into somebody else's model, and take them out again."""

from scratch_conv.swapping.layers import is_swapped
from scratch_conv.swapping.overriding import override
from scratch_conv.swapping.report import Row, SwapReport
from scratch_conv.swapping.swapping import restore, swap
from scratch_conv.swapping.verification import Verification, VerifiedLayer
from scratch_conv.swapping.verifying import verify

__all__ = [
    "Row",
    "SwapReport",
    "Verification",
    "VerifiedLayer",
    "is_swapped",
    "override",
    "restore",
    "swap",
    "verify",
]
