"""What computes in a forward pass, call by call: an operator of ours, one of torch's, or plain arithmetic.

A mode sees every operator that is dispatched, ours included: while a mode is active, they are dispatched too.
What counts as a call, what is left out, and what arithmetic is:

- All operators that one function of `torch.nn.functional` dispatches (or another of torch's functions that
  `override` replaces) are one call, by the name of that function. Else torch's dropout would be three calls,
  ours two, and torch's pooling to one number, which is a mean, would pass for arithmetic.
- Any other operator is a call of its own.
- Left out is what computes no numbers: views, allocation, copies, and all that starts from no tensor.
  Arithmetic with whole numbers only, such as batch norm's count of batches, is left out as well.
- `ARITHMETIC` is what a model's own code does with tensors between its layers: sums with shortcuts, products
  with the weights of squeeze-and-excitation, concatenation, statistics over axes, selection. It is torch's.

The list of what is ours is the namespace of our operators. What is neither ours nor left out nor arithmetic
counts as torch's, whatever it may be.

Floating point operations are counted from shapes, by the formulas of `torch.utils.flop_counter`, where ours
have theirs too: two for a product and its addition. A call without products counts one for each number of
its largest tensor.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from scratch_conv.functional.overriding import REPLACEMENTS

OURS, TORCHS, ARITHMETIC_ALONE = "ours", "torch's", "arithmetic"

_COPIES = """
_unsafe_view clone contiguous copy lift_fresh lift_fresh_copy _to_copy fill zero item _local_scalar_dense
empty_like zeros_like ones_like full_like new_empty new_empty_strided new_zeros new_ones new_full
"""
COPIES = frozenset(_COPIES.split())
"""Operators that allocate and copy; views are recognised by their schemas."""

_ARITHMETIC = """
abs add addcdiv addcmul ceil cos div exp exp2 expm1 floor floor_divide lerp log log1p log2 mul neg pow
reciprocal remainder round rsqrt rsub sign sin sqrt square sub
clamp clamp_max clamp_min maximum minimum where masked_fill eq ne lt le gt ge isfinite isnan
logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not
all any amax amin argmax argmin cumsum linalg_vector_norm max mean min norm prod std std_mean sum var var_mean
cat flip gather index index_put index_select masked_select nonzero repeat repeat_interleave roll scatter
scatter_add select_scatter slice_scatter sort stack topk unique_dim _unique2
bernoulli normal rand randint randn randperm uniform
"""
ARITHMETIC = frozenset(_ARITHMETIC.split())
"""Operators of plain arithmetic: element by element, over axes, choice among numbers, random numbers."""

FUNCTIONS = {function for function in (*REPLACEMENTS, *vars(F).values()) if callable(function)}
"""Torch's functions that are one call each, whatever they dispatch."""


@dataclass
class Call:
    """One call that computes.

    Attributes:
        name: of the function of torch's, or else of the operator.
        layer: in which layer it was called; empty outside of them.
        kinds: of its operators.
        products: floating point operations in convolutions and products of matrices.
        numbers: in its largest tensor.
    """

    name: str
    layer: str
    is_function: bool
    kinds: set[str] = field(default_factory=set)
    products: int = 0
    numbers: int = 0

    @property
    def kind(self) -> str:
        """Return who computes it: ours, but for arithmetic around, or torch."""
        if TORCHS in self.kinds or (self.is_function and OURS not in self.kinds):
            return TORCHS
        return OURS if OURS in self.kinds else ARITHMETIC_ALONE

    @property
    def flops(self) -> int:
        """Return the floating point operations."""
        return self.products or self.numbers


@contextmanager
def counting(layers: dict[str, nn.Module]) -> Iterator[list[Call]]:
    """Collect the calls of forward passes in the `with` block; `layers` are modules by their names."""
    counter = _Counter({id(layer): name for name, layer in layers.items()})
    with ExitStack() as stack:
        for layer in layers.values():
            stack.enter_context(layer.register_forward_pre_hook(counter.enter))
            stack.enter_context(layer.register_forward_hook(counter.leave, always_call=True))
        stack.enter_context(_Functions(counter))
        stack.enter_context(_Operators(counter))
        yield counter.calls


class _Counter:
    """The calls so far, and where in the model the program is."""

    def __init__(self, names: dict[int, str]) -> None:
        self.calls: list[Call] = []
        self._names = names
        self._within: list[str] = [""]
        self._function: Call | None = None

    def enter(self, layer: nn.Module, _: Any) -> None:
        """Enter a layer."""
        self._within.append(self._names[id(layer)])

    def leave(self, *_: Any) -> None:
        """Leave the innermost layer."""
        self._within.pop()

    @contextmanager
    def function(self, function: Any) -> Iterator[None]:
        """Take what is dispatched in the `with` block for one call."""
        name = (resolve_name(function) or function.__name__).split(".")[-1].rstrip("_")
        outer, self._function = self._function, Call(name, self._within[-1], is_function=True)
        try:
            yield
            if self._function.kinds:
                self.calls.append(self._function)
        finally:
            self._function = outer

    def operator(self, operator: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Add an operator, if it computes."""
        tensors, results = (
            [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
            for tree in ((args, kwargs), result)
        )
        name = operator._schema.name.split("::")[1].rstrip("_")
        kind = OURS if operator.namespace == "scratch_conv" else TORCHS
        if kind == TORCHS and not _computes(operator, name, tensors, results):
            return
        call = self._function
        if call is None:
            self.calls.append(call := Call(name, self._within[-1], is_function=False))
        call.kinds.add(ARITHMETIC_ALONE if kind == TORCHS and name in ARITHMETIC else kind)
        call.numbers = max([call.numbers, *(tensor.numel() for tensor in (*tensors, *results))])
        formula = flop_registry.get(operator.overloadpacket)
        call.products += formula(*args, **kwargs, out_val=result) if formula is not None else 0


def _computes(operator: Any, name: str, tensors: list[Tensor], results: list[Tensor]) -> bool:
    """Return whether an operator of torch's computes numbers, and other than whole ones."""
    if operator.is_view or not tensors or not results or name in COPIES:
        return False
    return name not in ARITHMETIC or any(result.is_floating_point() for result in results)


class _Functions(TorchFunctionMode):
    """Tell a counter which of torch's functions runs."""

    def __init__(self, counter: _Counter) -> None:
        super().__init__()
        self._counter = counter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in FUNCTIONS:
            return func(*args, **(kwargs or {}))
        with self._counter.function(func):
            return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tell a counter of every operator that is dispatched."""

    def __init__(self, counter: _Counter) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counter = counter

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._counter.operator(func, args, kwargs or {}, result)
        return result
