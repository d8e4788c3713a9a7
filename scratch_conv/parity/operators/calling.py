"""Running an implementation on a case: its output, its gradients, their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from scratch_conv.parity.drawing.case import Case

Call: TypeAlias = Callable[..., Any]
"""Takes the tensors by position, the rest by torch's keyword names; returns a tensor or a tuple of them."""


class InterfaceError(Exception):
    """A candidate cannot be called, or what it computes cannot be found; it says nothing of its values."""


UPDATED = ("running_mean", "running_var")
"""The tensors that batch_norm updates in place: a call gets copies of them, which are results."""


class MissingError(InterfaceError):
    """A layer has no place for one of a call's tensors.

    Attributes:
        name: torch's name of the tensor.
    """

    def __init__(self, name: str, message: str, training: Iterable[str]) -> None:
        """Say what is missing and what may be said of it.

        Args:
            name: torch's name of the tensor.
            message: what is missing.
            training: the arguments by which a call updates running statistics.
        """
        words = ",".join(f"{each}=True" for each in training)
        kept_none = f"; if it keeps none: --without running_statistics --fix {words}"
        hint = kept_none if name in UPDATED else ""
        super().__init__(f"{message}; --names {name}=... says where it is{hint}")
        self.name = name


INPLACE = ("input",)
"""The tensors that a call with inplace=True writes into: it gets copies of them, which are results."""


@dataclass
class Values:
    """The tensors of a case.

    Attributes:
        tensors: what the operator is called with, by name.
        grad_output: the incoming gradient; None where no gradient is wanted.
        directions: for second derivatives, what the gradient of each wanted tensor is multiplied by.
    """

    tensors: dict[str, Tensor]
    grad_output: Tensor | None = None
    directions: dict[str, Tensor] = field(default_factory=dict)

    def map(self, change: Callable[[Tensor], Tensor], keep: frozenset[str] = frozenset()) -> Values:
        """Return the values with `change` done to each floating-point tensor that is not named in `keep`."""

        def changed(tensor: Tensor) -> Tensor:
            return change(tensor) if tensor.is_floating_point() or tensor.is_complex() else tensor

        tensors = {name: value if name in keep else changed(value) for name, value in self.tensors.items()}
        grad_output = None if self.grad_output is None else changed(self.grad_output)
        return Values(tensors, grad_output, {name: changed(value) for name, value in self.directions.items()})

    def named(self) -> dict[str, Tensor]:
        """Return the tensors that a candidate sees and must leave alone."""
        incoming = {} if self.grad_output is None else {"grad_output": self.grad_output}
        return {**self.tensors, **incoming}


@dataclass
class Run:
    """What an implementation returns.

    Attributes:
        results: by name.
        aliases: the names of the tensors of the call whose memory the output is.
    """

    results: dict[str, Tensor]
    aliases: list[str]


def make_values(case: Case) -> Values:
    """Return the tensors of a case, without the incoming gradient (see `with_gradients`)."""
    return Values({name: array.make(case.torch_dtype) for name, array in case.arrays})


def with_gradients(case: Case, values: Values, output: Tensor) -> Values:
    """Add the incoming gradient, shaped like `output`, and the directions of second derivatives."""
    return with_shape(case, values, tuple(output.shape), str(output.dtype).removeprefix("torch."))


def with_shape(case: Case, values: Values, shape: tuple[int, ...], dtype: str) -> Values:
    """Add the incoming gradient for an output of this shape and dtype, as `with_gradients` does."""
    if not case.wanted:
        return values
    shaped = case.grad_output.reshaped(shape)
    precision: torch.dtype = getattr(torch, dtype)
    directions = {}
    if case.order == 2:
        for name in case.wanted:
            directions[name] = case.tensors[name].directed().make(case.torch_dtype)
    return Values(values.tensors, shaped.make(precision), directions)


@dataclass
class Forward:
    """What a call has returned, not yet differentiated.

    Attributes:
        leaves: the tensors of the call by name, those whose gradient is wanted as leaves of the graph.
        results: by name.
        aliases: the names of the tensors of the call whose memory the output is.
    """

    leaves: dict[str, Tensor]
    results: dict[str, Tensor]
    aliases: list[str]


def run(call: Call, case: Case, values: Values, signature: tuple[str, ...]) -> Run:
    """Call an implementation and differentiate it.

    Torch's generator is left as it was.

    Args:
        call: the implementation.
        case: the arguments, and which gradients are wanted.
        values: the tensors.
        signature: the names of the operator's tensors, in torch's order.

    Returns:
        The results of `forward` and of `differentiate`, without their graph.

    Raises:
        InterfaceError: where something else than tensors is returned. Whatever the implementation raises.
    """
    called = forward(call, case, values, signature)
    results = {**called.results, **differentiate(case, values, called)}
    return Run({name: value.detach() for name, value in results.items()}, called.aliases)


def forward(call: Call, case: Case, values: Values, signature: tuple[str, ...]) -> Forward:
    """Call an implementation.

    Returns:
        `output` (and `indices`, where asked for), `running_mean` and `running_var` as the call leaves them,
        the `input` as a call in place leaves it.

    Raises:
        InterfaceError: where something else than tensors is returned. Whatever the implementation raises.
    """
    written = (*UPDATED, *(INPLACE if case.keywords.get("inplace") else ()))
    leaves = {name: t.detach().requires_grad_(name in case.wanted) for name, t in values.tensors.items()}
    given = {name: _Copy.apply(t) if name in written else t for name, t in leaves.items()}
    with _seeded(case.seed):
        returned = call(*positional(given, signature), **case.keywords)
    results = _named(returned, ("output", "indices") if case.keywords.get("return_indices") else ("output",))
    aliases = [name for name, tensor in given.items() if share_memory(results["output"], tensor)]
    results |= {name: given[name] for name in written if name in given}
    return Forward(leaves, results, aliases)


def differentiate(case: Case, values: Values, called: Forward) -> dict[str, Tensor]:
    """Differentiate an output, and for second derivatives its gradients.

    Returns:
        `grad_<name>` for each wanted gradient, and for second derivatives `second_<name>`, that of
        Σ grad · direction. An output of another shape or dtype than `grad_output` has none, and a gradient
        that autograd knows nothing of is left out.
    """
    incoming, output, leaves = values.grad_output, called.results["output"], called.leaves
    if incoming is None or output.shape != incoming.shape or output.dtype != incoming.dtype:
        return {}
    incoming = incoming.detach().requires_grad_(case.order == 2)
    if not output.requires_grad:
        return {}
    sources = [leaves[name] for name in case.wanted]
    grads = torch.autograd.grad(output, sources, incoming, create_graph=case.order == 2, allow_unused=True)
    results = {f"grad_{n}": grad for n, grad in zip(case.wanted, grads, strict=True) if grad is not None}
    if case.order == 2 and len(results) == len(grads):
        directions = [values.directions[name] for name in case.wanted]
        seconds = torch.autograd.grad(grads, [*sources, incoming], directions, materialize_grads=True)
        names = [*case.wanted, "grad_output"]
        results |= {f"second_{name}": second for name, second in zip(names, seconds, strict=True)}
    return results


class _Copy(torch.autograd.Function):
    """A copy with the same strides, which may be written into where a leaf may not."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        storage = copy(tensor.untyped_storage())
        empty = torch.empty(0, dtype=tensor.dtype)
        return empty.set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        return grad_output


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Seed torch's generator for the block, where there is a seed.

    That of the CPU alone: for CUDA that is not in use `torch.manual_seed` keeps a text of the whole stack.
    """
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def share_memory(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors lie in the same memory; empty ones, and torch's zeros, lie nowhere."""
    if {a.layout, b.layout} != {torch.strided}:
        return False
    try:
        where = a.untyped_storage().data_ptr()
        return where != 0 and where == b.untyped_storage().data_ptr()
    except RuntimeError:  # zeros that torch's derivatives never wrote
        return False


def positional(tensors: dict[str, Tensor], signature: tuple[str, ...]) -> list[Tensor | None]:
    """Return the tensors in torch's order, None for one that is absent between others.

    Those absent at the end are left out, but for the running statistics, for which torch has no default.
    """
    names = list(signature)
    while names and names[-1] not in tensors and names[-1] not in UPDATED:
        names.pop()
    return [tensors.get(name) for name in names]


def _named(returned: Any, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the results of a call by name.

    Raises:
        InterfaceError: it returned something else than a tensor, or than a tuple of tensors for two names.
    """
    if isinstance(returned, Tensor):  # of several, those that are missing are a difference
        return {names[0]: returned}
    several = isinstance(returned, tuple) and 1 < len(returned) == len(names)
    if several and all(isinstance(each, Tensor) for each in returned):
        return dict(zip(names, returned, strict=True))
    expected = "a tensor" if len(names) == 1 else f"a tuple of the tensors {', '.join(names)}"
    raise InterfaceError(f"expected {expected} to be returned, got {describe_returned(returned)}")


def describe_returned(returned: Any) -> str:
    """Return the name of a value's type, and of the types within a tuple or a list."""
    kind = type(returned).__name__
    if not isinstance(returned, (tuple, list)):
        return kind
    within = [type(each).__name__ for each in returned]
    return f"a {kind} of {', '.join(within)}" if within else f"an empty {kind}"
