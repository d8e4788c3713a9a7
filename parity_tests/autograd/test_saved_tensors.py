"""The tensors that layers save: their gradients after a write to one are torch's, or are refused as by torch.

Autograd finds out that a saved tensor was changed by a counter of the writes to it. So the tensor that is
saved must share its counter with the one that is written to.
"""

from collections.abc import Callable, Iterator
from itertools import combinations, product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import scratch_conv as sc


def drawn(*shape: int) -> Tensor:
    """Draw numbers that are not near to zero, where relu has a corner."""
    values = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))
    return values + 0.1 * values.sgn()


def seeded(function: Any, *args: Any, **named: Any) -> Any:
    """Call with the same random numbers each time."""
    torch.manual_seed(0)
    return function(*args, 0.4, **named)


CLASSES = torch.tensor([0, 1, 1])
PLACES = torch.arange(50).reshape(2, 5, 5)
IMAGES, KERNEL, ROWS = drawn(3, 2, 5, 5), drawn(4, 2, 2, 2), drawn(3, 4)
CHANNELS = (drawn(2), drawn(2) + 3)
OTHER_ROWS = drawn(4, 3).mT.contiguous() + 0.3

IN_PLACE = (
    "celu",
    "elu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "mish",
    "relu6",
    "selu",
    "silu",
)
ACTIVATIONS = (*IN_PLACE, "gelu", "sigmoid", "softplus", "tanh")  # of softsign torch keeps 1 + |x|, too

# A function of one of the two libraries and of tensors, and the tensors by name.
Call = tuple[Callable[..., Any], dict[str, Tensor]]
CALLS: dict[str, Call] = {
    "conv1d": (
        lambda f, **t: f.conv1d(**t),
        {"input": IMAGES[0], "weight": drawn(2, 5, 2), "bias": drawn(2)},
    ),
    "conv1d without a batch": (
        lambda f, **t: f.conv1d(**t),
        {"input": IMAGES[0, 0, :2], "weight": KERNEL[0]},
    ),
    "conv2d": (lambda f, **t: f.conv2d(**t), {"input": IMAGES, "weight": KERNEL, "bias": drawn(4)}),
    "conv2d without a batch": (lambda f, **t: f.conv2d(**t), {"input": IMAGES[0], "weight": KERNEL}),
    "conv2d of gaps": (
        lambda f, **t: f.conv2d(**t),
        {"input": IMAGES[..., ::2], "weight": KERNEL.mT, "bias": drawn(8)[::2]},
    ),
    "conv3d": (
        lambda f, **t: f.conv3d(**t),
        {"input": IMAGES[None], "weight": drawn(2, 3, 1, 2, 2), "bias": drawn(2)},
    ),
    "conv_transpose1d without a batch": (
        lambda f, **t: f.conv_transpose1d(**t),
        {"input": IMAGES[0, 0, :2], "weight": KERNEL[0], "bias": drawn(2)},
    ),
    "conv_transpose3d": (
        lambda f, **t: f.conv_transpose3d(**t),
        {"input": IMAGES[None], "weight": drawn(3, 2, 2, 1, 2), "bias": drawn(2)},
    ),
    "conv_transpose2d": (
        lambda f, **t: f.conv_transpose2d(**t),
        {"input": IMAGES, "weight": KERNEL.transpose(0, 1), "bias": drawn(4)},
    ),
    "max_pool2d": (lambda f, x: f.max_pool2d(x, 2), {"x": IMAGES}),
    "max_pool2d without a batch": (lambda f, x: f.max_pool2d(x, 2), {"x": IMAGES[0]}),
    "avg_pool2d": (lambda f, x: f.avg_pool2d(x, 2), {"x": IMAGES}),
    "avg_pool2d without a batch": (lambda f, x: f.avg_pool2d(x, 2), {"x": IMAGES[0]}),
    "adaptive_avg_pool2d": (lambda f, x: f.adaptive_avg_pool2d(x, 2), {"x": IMAGES}),
    "adaptive_avg_pool2d without a batch": (
        lambda f, x: f.adaptive_avg_pool2d(x, 2),
        {"x": IMAGES[0]},
    ),
    "pad": (lambda f, x: f.pad(x, (1, -1), value=2.0), {"x": IMAGES}),
    "pad of negative amounts": (lambda f, x: f.pad(x, (-1, -1)), {"x": IMAGES}),
    "pad by reflection": (lambda f, x: f.pad(x, (1, 2, 0, 1), "reflect"), {"x": IMAGES}),
    "pad in circles": (lambda f, x: f.pad(x, (1, 2, 0, 1), "circular"), {"x": IMAGES}),
    "unfold": (lambda f, x: f.unfold(x, 2), {"x": IMAGES}),
    "fold without a batch": (lambda f, x: f.fold(x, 2, 2, padding=1, stride=2), {"x": drawn(4, 4)}),
    "pixel_shuffle": (lambda f, x: f.pixel_shuffle(x, 2), {"x": drawn(1, 4, 2, 3)}),
    "pixel_unshuffle": (lambda f, x: f.pixel_unshuffle(x, 5), {"x": IMAGES}),
    "channel_shuffle": (lambda f, x: f.channel_shuffle(x, 2), {"x": IMAGES}),
    "adaptive_avg_pool2d to one": (lambda f, x: f.adaptive_avg_pool2d(x, 1), {"x": IMAGES}),
    "max_pool3d": (lambda f, x: f.max_pool3d(x, 2), {"x": IMAGES[None]}),
    "max_pool3d without a batch": (lambda f, x: f.max_pool3d(x, 2), {"x": IMAGES}),
    "avg_pool3d": (lambda f, x: f.avg_pool3d(x, 2), {"x": IMAGES[None]}),
    "adaptive_avg_pool3d": (lambda f, x: f.adaptive_avg_pool3d(x, 2), {"x": IMAGES[None]}),
    "adaptive_avg_pool3d to one": (lambda f, x: f.adaptive_avg_pool3d(x, 1), {"x": IMAGES[None]}),
    "adaptive_max_pool2d": (lambda f, x: f.adaptive_max_pool2d(x, 2), {"x": IMAGES}),
    "adaptive_max_pool3d": (lambda f, x: f.adaptive_max_pool3d(x, 2), {"x": IMAGES[None]}),
    "max_pool1d": (lambda f, x: f.max_pool1d(x, 2), {"x": IMAGES[0]}),
    "avg_pool1d": (lambda f, x: f.avg_pool1d(x, 2), {"x": IMAGES[0]}),
    "adaptive_avg_pool1d": (lambda f, x: f.adaptive_avg_pool1d(x, 2), {"x": IMAGES[0]}),
    "adaptive_max_pool1d": (lambda f, x: f.adaptive_max_pool1d(x, 2), {"x": IMAGES[0]}),
    "max_unpool1d": (lambda f, x: f.max_unpool1d(x, PLACES % 9, 2), {"x": IMAGES[0]}),
    "max_unpool2d": (
        lambda f, x: f.max_unpool2d(x, PLACES.expand(3, 2, 5, 5), 2),
        {"x": IMAGES},
    ),
    "max_unpool2d without a batch": (lambda f, x: f.max_unpool2d(x, PLACES, 2), {"x": IMAGES[0]}),
    "max_unpool3d": (lambda f, x: f.max_unpool3d(x, PLACES.expand(3, 2, 5, 5), 2), {"x": IMAGES}),
    "batch_norm in training": (
        lambda f, running_mean, running_var, **t: f.batch_norm(
            running_mean=running_mean, running_var=running_var, training=True, **t
        ),
        {
            "input": IMAGES,
            "weight": CHANNELS[1],
            "bias": CHANNELS[0],
            "running_mean": CHANNELS[0],
            "running_var": CHANNELS[1],
        },
    ),
    "batch_norm in training, channels_last": (
        lambda f, **t: f.batch_norm(running_mean=None, running_var=None, training=True, **t),
        {"input": IMAGES.to(memory_format=torch.channels_last), "weight": CHANNELS[1], "bias": CHANNELS[0]},
    ),
    "batch_norm in training, gaps": (
        lambda f, **t: f.batch_norm(running_mean=None, running_var=None, training=True, **t),
        {"input": IMAGES[..., ::2]},
    ),
    "batch_norm in evaluation": (
        lambda f, **t: f.batch_norm(**t),
        {
            "input": IMAGES,
            "weight": CHANNELS[1],
            "bias": CHANNELS[0],
            "running_mean": CHANNELS[0],
            "running_var": CHANNELS[1],
        },
    ),
    "batch_norm in evaluation, not affine": (
        lambda f, **t: f.batch_norm(**t),
        {"input": drawn(3, 2), "running_mean": CHANNELS[0], "running_var": CHANNELS[1]},
    ),
    "layer_norm": (
        lambda f, **t: f.layer_norm(normalized_shape=(5, 5), **t),
        {"input": IMAGES, "weight": drawn(5, 5), "bias": drawn(5, 5)},
    ),
    "layer_norm of gaps": (lambda f, x: f.layer_norm(x, (3,)), {"x": IMAGES[..., ::2]}),
    "group_norm": (
        lambda f, **t: f.group_norm(num_groups=1, **t),
        {"input": IMAGES, "weight": CHANNELS[1], "bias": CHANNELS[0]},
    ),
    "group_norm of gaps": (lambda f, x: f.group_norm(x, 2), {"x": IMAGES[..., ::2]}),
    "group_norm, channels_last": (
        lambda f, **t: f.group_norm(num_groups=2, **t),
        {"input": IMAGES.to(memory_format=torch.channels_last), "weight": CHANNELS[1], "bias": CHANNELS[0]},
    ),
    "instance_norm": (
        lambda f, **t: f.instance_norm(**t),
        {"input": IMAGES, "weight": CHANNELS[1], "bias": CHANNELS[0]},
    ),
    "instance_norm of gaps": (lambda f, x: f.instance_norm(x), {"x": IMAGES[..., ::2]}),
    "instance_norm with running statistics": (
        lambda f, **t: f.instance_norm(**t),
        {"input": IMAGES, "running_mean": CHANNELS[0], "running_var": CHANNELS[1]},
    ),
    "instance_norm in evaluation": (
        lambda f, **t: f.instance_norm(**t, use_input_stats=False),
        {
            "input": IMAGES,
            "weight": CHANNELS[1],
            "bias": CHANNELS[0],
            "running_mean": CHANNELS[0],
            "running_var": CHANNELS[1],
        },
    ),
    "local_response_norm": (lambda f, x: f.local_response_norm(x, 2, 0.7), {"x": IMAGES}),
    "interpolate": (lambda f, x: f.interpolate(x, scale_factor=2, mode="bilinear"), {"x": IMAGES}),
    "interpolate, area": (lambda f, x: f.interpolate(x, size=3, mode="area"), {"x": IMAGES}),
    "linear": (lambda f, **t: f.linear(**t), {"input": ROWS, "weight": drawn(5, 4), "bias": drawn(5)}),
    "linear without a bias": (lambda f, **t: f.linear(**t), {"input": ROWS, "weight": drawn(5, 4)}),
    "linear of three dimensions": (
        lambda f, **t: f.linear(**t),
        {"input": drawn(2, 3, 4), "weight": drawn(5, 4), "bias": drawn(5)},
    ),
    "linear of three dimensions, without a bias": (
        lambda f, **t: f.linear(**t),
        {"input": drawn(2, 3, 4), "weight": drawn(5, 4)},
    ),
    "linear of three dimensions with gaps": (
        lambda f, **t: f.linear(**t),
        {"input": drawn(2, 3, 8)[..., ::2], "weight": drawn(5, 4), "bias": drawn(5)},
    ),
    "linear of a vector": (lambda f, **t: f.linear(**t), {"input": drawn(4), "weight": drawn(5, 4)}),
    "linear of a vector with a bias": (
        lambda f, **t: f.linear(**t),
        {"input": drawn(4), "weight": drawn(5, 4), "bias": drawn(5)},
    ),
    "linear to a number": (lambda f, **t: f.linear(**t), {"input": ROWS, "weight": drawn(4)}),
    "linear, a bias for each row": (
        lambda f, **t: f.linear(**t),
        {"input": ROWS, "weight": drawn(5, 4), "bias": drawn(3, 5)},
    ),
    "relu": (lambda f, x: f.relu(x), {"x": ROWS}),
    "relu in place": (lambda f, x: f.relu(x * 1, inplace=True), {"x": ROWS}),
    "relu in place of relu": (lambda f, x: f.relu(f.relu(x), inplace=True), {"x": ROWS}),
    "relu in place of linear": (
        lambda f, **t: f.relu(f.linear(**t), inplace=True),
        {"input": ROWS, "weight": drawn(5, 4)},
    ),
    "relu in place of softmax": (lambda f, x: f.relu(f.softmax(x, 1), inplace=True), {"x": ROWS}),
    **{name: (lambda f, x, name=name: getattr(f, name)(x), {"x": ROWS}) for name in ACTIVATIONS},
    **{
        f"{name} in place": (lambda f, x, name=name: getattr(f, name)(x * 1, inplace=True), {"x": ROWS})
        for name in IN_PLACE
    },
    "gelu, tanh": (lambda f, x: f.gelu(x, approximate="tanh"), {"x": ROWS}),
    "prelu": (lambda f, **t: f.prelu(**t), {"input": IMAGES, "weight": drawn(2)}),
    "prelu of one weight": (lambda f, **t: f.prelu(**t), {"input": ROWS, "weight": drawn(1)}),
    "dropout": (lambda f, x: seeded(f.dropout, x), {"x": ROWS}),
    "dropout2d": (lambda f, x: seeded(f.dropout2d, x), {"x": IMAGES}),
    "dropout1d without a batch": (lambda f, x: seeded(f.dropout1d, x), {"x": ROWS}),
    "alpha_dropout": (lambda f, x: seeded(f.alpha_dropout, x, training=True), {"x": ROWS}),
    "dropout of everything": (lambda f, x: f.dropout(x, 1.0), {"x": ROWS}),
    "dropout in place": (lambda f, x: seeded(f.dropout, x * 1, inplace=True), {"x": ROWS}),
    "dropout in place of relu": (
        lambda f, x: seeded(f.dropout, f.relu(x), inplace=True),
        {"x": ROWS},
    ),
    "dropout in place of softmax": (
        lambda f, x: seeded(f.dropout, f.softmax(x, 1), inplace=True),
        {"x": ROWS},
    ),
    "dropout in place of linear": (
        lambda f, **t: seeded(f.dropout, f.linear(**t), inplace=True),
        {"input": ROWS, "weight": drawn(5, 4)},
    ),
    "softmax": (lambda f, x: f.softmax(x, 1), {"x": ROWS}),
    "softmax of four dimensions": (lambda f, x: f.softmax(x, 1), {"x": IMAGES}),
    "softmax with gaps": (lambda f, x: f.softmax(x, 1), {"x": ROWS.mT}),
    "softmax of a number": (lambda f, x: f.softmax(x, 0), {"x": drawn()}),
    "log_softmax": (lambda f, x: f.log_softmax(x, -1), {"x": ROWS}),
    "log_softmax of a vector": (lambda f, x: f.log_softmax(x, 0), {"x": drawn(4)}),
    "cross_entropy": (
        lambda f, **t: f.cross_entropy(**t),
        {"input": ROWS, "target": CLASSES},
    ),
    "cross_entropy, weighted": (
        lambda f, **t: f.cross_entropy(**t),
        {"input": ROWS, "target": CLASSES, "weight": drawn(4).abs()},
    ),
    "cross_entropy, smoothed": (
        lambda f, **t: f.cross_entropy(**t, label_smoothing=0.2),
        {"input": ROWS, "target": CLASSES, "weight": drawn(4).abs()},
    ),
    "cross_entropy, each": (
        lambda f, **t: f.cross_entropy(**t, reduction="none"),
        {"input": ROWS, "target": CLASSES, "weight": drawn(4).abs()},
    ),
    "cross_entropy of images": (
        lambda f, **t: f.cross_entropy(**t),
        {"input": drawn(3, 4, 2), "target": torch.tensor([[0, 1], [1, 0], [1, 1]])},
    ),
    "nll_loss": (
        lambda f, **t: f.nll_loss(**t),
        {"input": ROWS, "target": CLASSES, "weight": drawn(4).abs()},
    ),
    "mse_loss": (lambda f, **t: f.mse_loss(**t), {"input": ROWS, "target": OTHER_ROWS}),
    "mse_loss, weighted": (
        lambda f, **t: f.mse_loss(**t),
        {"input": ROWS, "target": OTHER_ROWS, "weight": ROWS.abs()},
    ),
    "l1_loss": (
        lambda f, **t: f.l1_loss(**t, reduction="none"),
        {"input": ROWS, "target": OTHER_ROWS},
    ),
    "smooth_l1_loss": (lambda f, **t: f.smooth_l1_loss(**t), {"input": ROWS, "target": OTHER_ROWS}),
    "huber_loss, weighted": (
        lambda f, **t: f.huber_loss(**t),
        {"input": ROWS, "target": OTHER_ROWS, "weight": ROWS.abs()},
    ),
    "binary_cross_entropy": (
        lambda f, **t: f.binary_cross_entropy(t["input"], t["target"]),
        {"input": ROWS.sigmoid() / 2, "target": OTHER_ROWS.sigmoid() / 2},
    ),
    "binary_cross_entropy_with_logits": (
        lambda f, **t: f.binary_cross_entropy_with_logits(**t),
        {"input": ROWS, "target": OTHER_ROWS.sigmoid()},
    ),
    "cross_entropy of probabilities": (
        lambda f, **t: f.cross_entropy(**t),
        {"input": ROWS, "target": drawn(3, 4).abs(), "weight": drawn(4).abs()},
    ),
    "cross_entropy of probabilities, smoothed": (
        lambda f, **t: f.cross_entropy(**t, label_smoothing=0.2),
        {"input": ROWS, "target": drawn(3, 4).abs()},
    ),
}


def in_the_graph(tensor: Tensor) -> None:
    """Write to a tensor as part of the graph; but to a leaf past autograd."""
    with torch.set_grad_enabled(not (tensor.is_leaf and tensor.requires_grad)):
        tensor.mul_(2)


def without_grad(tensor: Tensor) -> None:
    with torch.no_grad():
        tensor.mul_(2)


def to_the_detached(tensor: Tensor) -> None:
    tensor.detach().mul_(2)


def to_the_data(tensor: Tensor) -> None:
    """Write where no counter sees it."""
    tensor.data.mul_(2)


WRITES = (in_the_graph, without_grad, to_the_detached, to_the_data)


def leaves(tensors: dict[str, Tensor], trained: set[str]) -> dict[str, Tensor]:
    """Copy tensors with their strides, as leaves that require a gradient where they are trained."""
    copies = {}
    for name, tensor in tensors.items():
        copy = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype).copy_(tensor)
        copies[name] = copy.requires_grad_(name in trained)
    return copies


def outcome(
    library: Any, call: Call, trained: set[str], write: Callable[[Tensor], Any], written: str, passes: int = 1
) -> Any:
    """Return the gradients after a write between the passes; or what was raised instead, and after what."""
    function, tensors = call
    operands, done = leaves(tensors, trained), "nothing"
    try:
        output = function(library, **operands)
        done = "forward"
        write(output if written == "output" else operands[written])
        done = "write"
        for _ in range(passes):
            loss = (output * drawn(*output.shape)).sum()
            loss.backward(inputs=[operands[name] for name in sorted(trained)])
            done = "backward"
    except RuntimeError as error:
        return type(error).__name__, done
    return {name: operands[name].grad for name in trained}


def trainings(name: str) -> Iterator[set[str]]:
    """Yield the sets of operands that may require a gradient."""
    constant = {"running_mean", "running_var"}
    if name.startswith(("cross_entropy", "nll_loss")) and "probabilities" not in name:
        constant |= {"target", "weight"}
    names = sorted(CALLS[name][1].keys() - constant)
    for count in range(1, len(names) + 1):
        yield from map(set, combinations(names, count))


def check(name: str, trained: set[str], *rest: Any) -> None:
    """Hold the outcome against torch's."""
    ours, torchs = (outcome(library, CALLS[name], trained, *rest) for library in (sc.functional, F))
    if isinstance(ours, dict) and isinstance(torchs, dict):
        torch.testing.assert_close(ours, torchs, msg=lambda text: f"{trained=}, {rest}: {text}")
    else:
        assert ours == torchs, (trained, rest)


# Torch computes their derivatives from the result, ours from a copy of the input, which nobody can write to.
FROM_A_COPY = [f"{name} in place" for name in ("celu", "elu", "selu")]


@pytest.mark.parametrize("name", CALLS)
def test_writing_between_the_passes_ends_as_with_torch(name: str) -> None:
    for trained, write, written in product(trainings(name), WRITES, (*CALLS[name][1], "output")):
        # Of local response normalization torch keeps its parts: those of x are out of reach past autograd.
        apart = {"output": FROM_A_COPY, "x": ["local_response_norm"]}.get(written, [])
        if write is not to_the_data or name not in apart:
            check(name, trained, write, written)


@pytest.mark.parametrize("name", FROM_A_COPY)
def test_writing_past_autograd_to_a_result_in_place_changes_no_gradient(name: str) -> None:
    call = CALLS[name]
    written, plain = (
        outcome(sc.functional, call, {"x"}, write, "output") for write in (to_the_data, lambda _: None)
    )
    torch.testing.assert_close(written, plain, rtol=0, atol=0)


@pytest.mark.parametrize("name", CALLS)
def test_a_second_backward_pass_ends_as_with_torch(name: str) -> None:
    for trained in trainings(name):
        check(name, trained, id, "output", 2)


def gradients(library: Any, call: Call, trained: set[str]) -> list[Any]:
    """Return the gradients, whether they require one, and the gradients of their sum."""
    function, tensors = call
    operands = leaves(tensors, trained)
    wanted = [operands[name] for name in sorted(trained)]
    first = torch.autograd.grad(function(library, **operands).sum(), wanted, create_graph=True)
    needs = [int(grad.requires_grad) for grad in first]
    total = torch.stack([grad.sum() for grad in first]).sum()
    second = torch.autograd.grad(total, wanted, allow_unused=True) if any(needs) else ()
    return [*first, needs, *(torch.zeros(()) if grad is None else grad for grad in second)]


ONCE = ("hardsigmoid",)  # of which torch has no second derivative


@pytest.mark.parametrize("name", [name for name in CALLS if "place" not in name and name not in ONCE])
def test_gradients_require_a_gradient_where_torchs_do(name: str) -> None:
    for trained in trainings(name):
        ours, torchs = (gradients(library, CALLS[name], trained) for library in (sc.functional, F))
        torch.testing.assert_close(ours, torchs)


@pytest.mark.parametrize("name", CALLS)
def test_operands_stay_resizable(name: str) -> None:
    """`Tensor.numpy` would end that, for good; sharded training frees parameters by resizing them."""
    function, tensors = CALLS[name]
    operands = leaves(tensors, {"x", "input"})
    try:
        function(sc.functional, **operands).sum().backward()
    except RuntimeError:
        assert "in place" in name
    assert all(operand.untyped_storage().resizable() for operand in operands.values())


@pytest.mark.parametrize("x", [IMAGES, IMAGES[0]], ids=["batch", "image"])
def test_indices_of_maxima_that_were_written_into_end_the_backward_pass(x: Tensor) -> None:
    for library in (F, sc.functional):
        x = x.detach().requires_grad_()
        y, indices = library.max_pool2d(x, 2, return_indices=True)
        y.sum().backward(retain_graph=True)
        z = library.max_unpool2d(y, indices, 2, output_size=x.shape[-2:])
        indices.add_(1)
        for output in (y, z):
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                output.sum().backward()
