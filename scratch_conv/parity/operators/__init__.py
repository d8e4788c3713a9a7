"""The operators that can be compared with torch, by their names in torch.nn.functional."""

from scratch_conv.parity.operators.activation import Rectifier
from scratch_conv.parity.operators.convolution.convolution import Convolution
from scratch_conv.parity.operators.convolution.one_dimensional import Convolution1d
from scratch_conv.parity.operators.convolution.transposed import TransposedConvolution
from scratch_conv.parity.operators.cross_entropy import CrossEntropy
from scratch_conv.parity.operators.dropout import Dropout, Dropout2d
from scratch_conv.parity.operators.flatten import Flattening
from scratch_conv.parity.operators.linear import LinearMap
from scratch_conv.parity.operators.normalization import BatchNormalization
from scratch_conv.parity.operators.operator import Operator
from scratch_conv.parity.operators.pooling.adaptive_average import AdaptiveAveragePooling
from scratch_conv.parity.operators.pooling.average import AveragePooling
from scratch_conv.parity.operators.pooling.maximum import MaxPooling
from scratch_conv.parity.operators.softmax import LogSoftmax, Softmax

_ALL: tuple[Operator, ...] = (
    Convolution(),
    Convolution1d(),
    MaxPooling(),
    AveragePooling(),
    AdaptiveAveragePooling(),
    TransposedConvolution(),
    BatchNormalization(),
    LinearMap(),
    Rectifier(),
    CrossEntropy(),
    Softmax(),
    LogSoftmax(),
    Flattening(),
    Dropout(),
    Dropout2d(),
)
OPERATORS: dict[str, Operator] = {each.name: each for each in _ALL}


def find_operator(like: str) -> Operator:
    """Return the operator of that name.

    Raises:
        ValueError: for a name that is not among `OPERATORS`.
    """
    if like not in OPERATORS:
        raise ValueError(f"like must be one of {', '.join(OPERATORS)}, got {like!r}")
    return OPERATORS[like]
