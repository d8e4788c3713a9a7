"""Classic faults: wrong implementations that the suite has to find, and by which it names a bug."""

from scratch_conv.parity.catalogue.convolution.gradients import CONVOLUTION_GRADIENTS
from scratch_conv.parity.catalogue.convolution.transposed import TRANSPOSED_CONVOLUTION
from scratch_conv.parity.catalogue.convolution.values import CONVOLUTION
from scratch_conv.parity.catalogue.cross_entropy import CROSS_ENTROPY
from scratch_conv.parity.catalogue.dropout import DROPOUT, DROPOUT2D
from scratch_conv.parity.catalogue.fault import Fault
from scratch_conv.parity.catalogue.linear import LINEAR, RELU
from scratch_conv.parity.catalogue.normalization import BATCH_NORMALIZATION
from scratch_conv.parity.catalogue.pooling.average import AVERAGE_POOLING
from scratch_conv.parity.catalogue.pooling.maximum import MAX_POOLING
from scratch_conv.parity.catalogue.reshaping import ADAPTIVE_AVERAGE_POOLING, CONVOLUTION_1D, FLATTEN
from scratch_conv.parity.catalogue.softmax import LOG_SOFTMAX, SOFTMAX

__all__ = ["FAULTS", "Fault"]

_COLLECTIONS = (
    CONVOLUTION,
    CONVOLUTION_GRADIENTS,
    MAX_POOLING,
    AVERAGE_POOLING,
    TRANSPOSED_CONVOLUTION,
    BATCH_NORMALIZATION,
    LINEAR,
    RELU,
    CROSS_ENTROPY,
    CONVOLUTION_1D,
    ADAPTIVE_AVERAGE_POOLING,
    SOFTMAX,
    LOG_SOFTMAX,
    FLATTEN,
    DROPOUT,
    DROPOUT2D,
)
FAULTS: tuple[Fault, ...] = tuple(fault for collection in _COLLECTIONS for fault in collection.faults)
