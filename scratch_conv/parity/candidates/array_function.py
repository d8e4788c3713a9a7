"""A function of NumPy's, JAX's or MLX's arrays, with a backward of its own or its framework's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scratch_conv.parity.candidates.adapter import Adapter
from scratch_conv.parity.candidates.arguments import function_call, opened, sources_of
from scratch_conv.parity.candidates.candidate import GradientError, Use, Wiring
from scratch_conv.parity.candidates.function import Function
from scratch_conv.parity.candidates.loss import chained, inputs_of_backward, without_target
from scratch_conv.parity.candidates.names import Source
from scratch_conv.parity.candidates.numpy_layer.use import as_tensor, returned_names
from scratch_conv.parity.candidates.returned import selected, sorted_gradients
from scratch_conv.parity.candidates.signatures import check_call, class_of, full_name, module_of
from scratch_conv.parity.candidates.writing import print_updated, write_incoming, write_words
from scratch_conv.parity.drawing.case import Case
from scratch_conv.parity.drawing.claims import Supports
from scratch_conv.parity.operators.calling import UPDATED, InterfaceError, Values, describe_returned
from scratch_conv.parity.operators.operator import Operator

_FRAMEWORKS = ("torch", "jax", "mlx", "numpy")


def arrays_of(function: Any) -> str:
    """Return the framework whose arrays a function takes, as the names in its code show, or torch."""
    while isinstance(function, functools.partial):
        function = function.func
    if type(function).__module__.partition(".")[0] in ("jax", "jaxlib"):
        return "jax"
    if isinstance(function, np.ufunc):
        return "numpy"
    plain = inspect.unwrap(function)
    if any("Tensor" in str(each) for each in getattr(plain, "__annotations__", {}).values()):
        return "torch"
    code, names = getattr(plain, "__code__", None), getattr(plain, "__globals__", {})
    used = [names.get(word) for word in (code.co_names if code is not None else ())]
    modules = [
        each.__name__ if isinstance(each, ModuleType) else getattr(each, "__module__", "") for each in used
    ]
    found = {str(module).partition(".")[0] for module in modules}
    return next((framework for framework in _FRAMEWORKS if framework in found), "torch")


class ArrayFunction(Function):
    """A function of other arrays than torch's tensors; see `Adapter`."""

    prints = "numpy"

    @staticmethod
    def accepts(given: Any) -> bool:
        return callable(given) and class_of(given) is None and arrays_of(given) != "torch"

    @property
    def framework(self) -> str:
        """The framework whose arrays it takes."""
        shown = arrays_of(self.given)
        return self.adapter.arrays or ("numpy" if shown == "torch" else shown)

    @property
    def _has_gradients(self) -> bool:
        """Whether there is another function for the gradients, or this one returns them too."""
        return self.adapter.backward is not None or any(is_gradient(each) for each in self.adapter.outputs)

    def start(self) -> Use:
        return self.adapted(_ArrayFunctionInUse(self.given, self.operator, self.adapter, self.framework))

    def narrow(self, claims: Supports) -> tuple[Supports, list[str]]:
        """Leave out what arrays cannot do, and gradients where there is none to ask for them."""
        claims, reasons = super().narrow(claims)
        if claims.gradients and self.framework == "numpy" and not self._has_gradients:
            reasons.append(f"gradients: {self.name} has no backward; --backward names one")
            claims = replace(claims, gradients=False)
        left = {"second_derivatives": "not asked of arrays", "layouts": f"{self.framework} has no strides"}
        for name, reason in left.items():
            if getattr(claims, name) and (name != "layouts" or self.framework != "numpy"):
                reasons.append(f"{name}: {reason}")
                claims = replace(claims, **{name: False})  # type: ignore[arg-type]
        if self.framework == "numpy":
            claims, asked = without_target(
                claims, self.operator, self.adapter.gradients, self.adapter.outputs
            )
            reasons += asked
        unknown = _unknown_dtypes(self.framework)
        dtypes = tuple(each for each in claims.dtypes if each not in unknown)
        reasons += [f"{each}: {unknown[each]}" for each in claims.dtypes if each in unknown]
        return replace(claims, dtypes=dtypes), reasons

    def write(self, case: Case, values: Values, wiring: Wiring) -> list[str]:
        """Return the call of the function on arrays, that of its backward, and prints."""
        wrap = {"numpy": "{}", "jax": "jax.numpy.asarray({})", "mlx": "mlx.core.array({})"}[self.framework]
        arranged = {
            name: self.adapter.layout.arrange(name, tensor) for name, tensor in values.tensors.items()
        }
        codes = {n: wrap.format(f"{self.expression(n, f'{n}.detach()')}.numpy()") for n in case.tensors}
        positional, others = function_call(self.given, self.operator, arranged, case.keywords, self.adapter)
        words = [
            "None" if each is None else codes.get(each.name, f"{each.code}.numpy()") for each in positional
        ]
        call = ", ".join([*words, *write_words(others, codes)])
        imported = {"jax": ["import jax"], "mlx": ["import mlx.core"]}.get(self.framework, [])
        outputs = self.adapter.outputs or (("output", "cache") if self.adapter.backward is not None else ())
        returned = ", ".join("got" if each == "output" else each for each in outputs) or "got"
        got = "numpy.asarray(got)"
        if self.adapter.layout.letters("output"):
            got = f"{self.restored(f'torch.from_numpy({got})')}.numpy()"
        lines = ["import numpy", *imported, f"{returned} = candidate({call})"]
        lines.append(f"print('output', expected.detach().numpy(), {got}, sep='\\n')")
        return [*lines, *print_updated(case, {}), *self._write_backward(case, values, outputs)]

    def _write_backward(self, case: Case, values: Values, outputs: tuple[str, ...]) -> list[str]:
        incoming, backward = write_incoming(case, values), self.adapter.backward
        if incoming is None or not self._has_gradients:
            return []
        torchs = f"print(torch.autograd.grad(expected, [{', '.join(case.wanted)}], grad_output))"
        if backward is None:
            given = [f"print({each} * grad_output.numpy())" for each in outputs if is_gradient(each)]
            return [f"grad_output = {incoming}", torchs, *given]
        cache = ", ".join(each for each in outputs if each not in ("output", "indices"))
        code = self.adapter.layout.code("output", "grad_output")
        call = f"backward({code}.numpy(), {cache})"
        instead = inputs_of_backward(backward, self.operator, self.adapter.names)
        if instead is not None:
            call = (
                f"backward({', '.join(f'{name}.detach().numpy()' for name in instead)}) * grad_output.numpy()"
            )
        return [
            f"from {module_of(backward)} import {full_name(backward)} as backward",
            f"grad_output = {incoming}",
            torchs,
            f"print({call})",
        ]


def is_gradient(output: str) -> bool:
    """Return whether what is returned under a name is a gradient of the loss beside it."""
    return output.startswith("grad_")


def _unknown_dtypes(framework: str) -> dict[str, str]:
    """Return the dtypes that a framework has not, and why."""
    unknown = {"bfloat16": "not carried from torch to an array"}
    if framework == "jax":
        import jax

        if not jax.config.jax_enable_x64:
            unknown |= dict.fromkeys(("float64", "complex128", "int64"), "JAX's jax_enable_x64 is off")
    if framework == "mlx":
        unknown |= dict.fromkeys(("float64", "complex128"), "MLX has it on no accelerator")
    return unknown


class _ArrayFunctionInUse(Use):
    """Calls a function with arrays, and joins its gradients to autograd."""

    copies = True

    def __init__(
        self, function: Callable[..., Any], operator: Operator, adapter: Adapter, framework: str
    ) -> None:
        self.function = function
        self.operator = operator
        self.adapter = adapter
        self.framework = framework
        self._given: dict[str, NDArray[Any]] = {}

    def __call__(self, *tensors: Tensor | None, **arguments: Any) -> Any:
        named = zip(self.operator.signature, tensors, strict=False)
        present = {name: tensor for name, tensor in named if tensor is not None}
        return _Joined.apply(self, arguments, tuple(present), *present.values())

    def held(self) -> dict[str, Tensor]:
        """Return what now stands in the arrays that NumPy's function was given."""
        kept = {name: array for name, array in self._given.items() if name not in UPDATED}
        return {name: as_tensor(array) for name, array in kept.items()} if self.framework == "numpy" else {}

    def run(self, tensors: dict[str, Tensor], arguments: dict[str, Any]) -> tuple[Any, Any]:
        """Return what the function returns, as its framework's array, and how it is differentiated."""
        given, others = function_call(self.function, self.operator, tensors, arguments, self.adapter)
        self._given = {name: tensor.detach().numpy().copy(order="K") for name, tensor in tensors.items()}
        wrap = {"numpy": lambda array: array, "jax": _to_jax, "mlx": _to_mlx}[self.framework]
        arrays = {name: wrap(array) for name, array in self._given.items()}

        def called(arrays: dict[str, Any]) -> Any:
            def own(tensor: Tensor) -> Any:
                name = next((name for name, each in tensors.items() if each is tensor), None)
                return wrap(tensor.detach().numpy()) if name is None else arrays[name]

            positional, keywords = (
                [opened(each, own) for each in given],
                {n: opened(o, own) for n, o in others.items()},
            )
            check_call(self.function, *positional, **keywords)
            returned = self.function(*positional, **keywords)
            if self.framework == "numpy":
                self._update(keywords, tensors)
            return returned

        if self.framework == "numpy":
            return self._split(called(arrays))
        return _differentiated(self.framework, lambda each: self._split(called(each))[0], arrays)

    def _update(self, keywords: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Put the running statistics back that a function has updated, in place or in a dictionary."""
        sources = sources_of(self.function, self.operator, self.adapter, constructs=False) or {}
        for name in UPDATED:
            if name not in tensors:
                continue
            updated = self._given[name]
            for holder, keys in sources.items():
                for key, source in keys.items() if isinstance(keys, dict) else ():
                    updated = keywords[holder][key] if source == Source(name) else updated
            tensors[name].copy_(as_tensor(np.asarray(updated)))

    def _split(self, returned: Any) -> tuple[Any, Any]:
        """Return the output, or output and indices, and what is kept for the backward."""
        outputs = self.adapter.outputs
        if (
            not outputs
            and self.adapter.backward is not None
            and isinstance(returned, tuple)
            and len(returned) == 2
        ):
            outputs = ("output", "cache")
        output = selected(returned, outputs)
        if isinstance(output, (tuple, list)):
            hint = "--outputs output,cache, or output,grad_input of a loss, names what is returned"
            raise InterfaceError(f"expected an array to be returned, got {describe_returned(output)}; {hint}")
        if not outputs:
            return output, None
        named = dict(zip(outputs, returned, strict=True))
        if self.adapter.backward is None:
            grads = {n.removeprefix("grad_"): each for n, each in named.items() if is_gradient(n)}
            return output, grads or None
        return output, [each for name, each in named.items() if name not in ("output", "indices")]

    def gradients(self, dy: NDArray[Any], kept: Any) -> dict[str, NDArray[Any]]:
        """Return the gradients by the names of their tensors."""
        if self.framework != "numpy":
            grads: dict[str, NDArray[Any]] = kept(dy)
            return grads
        backward = self.adapter.backward
        if backward is None:
            return chained(kept, dy)
        instead = inputs_of_backward(backward, self.operator, self.adapter.names)
        words = [dy, *(kept or [])] if instead is None else [self._given[name] for name in instead]
        check_call(backward, *words)
        stated = self.adapter.gradients
        returned = sorted_gradients(
            backward(*words), stated or tuple(returned_names(self.operator)), bool(stated)
        )
        if instead is not None:
            return chained(returned, dy)
        return {name: np.asarray(grad) for name, grad in returned.items()}


class _Joined(torch.autograd.Function):
    """Joins a function of arrays to autograd."""

    @staticmethod
    def forward(
        ctx: Any,
        used: _ArrayFunctionInUse,
        arguments: dict[str, Any],
        names: tuple[str, ...],
        *tensors: Tensor,
    ) -> Tensor:
        output, kept = used.run(dict(zip(names, tensors, strict=True)), arguments)
        ctx.used, ctx.names, ctx.kept, ctx.shapes = used, names, kept, [tensor.shape for tensor in tensors]
        ctx.dtypes = [tensor.dtype for tensor in tensors]
        return as_tensor(np.array(output))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
        grads = ctx.used.gradients(grad_output.numpy(), ctx.kept)
        found: dict[str, tuple[str, tuple[str, ...]]] = {}
        for name, shape, dtype in zip(ctx.names, ctx.shapes, ctx.dtypes, strict=True):
            if name not in grads:
                continue
            grad = grads[name] = as_tensor(np.array(grads[name]))
            if grad.shape != shape:
                said = f"grad_{name} has shape {tuple(grad.shape)}, expected {tuple(shape)}"
                found[f"grad_{name}"] = said, ()
            elif grad.dtype != dtype:
                words = [str(each).removeprefix("torch.") for each in (grad.dtype, dtype)]
                found[f"grad_{name}"] = f"grad_{name} has dtype {words[0]}, expected {words[1]}", tuple(words)
        needed = dict(zip(ctx.names, ctx.needs_input_grad[3:], strict=True))
        found = {what: line for what, line in found.items() if needed[what.removeprefix("grad_")]}
        if found:
            raise GradientError(found)
        return None, None, None, *(grads.get(name) if needed[name] else None for name in ctx.names)


def _to_jax(array: NDArray[Any]) -> Any:
    import jax

    return jax.numpy.asarray(array)


def _to_mlx(array: NDArray[Any]) -> Any:
    import mlx.core

    return mlx.core.array(np.ascontiguousarray(array))


def _differentiated(framework: str, function: Callable[..., Any], arrays: dict[str, Any]) -> tuple[Any, Any]:
    """Return what a function returns, and another that returns the gradients for one of the output."""
    floating = {n: each for n, each in arrays.items() if np.array(each).dtype.kind in "fc"}
    others = {name: each for name, each in arrays.items() if name not in floating}

    def of(floating: dict[str, Any]) -> Any:
        return function({**floating, **others})

    if framework == "jax":
        import jax

        output, pull = jax.vjp(of, floating)
        return output, lambda dy: {n: np.array(grad) for n, grad in pull(_to_jax(dy))[0].items()}
    import mlx.core

    names = list(floating)

    def flat(*given: Any) -> list[Any]:
        return [of(dict(zip(names, given, strict=True)))]

    def pulled(dy: NDArray[Any]) -> dict[str, NDArray[Any]]:
        _, grads = mlx.core.vjp(flat, [floating[name] for name in names], [_to_mlx(dy)])
        return {name: np.array(grad) for name, grad in zip(names, grads, strict=True)}

    return of(floating), pulled
