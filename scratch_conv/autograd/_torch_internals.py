"""The private parts of torch that this package uses; no other file names one.

(Protected methods that a layer inherits from `torch.nn`, such as `_conv_forward`, stand in `nn`.)

Each is looked up when this module is imported. Where a version of torch lacks one, what it serves goes by
public names instead, as the functions below say: more slowly, and with the same results.
"""

import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
import torch.autograd.forward_ad as fwAD
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

__all__ = [
    "builtins_of",
    "in_torch_func",
    "in_torchscript",
    "may_preserve_version",
    "preserved_version",
    "refuse_backward_after_writes",
    "reshaped",
    "suggested_memory_format",
]

NAMES: list[str] = []
"""Every private name that is looked up, as `pkgutil.resolve_name` takes it."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _find(name: str) -> Any:
    """Return the object of this name, or None where this version of torch has none."""
    NAMES.append(name)
    try:
        return pkgutil.resolve_name(name)
    except (AttributeError, ImportError):
        return None


_count_dispatch_modes = _find("torch:_C._len_torch_dispatch_stack")
_count_function_modes = _find("torch:_C._len_torch_function_stack")
_function_mode_at = _find("torch:_C._get_function_stack_at")
_push_function_mode = _find("torch:_C._push_on_torch_function_stack")
_pop_function_mode = _find("torch:_C._pop_torch_function_stack")
_tracing_state = _find("torch:_C._get_tracing_state")
_profiler_enabled = _find("torch:_C._autograd._profiler_enabled")
_dispatch_keys = _find("torch:_C._dispatch_keys")
_will_execute = _find("torch:_C._will_engine_execute_node")
_level_of_transforms = _find("torch:_C._functorch.maybe_current_level")
_stack_of_transforms = _find("torch:_C._functorch.get_interpreter_stack")
_transform_types = _find("torch:_C._functorch.TransformType")
_has_level_of_forward_mode = _find("torch.autograd.forward_ad:_current_level") is not None
_set_forward_mode = _find("torch.autograd.forward_ad:_set_fwd_grad_enabled")
_is_view = _find("torch:Tensor._is_view")
_reshape_without_view = _find("torch:ops.aten._unsafe_view")
_preserve_version = _find("torch.autograd:_unsafe_preserve_version_counter")
_suggest_memory_format = _find("torch._prims_common:suggest_memory_format")
_strides_by_elements = _find("torch._prims_common:compute_elementwise_output_strides")

_bfloat16_in_onednn = _find("torch:ops.mkldnn._is_mkldnn_bf16_supported")
_float16_in_onednn = _find("torch:ops.mkldnn._is_mkldnn_fp16_supported")

_decompositions = _find("torch:_decomp.decomposition_table")
_shape_functions = _find("torch:_decomp.meta_table")

_adaptive_avg_pool2d = _find("torch:_C._nn.adaptive_avg_pool2d")
_max_pool2d_with_indices = _find("torch:_C._nn.max_pool2d_with_indices")
_adaptive_avg_pool3d = _find("torch:_C._nn.adaptive_avg_pool3d")
_max_pool3d_with_indices = _find("torch:_C._nn.max_pool3d_with_indices")
_adaptive_max_pool2d = _find("torch:_C._nn.adaptive_max_pool2d")
_adaptive_max_pool3d = _find("torch:_C._nn.adaptive_max_pool3d")
_nearest_exact = [_find(f"torch:ops.aten._upsample_nearest_exact{axes}d") for axes in (1, 2, 3)]
_antialiased = {
    "linear": _find("torch:ops.aten._upsample_bilinear2d_aa"),
    "cubic": _find("torch:ops.aten._upsample_bicubic2d_aa"),
}
_pad = _find("torch:_C._nn.pad")
_im2col = _find("torch:_C._nn.im2col")
_col2im = _find("torch:_C._nn.col2im")


def constant_while_tracing(function: _Function) -> _Function:
    """Let dynamo call a function while it traces, and take its result for a constant.

    This is what `torch.compiler.assume_constant_result` does, without loading dynamo, which would double the
    time that `import scratch_conv.nn` takes. Where dynamo does not know the mark, it traces the function.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant_while_tracing
def num_threads() -> int:
    """Return what `torch.get_num_threads` does, which dynamo does not trace."""
    return torch.get_num_threads()


@constant_while_tracing
def in_torch_func() -> bool:
    """Return whether a transform of `torch.func` is active; without the private name, from an error."""
    if _level_of_transforms is not None:
        return _level_of_transforms() is not None
    try:
        torch.autograd.backward(())  # refused within a transform; without tensors it does nothing
    except RuntimeError:
        return True
    return False


@constant_while_tracing
def in_transform() -> bool:
    """Return whether forward mode or a transform of `torch.func` is active."""
    return in_torch_func() or _in_forward_mode()


def _in_forward_mode() -> bool:
    if _has_level_of_forward_mode:
        return fwAD._current_level >= 0
    try:
        fwAD.make_dual(torch.zeros(()), torch.zeros(()))  # type: ignore[no-untyped-call]  # else refused
    except RuntimeError:
        return False
    return True


def in_torchscript() -> bool:
    """Return whether `torch.jit.trace` is recording, directly or for `torch.onnx`."""
    if _tracing_state is not None:
        return _tracing_state() is not None
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def may_be_in_nested_forward_mode() -> bool:
    """Return whether two transforms in forward mode are active, one within the other; True if unknown."""
    if not in_torch_func():
        return False
    if _stack_of_transforms is None or _transform_types is None:
        return True
    stack = _stack_of_transforms() or []
    return sum(interpreter.key() == _transform_types.Jvp for interpreter in stack) > 1


def forward_mode_enabled() -> AbstractContextManager[Any]:
    """Return a context in which tangents are computed, also within the `jvp` of a Function.

    Raises:
        RuntimeError: this version of torch has no such context.
    """
    if _set_forward_mode is None:
        raise RuntimeError("forward mode within forward mode is not available with this version of torch")
    return _set_forward_mode(True)


def _keys_of_plain_tensors() -> set[int]:
    with torch.inference_mode():
        in_inference = torch.empty(0)
    return {_dispatch_keys(tensor).raw_repr() for tensor in (torch.empty(0), in_inference)}


_OBSERVERS = (_count_dispatch_modes, _count_function_modes, _tracing_state, _profiler_enabled)
_CAN_SKIP_DISPATCHER = None not in (*_OBSERVERS, _dispatch_keys)
_PLAIN = _keys_of_plain_tensors() if _CAN_SKIP_DISPATCHER else set()
"""The dispatch keys of tensors with data on the CPU that are no wrapper of another, nor lazily conjugated."""


def _in_own_mode_alone() -> bool:
    """Return whether the only function mode is one of this package, which does not look at operators."""
    alone = CAN_GO_BENEATH and _count_function_modes() == 1
    return alone and getattr(_function_mode_at(0), "ignores_operators", False)


def unseen(args: Sequence[Any]) -> bool:
    """Return whether tensors are plain ones, and no mode, transform, tracer or profiler is active.

    Where one of the private names is missing, this is not known, and every operator is dispatched.
    """
    return (
        _CAN_SKIP_DISPATCHER
        and _count_dispatch_modes() == 0
        and (_count_function_modes() == 0 or _in_own_mode_alone())
        and not in_transform()
        and _tracing_state() is None
        and not _profiler_enabled()
        and all(
            _dispatch_keys(arg).raw_repr() in _PLAIN and type(arg) in (Tensor, Parameter)
            for arg in args
            if isinstance(arg, Tensor)
        )
    )


_STACK_OF_FUNCTION_MODES = (_count_function_modes, _function_mode_at, _push_function_mode, _pop_function_mode)
CAN_GO_BENEATH = None not in _STACK_OF_FUNCTION_MODES


def in_function_mode() -> bool:
    """Return whether a `TorchFunctionMode` is active; False where none can be put `beneath` it anyway."""
    return CAN_GO_BENEATH and _count_function_modes() > 0


@contextmanager
def beneath(mode: Any) -> Iterator[None]:
    """Put a mode at the bottom of the stack of active function modes, unless one of its class is there."""
    if type(_function_mode_at(0)) is type(mode):
        yield
        return
    above = [_pop_function_mode() for _ in range(_count_function_modes())]
    for each in (mode, *reversed(above)):
        _push_function_mode(each)
    try:
        yield
    finally:
        for _ in (mode, *above):
            _pop_function_mode()
        for each in reversed(above):
            _push_function_mode(each)


_TRACED = tuple(
    found
    for found in (
        _find("torch._subclasses.fake_tensor:FakeTensor"),
        _find("torch._subclasses.functional_tensor:FunctionalTensor"),
    )
    if found is not None
)


def is_traced(tensor: Tensor) -> bool:
    """Return whether a tensor stands for a plain one while torch traces; True if unknown."""
    return len(_TRACED) < 2 or isinstance(tensor, _TRACED)


def will_run(node: Any) -> bool:
    """Return whether the current backward pass will execute a node of the graph; True if unknown."""
    if _will_execute is None or torch.compiler.is_dynamo_compiling():  # of compiled autograd
        return True
    try:
        return bool(_will_execute(node))
    except RuntimeError:  # a leaf of autograd.grad, or no backward pass is under way
        return True


def may_be_view(tensor: Tensor) -> bool:
    """Return whether a tensor is a view of another; True if unknown."""
    return _is_view is None or bool(_is_view(tensor))


def reshaped(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Reshape a tensor that nobody else holds, without making it a view; without the private name, by a copy.

    Torch's own layers return no views either: a view may not be detached in place, nor written to after
    no_grad.
    """
    if _reshape_without_view is None:
        return tensor.reshape(tuple(shape)).clone()
    return _reshape_without_view(tensor, shape)


def may_preserve_version() -> bool:
    """Return whether `preserved_version` hides writes from autograd, as it does not within a transform."""
    return _preserve_version is not None and not (torch.compiler.is_compiling() or in_torch_func())


def preserved_version(tensor: Tensor) -> AbstractContextManager[Any]:
    """Return a context in which writes to a tensor are hidden from autograd.

    Without the private name they are not, and torch refuses a backward pass that needs the earlier values.
    A tensor of inference mode has no version, and is written in that mode alone.
    """
    if tensor.is_inference():
        return torch.inference_mode()
    return nullcontext() if _preserve_version is None else _preserve_version(tensor)


def refuse_backward_after_writes(output: Tensor, other: Tensor) -> None:
    """Let the backward pass of `output` fail once `other` was written into, as if it had been saved for it.

    Without the private name, and while something traces, nothing is refused.
    """
    if torch.compiler.is_compiling() or in_torch_func():
        return
    node = output.grad_fn
    if node is None or not hasattr(other, "_version"):
        return
    version = other._version

    def check(_: Any) -> None:
        if other._version != version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace "
                f"operation: the indices are at version {other._version}; expected version {version} instead"
            )

    node.register_prehook(check)


def suggested_memory_format(tensor: Tensor) -> torch.memory_format:
    """Return the memory format that torch's operators give a result for the strides of this tensor.

    Without the private name, tensors with gaps and those whose strides suit several formats are contiguous.
    """
    if _suggest_memory_format is not None:
        return _suggest_memory_format(tensor)
    format = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.dim(), torch.contiguous_format)
    suits = tensor.is_contiguous(memory_format=format) and not tensor.is_contiguous()
    return format if suits else torch.contiguous_format


HALVES_OF_ONEDNN = {
    dtype
    for dtype, is_supported in (
        (torch.bfloat16, _bfloat16_in_onednn),
        (torch.float16, _float16_in_onednn),
    )
    if is_supported is not None and is_supported()
}
"""The dtypes of half precision in which oneDNN computes convolutions on this processor; none if unknown."""


def strides_by_elements(first: Tensor, second: Tensor) -> tuple[int, ...]:
    """Return the strides that torch gives what it computes by elements of two tensors of one shape.

    Without the private name, those of the result of one of them.
    """
    if _strides_by_elements is not None:
        return tuple(_strides_by_elements(first, second))
    return torch.empty_like(first, device="meta").stride()


def builtins_of(function: Any) -> tuple[Any, ...]:
    """Return the builtin that a function of `torch.nn.functional` calls, if it has only a private name."""
    builtins = {
        F.adaptive_avg_pool2d: _adaptive_avg_pool2d,
        F.max_pool2d_with_indices: _max_pool2d_with_indices,
        F.adaptive_avg_pool3d: _adaptive_avg_pool3d,
        F.max_pool3d_with_indices: _max_pool3d_with_indices,
        F.adaptive_max_pool2d_with_indices: _adaptive_max_pool2d,
        F.adaptive_max_pool3d_with_indices: _adaptive_max_pool3d,
        F.pad: _pad,
        F.unfold: _im2col,
        F.fold: _col2im,
    }
    return (builtins[function],) if builtins[function] is not None else ()


def register_decomposition(operator: Any, decomposition: Callable[..., Any]) -> None:
    """Let exporters replace an operator by others; without the private names, they refuse the operator.

    Being in the second table, it keeps the shapes that `register_fake` computes; tracing with symbolic sizes
    would run the decomposition instead.
    """
    if _decompositions is not None and _shape_functions is not None:
        _decompositions[operator] = _shape_functions[operator] = decomposition


def interpolation(mode: str, axes: int, antialias: bool) -> Any:
    """Return torch's operator of a mode: nearest, nearest-exact, linear or cubic, for its decomposition.

    Raises:
        NotImplementedError: this version of torch lacks it.
    """
    found: Any
    if antialias:
        found = _antialiased[mode]
    elif mode == "nearest-exact":
        found = _nearest_exact[axes - 1]
    else:
        kind = {1: "linear", 2: "bilinear", 3: "trilinear"}[axes] if mode == "linear" else mode
        found = getattr(torch.ops.aten, f"upsample_{'bicubic' if kind == 'cubic' else kind}{axes}d")
    if found is None:
        raise NotImplementedError(f"this version of torch has no operator for {mode}, {antialias=}")
    return found


def let_inductor_call_operators() -> None:
    """Let inductor, once it is loaded, call the operators that have a decomposition, as it calls all others.

    Else it refuses them wherever the environment variable CI is set: a decomposition exists.
    """
    inductor: Any = sys.modules.get("torch._inductor.lowering")
    if _decompositions is None or not hasattr(inductor, "make_fallback"):
        return
    for operator in _decompositions.keys() - inductor.lowerings.keys():
        if getattr(operator, "namespace", "") == "scratch_conv":
            inductor.make_fallback(operator, inductor.constrain_to_fake_tensors, warn=False)
