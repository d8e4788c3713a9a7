"""The rectified linear unit as Functions: the unit, and the gate that is each of its derivatives."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scratch_conv import kernels
from scratch_conv.autograd import _torch_internals as internals
from scratch_conv.autograd.batching import vmap_elementwise
from scratch_conv.autograd.operators import (
    as_torch_computes,
    call,
    operator,
    register_derivatives,
    register_fake,
)
from scratch_conv.autograd.tensors import to_array, to_tensor_like

__all__ = ["ReLU", "ReLUInPlace"]


@operator
def relu(input: Tensor) -> Tensor:
    return to_tensor_like(kernels.relu(to_array(input)), input)


@operator
def relu_gate(values: Tensor, output: Tensor) -> Tensor:
    return to_tensor_like(kernels.relu_gate(to_array(values), to_array(output)), values)


@register_fake(relu)
def _(input: Any) -> Tensor:
    return torch.empty_like(input)


@register_fake(relu_gate)
def _(values: Any, output: Any) -> Tensor:
    return torch.empty_like(values)


class ReLU(Function):
    """y = max(x, 0): dx = gate(dy, y)."""

    forward = staticmethod(torch.ops.scratch_conv.relu.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        gated: Tensor = call(ReLUGate, grad_output, output)
        return gated

    @staticmethod
    def jvp(ctx: Any, input_t: Tensor) -> Any:
        (output,) = ctx.saved_tensors
        return call(ReLUGate, input_t, output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, input: Tensor) -> Any:
        return call(ReLU, input), in_dims[0]


class ReLUInPlace(Function):
    """The unit, written over its input: dx = gate(dy, y). For what `fits_in_place`; it has no operator."""

    @staticmethod
    def forward(ctx: Any, input: Tensor) -> Tensor:
        _write_over(input)
        ctx.mark_dirty(input)
        ctx.save_for_backward(input)
        return input

    backward = staticmethod(ReLU.backward)

    @staticmethod
    def fits_in_place(input: Tensor) -> bool:
        """Return whether autograd and the kernel can write over a tensor, and no mode or transform is active.

        Autograd must know the tensor by its own history; a leaf it would refuse after the work was done.
        """
        if torch.compiler.is_compiling():
            return False
        known = input.requires_grad and not input.is_leaf and not internals.may_be_view(input)
        kept = input.dtype in (torch.float32, torch.float64) and input.is_contiguous()
        return known and kept and torch.is_grad_enabled() and internals.unseen((input,))


@as_torch_computes
def _write_over(input: Tensor) -> None:
    array = input.detach().numpy()
    kernels.relu(array, out=array)


class ReLUGate(Function):
    """dx = dy where y > 0: linear in dy, and its own transpose."""

    forward = staticmethod(torch.ops.scratch_conv.relu_gate.default)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, gate = inputs
        ctx.save_for_backward(gate)
        ctx.save_for_forward(gate)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (gate,) = ctx.saved_tensors
        return call(ReLUGate, grad, gate), None

    @staticmethod
    def jvp(ctx: Any, values_t: Tensor | None, _: Any) -> Any:
        (gate,) = ctx.saved_tensors
        return torch.zeros_like(gate) if values_t is None else call(ReLUGate, values_t, gate)

    @staticmethod
    def vmap(info: Any, in_dims: Any, values: Tensor, output: Tensor) -> Any:
        return vmap_elementwise(ReLUGate, info, in_dims, values, output)


for _function in (ReLU, ReLUGate):
    register_derivatives(_function)
