"""What torch refuses to convolve, refused with torch's exceptions."""

from typing import Any

import torch
from torch import Tensor

from scratch_conv.functional import arguments
from scratch_conv.functional.calling import size_of
from scratch_conv.kernels.windows import Pair, Size, effective_kernel_size

_AXES = {
    **{"conv1d": 1, "conv2d": 2, "conv3d": 3},
    **{"conv_transpose1d": 1, "conv_transpose2d": 2, "conv_transpose3d": 3},
}


def tensors(function: str, input: Any, weight: Any, bias: Any) -> None:
    """Refuse what are not tensors of the right number of dimensions."""
    arguments.tensors(function, input=input, weight=weight, **({} if bias is None else {"bias": bias}))
    axes = _AXES[function]
    if input.dim() not in (axes + 1, axes + 2):
        raise RuntimeError(
            f"Expected {axes + 1}D (unbatched) or {axes + 2}D (batched) input to {function}, "
            f"but got input of size: {size_of(input)}"
        )
    if weight.dim() != axes + 2:
        raise RuntimeError(
            f"Expected {axes + 2}D weight to {function}, but got weight of size: {size_of(weight)}"
        )


def numbers(
    function: str,
    weight: Tensor,
    stride: tuple[int, ...],
    padding: tuple[Pair, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> None:
    """Refuse numbers below their least."""
    if groups <= 0:
        raise RuntimeError(f"{function}: non-positive groups is not supported, but got {groups=}")
    if min(stride) <= 0:
        raise RuntimeError(f"{function}: non-positive stride is not supported, but got {stride=}")
    if min(min(sides) for sides in padding) < 0:
        raise RuntimeError(f"{function}: negative padding is not supported, but got {padding=}")
    if min(dilation) <= 0:
        raise RuntimeError(f"{function}: dilation should be greater than zero, but got {dilation=}")
    if min(weight.shape[2:]) <= 0:
        raise RuntimeError(
            f"{function}: kernel size should be greater than zero, but got weight of size {size_of(weight)}"
        )


def convolution(
    function: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: tuple[Pair, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> None:
    """Refuse channels, dtypes and sizes that do not fit together."""
    axes = _AXES[function]
    _channels_of_weight(weight, groups)
    channels, expected = input.shape[-axes - 1], weight.shape[1] * groups
    if channels != expected:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {size_of(weight)}, expected input{size_of(input)} "
            f"to have {expected} channels, but got {channels} channels instead"
        )
    _positions(function, input)
    _bias(weight, bias, weight.shape[0])
    _dtypes(function, input, weight, bias)
    padded = [size + sum(sides) for size, sides in zip(input.shape[-axes:], padding, strict=True)]
    kernel = [
        effective_kernel_size(size, step) for size, step in zip(weight.shape[2:], dilation, strict=True)
    ]
    if any(size < taps for size, taps in zip(padded, kernel, strict=True)):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({_by(padded)}). "
            f"Kernel size: ({_by(kernel)}). Kernel size can't be greater than actual input size"
        )
    if _is_empty(function, input) and max(padded) >= 2**31:  # its kernels go through the positions
        raise RuntimeError(f"{function}: padded sizes of an empty batch must be below 2**31, got {padded}")
    arguments.output_size(function, *input.shape[: -axes - 1], *padded)


def transposed(
    function: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    output_padding: Size,
    dilation: Size,
    groups: int,
) -> None:
    """Refuse channels, dtypes and an output_padding that do not fit together."""
    if min(output_padding) < 0:
        raise RuntimeError(f"{function}: negative output_padding is not supported, but got {output_padding=}")
    _channels_of_weight(weight, groups)
    channels = input.shape[-_AXES[function] - 1]
    if channels != weight.shape[0]:
        raise RuntimeError(
            f"Given transposed=1, weight of size {size_of(weight)}, expected input{size_of(input)} "
            f"to have {weight.shape[0]} channels, but got {channels} channels instead"
        )
    _positions(function, input)
    _bias(weight, bias, weight.shape[1] * groups)
    _dtypes(function, input, weight, bias)
    if weight.shape[1] == 0:
        error = IndexError if _is_empty(function, input) else RuntimeError
        raise error(
            f"{function}: non-empty {weight.dim()}D weight tensor expected, but got: {size_of(weight)}"
        )
    numbers = zip(output_padding, stride, dilation, strict=True)
    too_much = any(more >= max(step, distance) for more, step, distance in numbers)
    if too_much and not _is_empty(function, input):  # of which torch does not look at these numbers
        raise RuntimeError(
            f"output padding must be smaller than either stride or dilation, "
            f"but got {output_padding=}, {stride=} and {dilation=}"
        )


def transposed_size(function: str, input: Tensor, output_size: Size) -> None:
    """Refuse a transposed convolution of which nothing is left, where no path of torch's computes one."""
    axes = _AXES[function]
    into_nothing = input.dim() == axes + 2 and input.dtype in (torch.float32, torch.complex64)  # by oneDNN
    if min(output_size) < (0 if into_nothing or _is_empty(function, input) else 1):
        raise RuntimeError(
            f"{function}: Given input size per channel: ({_by(input.shape[-axes:])}). "
            f"Calculated output size per channel: ({_by(output_size)}). Output size is too small"
        )
    arguments.output_size(function, *(size or 1 for size in (*input.shape[: -axes - 1], *output_size)))


def in_one_dtype(
    function: str, input: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the operands in the input's dtype, where others were allowed; an empty batch in torch's."""
    if _is_empty(function, input):
        input = input.to(_dtype_of_empty(input, weight))
    return input, weight.to(input.dtype), bias if bias is None else bias.to(input.dtype)


def _dtype_of_empty(input: Tensor, weight: Tensor) -> torch.dtype:
    """Return the dtype of the convolution of an empty batch, which torch multiplies by one weight.

    Of real numbers, that is `torch.result_type`, which compilers do not trace.
    """
    return input.dtype if _kind(input.dtype) >= _kind(weight.dtype) else weight.dtype


def _kind(dtype: torch.dtype) -> tuple[bool, bool, bool]:
    """Order dtypes: bool, whole numbers, real ones, complex ones."""
    return dtype.is_complex, dtype.is_floating_point, dtype != torch.bool


def _channels_of_weight(weight: Tensor, groups: int) -> None:
    channels = weight.shape[0]
    if channels < groups or channels % groups:
        fault = "at least" if channels < groups else "divisible by"
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be {fault} {groups} at dimension 0, "
            f"but got weight of size {size_of(weight)} instead"
        )


def _positions(function: str, input: Tensor) -> None:
    axes = _AXES[function]
    if 0 in input.shape[-axes:] and 0 not in input.shape[:-axes]:
        raise RuntimeError(
            f"{function}: Only zero batch or zero channel inputs are supported, "
            f"but got input of size: {size_of(input)}"
        )


def _bias(weight: Tensor, bias: Tensor | None, channels: int) -> None:
    if bias is not None and (bias.dim() != 1 or bias.shape[0] != channels):
        raise RuntimeError(
            f"Given weight of size {size_of(weight)}, expected bias to be 1-dimensional with {channels} "
            f"elements, but got bias of size {size_of(bias)} instead"
        )


def _dtypes(function: str, input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Refuse dtypes that differ, or that torch has no convolution of.

    Of an empty batch of real numbers torch looks at the bias alone, which it adds where it is transposed.
    """
    if _is_empty(function, input) and not (input.dtype.is_complex or weight.dtype.is_complex):
        if bias is None:
            return
        added = "transpose" in function and _kind(bias.dtype) <= _kind(_dtype_of_empty(input, weight))
        if bias.dtype != input.dtype and not added:
            raise RuntimeError(
                f"{function}: Input type ({input.dtype}) and bias type ({bias.dtype}) should be the same"
            )
        return
    whole = not (input.dtype.is_floating_point or input.dtype.is_complex)
    if input.dtype == torch.bool or ("transpose" in function and whole and input.dtype != torch.int64):
        raise NotImplementedError(f"{function} is not implemented for {input.dtype}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is None or tensor.dtype == input.dtype:
            continue
        # torch adds the bias of a transposed convolution as it adds any two tensors, but not to volumes
        adds = function in ("conv_transpose1d", "conv_transpose2d")
        added = name == "bias" and adds and not input.dtype.is_complex
        if not (added and torch.can_cast(tensor.dtype, input.dtype)):
            raise RuntimeError(
                f"{function}: Input type ({input.dtype}) and {name} type ({tensor.dtype}) should be the same"
            )


def _is_empty(function: str, input: Tensor) -> bool:
    return input.dim() == _AXES[function] + 2 and input.shape[0] == 0


def _by(sizes: Any) -> str:
    return " x ".join(str(size) for size in sizes)
