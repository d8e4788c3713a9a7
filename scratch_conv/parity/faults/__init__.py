"""Classic faults: wrong implementations that the suite has to find, and by which it names a bug."""

from scratch_conv.parity.faults.average_pooling import AVERAGE_POOLING
from scratch_conv.parity.faults.batch_normalization import BATCH_NORMALIZATION
from scratch_conv.parity.faults.convolution import CONVOLUTION
from scratch_conv.parity.faults.convolution_gradients import CONVOLUTION_GRADIENTS
from scratch_conv.parity.faults.cross_entropies import CROSS_ENTROPY
from scratch_conv.parity.faults.dense import LINEAR, RELU
from scratch_conv.parity.faults.dropouts import DROPOUT, DROPOUT2D
from scratch_conv.parity.faults.fault import Fault
from scratch_conv.parity.faults.max_pooling import MAX_POOLING
from scratch_conv.parity.faults.reshaping import ADAPTIVE_AVERAGE_POOLING, CONVOLUTION_1D, FLATTEN
from scratch_conv.parity.faults.softmaxes import LOG_SOFTMAX, SOFTMAX
from scratch_conv.parity.faults.transposed_convolution import TRANSPOSED_CONVOLUTION

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
