"""Tell whether an implementation equals PyTorch's, and if not, where the bug is.

`check` draws whole configurations of an operator, compares output and gradients with torch without a
tolerance that anybody had to choose, and shrinks a failure to the smallest one. It needs `pip install
'scratch-conv[parity]'`.
"""

import importlib.util

if importlib.util.find_spec("hypothesis") is None:
    raise ImportError("scratch_conv.parity needs Hypothesis: pip install 'scratch-conv[parity]'")

from scratch_conv.parity.asserting import assert_parity, cases
from scratch_conv.parity.case import Case
from scratch_conv.parity.checking import check
from scratch_conv.parity.report import Report
from scratch_conv.parity.supports import Supports

__all__ = ["Case", "Report", "Supports", "assert_parity", "cases", "check"]
