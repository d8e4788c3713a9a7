"""Custom operators, and how the Function of an operator is called with the operator or without it."""

from collections.abc import Callable, Sequence
from functools import cache, wraps
from types import new_class
from typing import Any

import numpy as np
import torch
import torch.autograd.forward_ad as fwAD
from torch import Tensor
from torch.autograd import Function
from torch.utils.flop_counter import register_flop_formula

from scratch_conv import kernels
from scratch_conv.autograd import _torch_internals as internals
from scratch_conv.kernels import Window

__all__ = ["call", "call_constant"]


def operator(compute: Callable[..., Any], mutates_args: Sequence[str] = ()) -> Any:
    """Register a function of tensors as the opaque operator scratch_conv::<its name>."""
    computed = as_torch_computes(compute)
    registered = torch.library.custom_op(
        f"scratch_conv::{compute.__name__}", computed, mutates_args=mutates_args
    )
    overload = getattr(torch.ops.scratch_conv, compute.__name__).default
    _computations[registered] = _computations[overload] = computed
    return registered


def register_fake(operator: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register what the results of an operator are like: their shapes, types and strides.

    Every compiler asks for these before it lowers a graph, which is when inductor must know the operators.
    """

    def register(fake: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(fake)
        def known(*args: Any, **kwargs: Any) -> Any:
            internals.let_inductor_call_operators()
            return fake(*args, **kwargs)

        operator.register_fake(known)
        return fake

    return register


def as_torch_computes(compute: Callable[..., Any]) -> Callable[..., Any]:
    """Let kernels use as many threads as torch does, and let infinities and NaN pass without warnings.

    Data loader workers and distributed ranks limit the threads of torch; the kernels keep to that limit.
    Where memory does not suffice, the error is of torch's type, which code that then tries less expects.
    """

    @wraps(compute)
    def computed(*args: Any, **kwargs: Any) -> Any:
        with kernels.using_num_threads(torch.get_num_threads()), np.errstate(all="ignore"):
            try:
                return compute(*args, **kwargs)
            except MemoryError as error:
                raise RuntimeError(f"{compute.__name__}: not enough memory: {error}") from error

    return computed


def call(function: type[Function], *args: Any) -> Any:
    """Run a Function; while dynamo or export traces, its operator alone.

    Dynamo refuses to trace a Function that defines `jvp`. The operator carries the same derivative
    (`register_derivatives`), but forward mode and the transforms of `torch.func` do not see through it: where
    one of these is being traced, the graph calls the Function as a whole.

    Where no mode, transform or profiler is active, the operator is not dispatched, which saves 60 µs a call.
    """
    if torch.compiler.is_compiling():
        if not internals.in_transform():
            return function.forward(*args)
        if torch.compiler.is_dynamo_compiling():
            _let_graphs_call_functions()
            return function.apply(*args)
    elif internals.unseen(args):
        differentiable = torch.is_grad_enabled() and any(map(_requires_grad, args))
        return _directly(function).apply(*map(_no_leaf, args)) if differentiable else _compute(function, args)
    if internals.may_be_in_nested_forward_mode():
        function = _nested(function)
    return function.apply(*map(_no_leaf, args))


_functions: list[type[Function]] = []


@internals.constant_while_tracing
def _let_graphs_call_functions() -> None:
    """Let dynamo write calls of the Functions into its graphs; called while it traces, when it is loaded.

    Raises:
        NotImplementedError: two transforms in forward mode are active, one within the other.
    """
    if internals.may_be_in_nested_forward_mode():
        raise NotImplementedError(
            "scratch_conv: torch.compile cannot hold forward mode within forward mode (jvp of jvp, jacfwd of "
            "jacfwd) of layers that NumPy computes. Leave such transforms out of what is compiled, or call "
            "scratch_conv.restore(model) first, for torch's own layers."
        )
    torch.compiler.allow_in_graph(_functions)  # type: ignore[no-untyped-call]


def call_constant(registered: Any, *args: Any) -> Any:
    """Run an operator without derivative; dispatch it only where a mode, transform or profiler is active."""
    seen = torch.compiler.is_compiling() or not internals.unseen(args)
    return registered(*args) if seen else _computations[registered](*args)


_computations: dict[Any, Callable[..., Any]] = {}
"""What each operator computes."""


def _compute(function: type[Function], args: Sequence[Any]) -> Any:
    return _computations[function.forward](*args)


@cache
def _directly(function: type[Function]) -> type[Function]:
    """Return a Function that computes without the operator, and serves neither forward mode nor `torch.func`.

    Its context is set up within the forward pass: for a separate `setup_context`, torch inspects the
    signature of `forward` at every call (25 µs).
    """

    def forward(ctx: Any, *args: Any) -> Any:
        output = _compute(function, args)
        function.setup_context(ctx, args, output)
        return output

    return _with_rules(function, forward=forward, backward=function.backward)


def _with_rules(function: type[Function], **rules: Callable[..., Any]) -> type[Function]:
    """Return a Function of the same name that consists of these rules alone."""
    own = {name: staticmethod(rule) for name, rule in rules.items()}
    return new_class(function.__name__, (Function,), exec_body=lambda namespace: namespace.update(own))


def _requires_grad(arg: Any) -> bool:
    return isinstance(arg, Tensor) and arg.requires_grad


def _no_leaf(arg: Any) -> Any:
    """Return a view of a leaf: of a leaf itself, the engine does not say whether its gradient is `wanted`."""
    if not (_requires_grad(arg) and arg.is_leaf and torch.is_grad_enabled()):
        return arg
    return arg.transpose(0, 0)  # view_as would renew the strides of axes of one


def wanted(ctx: Any) -> tuple[bool, ...]:
    """Return for each leading tensor argument of a Function whether this backward pass uses its gradient.

    `ctx.needs_input_grad` says only which arguments require one. `torch.autograd.grad(y, [x])` leaves the
    weight's gradient out, and so do torch's own operators, which ask the engine as is done here.
    """
    pairs = zip(ctx.needs_input_grad, ctx.next_functions, strict=False)
    return tuple(needs and internals.will_run(node) for needs, (node, _) in pairs)


def may_be_differentiated() -> bool:
    """Return whether the result of the current backward pass may be differentiated again."""
    return torch.is_grad_enabled() or internals.in_transform()


def of_one_node(gradients: Sequence[Tensor | None], *operands: Tensor | None) -> tuple[Tensor | None, ...]:
    """Let every gradient require one where an operand of the backward pass does.

    Torch's backward pass is one node: where a graph of gradients is wanted, they depend on all operands, also
    on those with respect to which their derivative is zero. Here each gradient is a Function of its own.
    """
    trained = _trained(operands)
    return tuple(
        _OfOneNode.apply(gradient, *trained)
        if gradient is not None and trained and not gradient.requires_grad
        else gradient
        for gradient in gradients
    )


def _trained(operands: Sequence[Tensor | None]) -> list[Tensor]:
    """Return the operands that require a gradient, none where the engine builds no graph of gradients."""
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or internals.in_transform():
        return []
    return [operand for operand in operands if operand is not None and operand.requires_grad]


class _OfOneNode(Function):
    """The first tensor, as a constant function of the others."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *others: Tensor) -> Tensor:
        ctx.others = len(others)
        return value.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad, *[None] * ctx.others


def beside_zeros(gradient: Tensor | None, *operands: Tensor | None) -> Tensor | None:
    """Let a gradient have derivatives of zero with respect to operands, as torch's has."""
    trained = _trained(operands)
    return _BesideZeros.apply(gradient, *trained) if gradient is not None and trained else gradient


class _BesideZeros(Function):
    """The first tensor, whose derivatives with respect to the others are zero."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *others: Tensor) -> Tensor:
        ctx.shapes = [other.shape for other in others]
        return value.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad, *map(grad.new_zeros, ctx.shapes)


@cache
def _nested(function: type[Function]) -> type[Function]:
    """Return a Function whose `jvp` is differentiated by the transforms around the innermost one.

    Torch switches forward mode off within a `jvp`, and so would lose the tangents of outer transforms. Here
    it stays on, and the saved tensors are passed without the tangents of the innermost transform.
    """

    def jvp(ctx: Any, *tangents: Any) -> Any:
        with internals.forward_mode_enabled():
            return function.jvp(_Primals(ctx), *tangents)

    kept = {name: getattr(function, name) for name in ("forward", "setup_context", "backward", "vmap")}
    return _with_rules(function, **kept, jvp=jvp)


class _Primals:
    """A context whose saved tensors are without the tangents of the innermost transform in forward mode."""

    def __init__(self, ctx: Any) -> None:
        self._ctx = ctx

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        saved = self._ctx.saved_tensors
        return tuple(each if each is None else fwAD.unpack_dual(each).primal for each in saved)  # type: ignore[no-untyped-call]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)


def register_derivatives(function: Any) -> None:
    """Register the derivative and the batching rule of a Function for its operator, its `forward`.

    A Function of several operands calls `ctx.set_materialize_grads(False)`: an operand without a tangent
    would get one of zeros, whose product with an infinity is NaN.
    """
    operator = function.forward
    _functions.append(function)
    function.backward = staticmethod(of_no_gradient_too(function.backward))
    function.vmap = staticmethod(batching_nothing_too(function.vmap))
    torch.library.register_autograd(operator, function.backward, setup_context=function.setup_context)
    torch.library.register_vmap(operator, function.vmap)


def of_no_gradient_too(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Let the rule of a backward pass know that there may be no gradient: then there is none."""

    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        if all(grad is None for grad in grads):
            return (None,) * len(ctx.needs_input_grad)
        return rule(ctx, *grads)

    return backward


def batching_nothing_too(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Let a batching rule know that there may be nothing to batch over: it then has one sample, of zeros."""

    def vmap(info: Any, in_dims: Any, *operands: Any) -> Any:
        if info.batch_size:
            return rule(info, in_dims, *operands)
        samples = [
            torch.cat([operand, _one_of_zeros(operand, dim)], dim)
            if isinstance(operand, Tensor) and dim is not None
            else operand
            for operand, dim in zip(operands, in_dims, strict=True)
        ]
        outputs, dims = rule(info._replace(batch_size=1), in_dims, *samples)
        if isinstance(outputs, Tensor):
            return outputs.narrow(dims, 0, 0), dims
        kept = zip(outputs, dims, strict=True)
        return tuple(each if dim is None else each.narrow(dim, 0, 0) for each, dim in kept), dims

    return vmap


def _one_of_zeros(tensor: Tensor, dim: int) -> Tensor:
    return tensor.new_zeros([1 if axis == dim else size for axis, size in enumerate(tensor.shape)])


def window_of(
    kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Window:
    """Return the window that an operator's flat arguments describe; padding is (top, bottom, left, right).

    Of volumes it is (front, back, top, bottom, left, right).
    """
    sides = tuple(zip(padding[::2], padding[1::2], strict=True))
    return Window(tuple(kernel_size), tuple(stride), sides, tuple(dilation))


def flop_formula(operator: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register how many floating point operations an operator takes, for `torch.utils.flop_counter`.

    As torch counts them: a product and its addition are two, and a bias is none. The gradient of a grouped
    convolution's weight counts what it takes, like every other map (torch counts it as for one group).
    """
    return register_flop_formula(getattr(torch.ops.scratch_conv, operator))
