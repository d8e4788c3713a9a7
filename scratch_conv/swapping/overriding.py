"""Let NumPy compute calls of torch's functions that stand in code which is not to be changed."""

from contextlib import AbstractContextManager
from typing import Any

from scratch_conv.functional.overriding import Override


def override() -> AbstractContextManager[Any]:
    """Let NumPy compute what `scratch_conv.functional` can, wherever torch's is called in a `with` block.

    Layers of `torch.nn`, and calls of `torch.nn.functional` and of `torch` itself in code that is not yours,
    are reached, in this thread only; recomputed checkpoints too, where the backward pass runs in the block.
    Not reached are TorchScript, `torch.ops`, and calls that torch makes inside its own composite functions.
    """
    return Override()
