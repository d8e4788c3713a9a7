"""Candidates that are torch's but for one property: each is reported, and by the name of that property."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scratch_conv.parity import check
from scratch_conv.parity.catalogue.gradients import Backward, with_gradients


def wide_in_float16(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Convolve; a result in float16 is returned in float32."""
    output = F.conv2d(input, weight, bias, **arguments)
    return output.float() if output.dtype == torch.float16 else output


def transposed_when_square(input: Tensor, **arguments: Any) -> Tensor:
    """Pool; return the output channels last where it is square."""
    output = F.avg_pool2d(input, **arguments)
    square = output.ndim == 4 and output.shape[-1] == output.shape[-2]
    return output.contiguous(memory_format=torch.channels_last) if square else output


class _Flaky:
    """Pools; every second call differs by the last bit of one element."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, input: Tensor, **arguments: Any) -> Tensor:
        self.calls += 1
        output = F.avg_pool2d(input, **arguments)
        bump = torch.zeros_like(output)
        if output.numel() and self.calls % 2 == 0:
            bump.view(-1)[-1] = output.detach().reshape(-1)[-1].abs() * torch.finfo(output.dtype).eps
        return output + bump


def returned_as_it_is(input: Tensor, kernel_size: Any, **arguments: Any) -> Tensor:
    """Pool; a window of one pixel gives the input itself."""
    one = kernel_size in (1, (1, 1)) and not any(arguments.values())
    return input if one else F.avg_pool2d(input, kernel_size, **arguments)


def quick_to_raise(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Convolve; refuse a stride of zero with a ValueError, where torch raises a RuntimeError."""
    if arguments.get("stride") == 0:
        raise ValueError("stride")
    return F.conv2d(input, weight, bias, **arguments)


def lenient(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Transpose a convolution; take an output padding that torch refuses."""
    if arguments.get("output_padding") == -1:
        arguments["output_padding"] = 0
    return F.conv_transpose2d(input, weight, bias, **arguments)


def alone_negated(call: Callable[..., Any], position: int) -> Callable[..., Any]:
    """Return `call` with a gradient that is wrong only where it is the only one wanted."""

    def change(b: Backward) -> list[Any]:
        asked = [each is not None and each.requires_grad for each in b.tensors]
        if sum(asked) == 1 and asked.index(True) == position:
            return [None if grad is None else -grad for grad in b.right]
        return b.right

    return with_gradients(call, change)


def together_swapped(b: Backward) -> list[Any]:
    """Double the input's gradient where all three are wanted."""
    asked = [each is not None and each.requires_grad for each in b.tensors]
    return [2 * b.right[0], *b.right[1:]] if sum(asked) == 3 else b.right


def writing_backward(b: Backward) -> list[Any]:
    """Return the right gradients and clear the input on the way."""
    if 0 not in b.tensors[0].stride():
        b.tensors[0].detach().zero_()
    return b.right


def spoiling_backward(b: Backward) -> list[Any]:
    """Return the right gradients and clear the gradient that came in."""
    if 0 not in b.grad_output.stride():
        b.grad_output.detach().zero_()
    return [each.clone() for each in b.right]


def indices_in_int32(input: Tensor, **arguments: Any) -> Any:
    """Pool; the indices are of int32."""
    result = F.max_pool2d(input, **arguments)
    return (result[0], result[1].int()) if arguments.get("return_indices") else result


def rounded_integers(input: Tensor, **arguments: Any) -> Tensor:
    """Average; integers are rounded instead of cut off."""
    if input.dtype != torch.int64:
        return F.avg_pool2d(input, **arguments)
    return F.avg_pool2d(input.double(), **arguments).round().long()


def float_first(b: Backward) -> list[Any]:
    """Return gradients that have gone through float32."""
    return [each.float().to(each.dtype) for each in b.right]


def strided_wrongly(input: Tensor, weight: Tensor, bias: Tensor | None = None, **arguments: Any) -> Tensor:
    """Convolve what lies in memory, where the input is channels_last, as if it were contiguous."""
    if input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last) and input.numel():
        input = input.permute(0, 2, 3, 1).reshape(input.shape)
    return F.conv2d(input, weight, bias, **arguments)


def negative_zero_lost(input: Tensor, **arguments: Any) -> Tensor:
    """Flatten; where that copies, -0.0 becomes 0.0."""
    output = torch.flatten(input, **arguments)
    copied = output.untyped_storage().data_ptr() != input.untyped_storage().data_ptr()
    return torch.where(output == 0, output.abs(), output) if copied else output


def untouched_statistics(*tensors: Tensor | None, **arguments: Any) -> Tensor:
    """Normalise; leave the running variance as it was."""
    kept = [each.clone() if i == 2 and each is not None else each for i, each in enumerate(tensors)]
    output: Tensor = F.batch_norm(*kept, **arguments)  # type: ignore[arg-type]
    return output


def of_the_evaluated(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Drop; return a copy in evaluation."""
    output = F.dropout(input, p, training, inplace)
    return output if training or inplace else output.clone()


def slightly_off(input: Tensor, dim: int) -> Tensor:
    """Take a softmax that is off by one part in ten thousand."""
    return F.softmax(input, dim) * (1 + 1e-4)


def of_another_seed(input: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
    """Drop by random numbers that torch would draw later."""
    torch.rand(())
    return F.dropout(input, *arguments, **keywords)


CANDIDATES: list[tuple[Any, str, dict[str, Any], str]] = [
    (wide_in_float16, "conv2d", {"dtypes": ("float32", "float64", "float16")}, "dtype torch.float32"),
    (transposed_when_square, "avg_pool2d", {"memory_format": True}, "strides"),
    (_Flaky(), "avg_pool2d", {"special_values": False}, "other bits"),
    (returned_as_it_is, "avg_pool2d", {}, "the output shares memory with input"),
    (quick_to_raise, "conv2d", {"errors": True}, "raised ValueError"),
    (lenient, "conv_transpose2d", {"errors": True}, "computed a result; torch refuses"),
    (alone_negated(F.conv2d, 0), "conv2d", {}, "grad_input differs"),
    (alone_negated(F.conv2d, 1), "conv2d", {}, "grad_weight differs"),
    (alone_negated(F.conv_transpose2d, 2), "conv_transpose2d", {}, "grad_bias differs"),
    (with_gradients(F.conv2d, together_swapped), "conv2d", {}, "grad_input differs"),
    (with_gradients(F.avg_pool2d, writing_backward), "avg_pool2d", {}, "input was written into"),
    (with_gradients(F.conv2d, spoiling_backward), "conv2d", {}, "grad_output was written into"),
    (with_gradients(F.conv2d, float_first), "conv2d", {"dtypes": "float64"}, "grad_"),
    (indices_in_int32, "max_pool2d", {}, "indices has dtype torch.int32"),
    (rounded_integers, "avg_pool2d", {"dtypes": ("float32", "int64")}, "output differs"),
    (strided_wrongly, "conv2d", {}, "output differs"),
    (negative_zero_lost, "flatten", {"gradients": False}, "output differs"),
    (untouched_statistics, "batch_norm", {}, "running_var differs"),
    (of_the_evaluated, "dropout", {}, "torch's shares memory with input"),
    (of_another_seed, "dropout", {}, "output differs"),
    (slightly_off, "softmax", {}, "output differs"),
]


@pytest.mark.parametrize(("candidate", "like", "claims", "said"), CANDIDATES)
def test_what_is_wrong_in_one_property_is_reported_by_it(
    candidate: Any, like: str, claims: dict[str, Any], said: str
) -> None:
    report = check(candidate, like, examples=500, supports=claims, further=False)
    assert any(said in each.message for each in report.differences), str(report)
