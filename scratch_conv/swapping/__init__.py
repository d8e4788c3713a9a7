"""Put these layers into somebody else's model, and take them out again."""

from scratch_conv.swapping.swapping import Row, SwapReport, override, restore, swap

__all__ = ["Row", "SwapReport", "override", "restore", "swap"]
