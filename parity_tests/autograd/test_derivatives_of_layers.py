"""Derivatives of dense layers, activations, normalization and losses: every order, mode and transform."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import scratch_conv as sc
import scratch_conv.autograd  # registers the operators

DOUBLE = torch.float64


def drawn(*shape: int, dtype: torch.dtype = DOUBLE) -> Tensor:
    """Draw numbers that are not near to zero, where relu has a corner."""
    values = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape)))
    return values + 0.1 * values.sgn()


def seeded(function: Any, *args: Any) -> Any:
    """Call with the same random numbers each time."""
    torch.manual_seed(0)
    return function(*args, 0.4)


def quietly(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call without the warning that sizes differ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


CLASSES = torch.tensor([[0, 2], [1, 3], [2, 2]])
PLACES = torch.tensor([[[3, 0], [2, 1]], [[0, 1], [3, 2]]])
STATISTICS = drawn(2), drawn(2).square()
GAINS = drawn(3), drawn(2, 1)
OTHERS = drawn(6).reshape(2, 3), drawn(1, 6).reshape(2, 3)

ACTIVATIONS = (
    *(
        "celu",
        "elu",
        "gelu",
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "mish",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
    ),
    *("softplus", "softsign", "tanh"),
)

# A function of one of the two libraries and of tensors, and the tensors.
Call = tuple[Callable[..., Any], tuple[Tensor, ...]]
CALLS: dict[str, Call] = {
    "linear": (lambda f, x, w, b: f.linear(x, w, b), (drawn(2, 3, 4), drawn(5, 4), drawn(5))),
    "linear to a number": (lambda f, x, w: f.linear(x, w), (drawn(3, 4), drawn(4))),
    "linear, a bias for each row": (
        lambda f, x, w, b: f.linear(x, w, b),
        (drawn(3, 4), drawn(2, 4), drawn(3, 2)),
    ),
    "relu": (lambda f, x: f.relu(x), (drawn(2, 3),)),
    "relu in place": (lambda f, x: f.relu(x * 1, inplace=True), (drawn(2, 3),)),
    **{name: (lambda f, x, name=name: getattr(f, name)(x), (drawn(2, 3),)) for name in ACTIVATIONS},
    "celu in place": (lambda f, x: f.celu(x * 1, 1.5, inplace=True), (drawn(2, 3),)),
    "silu in place": (lambda f, x: f.silu(x * 1, inplace=True), (drawn(2, 3),)),
    "gelu, tanh": (lambda f, x: f.gelu(x, approximate="tanh"), (drawn(2, 3),)),
    "prelu": (lambda f, x, w: f.prelu(x, w), (drawn(2, 3, 2), drawn(3))),
    "prelu of one weight": (lambda f, x, w: f.prelu(x, w), (drawn(4), drawn(1))),
    "batch_norm in training": (
        lambda f, x, w, b: f.batch_norm(x, None, None, w, b, True),
        (drawn(3, 2, 2), drawn(2), drawn(2) + 1),
    ),
    "batch_norm in training, not affine": (
        lambda f, x: f.batch_norm(x, None, None, None, None, True),
        (drawn(3, 2, 2),),
    ),
    "batch_norm in evaluation": (
        lambda f, x, w, b: f.batch_norm(x, *STATISTICS, w, b),
        (drawn(3, 2, 2), drawn(2), drawn(2) + 1),
    ),
    "layer_norm": (
        lambda f, x, w, b: f.layer_norm(x, (2, 3), w, b),
        (drawn(2, 2, 3), drawn(2, 3), drawn(2, 3) + 1),
    ),
    "layer_norm, not affine": (lambda f, x: f.layer_norm(x, (3,)), (drawn(2, 3),)),
    "layer_norm, a bias alone": (lambda f, x, b: f.layer_norm(x, (3,), None, b), (drawn(2, 3), drawn(3))),
    "group_norm": (
        lambda f, x, w, b: f.group_norm(x, 2, w, b),
        (drawn(2, 4, 2), drawn(4), drawn(4) + 1),
    ),
    "group_norm, not affine": (lambda f, x: f.group_norm(x, 1), (drawn(2, 2, 2),)),
    "instance_norm": (
        lambda f, x, w, b: f.instance_norm(x, None, None, w, b),
        (drawn(2, 2, 3), drawn(2), drawn(2) + 1),
    ),
    "instance_norm in evaluation": (
        lambda f, x, w, b: f.instance_norm(x, *STATISTICS, w, b, False),
        (drawn(2, 2, 3), drawn(2), drawn(2) + 1),
    ),
    "local_response_norm": (
        lambda f, x: f.local_response_norm(x, 2, 0.7, 0.6, 1.3),
        (drawn(2, 3, 2),),
    ),
    "max_pool3d": (lambda f, x: f.max_pool3d(x, 2, 1, 1, (1, 2, 1)), (drawn(1, 2, 2, 3, 2),)),
    "max_pool3d without overlap": (lambda f, x: f.max_pool3d(x, (2, 1, 2)), (drawn(1, 2, 2, 2, 2),)),
    "avg_pool3d": (lambda f, x: f.avg_pool3d(x, 2, 1, 1, count_include_pad=False), (drawn(1, 2, 2, 3, 2),)),
    "adaptive_avg_pool3d": (lambda f, x: f.adaptive_avg_pool3d(x, (2, 1, 3)), (drawn(1, 1, 3, 2, 2),)),
    "adaptive_avg_pool3d to one": (lambda f, x: f.adaptive_avg_pool3d(x, 1), (drawn(1, 2, 1, 2, 2),)),
    "adaptive_max_pool2d": (lambda f, x: f.adaptive_max_pool2d(x, (2, 1)), (drawn(1, 2, 3, 2),)),
    "adaptive_max_pool3d": (lambda f, x: f.adaptive_max_pool3d(x, (2, 1, 2)), (drawn(1, 1, 3, 2, 2),)),
    "max_pool1d": (lambda f, x: f.max_pool1d(x, 2, 1), (drawn(2, 2, 3),)),
    "avg_pool1d": (lambda f, x: f.avg_pool1d(x, 2, 1, 1), (drawn(2, 2, 3),)),
    "adaptive_avg_pool1d": (lambda f, x: f.adaptive_avg_pool1d(x, 2), (drawn(2, 2, 3),)),
    "adaptive_max_pool1d": (lambda f, x: f.adaptive_max_pool1d(x, 2), (drawn(2, 2, 3),)),
    "max_unpool1d": (lambda f, x: f.max_unpool1d(x, PLACES, 2), (drawn(2, 2, 2),)),
    "max_unpool2d": (lambda f, x: f.max_unpool2d(x, PLACES[None], 2, 1), (drawn(1, 2, 2, 2),)),
    "max_unpool3d": (lambda f, x: f.max_unpool3d(x, PLACES[:, None], (1, 2, 2), 1), (drawn(2, 1, 2, 2),)),
    "interpolate": (lambda f, x: f.interpolate(x, scale_factor=1.6, mode="linear"), (drawn(2, 1, 3),)),
    "interpolate, antialias": (
        lambda f, x: f.interpolate(x, size=(2, 3), mode="bicubic", antialias=True),
        (drawn(1, 2, 3, 2),),
    ),
    "interpolate of three axes": (lambda f, x: f.interpolate(x, size=(2, 3, 1)), (drawn(1, 1, 1, 2, 2),)),
    "interpolate, area of one axis": (
        lambda f, x: f.interpolate(x, size=2, mode="area"),
        (drawn(1, 2, 3),),
    ),
    "pad": (lambda f, x: f.pad(x, (1, -1, 0, 1, 1, 0), value=1.5), (drawn(1, 2, 3),)),
    "pad by reflection": (lambda f, x: f.pad(x, (1, 2, 1, -1), "reflect"), (drawn(1, 2, 3),)),
    "pad by the edge": (lambda f, x: f.pad(x, (1, 2), "replicate"), (drawn(2, 1, 2),)),
    "pad in circles": (lambda f, x: f.pad(x, (2, 1, -1, 1), "circular"), (drawn(1, 1, 2, 2),)),
    "unfold": (lambda f, x: f.unfold(x, (2, 1), 1, (1, 0), 2), (drawn(1, 2, 2, 3),)),
    "fold": (lambda f, x: f.fold(x, (2, 3), (1, 2), padding=(0, 1)), (drawn(2, 2, 8),)),
    "pixel_shuffle": (lambda f, x: f.pixel_shuffle(x, 2), (drawn(1, 4, 1, 2),)),
    "pixel_unshuffle": (lambda f, x: f.pixel_unshuffle(x, 2), (drawn(2, 1, 2, 2),)),
    "channel_shuffle": (lambda f, x: f.channel_shuffle(x, 3), (drawn(1, 6, 1),)),
    "softmax": (lambda f, x: f.softmax(x, 1), (drawn(2, 3, 2),)),
    "log_softmax": (lambda f, x: f.log_softmax(x, -1), (drawn(2, 3),)),
    "cross_entropy": (lambda f, x: f.cross_entropy(x, CLASSES), (drawn(3, 4, 2),)),
    "cross_entropy, weighted and smoothed": (
        lambda f, x: f.cross_entropy(
            x, CLASSES, STATISTICS[1].repeat(2), ignore_index=1, reduction="none", label_smoothing=0.2
        ),
        (drawn(3, 4, 2),),
    ),
    "cross_entropy of probabilities": (
        lambda f, x, p, w: f.cross_entropy(x, p, w, label_smoothing=0.2),
        (drawn(2, 3, 2), drawn(2, 3, 2).abs() + 0.1, drawn(3)),
    ),
    "mse_loss": (lambda f, x, t: f.mse_loss(x, t), (drawn(2, 3), OTHERS[0])),
    "mse_loss, weighted": (
        lambda f, x, t, w: f.mse_loss(x, t, weight=w),
        (drawn(2, 3), OTHERS[0], OTHERS[1].abs()),
    ),
    "l1_loss, weighted": (
        lambda f, x, t, w: f.l1_loss(x, t, reduction="none", weight=w),
        (drawn(2, 3), OTHERS[0], OTHERS[1]),
    ),
    "smooth_l1_loss, broadcast": (
        lambda f, x, t: quietly(f.smooth_l1_loss, x, t, beta=0.7),
        (drawn(2, 1, 2), drawn(3, 1)),
    ),
    "huber_loss, weighted": (
        lambda f, x, t, w: f.huber_loss(x, t, delta=0.7, weight=w),
        (drawn(2, 3), OTHERS[0], OTHERS[1]),
    ),
    "binary_cross_entropy": (
        lambda f, x, t: f.binary_cross_entropy(x, t, GAINS[0], reduction="sum"),
        (drawn(2, 3).sigmoid() / 2, OTHERS[0].sigmoid() / 2),
    ),
    "binary_cross_entropy_with_logits": (
        lambda f, x, t: f.binary_cross_entropy_with_logits(x, t),
        (drawn(2, 3), OTHERS[0].sigmoid()),
    ),
    "binary_cross_entropy_with_logits, weighted": (
        lambda f, x, t: f.binary_cross_entropy_with_logits(
            x, t, GAINS[1], reduction="none", pos_weight=GAINS[0].abs()
        ),
        (drawn(2, 3), OTHERS[0].sigmoid()),
    ),
}
RANDOM: dict[str, Call] = {
    "dropout": (lambda f, x: seeded(f.dropout, x), (drawn(3, 4),)),
    "dropout2d": (lambda f, x: seeded(f.dropout2d, x), (drawn(3, 4, 1, 2),)),
    "dropout3d": (lambda f, x: seeded(f.dropout3d, x), (drawn(3, 2, 1, 2),)),
    "alpha_dropout": (
        lambda f, x: seeded(lambda x, p: f.alpha_dropout(x, p, True), x),
        (drawn(3, 4),),
    ),
}


@pytest.mark.parametrize("name", [*CALLS, *RANDOM])
def test_layer_passes_gradcheck_in_every_mode(name: str) -> None:
    function, tensors = {**CALLS, **RANDOM}[name]
    inputs = [tensor.clone().requires_grad_() for tensor in tensors]

    def call(*inputs: Tensor) -> Any:
        return function(sc.functional, *inputs)

    assert torch.autograd.gradcheck(
        call,
        inputs,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=name in CALLS,  # torch refuses to draw random numbers there
    )
    assert torch.autograd.gradgradcheck(call, inputs, check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's unpooling under its vmap
@pytest.mark.parametrize("name", [*CALLS, *RANDOM])
@pytest.mark.parametrize("transform", [torch.func.hessian, torch.func.jacrev, torch.func.jacfwd])
def test_transforms_give_torchs_derivatives(name: str, transform: Any) -> None:
    function, (x, *others) = {**CALLS, **RANDOM}[name]

    def energy(library: Any) -> Callable[[Tensor], Tensor]:
        return lambda x: (function(library, x, *others) + 0.3).pow(3).sum()

    def derivative(library: Any) -> Any:
        if name in RANDOM and transform is torch.func.jacfwd:
            return transform(energy(library), randomness="same")(x)
        if name in RANDOM and transform is torch.func.hessian:
            return torch.func.jacfwd(torch.func.jacrev(energy(library)), randomness="same")(x)
        return transform(energy(library))(x)

    torch.testing.assert_close(derivative(sc.functional), derivative(F), rtol=1e-10, atol=1e-10)


@settings(max_examples=15)
@given(st.data())
@pytest.mark.parametrize("name", CALLS)
def test_vmap_over_any_operands_and_dimensions(name: str, data: st.DataObject) -> None:
    function, tensors = CALLS[name]
    in_dims = tuple(data.draw(st.sampled_from([None, *range(-t.dim() - 1, t.dim() + 1)])) for t in tensors)
    if all(dim is None for dim in in_dims):
        in_dims = (0, *in_dims[1:])
    inputs = [
        tensor if dim is None else torch.stack([tensor, 2 * tensor, tensor / 2], dim)
        for tensor, dim in zip(tensors, in_dims, strict=True)
    ]
    ours = torch.func.vmap(lambda *t: function(sc.functional, *t), in_dims)(*inputs)
    one_by_one = [
        function(F, *(t if dim is None else t.select(dim, i) for t, dim in zip(inputs, in_dims, strict=True)))
        for i in range(3)
    ]
    torch.testing.assert_close(ours, torch.stack(one_by_one), rtol=1e-12, atol=1e-12)


def test_per_sample_gradients() -> None:
    x, target = drawn(3, 4), torch.tensor([0, 2, 1])
    parameters = drawn(4, 4), drawn(4), drawn(3, 4)

    def gradients(library: Any) -> Any:
        def loss(w: Tensor, b: Tensor, last: Tensor, sample: Tensor, target: Tensor) -> Tensor:
            hidden = library.relu(library.linear(sample, w, b))
            result: Tensor = library.cross_entropy(library.linear(hidden, last), target)
            return result

        one = torch.func.grad(loss, argnums=(0, 1, 2))
        return torch.func.vmap(one, (None, None, None, 0, 0))(*parameters, x, target)

    torch.testing.assert_close(gradients(sc.functional), gradients(F), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("like", ["binary_cross_entropy", "binary_cross_entropy_with_logits"])
def test_the_third_derivatives_of_a_loss_are_torchs(like: str) -> None:
    """But for what the 1e-12 that both add to denominators becomes on different ways."""
    x, target = (drawn(4).sigmoid() for _ in range(2))

    def third(library: Any) -> Any:
        function: Any = partial(getattr(library, like), reduction="sum")
        for _ in range(3):
            function = torch.func.jacrev(function, argnums=(0, 1))
        return function(x, target)

    torch.testing.assert_close(third(sc.functional), third(F), rtol=1e-9, atol=1e-9)


def test_the_third_derivative_of_batch_norm_is_a_difference_of_second_ones() -> None:
    """Torch's own third derivative is wrong here: it takes the statistics for constants."""
    x, weight, step = drawn(2, 2, 2), drawn(2), 1e-5

    def energy(x: Tensor) -> Tensor:
        return (sc.functional.batch_norm(x, None, None, weight, None, True) + 0.3).pow(3).sum()

    hessian = torch.func.hessian(energy)
    third = torch.func.jacrev(hessian)(x)
    for index in range(x.numel()):
        shift = torch.zeros_like(x)
        shift.view(-1)[index] = step
        difference = (hessian(x + shift) - hessian(x - shift)) / (2 * step)
        torch.testing.assert_close(third.flatten(-3)[..., index], difference, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in CALLS if "in place" not in name])  # torch refuses these
def test_forward_mode_over_forward_mode_gives_the_hessian(name: str) -> None:
    """That of reverse mode, which gradgradcheck holds to finite differences.

    Torch's own second derivatives of batch_norm by forward mode are wrong: statistics are constants there.
    """
    function, tensors = CALLS[name]
    every = tuple(range(len(tensors)))

    def hessian(transform: Any) -> Any:
        def energy(*tensors: Tensor) -> Any:
            return function(sc.functional, *tensors).pow(2).sum()

        return transform(transform(energy, every), every)(*tensors)

    forward, reverse = hessian(torch.func.jacfwd), hessian(torch.func.jacrev)
    torch.testing.assert_close(forward, reverse, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_are_updated_under_grad_and_vmap(training: bool) -> None:
    x = drawn(3, 4, 2)

    def updated(library: Any) -> list[Tensor]:
        mean, var = torch.zeros(4, dtype=DOUBLE), torch.ones(4, dtype=DOUBLE)
        torch.func.grad(lambda x: library.batch_norm(x, mean, var, training=training).pow(3).sum())(x)
        means, variances = torch.zeros(3, 2, dtype=DOUBLE), torch.ones(3, 2, dtype=DOUBLE)
        batches = x.reshape(3, 2, 2, 2)
        torch.func.vmap(lambda *t: library.batch_norm(*t, training=training))(batches, means, variances)
        return [mean, var, means, variances]

    torch.testing.assert_close(updated(sc.functional), updated(F))
    if training:
        with pytest.raises(RuntimeError, match="batched"):
            torch.func.vmap(
                lambda x: sc.functional.batch_norm(x, torch.zeros(2), torch.ones(2), training=True)
            )(torch.ones(3, 2, 2, 2))


@pytest.mark.parametrize("function", ["dropout", "dropout2d"])
@pytest.mark.parametrize("randomness", ["same", "different"])
@pytest.mark.parametrize("in_dim", [0, 1, -1, None])
def test_dropout_draws_torchs_masks_under_vmap(function: str, randomness: str, in_dim: int | None) -> None:
    def dropped(library: Any) -> Tensor:
        torch.manual_seed(0)
        call = torch.func.vmap(
            lambda x, y: getattr(library, function)(x, 0.5) + y, (in_dim, 0), randomness=randomness
        )
        ones = torch.ones(3, 3, 2, 3) if in_dim is None else torch.ones(3, 3, 3, 2, 3)
        result: Tensor = call(ones, torch.zeros(3, 1))
        return result

    assert torch.equal(dropped(sc.functional), dropped(F))


A = drawn(2, 3, 4).requires_grad_()
CHANNELS = drawn(3)
OPERATORS: list[tuple[str, tuple[Any, ...]]] = [
    ("linear", (A, drawn(2, 5, 4).requires_grad_(), drawn(2, 5).requires_grad_())),
    ("matrix_product", (A, drawn(2, 4, 5).requires_grad_())),
    ("summed_product", (A, drawn(1, 3, 1).requires_grad_(), [1, 3, 1], 0.5, 3)),
    ("relu", (A,)),
    ("relu_gate", (A, drawn(2, 3, 4))),
    ("activation", (A, "silu", [])),
    ("activation", (A, "tanh", [])),
    ("activation", (A, "elu", [1.5, 1.0, 0.5])),
    ("activation_slope", (A, drawn(2, 3, 4).requires_grad_(), "mish", 2, [])),
    ("prelu", (A, drawn(1, 3, 1).requires_grad_())),
    ("prelu_slope", (A, drawn(2, 3, 4), drawn(1, 3, 1).requires_grad_())),
    ("negative_gate", (A, drawn(2, 3, 4))),
    ("alpha_drop", (A, drawn(2, 3, 4).sign().clamp(0), 0.25, True)),
    ("drop", (A, drawn(2, 3, 4).sign().clamp(0), 0.25)),
    ("softmax", (A, 1)),
    ("softmax_grad", (A.detach(), drawn(2, 3, 4), 1)),
    ("log_softmax", (A, 2)),
    ("log_softmax_grad", (A.detach(), drawn(2, 3, 4), 2)),
    ("exponential", (A,)),
    ("nll", (A, torch.tensor([[0, 1, 2, 0]] * 2), drawn(1, 3), 1, 0.1)),
    ("nll_grad", (A[:, 0], torch.tensor([[0, 1, 2, 0]] * 2), None, 1, 0.1, 3)),
    ("quotient", (drawn(1, 1).requires_grad_(), drawn(1, 1))),
    ("total_weight", (torch.tensor([[0, 1, 2, 0]] * 2), drawn(1, 3), 1, 3, torch.float32)),
    ("smooth_labels", (A, 0.1)),
    (
        "batch_norm",
        (A, CHANNELS.clone().requires_grad_(), CHANNELS.clone().requires_grad_(), CHANNELS, None, 0.1),
    ),
    ("batch_norm_grad", (A.detach(), drawn(2, 3, 4), CHANNELS, CHANNELS.square(), CHANNELS, 0.1)),
    ("batch_norm_inference", (A, CHANNELS.clone().requires_grad_(), None, CHANNELS, CHANNELS.square(), 0.1)),
    ("normalize", (A, 0.1)),
    ("local_response_norm", (A, 2, 0.1, 0.5, 1.0)),
    ("local_response_norm_grad", (A.detach(), drawn(2, 3, 4), 2, 0.1, 0.5, 1.0)),
    ("box_sum", (A, 1, 0)),
    ("im2col", (drawn(1, 2, 3, 4).requires_grad_(), [2, 1], [1, 1], [1, 0], [1, 2])),
    ("col2im", (drawn(2, 2, 8).requires_grad_(), [2, 3], [1, 2], [1, 1], [0, 1], [1, 1])),
    ("pixel_shuffle", (drawn(1, 4, 1, 2).requires_grad_(), 2, False)),
    ("pixel_unshuffle", (drawn(1, 1, 2, 4).requires_grad_(), 2, True)),
    ("channel_shuffle", (A, 3, False)),
    ("max_unpool", (drawn(1, 2, 2, 2).requires_grad_(), PLACES[None], [2, 3], True)),
    ("max_unpool", (drawn(2, 1, 1, 2, 2).requires_grad_(), PLACES[:, None, None], [2, 2, 1], False)),
    ("pad_constant", (A, [1, -1, 0, 2], 0.5, False)),
    ("pad_constant", (A, [-1, 0], 0.5, False)),
    ("pad_edges", (A, [1, 2], "reflect", False)),
    ("pad_edges_grad", (drawn(2, 3, 7).requires_grad_(), A, [2, 3, 4], [1, 2], "reflect", False)),
    ("power", (drawn(2, 3).abs().requires_grad_(), -0.5)),
    ("interpolate", (A, [7], False, "linear", True, False, [0.0], False)),
    ("interpolate_grad_input", (A, [2], False, "nearest-exact", False, False, [1.7], False)),
    ("layer_norm", (A, drawn(3, 4).requires_grad_(), None, 2, 0.1)),
    ("group_norm", (A, CHANNELS.clone().requires_grad_(), CHANNELS.clone().requires_grad_(), 3, 0.1)),
    ("group_norm_grad", (A.detach(), drawn(2, 3, 4), *STATISTICS, None, [2, 3, 4], 1, 0.1)),
    ("instance_norm", (A, None, CHANNELS.clone().requires_grad_(), 0.1)),
    ("update_running", (CHANNELS.clone(), CHANNELS, 0.1, 3)),
]


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of opcheck's own making
@pytest.mark.parametrize(("name", "arguments"), OPERATORS, ids=[name for name, _ in OPERATORS])
def test_operator_passes_opcheck(name: str, arguments: tuple[Any, ...]) -> None:
    torch.library.opcheck(getattr(torch.ops.scratch_conv, name).default, arguments)


def test_what_is_unpooled_to_one_place_has_torchs_gradients_and_their_strides() -> None:
    """Of several elements at one index one stays, and the gradient is gathered for all."""
    x = drawn(2, 3, 2, 2).to(memory_format=torch.channels_last).requires_grad_()
    indices = torch.arange(24).reshape(x.shape) % 3
    outcomes = []
    for library, places in (
        (F, indices),
        (sc.functional, indices),
        (sc.functional, indices.mT.contiguous().mT),
    ):
        y = library.max_unpool2d(x, places, 2)
        upstream = torch.empty_like(y).copy_(drawn(*y.shape)).requires_grad_()
        (grad,) = torch.autograd.grad(y, x, upstream, create_graph=True)
        (second,) = torch.autograd.grad(grad.pow(2).sum(), upstream)
        outcomes.append((y, grad, second))
    for ours in outcomes[1:]:  # the backward pass of torch's refuses the last indices
        torch.testing.assert_close(ours, outcomes[0], rtol=1e-14, atol=0)
        assert [each.stride() for each in ours] == [each.stride() for each in outcomes[0]]


@pytest.mark.parametrize("make", ["scaled", "normalized", "view", "transposed"])
def test_relu_in_place_has_the_derivatives_of_torchs(make: str) -> None:
    def result(library: Any) -> list[Tensor]:
        torch.manual_seed(0)
        x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
        starts: dict[str, Callable[[], Tensor]] = {
            "scaled": lambda: x * 2,
            "normalized": lambda: library.batch_norm(x, None, None, training=True),
            "view": lambda: (x * 2)[:, 1:],
            "transposed": lambda: (x * 2).transpose(1, 3),
        }
        start = starts[make]()
        y = library.relu(start, inplace=True)
        assert y.data_ptr() == start.data_ptr()
        assert start._version == 1
        (grad,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(grad.pow(2).sum(), x)
        return [y.detach(), start.detach(), grad.detach(), second]

    torch.testing.assert_close(result(sc.functional), result(torch.nn.functional), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("library", [torch.nn.functional, sc.functional])
def test_relu_in_place_over_what_a_derivative_needs_is_found_out(library: Any) -> None:
    x = torch.randn(5, requires_grad=True)
    kept = x.exp()
    y = library.relu(kept, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("library", [torch.nn.functional, sc.functional])
def test_relu_in_place_refuses_a_leaf_and_leaves_it_as_it_was(library: Any) -> None:
    x = torch.tensor([-1.0, 1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        library.relu(x, inplace=True)
    assert x.tolist() == [-1, 1]


BATCHED_OVER_NOTHING = [
    "linear",
    "linear to a number",
    "linear, a bias for each row",
    "relu",
    "relu in place",
]
BATCHED_OVER_NOTHING += [
    "softmax",
    "log_softmax",
    "cross_entropy of probabilities",
]  # torch refuses the others


@pytest.mark.parametrize("name", BATCHED_OVER_NOTHING)
def test_vmap_over_nothing_gives_the_shapes_of_torchs(name: str) -> None:
    function, tensors = CALLS[name]
    batched = [tensor.expand(0, *tensor.shape) for tensor in tensors]
    shapes = []
    for library in (sc.functional, F):
        outputs = torch.func.vmap(lambda *each, f=library: function(f, *each))(*batched)
        grads = torch.func.vmap(torch.func.grad(lambda *each, f=library: function(f, *each).sum()))(*batched)
        shapes.append((outputs.shape, grads.shape))
    assert shapes[0] == shapes[1]


INFINITE, UNIT = torch.tensor([[torch.inf, -torch.inf]]), torch.tensor([[0.0, 1.0]])
ALONG_ONE_OPERAND: dict[str, tuple[Callable[..., Tensor], Tensor]] = {
    "linear": (lambda f, x: f.linear(x, INFINITE[:, :1].expand(1, 2)), UNIT + 1),
    "conv1d": (lambda f, x: f.conv1d(x[None], INFINITE[None, :, :1]), UNIT + 1),
    "prelu": (lambda f, x: f.prelu(x, UNIT[0] + 1), INFINITE),
    "hardswish": (lambda f, x: f.hardswish(x), INFINITE),
    "batch_norm of given statistics": (lambda f, x: f.batch_norm(x, *[UNIT[0] + 1] * 4), INFINITE),
    "cross_entropy": (lambda f, x: f.cross_entropy(x, torch.tensor([0])), -INFINITE.abs() * (1 - UNIT) + 1),
    "nll_loss": (lambda f, x: f.nll_loss(x, torch.tensor([0])), INFINITE),
    "weighted mse_loss": (lambda f, x: f.mse_loss(x, UNIT, weight=UNIT + 1), INFINITE),
    "binary_cross_entropy": (lambda f, x: f.binary_cross_entropy(x, UNIT, reduction="none"), UNIT),
}


@pytest.mark.parametrize("name", ALONG_ONE_OPERAND)
def test_a_tangent_of_one_operand_meets_no_zeros_for_the_others(name: str) -> None:
    function, x = ALONG_ONE_OPERAND[name]
    got, want = (
        torch.func.jvp(lambda x, f=library: function(f, x), (x,), (torch.ones_like(x),))
        for library in (sc.functional, F)
    )
    torch.testing.assert_close(got, want, equal_nan=True)


@pytest.mark.parametrize("name", ["linear", "prelu", "layer_norm", "mse_loss"])
def test_without_a_gradient_of_the_output_there_is_none_of_the_operands(name: str) -> None:
    class Constant(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> None:
            return None

    function, tensors = CALLS[name]
    operands = [tensor.clone().requires_grad_() for tensor in tensors]
    for library in (sc.functional, F):
        Constant.apply(function(library, *operands)).sum().backward()
        assert all(operand.grad is None for operand in operands)
