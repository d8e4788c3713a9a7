"""How a layer is connected to torch's tensors, found out by using it, for the code that reproduces a case."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scratch_conv.parity.candidates.candidates import find_state, is_module
from scratch_conv.parity.candidates.interface import ABSENT, construct, constructor_arguments
from scratch_conv.parity.candidates.numpy_layer import LayerInUse, find_gradient, is_numpy_layer
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.judging.expect import expect
from scratch_conv.parity.operators import find_operator


@dataclass
class Wiring:
    """How a candidate is called on a case.

    Attributes:
        constructed: the arguments of a layer's constructor.
        places: where a layer holds its parameters, by torch's names: an expression, or a key of its state.
        absent: what a layer holds and the call has not: the shape and the value that has no effect.
        shapes: those in which a NumPy layer holds them, where they are not torch's.
        transposed: the parameters that it holds transposed.
        forward: what a NumPy layer's forward takes besides the inputs, as code.
        switch: the statement that tells a layer whether it trains.
        gradients: where a NumPy layer leaves the gradients of its parameters.
        returned: of how many arrays its backward returns a tuple; 0 for one array.
    """

    constructed: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    absent: dict[str, tuple[tuple[int, ...], float]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    transposed: set[str] = field(default_factory=set)
    forward: str = ""
    switch: str = ""
    gradients: dict[str, str] = field(default_factory=dict)
    returned: int = 0


def guess_wiring(candidate: Any, case: Case) -> Wiring:
    """Return the wiring of a layer with torch's names, without running any of its code."""
    operator = find_operator(case.like)
    if not is_module(candidate) and not is_numpy_layer(candidate):
        return Wiring()
    tensors = {name: array.make(case.torch_dtype) for name, array in case.arrays}
    held = [name for name in tensors if name not in operator.inputs]
    before = "" if is_module(candidate) else "layer."
    return Wiring(
        constructor_arguments(candidate, operator, tensors, case.keywords),
        {name: f"{before}{name}" for name in held},
        switch=_module_switch(case) if is_module(candidate) else "",
        gradients={name: f"layer.grad_{name}" for name in held},
    )


def find_wiring(candidate: Any, case: Case) -> Wiring:
    """Return the wiring of a candidate, as far as it gets on the case. Never raises what it raises."""
    wiring = guess_wiring(candidate, case)
    try:
        if is_module(candidate):
            module, wiring.constructed = construct(candidate, wiring.constructed)
            wiring.places, wiring.absent = find_state(module, find_operator(case.like), set(case.tensors))
        elif is_numpy_layer(candidate):
            _use(candidate, case, wiring)
    except Exception:  # the code then shows the exception itself
        return wiring
    return wiring


def _use(candidate: Any, case: Case, wiring: Wiring) -> None:
    operator, values = find_operator(case.like), expect(find_operator(case.like), case).values
    used = LayerInUse(candidate, operator, values.tensors, case.keywords)
    wiring.constructed, wiring.switch = used.constructed, used.switch
    wiring.forward = "".join(f", {name}={value}" for name, value in used.mode.items())
    for name, place in used.absent.items():
        wiring.absent[str(place)] = (place.get(used.layer).shape, ABSENT[name])
    for name, place in used.places.items():
        wiring.places[name] = str(place)
        shape = place.get(used.layer).shape
        if name in used.transposed:
            wiring.transposed.add(name)
        elif shape != tuple(values.tensors[name].shape):
            wiring.shapes[name] = shape
    used.forward(*(values.tensors[name].numpy() for name in operator.inputs))
    if values.grad_output is None:
        return
    wanted = [name for name in case.wanted if name not in operator.inputs]
    used.backward(values.grad_output.numpy(), wanted)
    wiring.returned = used.returned
    if not used.returned:
        wiring.gradients = {name: str(find_gradient(used.layer, name)) for name in wanted}


def _module_switch(case: Case) -> str:
    operator = find_operator(case.like)
    if "training" not in operator.arguments:
        return ""
    return f"layer.train({bool(case.keywords.get('training', operator.trains))})"
