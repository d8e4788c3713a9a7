"""The operators that can be compared with torch, by their names in torch.nn.functional.

A module of this package lists those that it defines as `OPERATORS`.
"""

from scratch_conv.parity.operators.finding import collected
from scratch_conv.parity.operators.operator import Operator

OPERATORS: dict[str, Operator] = {each.name: each for each in collected(__name__, "OPERATORS")}


def find_operator(like: str) -> Operator:
    """Return the operator of that name.

    Raises:
        ValueError: for a name that is not among `OPERATORS`.
    """
    if like not in OPERATORS:
        raise ValueError(f"like must be one of {', '.join(OPERATORS)}, got {like!r}")
    return OPERATORS[like]
