"""Max unpooling as a Function: its gradient is gathered by the same indices, and that one's is a scatter.

Where an index occurs twice, unpooling keeps the last value, and the gradient is gathered for both, as
torch's.

Tensors are batched: input and indices (N, C, ...), output (N, C, *output_size). An index is that into the
flattened image or volume of the output, in int64.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd.batching import fold_into_batch, unfold
from scratch_conv.autograd.operators import call, operator, register_derivatives, register_fake
from scratch_conv.autograd.pooling.picked import GatherPicked
from scratch_conv.autograd.tensors import empty, memory_format, to_array, to_bits, to_tensor_of

__all__ = ["MaxUnpool"]


@operator
def max_unpool(input: Tensor, indices: Tensor, output_size: Sequence[int], channels_last: bool) -> Tensor:
    try:
        output = kernels.max_unpool(to_bits(input), to_array(indices), tuple(output_size))
    except IndexError as error:
        raise RuntimeError(str(error)) from error
    format = memory_format(channels_last, input.dim())
    return to_tensor_of(
        output, torch.empty(output.shape, dtype=input.dtype, device="meta", memory_format=format)
    )


@register_fake(max_unpool)
def _(input: Any, indices: Any, output_size: Any, channels_last: bool) -> Tensor:
    return empty(input, (*input.shape[:2], *output_size), memory_format(channels_last, input.dim()))


class MaxUnpool(Function):
    """y[index] = x: dx = gather(dy) from the indices."""

    forward = staticmethod(torch.ops.scratch_conv.max_unpool.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, indices, *ctx.rest = inputs
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        # Contiguous, as torch's second derivative then is.
        return call(GatherPicked, grad_output.contiguous(), indices, False), None, None, None

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor, *_: Any) -> Any:
        (indices,) = ctx.saved_tensors
        return call(MaxUnpool, input_t, indices, *ctx.rest)

    @staticmethod
    def vmap(info: Any, in_dims: Any, input: Tensor, indices: Tensor, *rest: Any) -> Any:
        folded = fold_into_batch(info, in_dims, input, indices)
        return unfold(call(MaxUnpool, *folded, *rest), 0, info.batch_size), 0


register_derivatives(MaxUnpool)
