"""What torch does with a function besides calling it, on drawn configurations: the results stay torch's.

Most transforms turn a function of ours into another one that has to give the same results and gradients; it
goes through the same comparison as the function itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import scratch_conv as sc
from scratch_conv.parity import Case, Supports, assert_parity, cases
from scratch_conv.parity.operators import OPERATORS

# A view of its input, or one with other random numbers, is not what a transformed function gives.
COMPUTED = [like for like, operator in OPERATORS.items() if not (operator.views or operator.random)]
LINEAR = [like for like in COMPUTED if OPERATORS[like].linear or OPERATORS[like].piecewise_linear]

# Compiling takes long: what differs by a formula alone is drawn together.
_BY_FORMULA = ("scratch_conv.functional.activation", "scratch_conv.functional.losses")
ALIKE: dict[str, list[str]] = {}
for _like in OPERATORS:
    _module = getattr(sc.functional, _like).__module__
    ALIKE.setdefault(_module if _module in _BY_FORMULA else _like, []).append(_like)

CLAIMS = Supports(memory_format=True)
SOME = settings(max_examples=max(30, settings().max_examples // 5))

Function = Callable[..., Any]

FUNCTIONS = {like: each.tensors_first(getattr(sc.functional, like)) for like, each in OPERATORS.items()}


def a_few(alike: Sequence[str]) -> settings:
    """Return how many cases are drawn of functions that differ by a formula alone."""
    return settings(max_examples=max(4, settings().max_examples // 25, len(alike)))


def without_effects(like: str) -> dict[str, Any]:
    """Claim everything but what writes into tensors: inplace, and training with running statistics."""
    return {"without": sorted(OPERATORS[like].writing)}


def compiled(function: Function, backend: str, dynamic: bool) -> Function:
    def call(*tensors: Tensor | None, **arguments: Any) -> Any:
        torch._dynamo.reset()
        program = torch.compile(function, fullgraph=True, backend=backend, dynamic=dynamic)
        return program(*tensors, **arguments)

    return call


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore")  # torch's own, of its deprecated parts
@pytest.mark.parametrize("alike", ALIKE)
def test_compiled_functions_give_torch_results(alike: str) -> None:
    @a_few(ALIKE[alike])
    @given(st.sampled_from(ALIKE[alike]), st.sampled_from(["eager", "aot_eager"]), st.booleans(), st.data())
    def compare(like: str, backend: str, dynamic: bool, data: st.DataObject) -> None:
        case = data.draw(cases(like, CLAIMS))
        assert_parity(compiled(FUNCTIONS[like], backend, dynamic), case, CLAIMS)

    compare()


def exported(function: Function) -> Function:
    def call(*tensors: Tensor | None, **arguments: Any) -> Any:
        class Model(nn.Module):
            def forward(self, *tensors: Tensor | None) -> Any:
                return function(*tensors, **arguments)

        return torch.export.export(Model(), tensors).module()(*tensors)

    return call


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("alike", ALIKE)
def test_exported_functions_give_torch_results(alike: str) -> None:
    @a_few(ALIKE[alike])
    @given(st.sampled_from(ALIKE[alike]), st.data())
    def compare(like: str, data: st.DataObject) -> None:
        # Within a function mode, as export has one, torch's l1_loss (2.14) forgets its weight.
        without = frozenset({"weight"} if like == "l1_loss" else ())
        claims = Supports(memory_format=True, without=without)
        case = data.draw(cases(like, claims))
        assert_parity(exported(FUNCTIONS[like]), case, claims)

    compare()


class Decomposing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Replace operators by what exporters replace them by."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = torch._decomp.decomposition_table.get(func) if func.namespace == "scratch_conv" else func
        assert rule is not None, f"{func} has no decomposition"
        return rule(*args, **(kwargs or {}))


def decomposed(function: Function) -> Function:
    def call(*tensors: Tensor | None, **arguments: Any) -> Any:
        with Decomposing():  # type: ignore[no-untyped-call]
            return function(*tensors, **arguments)

    return call


@pytest.mark.parametrize("like", OPERATORS)
def test_decomposed_functions_give_torch_results(like: str) -> None:
    claims = Supports(special_values=False, without=OPERATORS[like].writing)

    @SOME
    @given(cases(like, claims))
    def compare(case: Case) -> None:
        values_alone = replace(case, wanted=(), order=1)  # runtimes that are exported to know no gradients
        assert_parity(decomposed(FUNCTIONS[like]), values_alone, claims)

    compare()


def checkpointed(function: Function) -> Function:
    def call(*tensors: Tensor | None, **arguments: Any) -> Any:
        return checkpoint(function, *tensors, use_reentrant=False, **arguments)

    return call


@pytest.mark.parametrize("like", OPERATORS)
def test_checkpointed_functions_give_torch_results(like: str) -> None:
    claims = without_effects(like)

    @SOME
    @given(cases(like, claims))
    def compare(case: Case) -> None:
        assert_parity(checkpointed(FUNCTIONS[like]), case, claims)

    compare()


def batched(
    function: Function, chosen: Sequence[bool], axes: Sequence[int], beside: tuple[float, float] = (0, 1)
) -> Function:
    """Call a function under vmap, with the call's tensors between others, and return what belongs to them."""

    def call(*tensors: Any, **arguments: Any) -> Any:
        at = [number for number, tensor in enumerate(tensors) if tensor is not None]
        at = [number for number in at if chosen[number]] or at[:1]
        given = list(tensors)
        in_dims: dict[int, Any] = dict.fromkeys(range(len(tensors)))
        for number in at:
            one = tensors[number]
            in_dims[number] = axes[number] % (one.dim() + 1)
            before, after = (torch.full_like(one, value) for value in beside)
            given[number] = torch.stack([before, one, after], in_dims[number])
        outputs = torch.func.vmap(lambda *each: function(*each, **arguments), tuple(in_dims.values()))(*given)
        return tuple(each[1] for each in outputs) if isinstance(outputs, tuple) else outputs[1]

    return call


@pytest.mark.parametrize("like", COMPUTED)
def test_vmapped_functions_give_torch_results(like: str) -> None:
    claims = without_effects(like)
    # A mean by weights of 0, or the gradient of the target of a probability of 0, times nothing is NaN.
    beside = (0.25, 0.75) if like in ("binary_cross_entropy", "l1_loss", "mse_loss") else (0, 1)
    if like.startswith("max_unpool"):  # an output may have one pixel
        beside = (0, 0)

    @SOME
    @given(cases(like, claims), st.tuples(*[st.booleans()] * 5), st.tuples(*[st.integers(0, 4)] * 5))
    def compare(case: Case, chosen: tuple[bool, ...], axes: tuple[int, ...]) -> None:
        assert_parity(batched(FUNCTIONS[like], chosen, axes, beside), case, claims)

    compare()


def linearised(function: Function, jacobian: Function) -> Function:
    """Compute a function's gradients as products with the Jacobians of its operands."""

    def call(*tensors: Any, **arguments: Any) -> Any:
        at = [number for number, tensor in enumerate(tensors) if tensor is not None and tensor.requires_grad]

        def of_some(*some: Tensor) -> Tensor:
            every = dict(zip(at, some, strict=True))
            output = function(*(every.get(n, tensor) for n, tensor in enumerate(tensors)), **arguments)
            return output[0] if isinstance(output, tuple) else output

        if not at:
            return function(*tensors, **arguments)
        some = [tensors[number] for number in at]
        constant = [one.detach() for one in some]
        output = of_some(*constant)
        jacobians = jacobian(of_some, tuple(range(len(at))))(*constant)
        for slope, one in zip(jacobians, some, strict=True):
            output = output + torch.tensordot(slope, one - one.detach(), one.dim())
        return output

    return call


@pytest.mark.parametrize("like", LINEAR)
@pytest.mark.parametrize("jacobian", [torch.func.jacfwd, torch.func.jacrev])
def test_jacobians_give_torch_gradients(like: str, jacobian: Function) -> None:
    # Forward mode refuses expanded tensors, with torch's own functions too.
    claims = {"special_values": False, "empty": False, "layouts": False, **without_effects(like)}
    claims["without"] += {"return_indices"} & {*OPERATORS[like].arguments}

    @SOME
    @given(cases(like, claims))
    def compare(case: Case) -> None:
        assume(max(math.prod(shape) for shape in case.shapes.values()) <= 2**11)  # a matrix of its square
        assert_parity(linearised(FUNCTIONS[like], jacobian), case, claims)

    compare()


@pytest.mark.parametrize("like", [like for like in OPERATORS if not OPERATORS[like].views])
def test_results_are_views_only_where_torchs_are(like: str) -> None:
    """A view may not be detached in place."""
    claims = {"layouts": True, **without_effects(like)}

    def call(*tensors: Tensor | None, **arguments: Any) -> Any:
        outputs = [each(*tensors, **arguments) for each in (FUNCTIONS[like], OPERATORS[like].reference)]
        for ours, torchs in zip(*map(listed, outputs), strict=True):
            assert torchs._is_view() or not ours._is_view()
        return outputs[0]

    @SOME
    @given(cases(like, claims))
    def compare(case: Case) -> None:
        assert_parity(call, case, claims)

    compare()


@pytest.mark.parametrize("like", OPERATORS)
def test_shapes_dtypes_and_strides_are_known_without_data(like: str) -> None:
    def call(*tensors: Tensor | None, **arguments: Any) -> Any:
        function = FUNCTIONS[like]
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fakes = [None if tensor is None else mode.from_tensor(tensor) for tensor in tensors]
            foreseen = function(*fakes, **arguments)
        output = function(*tensors, **arguments)
        for fake, real in zip(listed(foreseen), listed(output), strict=True):
            assert (fake.shape, fake.dtype, fake.stride()) == (real.shape, real.dtype, real.stride())
        return output

    @SOME
    @given(cases(like, CLAIMS))
    def compare(case: Case) -> None:
        assert_parity(call, case, CLAIMS)

    compare()


def listed(output: Any) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)
