"""The operators that can be compared with torch, by their names in torch.nn.functional."""

from scratch_conv.parity.operators.adaptive_average_pooling import AdaptiveAveragePooling
from scratch_conv.parity.operators.average_pooling import AveragePooling
from scratch_conv.parity.operators.base import Operator
from scratch_conv.parity.operators.batch_normalization import BatchNormalization
from scratch_conv.parity.operators.convolution import Convolution
from scratch_conv.parity.operators.convolution_1d import Convolution1d
from scratch_conv.parity.operators.cross_entropies import CrossEntropy
from scratch_conv.parity.operators.dropouts import Dropout, Dropout2d
from scratch_conv.parity.operators.flattening import Flattening
from scratch_conv.parity.operators.linear_map import LinearMap
from scratch_conv.parity.operators.max_pooling import MaxPooling
from scratch_conv.parity.operators.rectifier import Rectifier
from scratch_conv.parity.operators.softmaxes import LogSoftmax, Softmax
from scratch_conv.parity.operators.transposed_convolution import TransposedConvolution

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
