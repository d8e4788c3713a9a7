"""The operators that can be compared with torch, by their names in torch.nn.functional."""

from scratch_conv.parity.operators.base import Operator
from scratch_conv.parity.operators.convolution import Convolution
from scratch_conv.parity.operators.max_pooling import MaxPooling

OPERATORS: dict[str, Operator] = {each.name: each for each in (Convolution(), MaxPooling())}


def find_operator(like: str) -> Operator:
    """Return the operator of that name.

    Raises:
        ValueError: for a name that is not among `OPERATORS`.
    """
    if like not in OPERATORS:
        raise ValueError(f"like must be one of {', '.join(OPERATORS)}, got {like!r}")
    return OPERATORS[like]
