"""How many floating point operations the operators made of products take, for `torch.utils.flop_counter`.

As torch counts them: a product and its addition are two, and a bias is none. The gradient of a grouped
convolution's weight counts what it takes, like every other map (torch counts it as if there were one group).
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from scratch_conv.autograd import convolution, linear, products  # noqa: F401  # they register the operators

Shape = Sequence[int]


@register_flop_formula(torch.ops.scratch_conv.conv2d)
def _(input: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return 2 * prod(out_shape) * prod(weight[1:])


@register_flop_formula(torch.ops.scratch_conv.conv_transpose2d)
def _(input: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return 2 * prod(input) * prod(weight[1:])


@register_flop_formula(torch.ops.scratch_conv.conv2d_grad_weight)
def _(grad_output: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return 2 * prod(grad_output) * prod(out_shape[1:])


@register_flop_formula(torch.ops.scratch_conv.linear)
def _(input: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return 2 * prod(out_shape) * weight[-1]


@register_flop_formula(torch.ops.scratch_conv.matrix_product)
def _(a: Shape, b: Shape, *, out_shape: Shape, **__: Any) -> int:
    return 2 * prod(out_shape) * a[-1]
