"""Functions that are linear in each of two operands: their context, tangents and batching."""

from typing import Any

from torch import Tensor
from torch.autograd import Function

from scratch_conv.autograd.batching import fold, unfold
from scratch_conv.autograd.operators import call

__all__ = ["Bilinear", "BilinearWithBias"]


class Bilinear(Function):
    """A map f(a, b, *rest), linear in a and in b; subclasses define the backward pass.

    A subclass names the dimensions of a, b and the result that grow when a vmapped convolution becomes one
    with more groups, and whether a vmapped `a` alone may join the images of the batch instead.
    """

    group_dims: tuple[int, int, int]
    joins_batch: bool

    saves_both = False
    """Whether both operands are saved, as torch's convolutions do, or each for the other's gradient."""

    @classmethod
    def setup_context(cls, ctx: Any, inputs: Any, output: Any) -> None:
        a, b, *ctx.rest = inputs
        ctx.set_materialize_grads(False)
        ctx.shapes = a.shape, b.shape
        needs_a, needs_b, *_ = ctx.needs_input_grad
        both = cls.saves_both
        ctx.save_for_backward(a if needs_b or both else None, b if needs_a or both else None)
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

    @classmethod
    def spread(cls, bias: Tensor) -> Tensor:
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
