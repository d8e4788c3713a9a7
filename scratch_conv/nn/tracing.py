"""Layers stay whole under `torch.fx`, as torch's own do, and are refused by TorchScript."""

from typing import Any

from torch import nn

from scratch_conv.functional.calling import refuse_torchscript


def stand_in(layer: type[nn.Module]) -> None:
    """Make instances of a class of layers leaves of `torch.fx` graphs, and refuse `torch.jit.script`."""
    layer.__module__ = TwinModule(layer.__module__)
    layer.__prepare_scriptable__ = refuse_torchscript  # type: ignore[attr-defined]


class TwinModule(str):
    """The name of a module of ours; to a layer that asks for its own, that of its twin's in `torch.nn`.

    `torch.fx` makes one call_module node of every layer whose `__module__` begins with "torch.nn", and goes
    through the forward pass of any other, which freezes what it finds there: dropout's training flag, say.
    Classes, and pickles of them, know nothing but the name itself.
    """

    def __get__(self, layer: Any, cls: Any) -> str:
        return self if layer is None else "torch.nn.modules"

    def __reduce__(self) -> Any:
        return str, (str(self),)
