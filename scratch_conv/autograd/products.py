"""Bilinear maps that are their own derivatives: products of matrices, and products summed to a shape.

Derivatives of higher order are made of these, so that each order has a next one. Gradients of complex
tensors follow torch's convention: of the other operand they use the conjugate.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from scratch_conv import kernels
from scratch_conv.autograd.batching import fold, unfold
from scratch_conv.autograd.bilinear import Bilinear
from scratch_conv.autograd.operators import (
    call,
    flop_formula,
    operator,
    register_derivatives,
    register_fake,
    wanted,
)
from scratch_conv.autograd.tensors import to_array, to_tensor

__all__ = ["product"]


@operator
def matrix_product(a: Tensor, b: Tensor) -> Tensor:
    return to_tensor(kernels.matrix_product(to_array(a), to_array(b)), a)


@operator
def summed_product(a: Tensor, b: Tensor, shape: Sequence[int], factor: float, divisor: int) -> Tensor:
    """Return Σ a · b · factor / divisor; a compiler compiles again for another float, not for an integer."""
    return to_tensor(kernels.summed_product(to_array(a), to_array(b), shape, factor / divisor), a)


@register_fake(matrix_product)
def _(a: Any, b: Any) -> Tensor:
    return a.new_empty(a.shape[0], a.shape[1], b.shape[2])


@register_fake(summed_product)
def _(a: Any, b: Any, shape: Any, *_: Any) -> Tensor:
    return a.new_empty(shape)


@flop_formula("matrix_product")
def _(a: Sequence[int], b: Sequence[int], *, out_shape: Sequence[int], **__: Any) -> int:
    return 2 * prod(out_shape) * a[-1]


class MatrixProduct(Bilinear):
    """c = a·b of matrices (G, M, K) and (G, K, N): da = dc·bᵀ, db = aᵀ·dc."""

    forward = staticmethod(torch.ops.scratch_conv.matrix_product.default)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        a, b = ctx.saved_tensors
        wants_a, wants_b = wanted(ctx)
        to_a = call(MatrixProduct, grad, b.mT.conj()) if wants_a else None
        to_b = call(MatrixProduct, a.mT.conj(), grad) if wants_b else None
        return to_a, to_b

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, a: Tensor, b: Tensor, *_: Any) -> Any:
        """Merge the vmapped dimension of one operand into rows or columns, those of both into groups."""
        size, (a_dim, b_dim) = info.batch_size, in_dims
        if b_dim is None:
            return unfold(call(cls, fold(a, a_dim, 1, size), b), 1, size), 1
        if a_dim is None:
            return unfold(call(cls, a, fold(b, b_dim, 2, size)), 2, size), 2
        return unfold(call(cls, fold(a, a_dim, 0, size), fold(b, b_dim, 0, size)), 0, size), 0


class SummedProduct(Bilinear):
    """c = Σ a·b · factor / divisor, summed to a given shape: da and db are so of dc·b and dc·a."""

    forward = staticmethod(torch.ops.scratch_conv.summed_product.default)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        a, b = ctx.saved_tensors
        (a_shape, b_shape), (_, *scale) = ctx.shapes, ctx.rest
        wants_a, wants_b = wanted(ctx)
        to_a = call(SummedProduct, grad, b, a_shape, *scale) if wants_a else None
        to_b = call(SummedProduct, grad, a, b_shape, *scale) if wants_b else None
        return to_a, to_b, None, None, None

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, a: Tensor, b: Tensor, *rest: Any) -> Any:
        shape, *scale = rest
        a, b = (
            operand.unsqueeze(0) if dim is None else operand.movedim(dim, 0)
            for operand, dim in zip((a, b), in_dims, strict=False)
        )
        return call(cls, a, b, (info.batch_size, *shape), *scale), 0


def product(a: Tensor, b: Tensor, shape: Sequence[int], factor: float = 1.0, divisor: int = 1) -> Tensor:
    """Return Σ a·b · factor / divisor of a shape: summed over the axes of size 1.

    What depends on sizes is the divisor.
    """
    result: Tensor = call(SummedProduct, a, b, shape, factor, divisor)
    return result


def total(a: Tensor, dim: int, b: Tensor | None = None) -> Tensor:
    """Return Σ a·b, or Σ a, over a dimension (if there is any), which is kept with the size 1."""
    other = a.new_ones((1,) * a.dim()) if b is None else b
    return product(a, other, [1 if axis == dim else size for axis, size in enumerate(a.shape)])


def widened(tensor: Tensor) -> Tensor:
    """Return half precision as float32, so that a sum of products is rounded once, at the end."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


for _function in (MatrixProduct, SummedProduct):
    register_derivatives(_function)
