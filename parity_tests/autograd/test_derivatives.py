"""Derivatives of every order and mode, against finite differences and against torch's own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import scratch_conv as sc
import scratch_conv.autograd  # registers the operators

SMALL = st.integers(1, 2)
CONVOLUTIONS = st.fixed_dictionaries(
    {
        "stride": st.tuples(SMALL, SMALL),
        "padding": st.tuples(st.integers(0, 2), st.integers(0, 2)),
        "dilation": st.tuples(SMALL, SMALL),
        "groups": SMALL,
    }
)
POOLINGS = st.fixed_dictionaries(
    {
        "kernel_size": st.sampled_from([2, 3, (2, 3)]),
        "stride": st.tuples(SMALL, SMALL),
        "padding": st.integers(0, 1),
        "dilation": SMALL,
        "ceil_mode": st.booleans(),
    }
)


TRANSPOSED = st.fixed_dictionaries(
    {
        "stride": st.tuples(SMALL, SMALL),
        "padding": st.tuples(st.integers(0, 1), st.integers(0, 1)),
        "dilation": st.tuples(st.integers(2, 3), st.just(2)),
        "output_padding": st.tuples(st.integers(0, 1), st.integers(0, 1)),
        "groups": SMALL,
    }
)


def operands(groups: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    shapes = (2, 2 * groups, 5, 4), (3 * groups, 2, 3, 2), (3 * groups,)
    x, w, b = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)
    return x, w, b


def transposed_operands(groups: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    shapes = (2, 2 * groups, 3, 2), (2 * groups, 1, 2, 2), (groups,)
    x, w, b = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)
    return x, w, b


def distinct(*shape: int) -> Tensor:
    """Numbers far enough from each other that a finite difference meets no tie."""
    torch.manual_seed(0)
    count = int(torch.tensor(shape).prod())
    return torch.randperm(count).to(torch.float64).reshape(shape).requires_grad_()


def check_both_orders(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    assert torch.autograd.gradcheck(
        function, inputs, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert torch.autograd.gradgradcheck(function, inputs, check_fwd_over_rev=True, check_batched_grad=True)


@settings(max_examples=5, deadline=None)
@given(CONVOLUTIONS, st.booleans())
def test_conv2d_passes_gradcheck_in_every_mode(arguments: dict[str, Any], with_bias: bool) -> None:
    x, w, b = operands(arguments["groups"])
    inputs = (x, w, b) if with_bias else (x, w)
    check_both_orders(lambda x, w, b=None: sc.functional.conv2d(x, w, b, **arguments), inputs)


@settings(max_examples=3, deadline=None)
@given(CONVOLUTIONS)
def test_conv1d_passes_gradcheck_in_every_mode(arguments: dict[str, Any]) -> None:
    x, w, b = operands(arguments["groups"])
    of_rows = {name: numbers if name == "groups" else numbers[1] for name, numbers in arguments.items()}
    inputs = (x[:, :, 0].detach().requires_grad_(), w[:, :, 0].detach().requires_grad_(), b)
    check_both_orders(lambda x, w, b: sc.functional.conv1d(x, w, b, **of_rows), inputs)


@settings(max_examples=4, deadline=None)
@given(TRANSPOSED, st.booleans())
def test_conv_transpose2d_passes_gradcheck_in_every_mode(arguments: dict[str, Any], with_bias: bool) -> None:
    x, w, b = transposed_operands(arguments["groups"])
    inputs = (x, w, b) if with_bias else (x, w)
    check_both_orders(lambda x, w, b=None: sc.functional.conv_transpose2d(x, w, b, **arguments), inputs)


@settings(max_examples=2, deadline=None)
@given(CONVOLUTIONS, TRANSPOSED)
def test_convolutions_of_volumes_pass_gradcheck_in_every_mode(
    arguments: dict[str, Any], transposed: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    groups, f = arguments["groups"], sc.functional

    def operands(*shapes: tuple[int, ...]) -> tuple[Tensor, ...]:
        return tuple(torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)

    def of_volumes(drawn: dict[str, Any]) -> dict[str, Any]:
        return {name: (1, *drawn[name]) for name in ("stride", "dilation")} | {"groups": groups}

    inputs = operands((2, groups, 3, 2, 3), (2, 1, 2, 1, 2), (2,))
    check_both_orders(lambda x, w, b: f.conv3d(x, w, b, padding=1, **of_volumes(arguments)), inputs)
    inputs, extra = (
        operands((1, groups, 2, 1, 2), (groups, 1, 2, 2, 1), (groups,)),
        transposed["output_padding"],
    )
    further = {**of_volumes(transposed), "output_padding": (0, *extra), "padding": (1, 0, 0)}
    check_both_orders(lambda x, w, b: f.conv_transpose3d(x, w, b, **further), inputs)


def test_complex_conv2d_passes_gradcheck() -> None:
    x, w, b = operands(1, torch.complex128)
    torch.testing.assert_close(sc.functional.conv2d(x, w, b), F.conv2d(x, w, b), rtol=1e-13, atol=1e-13)
    assert torch.autograd.gradcheck(sc.functional.conv2d, (x, w, b))
    assert torch.autograd.gradgradcheck(sc.functional.conv2d, (x, w, b))


def test_complex_conv_transpose2d_passes_gradcheck() -> None:
    x, w, b = transposed_operands(1, torch.complex128)
    ours, torchs = sc.functional.conv_transpose2d(x, w, b), F.conv_transpose2d(x, w, b)
    torch.testing.assert_close(ours, torchs, rtol=1e-13, atol=1e-13)
    assert torch.autograd.gradcheck(sc.functional.conv_transpose2d, (x, w, b))
    assert torch.autograd.gradgradcheck(sc.functional.conv_transpose2d, (x, w, b))


@settings(max_examples=5, deadline=None)
@given(POOLINGS)
def test_max_pool2d_passes_gradcheck_in_every_mode(arguments: dict[str, Any]) -> None:
    check_both_orders(lambda x: sc.functional.max_pool2d(x, **arguments), (distinct(2, 2, 6, 6),))


IN_DIMS = st.tuples(*[st.sampled_from([None, 0, 1, -1])] * 3).filter(any)


def check_vmap(
    name: str, tensors: tuple[Tensor, ...], arguments: dict[str, Any], in_dims: tuple[Any, ...]
) -> None:
    def batched(tensor: Tensor, dim: int | None) -> Tensor:
        return tensor if dim is None else torch.stack([tensor, -tensor, 2 * tensor], dim)

    inputs = [batched(tensor.detach(), dim) for tensor, dim in zip(tensors, in_dims, strict=True)]
    ours, torchs = (
        torch.func.vmap(lambda *a, room=room: getattr(room, name)(*a, **arguments), in_dims)(*inputs)
        for room in (sc.functional, F)
    )
    torch.testing.assert_close(ours, torchs, rtol=1e-13, atol=1e-13)


AVERAGES = st.fixed_dictionaries(
    {
        "kernel_size": st.sampled_from([2, 3, (2, 3)]),
        "stride": st.tuples(SMALL, SMALL),
        "padding": st.integers(0, 1),
        "ceil_mode": st.booleans(),
        "count_include_pad": st.booleans(),
        "divisor_override": st.sampled_from([None, 3]),
    }
)
BIN_COUNTS = st.fixed_dictionaries(
    {"output_size": st.one_of(st.just(1), st.tuples(st.integers(1, 7), st.sampled_from([2, 3, None])))}
)


@settings(max_examples=4, deadline=None)
@given(AVERAGES)
def test_avg_pool2d_passes_gradcheck_in_every_mode(arguments: dict[str, Any]) -> None:
    check_both_orders(lambda x: sc.functional.avg_pool2d(x, **arguments), (distinct(2, 2, 5, 4),))


@settings(max_examples=4, deadline=None)
@given(BIN_COUNTS)
def test_adaptive_avg_pool2d_passes_gradcheck_in_every_mode(arguments: dict[str, Any]) -> None:
    check_both_orders(lambda x: sc.functional.adaptive_avg_pool2d(x, **arguments), (distinct(2, 2, 5, 4),))


@settings(max_examples=25, deadline=None)
@given(CONVOLUTIONS, IN_DIMS)
def test_vmap_of_conv2d(arguments: dict[str, Any], in_dims: tuple[Any, ...]) -> None:
    check_vmap("conv2d", operands(arguments["groups"]), arguments, in_dims)


@settings(max_examples=25, deadline=None)
@given(TRANSPOSED, IN_DIMS)
def test_vmap_of_conv_transpose2d(arguments: dict[str, Any], in_dims: tuple[Any, ...]) -> None:
    check_vmap("conv_transpose2d", transposed_operands(arguments["groups"]), arguments, in_dims)


@settings(max_examples=10, deadline=None)
@given(AVERAGES, BIN_COUNTS, st.sampled_from([0, 1, 2, -1]))
def test_vmap_of_average_poolings(windows: dict[str, Any], bins: dict[str, Any], in_dim: int) -> None:
    x = distinct(1, 2, 7, 7)
    check_vmap("avg_pool2d", (x,), windows, (in_dim,))
    check_vmap("adaptive_avg_pool2d", (x,), bins, (in_dim,))


@settings(max_examples=10, deadline=None)
@given(POOLINGS, st.sampled_from([0, 1, 2, -1]))
def test_vmap_of_max_pool2d(arguments: dict[str, Any], in_dim: int) -> None:
    def pool(function: Callable[..., Any]) -> Any:
        called = torch.func.vmap(lambda x: function(x, **arguments, return_indices=True), in_dim)
        return called(torch.stack([distinct(1, 2, 7, 7).detach()] * 3, in_dim))

    for ours, torchs in zip(pool(sc.functional.max_pool2d), pool(F.max_pool2d), strict=True):
        assert torch.equal(ours, torchs)


@pytest.mark.parametrize("in_dims", [(1, None), (None, 0), (0, 1)])
@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
def test_vmap_of_parameters_leaves_running_statistics_to_one_batch(name: str, in_dims: Any) -> None:
    x = distinct(2, 3, 4, 4).detach()
    affine = [torch.randn(*([3] if dim is None else [3, 3]), dtype=torch.float64) for dim in in_dims]

    def normalized(library: Any) -> list[Tensor]:
        statistics = x.new_zeros(3), x.new_ones(3)

        def one(weight: Tensor, bias: Tensor) -> Any:
            return getattr(library, name)(x, *statistics, weight, bias, True)

        return [torch.func.vmap(one, in_dims)(*affine), *statistics]

    torch.testing.assert_close(normalized(sc.functional), normalized(F), rtol=1e-12, atol=1e-12)


def test_per_sample_gradients() -> None:
    x, w, b = (t.detach() for t in operands(1))

    def loss(function: Callable[..., Tensor], w: Tensor, b: Tensor, image: Tensor) -> Tensor:
        return F.max_pool2d(function(image[None], w, b), 2).pow(2).sum()

    def gradients(function: Callable[..., Tensor]) -> Any:
        one = torch.func.grad(lambda w, b, p: loss(function, w, b, p), argnums=(0, 1))
        return torch.func.vmap(one, (None, None, 0))(w, b, x)

    torch.testing.assert_close(gradients(sc.functional.conv2d), gradients(F.conv2d), rtol=1e-12, atol=1e-12)


def test_hessian_and_jacobians() -> None:
    x, w, _ = (t.detach() for t in operands(1))
    forward, reverse = torch.func.jacfwd, torch.func.jacrev

    def energy(library: Any) -> Callable[[Tensor], Tensor]:
        return lambda x: library.max_pool2d(library.avg_pool2d(library.conv2d(x, w), 2, 1), 2, 1).pow(3).sum()

    nestings: list[list[Any]] = [[forward], [reverse], [forward, reverse], [forward, forward]]
    nestings += [[reverse, forward, forward], [forward, reverse, forward], [forward, forward, forward]]
    for nesting in nestings:
        ours, torchs = energy(sc.functional), energy(F)
        for transform in nesting:
            ours, torchs = transform(ours), transform(torchs)
        torch.testing.assert_close(ours(x), torchs(x), rtol=1e-11, atol=1e-11)


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of opcheck's own making
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d", "conv2d_grad_weight", "conv2d_grad_bias"])
def test_operators_of_convolution_pass_opcheck(name: str, channels_last: bool) -> None:
    x, w, b = operands(2)
    geometry = (channels_last, [2, 1], [1, 1, 0, 2], [1, 2], 2)
    y = torch.ops.scratch_conv.conv2d(x, w, b, *geometry).detach().requires_grad_()
    inputs = {
        "conv2d": (x, w, b, *geometry),
        "conv_transpose2d": (y, w, x[0, :, 0, 0].detach().requires_grad_(), [5, 4], *geometry),
        "conv2d_grad_weight": (y, x, [3, 2], *geometry),
        "conv2d_grad_bias": (y,),
    }[name]
    torch.library.opcheck(getattr(torch.ops.scratch_conv, name).default, inputs)


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize("name", ["conv3d", "conv_transpose3d", "conv3d_grad_weight", "conv3d_grad_bias"])
def test_operators_of_convolution_of_volumes_pass_opcheck(name: str) -> None:
    x, w, b = (
        torch.randn(shape).double().requires_grad_() for shape in ((2, 2, 3, 4, 2), (4, 1, 2, 3, 1), (4,))
    )
    geometry = (True, [2, 1, 1], [1, 1, 0, 2, 0, 0], [1, 2, 1], 2)
    y = torch.ops.scratch_conv.conv3d(x, w, b, *geometry).detach().requires_grad_()
    inputs = {
        "conv3d": (x, w, b, *geometry),
        "conv_transpose3d": (y, w, b[:2].detach().requires_grad_(), [3, 4, 2], *geometry),
        "conv3d_grad_weight": (y, x, [2, 3, 1], *geometry),
        "conv3d_grad_bias": (y,),
    }[name]
    torch.library.opcheck(getattr(torch.ops.scratch_conv, name).default, inputs)


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize("kernel_size", [[3, 3], [17, 17]])
@pytest.mark.parametrize(
    "name", ["max_pool2d", "max_pool2d_scatter", "max_pool2d_gather", "max_pool2d_indices"]
)
def test_operators_of_max_pooling_pass_opcheck(name: str, kernel_size: list[int]) -> None:
    x = distinct(1, 2, 18, 18)
    window = (kernel_size, [2, 2], [1, 1, 1, 1], [1, 1])
    y, places = torch.ops.scratch_conv.max_pool2d(x, True, *window)
    inputs = {
        "max_pool2d": (x, True, *window),
        "max_pool2d_scatter": (y.detach().requires_grad_(), places, x, [18, 18], True, *window),
        "max_pool2d_gather": (x, places, *window),
        "max_pool2d_indices": (places,),
    }[name]
    torch.library.opcheck(getattr(torch.ops.scratch_conv, name).default, inputs)


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", ["avg_pool2d", "adaptive_avg_pool2d"])
def test_operators_of_average_pooling_pass_opcheck(name: str, channels_last: bool) -> None:
    window = (False, None, [2, 3], [2, 1], [1, 1, 0, 0]) if name == "avg_pool2d" else ()
    x, y = distinct(2, 3, 5, 6), distinct(2, 3, 3, 4)
    for operator, *values, size in ((name, x, [3, 4]), (f"{name}_grad_input", y, x, [5, 6])):
        arguments = (*values, size, channels_last, *window)
        torch.library.opcheck(getattr(torch.ops.scratch_conv, operator).default, arguments)


class _WithoutGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> None:
        return None


@pytest.mark.parametrize("library", [torch.nn.functional, sc.functional])
def test_max_pooling_passes_on_that_there_is_no_gradient(library: Any) -> None:
    x = torch.randn(1, 1, 4, 4, requires_grad=True)
    loss = _WithoutGradient.apply(library.max_pool2d(x, 2)).sum()
    (grad,) = torch.autograd.grad(loss, x, allow_unused=True)
    assert grad is None
