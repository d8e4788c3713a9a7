"""For each operator, wrong implementations that the suite has to find and right ones that it must not refuse.

Torch's own function and module are among the right ones of every operator.
"""

from scratch_conv.parity.catalogue.collection import Collection, Fault, Variant
from scratch_conv.parity.operators import OPERATORS
from scratch_conv.parity.operators.finding import collected

__all__ = ["FAULTS", "SOUND", "Fault", "Variant"]

_COLLECTIONS: list[Collection] = list(collected(__name__, "COLLECTIONS"))
FAULTS: tuple[Fault, ...] = tuple(fault for each in _COLLECTIONS for fault in each.faults)
SOUND: tuple[Variant, ...] = (
    *(Variant("torch", like, operator.reference) for like, operator in OPERATORS.items()),
    *(Variant(f"torch.nn.{each.module.__name__}", each.name, each.module) for each in OPERATORS.values()),
    *(variant for each in _COLLECTIONS for variant in each.variants),
)
