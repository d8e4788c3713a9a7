"""How a Function and its custom operator stand for each other, and what all of them share."""

from collections.abc import Callable, Sequence
from functools import cache, wraps
from types import new_class
from typing import Any

import numpy as np
import torch
import torch.autograd.forward_ad as fwAD
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd import _torch_internals as internals
from scratch_conv.kernels import Window


def operator(compute: Callable[..., Any], mutates_args: Sequence[str] = ()) -> Any:
    """Register a function of tensors as the opaque operator scratch_conv::<its name>."""
    computed = as_torch_computes(compute)
    registered = torch.library.custom_op(
        f"scratch_conv::{compute.__name__}", computed, mutates_args=mutates_args
    )
    overload = getattr(torch.ops.scratch_conv, compute.__name__).default
    _computations[registered] = _computations[overload] = computed
    return registered


def as_torch_computes(compute: Callable[..., Any]) -> Callable[..., Any]:
    """Let kernels use as many threads as torch does, and let infinities and NaN pass without warnings.

    So data loader workers and distributed ranks, whose torch is held to a share of the machine, keep to it.
    """

    @wraps(compute)
    def computed(*args: Any, **kwargs: Any) -> Any:
        with kernels.using_num_threads(torch.get_num_threads()), np.errstate(all="ignore"):
            return compute(*args, **kwargs)

    return computed


def call(function: type[Function], *args: Any) -> Any:
    """Run a Function; while dynamo or export traces, its operator alone.

    Dynamo refuses to trace a Function that defines `jvp`. The operator carries the same derivative
    (`register_derivatives`), but forward mode and the transforms of `torch.func` do not see through it: where
    one of these is being traced, the refusal is left to dynamo, lest the derivative be lost without a word.

    Where nothing is there to see the operator, it is not dispatched at all, which saves 60 µs a call.
    """
    if torch.compiler.is_compiling():
        if not internals.in_transform():
            return function.forward(*args)
    elif internals.unseen(args):
        differentiable = torch.is_grad_enabled() and any(map(_requires_grad, args))
        return _directly(function).apply(*map(_no_leaf, args)) if differentiable else _compute(function, args)
    if internals.may_be_in_nested_forward_mode():
        function = _nested(function)
    return function.apply(*map(_no_leaf, args))


def call_constant(registered: Any, *args: Any) -> Any:
    """Run an operator that has no derivative: dispatched only where somebody may see it."""
    seen = torch.compiler.is_compiling() or not internals.unseen(args)
    return registered(*args) if seen else _computations[registered](*args)


_computations: dict[Any, Callable[..., Any]] = {}
"""What each operator computes."""


def _compute(function: type[Function], args: Sequence[Any]) -> Any:
    return _computations[function.forward](*args)


@cache
def _directly(function: type[Function]) -> type[Function]:
    """Give a Function that computes without its operator; forward mode and `torch.func` have no use for it.

    Its context is set up within the forward pass: where that is a function of its own, torch takes the
    signature of `forward` apart at every call (25 µs).
    """

    def forward(ctx: Any, *args: Any) -> Any:
        output = _compute(function, args)
        function.setup_context(ctx, args, output)
        return output

    return _with_rules(function, forward=forward, backward=function.backward)


def _with_rules(function: type[Function], **rules: Callable[..., Any]) -> type[Function]:
    """Give a Function of another's name that consists of these rules alone."""
    own = {name: staticmethod(rule) for name, rule in rules.items()}
    return new_class(function.__name__, (Function,), exec_body=lambda namespace: namespace.update(own))


def _requires_grad(arg: Any) -> bool:
    return isinstance(arg, Tensor) and arg.requires_grad


def _no_leaf(arg: Any) -> Any:
    """Give a view in place of a leaf: of a leaf, the engine does not say whether its gradient is `wanted`."""
    if not (_requires_grad(arg) and arg.is_leaf and torch.is_grad_enabled()):
        return arg
    return arg.transpose(0, 0)  # view_as would renew the strides of axes of one


def wanted(ctx: Any) -> tuple[bool, ...]:
    """Tell of a Function's leading tensor arguments which gradients this backward pass has a use for.

    `ctx.needs_input_grad` says only which arguments require one. `torch.autograd.grad(y, [x])` leaves the
    weight's gradient out, and so do torch's own operators, which ask the engine as is done here.
    """
    pairs = zip(ctx.needs_input_grad, ctx.next_functions, strict=False)
    return tuple(needs and internals.will_run(node) for needs, (node, _) in pairs)


def may_be_differentiated() -> bool:
    """Return whether the result of the current backward pass may be differentiated again."""
    return torch.is_grad_enabled() or internals.in_transform()


@cache
def _nested(function: type[Function]) -> type[Function]:
    """Give a Function whose `jvp` is differentiated by the transforms around the innermost one.

    Torch switches forward mode off within a `jvp`, and so would lose their tangents. Here it stays on, and
    what the context has saved is left without the innermost tangents, which are no business of the formula's.
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
    """Give a Function's operator (its `forward`) the Function's own derivative and batching rule."""
    operator = function.forward
    torch.library.register_autograd(operator, function.backward, setup_context=function.setup_context)
    torch.library.register_vmap(operator, function.vmap)


def window_of(
    kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Window:
    """Give the window that an operator's flat arguments describe; padding is (top, bottom, left, right)."""
    top, bottom, left, right = padding
    return Window(
        (kernel_size[0], kernel_size[1]),
        (stride[0], stride[1]),
        ((top, bottom), (left, right)),
        (dilation[0], dilation[1]),
    )


class Bilinear(Function):
    """What the maps f(a, b, *rest), linear in a and in b, have in common: all but the backward pass.

    A subclass names the dimensions of a, b and the result that grow when a vmapped convolution becomes one
    with more groups, and whether a vmapped `a` alone may join the pictures of the batch instead.
    """

    group_dims: tuple[int, int, int]
    joins_batch: bool

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        a, b, *ctx.rest = inputs
        ctx.save_for_backward(a, b)
        ctx.save_for_forward(a, b)

    @classmethod
    def jvp(cls, ctx: Any, a_t: Tensor | None, b_t: Tensor | None, *_: Any) -> Any:
        a, b = ctx.saved_tensors
        if a_t is None:
            return call(cls, a, b_t, *ctx.rest)
        if b_t is None:
            return call(cls, a_t, b, *ctx.rest)
        return call(cls, a_t, b, *ctx.rest) + call(cls, a, b_t, *ctx.rest)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, a: Tensor, b: Tensor, *rest: Any) -> Any:
        size, (a_dim, b_dim, *_) = info.batch_size, in_dims
        if cls.joins_batch and b_dim is None:
            return unfold(call(cls, fold(a, a_dim, 0, size), b, *rest), 0, size), 0
        *others, groups = rest
        grown_a, grown_b, grown = cls.group_dims
        folded = fold(a, a_dim, grown_a, size), fold(b, b_dim, grown_b, size)
        return unfold(call(cls, *folded, *others, size * groups), grown, size), grown


class BilinearWithBias(Bilinear):
    """A bilinear map of input and weight that adds a bias: its result is f(input, weight, bias, *rest)."""

    @staticmethod
    def spread(bias: Tensor) -> Tensor:
        """Shape a bias so that it expands to the result."""
        raise NotImplementedError

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        input, weight, _, *rest = inputs
        ctx.output_shape = output.shape
        super().setup_context(ctx, (input, weight, None, *rest), output)

    @classmethod
    def jvp(cls, ctx: Any, input_t: Tensor | None, weight_t: Tensor | None, *rest: Any) -> Any:
        bias_t, *_ = rest
        if bias_t is None:
            return super().jvp(ctx, input_t, weight_t)
        spread = cls.spread(bias_t).expand(ctx.output_shape)
        if input_t is None and weight_t is None:
            return spread
        return super().jvp(ctx, input_t, weight_t) + spread


def vmap_elementwise(function: type[Function], info: Any, in_dims: Any, *operands: Any) -> Any:
    """Batch a function of operands of one shape, elementwise: the vmapped dimension is one more in front.

    Operands without one are repeated; what is not a tensor is passed on.
    """
    size = info.batch_size
    stacked = [
        operand
        if not isinstance(operand, Tensor)
        else operand.expand(size, *operand.shape)
        if dim is None
        else operand.movedim(dim, 0)
        for operand, dim in zip(operands, in_dims, strict=True)
    ]
    return call(function, *stacked), 0


def fold(tensor: Tensor, vmapped_dim: int | None, dim: int, size: int) -> Tensor:
    """Merge the dimension that vmap added (of `size`) into `dim`; a tensor without one is repeated."""
    if vmapped_dim is None:
        tensor = tensor.unsqueeze(dim).expand(*tensor.shape[:dim], size, *tensor.shape[dim:])
    else:
        tensor = tensor.movedim(vmapped_dim, dim)
    return tensor.flatten(dim, dim + 1)


def unfold(tensor: Tensor, dim: int, size: int) -> Tensor:
    """Split a dimension that `fold` merged; the vmapped dimension is then at `dim`."""
    shape = tensor.shape
    return tensor.reshape(*shape[:dim], size, shape[dim] // size, *shape[dim + 1 :])
