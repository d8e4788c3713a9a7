"""An audit of torch's own operators: where do results depend on what must not matter.

Each drawn case gives every tensor, the incoming gradient too, a layout of its own. It runs on one thread and
on several, with oneDNN and without, backward and in forward mode (vmapped, as `torch.func.jacfwd` does). The
truth is torch's result from contiguous tensors in float64; the bounds are those of every candidate.

A fault is told from another by its causes, the properties of a call without which torch is right. Once it is
known, cases are judged beside it, so that other faults come to light. Calls that operators do not draw, since
torch is wrong on contiguous float64 too, are judged first, by what is right: `suspects`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import torch
from hypothesis import strategies as st
from torch import Tensor

from scratch_conv.parity.candidates.writing import copies_of, updated_by, write_call, write_incoming
from scratch_conv.parity.drawing.arrays import LAYOUTS, Array
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import Supports
from scratch_conv.parity.judging.compare import Difference, Verdict, compare_values
from scratch_conv.parity.judging.expect import Expectation, Expected, expect, output_form, using_onednn
from scratch_conv.parity.judging.isolate import Isolated, LostError, Work
from scratch_conv.parity.operators import OPERATORS
from scratch_conv.parity.operators.calling import Call, make_values, positional, run, with_shape
from scratch_conv.parity.operators.operator import Operator, exact
from scratch_conv.parity.searching import search
from scratch_conv.parity.suspects import SUSPECTS, Suspect

_SECONDS = 20.0  # that a case may take
_SHRINKING = 60.0  # seconds after which no smaller case is looked for
_CLAIMS = Supports(special_values=False, string_padding=False)


class Way(NamedTuple):
    """How an operator is run.

    Attributes:
        threads: of torch.
        onednn: whether torch may use oneDNN.
        forward: whether it is differentiated in forward mode.
    """

    threads: int = 1
    onednn: bool = True
    forward: bool = False

    def named(self) -> list[str]:
        """Return in words what is not usual about it."""
        threads = [f"{self.threads} threads"] if self.threads > 1 else []
        onednn = [] if self.onednn else ["no oneDNN"]
        return [*threads, *onednn, *(["forward mode"] if self.forward else [])]


_WAYS = (Way(), Way(onednn=False), Way(threads=2), Way(forward=True))

Shown: TypeAlias = tuple[Way, Difference]
"""The first way in which torch is wrong on a case, and what differs."""


@dataclass(frozen=True)
class Fault:
    """A fault of torch.

    Attributes:
        case: the smallest call that shows it.
        way: how the operator is run there.
        difference: which result differs, and how.
        causes: the properties of the case without which torch is right.
        script: shows it with nothing but torch.
    """

    case: Case
    way: Way
    difference: Difference
    causes: tuple[str, ...]
    script: str

    def is_shown_by(self, shown: Shown | None) -> bool:
        """Return whether it shows beside all known faults: where it has no cause but the dtype."""
        plain = not set(self.causes) - {self.case.dtype} and self.way == Way()
        return plain and shown is not None and shown[1].what == self.difference.what

    def __str__(self) -> str:
        because = ", ".join((*self.causes, *self.way.named()))
        reason = f"\n  because of {because}" if because else ""
        return f"{self.case.like}: {self.difference.message}{reason}\n\n{self.script}"


def audit(
    like: str, examples: int = 500, seed: int = 0, progress: Callable[[int], None] | None = None
) -> Iterator[Fault]:
    """Look for faults of one of torch's operators.

    Args:
        like: the operator's name in torch.nn.functional.
        examples: how many cases are drawn; after each fault, as many again.
        seed: the same seed draws the same cases.
        progress: called with the number of cases drawn since the last fault.

    Yields:
        The faults, each once and with its smallest case.
    """
    known: list[Fault] = []
    suspected = [suspect for suspect in SUSPECTS if suspect.case.like == like]
    with Isolated(judging, _SECONDS, spawned=True) as elsewhere:  # torch's threads do not survive a fork
        judge = _Judge(elsewhere)
        for suspect in suspected:
            ways = (Way(forward=suspect.forward),)
            if (shown := judge(suspect.case, ways, suspect)) is not None:
                plainer = _plainer(suspect.case)
                needed = tuple(name for name, each in plainer if judge(each, ways, suspect) is None)
                fault = Fault(suspect.case, *shown, needed, _script(suspect.case, shown[0], suspect))
                if suspect.right is None and needed and needed[0].startswith("strides"):
                    known.append(fault)  # of calls that are drawn, too
                yield fault

        def other(case: Case) -> tuple[Case, Shown | None]:
            """Return the case without causes of known faults, and what else is wrong there."""
            case, ways = _beside(known, case)
            shown = judge(case, ways)
            return case, None if any(fault.is_shown_by(shown) for fault in known) else shown

        def verdict(case: Case) -> Verdict:
            _, shown = other(case)
            return Verdict() if shown is None else Verdict([shown[1]])

        def found() -> Case | None:
            return search(_cases(like), verdict, examples, seed, _SHRINKING, progress).case

        while (failing := found()) is not None:
            case, shown = other(failing)
            assert shown is not None, "judged before"
            causes = tuple(name for name, plainer in _plainer(case) if judge(plainer, (shown[0],)) is None)
            known.append(Fault(case, *shown, causes, _script(case, shown[0])))
            yield known[-1]


@st.composite
def _cases(draw: Callable[[st.SearchStrategy[Any]], Any], like: str) -> Case:
    """Draw a call of an operator, and a layout for each of its tensors."""
    operator = OPERATORS[like]
    twice = operator.accurate_twice and not operator.random
    case: Case = draw(operator.cases(replace(_CLAIMS, second_derivatives=twice)))
    layouts = st.sampled_from(LAYOUTS)
    apart = st.sampled_from([layout for layout in LAYOUTS if layout != "expanded"])
    for name in case.tensors:
        if not (case.keywords.get("inplace") and name == "input"):  # what is written into lies apart
            case = case.arranged(name, draw(apart if name in operator.updates else layouts))
    return replace(case, grad_output=replace(case.grad_output, layout=draw(layouts)))


def _beside(known: Sequence[Fault], case: Case) -> tuple[Case, tuple[Way, ...]]:
    """Return a case and the ways to run it that do not show known faults.

    A fault that shows in one way only is left out with that way. Of the other causes the first is taken away,
    but not the dtype: too much else would go with it.
    """
    ways = list(_WAYS)
    for fault in known:
        plainer = dict(_plainer(case))
        if not all(cause in plainer for cause in fault.causes):
            continue
        if fault.way != Way():
            ways = [way for way in ways if way != fault.way]
        elif fault.causes and fault.causes[0] != case.dtype:
            case = plainer[fault.causes[0]]
    return case, tuple(ways)


def _plainer(case: Case) -> Iterator[tuple[str, Case]]:
    """Yield the properties of a case, each with the case that lacks it."""

    def contiguous(array: Array) -> Array:
        return replace(array, layout="contiguous")

    for name, array in case.arrays:
        if array.layout != "contiguous":
            yield f"strides of {name}", case.arranged(name, "contiguous")
    if case.wanted and case.grad_output.layout != "contiguous":
        yield "strides of the incoming gradient", replace(case, grad_output=contiguous(case.grad_output))
    optional = OPERATORS[case.like].defaults
    for name in (name for name, _ in case.arguments if name in optional):
        yield name, replace(case, arguments=tuple(each for each in case.arguments if each[0] != name))
    if case.dtype != "float64":
        yield case.dtype, replace(case, dtype="float64")


def judging() -> Work:
    """Return what judges cases in a process of its own."""
    return lambda request: judge(*request[1:])


class _Judge:
    """Judges cases elsewhere, each once; a hang and a death of the process are differences too."""

    def __init__(self, elsewhere: Work) -> None:
        self._elsewhere = elsewhere
        self._judged: dict[Any, Shown | None] = {}

    def __call__(self, case: Case, ways: tuple[Way, ...], suspect: Suspect | None = None) -> Shown | None:
        """Return what `judge` does."""
        place = None if suspect is None else SUSPECTS.index(suspect)
        asked = (case, ways, place)
        if asked not in self._judged:
            try:
                self._judged[asked] = self._elsewhere(("judge", *asked))
            except LostError as lost:
                self._judged[asked] = ways[0], Difference(lost.what, str(lost))
        return self._judged[asked]


def judge(case: Case, ways: tuple[Way, ...] = _WAYS, suspect: int | None = None) -> Shown | None:
    """Return the first way in which torch is wrong on a case, and what differs; None where it is right.

    Args:
        case: the call.
        ways: how it is run.
        suspect: which of `SUSPECTS` says what is right of it, None for the operator.
    """
    try:
        expectation = _expected(case) if suspect is None else _right(case, SUSPECTS[suspect])
    except Exception:
        if suspect is None:
            raise
        return None  # without one of its arguments the call is refused
    if expectation.error is not None:
        return None
    for way in ways:
        difference = _difference(case, expectation, way, None if suspect is None else SUSPECTS[suspect])
        if difference is not None:
            return way, Difference(difference.what, difference.message)
    return None


def _expected(case: Case) -> Expectation:
    """Return what is right of a call: what it is of contiguous tensors, where torch refuses their strides."""
    operator, contiguous = OPERATORS[case.like], case
    expectation = expect(operator, case)
    if expectation.error is None:
        return expectation
    for name in case.tensors:
        contiguous = contiguous.arranged(name, "contiguous")
    alike = expect(operator, contiguous)
    if alike.error is None:
        alike.values.tensors.update(make_values(case).tensors)
    return alike


def _right(case: Case, suspect: Suspect) -> Expectation:
    """Return what is right of a suspect, without differentiating it by torch, which may end the process."""
    if suspect.right is None:
        return expect(OPERATORS[case.like], case)
    values, like = make_values(case), case.torch_dtype
    output = output_form(replace(case, wanted=()))
    if output is not None:
        values = with_shape(case, values, *output)
    precise = values.map(lambda tensor: tensor.double().contiguous())
    value = suspect.right(case, precise)
    named = values.tensors.get(suspect.result.removeprefix("grad_"))
    dtype = like if value.is_floating_point() else value.dtype
    dtype, value = dtype if named is None else named.dtype, value.double()
    bound = exact(value)
    if suspect.rounded:
        bound = OPERATORS[case.like].bounds(case, precise, {suspect.result: value})[suspect.result]
    return Expectation(values, {suspect.result: Expected(value, bound.allowed, bound.overflow, dtype=dtype)})


def _difference(case: Case, expectation: Expectation, way: Way, suspect: Suspect | None) -> Difference | None:
    """Return what differs where torch runs in a certain way."""
    operator = OPERATORS[case.like]
    if way.forward and case.order == 1:
        return None
    torch.set_num_threads(way.threads)
    try:
        with using_onednn(way.onednn):
            if way.forward:
                together = suspect is not None and suspect.forward
                results = {"second_grad_output": _forward_mode(case, expectation, together)}
            else:
                results = run(_torchs(operator), case, expectation.values, operator.signature).results
    except Exception as error:  # of any type: it was computed in another way
        return Difference("exception", f"{type(error).__name__}: {error}".partition("\n")[0])
    finally:
        torch.set_num_threads(1)
    expected = expectation.results
    differences = (
        compare_values(name, got, expected[name]) for name, got in results.items() if name in expected
    )
    return next((each for each in differences if each is not None), None)


def _torchs(operator: Operator) -> Call:
    """Return torch's function as it is: a reference may call it in a way that avoids a fault."""
    function = getattr(torch.nn.functional, operator.name, None)
    return operator.reference if function is None else operator.tensors_first(function)


def _forward_mode(case: Case, expectation: Expectation, together: bool) -> Tensor:
    """Return the derivative along the case's directions, which the second backward pass returns too.

    Unless they are to be left together, elements that share memory are put apart, as vmap asks.
    """
    operator, values = OPERATORS[case.like], expectation.values

    def output(*wanted: Tensor) -> Tensor:
        tensors = {name: tensor.clone() for name, tensor in values.tensors.items()}
        tensors |= dict(zip(case.wanted, wanted, strict=True))
        returned = _torchs(operator)(*positional(tensors, operator.signature), **case.keywords)
        return returned[0] if isinstance(returned, tuple) else returned

    def derivative(*tangents: Tensor) -> Tensor:
        given = (values.tensors[name] for name in case.wanted)
        primals = tuple(each if together else each.clone() for each in given)
        return torch.func.jvp(output, primals, tangents)[1]

    tangents = [torch.stack([values.directions[name]] * 2) for name in case.wanted]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch says what it vmaps slowly
        return torch.vmap(derivative)(*tangents)[0]


def _script(case: Case, way: Way, suspect: Suspect | None = None) -> str:
    """Return code that prints a call's results, after the right ones, from contiguous tensors in float64."""
    operator = OPERATORS[case.like]
    lines = ["import torch", "import torch.nn.functional as F", "", "torch.set_printoptions(precision=12)"]
    lines += [f"torch.set_num_threads({way.threads})"] if way.threads > 1 else []
    lines += [] if way.onednn else ["torch.backends.mkldnn.enabled = False"]
    lines += [f"{name} = {array.code(case.torch_dtype)}" for name, array in case.arrays]
    expectation = _expected(case) if suspect is None else _right(case, suspect)
    values = expectation.values
    call = f"{operator.code}({write_call(case, operator, copies_of(case))})"
    if case.keywords.get("return_indices"):
        call += "[1]" if suspect is not None and suspect.result == "indices" else "[0]"
    incoming = None if way.forward else write_incoming(case, values)
    given = {} if incoming is None else {"grad_output": incoming}
    if case.order == 2:
        given |= {f"of_{name}": _written(values.directions[name]) for name in case.wanted}
    lines += [f"{name} = {code}" for name, code in given.items()]
    names = [*case.tensors, *given]
    body = _forward_body(case, call) if way.forward else _backward_body(case, call, incoming is not None)
    lines += ["", f"def results({', '.join(names)}):", *body, ""]
    whole = {name for name, tensor in values.tensors.items() if not tensor.is_floating_point()}
    wide = {name: ".long()" if name == "target" else "" for name in whole}
    plain = [f"{name}{wide.get(name, '.double()')}.contiguous()" for name in names]
    right = f"*results({', '.join(plain)})"
    if suspect is not None:
        value = expectation.results[suspect.result].value
        zeros = f"torch.zeros({tuple(value.shape)})"
        right = f"'{suspect.result}', {_written(value) if value.any() else zeros}"
    lines.append(f"print('right:', {right}, sep='\\n')")
    lines.append(f"print('torch:', *results({', '.join(names)}), sep='\\n')")
    return "\n".join(lines)


def _forward_body(case: Case, call: str) -> list[str]:
    """Return the lines of a function that differentiates a call in forward mode, vmapped."""
    wanted, along = ", ".join(case.wanted), ", ".join(f"of_{name}" for name in case.wanted)
    return [
        f"    def output({wanted}):",
        f"        return {call}",
        "    def derivative(*directions):",
        f"        return torch.func.jvp(output, ({wanted},), directions)[1]",
        f"    stacked = [torch.stack([each] * 2) for each in ({along},)]",
        "    return [torch.vmap(derivative)(*stacked)[0]]",
    ]


def _backward_body(case: Case, call: str, differentiated: bool) -> list[str]:
    """Return the lines of a function that returns what a call returns and updates, and its derivatives."""
    evaluates = OPERATORS[case.like].trains(case.keywords) is False  # and copies lose their strides
    copied = [] if evaluates else [f"    {name} = {name}.clone()" for name in updated_by(case)]
    body = [*copied, *(f"    {name}.requires_grad_()" for name in case.wanted), f"    output = {call}"]
    returned = ["output", *updated_by(case)]
    if differentiated:
        wanted, twice = ", ".join(case.wanted), case.order == 2
        body += ["    grad_output.requires_grad_()"] * twice
        graph = ", create_graph=True" * twice
        body.append(f"    grads = torch.autograd.grad(output, [{wanted}], grad_output{graph})")
        returned.append("*grads")
        if twice:
            along = ", ".join(f"of_{name}" for name in case.wanted)
            sources = f"[{wanted}, grad_output], [{along}], materialize_grads=True"
            body.append(f"    seconds = torch.autograd.grad(grads, {sources})")
            returned.append("*seconds")
    return [*body, f"    return {', '.join(returned)},"]


def _written(tensor: Tensor) -> str:
    return f"torch.tensor({tensor.tolist()}, dtype={tensor.dtype})"
