"""The audit of torch's own operators: a fault is found once, with its causes and code that shows it."""

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from scratch_conv.parity import auditing
from scratch_conv.parity.auditing import Way, audit, judge
from scratch_conv.parity.drawing.arrays import Array
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.judging.compare import compare_values
from scratch_conv.parity.judging.isolate import Isolated
from scratch_conv.parity.suspects import SUSPECTS, Suspect


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge cases in this process, where torch's functions can be replaced by others with a fault."""
    monkeypatch.setattr(auditing, "Isolated", lambda work, *_, **__: nullcontext(work()))


def relu_with(fault: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Return torch's relu, whose result a function of the input and the result changes in float32."""
    right = torch.nn.functional.relu

    def relu(input: Tensor, inplace: bool = False) -> Tensor:
        output = right(input, inplace)
        return output if input.dtype == torch.float64 else fault(input, output)

    return relu


def unless_contiguous(input: Tensor, output: Tensor) -> Tensor:
    return output if input.is_contiguous() else output + 1


def unless_one_thread(input: Tensor, output: Tensor) -> Tensor:
    return output if torch.get_num_threads() == 1 else output + 1


def without_onednn(input: Tensor, output: Tensor) -> Tensor:
    return output if torch.backends.mkldnn.enabled else output + 1


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("fault", "causes", "way"),
    [
        (unless_contiguous, ("strides of input", "float32"), Way()),
        (unless_one_thread, ("float32",), Way(threads=2)),
        (without_onednn, ("float32",), Way(onednn=False)),
    ],
)
def test_a_fault_is_found_once_with_its_causes(
    fault: Callable[..., Tensor], causes: tuple[str, ...], way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.functional, "relu", relu_with(fault))
    (found,) = audit("relu", examples=60)
    assert (found.causes, found.way, found.difference.what) == (causes, way, "output")
    assert all(cause in str(found) for cause in (*causes, *way.named()))


@pytest.mark.usefixtures("here")
def test_a_fault_does_not_hide_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(input: Tensor, output: Tensor) -> Tensor:
        return unless_one_thread(input, unless_contiguous(input, output))

    monkeypatch.setattr(torch.nn.functional, "relu", relu_with(twice))
    assert {each.way for each in audit("relu", examples=60)} == {Way(), Way(threads=2)}


@pytest.mark.usefixtures("here")
def test_an_operator_without_a_fault_has_none() -> None:
    assert not list(audit("relu", examples=40))


def test_forward_mode_is_compared_with_the_second_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    square = Case("linear", (("input", Array((2, 2))), ("weight", Array((2, 2)))), wanted=("input",), order=2)
    assert judge(square) is None
    right = torch.func.jvp
    monkeypatch.setattr(torch.func, "jvp", lambda *args: [2 * each for each in right(*args)])
    shown = judge(square)
    assert shown is not None
    assert shown[0] == Way(forward=True)


def test_what_every_call_has_is_no_cause() -> None:
    strided = Array((2, 3), layout="transposed")
    for like, needed in (("softmax", ("dim", 0)), ("log_softmax", ("dim", 1))):
        plainer = dict(auditing._plainer(Case(like, (("input", strided),), (needed,))))
        assert list(plainer) == ["strides of input", "float32"]
    pooling = Case("avg_pool2d", (("input", Array((1, 2, 3))),), (("kernel_size", 1), ("padding", 0)))
    assert list(dict(auditing._plainer(pooling))) == ["padding", "float32"]


def test_suspects_are_judged_by_what_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    place = next(i for i, each in enumerate(SUSPECTS) if each.case.like == "max_pool2d")
    suspect, right = SUSPECTS[place], torch.nn.functional.max_pool2d

    def without_gradient(input: Tensor, *args: Any, **arguments: Any) -> Tensor:
        return right(input.detach(), *args, **arguments) + 0 * input.sum()

    with Isolated(auditing.judging, 20, spawned=True) as elsewhere:  # torch writes outside of its memory
        shown = auditing._Judge(elsewhere)(suspect.case, (Way(),), suspect)
        assert shown is not None or torch.__version__ > "2.14.1"
    monkeypatch.setattr(torch.nn.functional, "max_pool2d", without_gradient)
    assert judge(suspect.case, (Way(),), place) is None


@pytest.mark.parametrize(
    "suspect", [each for each in SUSPECTS if each.case.like != "max_pool2d"], ids=lambda each: each.case.like
)
def test_the_code_of_a_suspect_shows_it(
    suspect: Suspect, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    way, place = Way(forward=suspect.forward), SUSPECTS.index(suspect)
    shown = judge(suspect.case, (way,), place)
    for _, plainer in auditing._plainer(suspect.case):
        judge(plainer, (way,), place)
    if shown is None:
        pytest.skip("this version of torch is right here")
    _, _, text = shown[1].message.partition(": ")
    expected = (
        pytest.raises(Exception, match=re.escape(text)) if shown[1].what == "exception" else nullcontext()
    )
    names: dict[str, Any] = {}
    with expected:
        exec(auditing._script(suspect.case, way, suspect), names)
        due = auditing._right(suspect.case, suspect).results[suspect.result]
        returned = names["results"](*(names[each] for each in inspect.signature(names["results"]).parameters))
        alike = [each for each in returned if each is not None and each.shape == due.value.shape]
        assert all(compare_values(suspect.result, each.detach(), due) is not None for each in alike)
    torch.set_printoptions(profile="default")  # type: ignore[no-untyped-call]
    right, _, wrong = capsys.readouterr().out.partition("torch:\n")
    assert right.startswith("right:\n")
    assert right.removeprefix("right:\n") != wrong


def test_the_code_of_a_fault_needs_nothing_but_torch() -> None:
    weight = Array((2,), layout="sliced")
    arrays = {name: Array((2,)) for name in ("running_mean", "running_var")}
    tensors: dict[str, Any] = {"input": Array((1, 2)), **arrays, "weight": weight}
    case = Case("batch_norm", tuple(tensors.items()), wanted=("input",))
    shown = judge(case)
    if shown is None:
        pytest.skip("this version of torch takes a strided weight for what it is")
    code = auditing._script(case, shown[0])
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    right, _, wrong = ran.stdout.partition("torch:")
    assert "2.8284" in right
    assert "2.8284" not in wrong
