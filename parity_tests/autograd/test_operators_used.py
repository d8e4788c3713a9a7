"""No convolution, pooling, unfold or matrix product of torch runs inside these layers, in any direction."""

import copy
import re
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import scratch_conv as sc

TORCHS_OWN = re.compile(
    r"conv|pool|unfold|im2col|col2im|mm$|bmm|matmul|mv$|dot$|einsum|linear|mkldnn|onednn|"
    r"elu|sigmoid|tanh|mish|silu|swish|softplus|erf|clamp|threshold|dropout|softmax|exp$|log$|rsqrt|sqrt|mean|"
    r"var|std|pow$|batch_norm|layer_norm|group_norm|instance_norm|upsample|"
    r"pad|shuffle",
    re.IGNORECASE,
)


class Unpooled(nn.Module):
    """Max pooling and its partial inverse."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.pool = getattr(nn, f"MaxPool{name}")(2, 2, return_indices=True)
        self.unpool = getattr(nn, f"MaxUnpool{name}")(2, 2)

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self.unpool(*self.pool(input), output_size=input.shape)
        return output


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding="same", bias=False),
        nn.ReLU(),
        nn.Unfold(2, stride=2),
        nn.Fold(16, 2, stride=2),
        nn.ChannelShuffle(2),
        nn.PixelShuffle(2),
        nn.PixelUnshuffle(2),
        nn.ReflectionPad2d(1),
        nn.ZeroPad2d(-1),
        Unpooled("2d"),
        nn.MaxPool2d(2),
        nn.PReLU(4),
        nn.GELU(),
        nn.Tanh(),
        nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, dilation=2, groups=2),
        nn.BatchNorm2d(6),
        nn.GroupNorm(3, 6),
        nn.LocalResponseNorm(3, 0.5),
        nn.InstanceNorm2d(6, track_running_stats=True),
        nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True),
        nn.Dropout2d(0.1),
        nn.ConvTranspose2d(6, 2, 3, stride=2, output_padding=1),
        nn.AvgPool2d(2, padding=1, count_include_pad=False),
        nn.Upsample(scale_factor=2, mode="bicubic"),
        nn.UpsamplingNearest2d(scale_factor=1.5),
        nn.AdaptiveMaxPool2d((6, 8)),
        nn.Unflatten(2, (2, 3)),
        nn.MaxPool3d(2, stride=1, padding=1),
        Unpooled("3d"),
        nn.AvgPool3d(2, stride=1),
        nn.AdaptiveMaxPool3d((2, 3, 5)),
        nn.AdaptiveAvgPool3d((2, 2, None)),
        nn.Flatten(2, 3),
        nn.AdaptiveAvgPool2d((1, 5)),
        nn.Flatten(2),
        nn.MaxPool1d(3, stride=1, padding=1),
        Unpooled("1d"),
        nn.AvgPool1d(3, stride=1, padding=1),
        nn.AdaptiveMaxPool1d(4),
        nn.AdaptiveAvgPool1d(5),
        nn.Conv1d(2, 3, 3, padding=1),
        nn.Unflatten(2, (5, 1, 1)),
        nn.Conv3d(3, 2, (3, 1, 1), padding=(1, 0, 0)),
        nn.ConvTranspose3d(2, 3, 2, padding=(1, 0, 0)),
        nn.Flatten(2),
        nn.ConvTranspose1d(3, 3, 2, padding=6),
        nn.Dropout(0.1),
        nn.Flatten(),
        nn.LayerNorm(15),
        nn.Linear(15, 5),
        nn.Softmax(dim=1),
        nn.LogSoftmax(dim=1),
    )


def operators_used(model: nn.Module) -> set[str]:
    x = torch.randn(4, 2, 16, 16, requires_grad=True)
    with torch.profiler.profile() as profile:
        gradients = torch.autograd.grad(model(x).sum(), [x, *model.parameters()], create_graph=True)
        sum((g * g).sum() for g in gradients).backward()  # type: ignore[union-attr]  # second order too
    return {event.key for event in profile.key_averages()}


def test_torch_computes_nothing_in_a_swapped_model() -> None:
    model = network()
    assert any(TORCHS_OWN.search(name) for name in operators_used(model)), "the profiler sees torch's own"
    sc.swap(model)
    used = operators_used(model)
    assert "scratch_conv::conv2d_grad_weight" in used
    torchs = {name for name in used if name.startswith("aten::")}
    assert not {name for name in torchs if TORCHS_OWN.search(name)}


@settings(max_examples=14)
@given(wanted=st.sets(st.sampled_from(["input", "weight", "bias"]), min_size=1), leaf=st.booleans())
def test_only_the_gradients_that_are_asked_for_are_computed(wanted: set[str], leaf: bool) -> None:
    layer = sc.nn.Conv2d(2, 3, 3)
    x = torch.randn(1, 2, 5, 5, requires_grad=True)
    tensors: dict[str, Any] = {"input": x if leaf else x * 2, "weight": layer.weight, "bias": layer.bias}
    with torch.profiler.profile() as profile:
        torch.autograd.grad(layer(tensors["input"]).sum(), [tensors[name] for name in wanted])
    names = {"input": "ConvTranspose2d", "weight": "Conv2dGradWeight", "bias": "Conv2dGradBias"}
    computed = {event.key for event in profile.key_averages() if event.key in names.values()}
    assert computed == {names[name] for name in wanted}


@given(
    layer=st.sampled_from(
        [
            nn.Conv2d(4, 4, 3),
            nn.BatchNorm2d(4),
            nn.MaxPool2d(2),
            Unpooled("2d"),
            nn.ReLU(),
            nn.Sigmoid(),
            nn.PReLU(4),
            nn.LocalResponseNorm(3),
            nn.ZeroPad2d(1),
            nn.ZeroPad2d(-1),
        ]
    ),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_torch_allocates_no_memory_for_what_is_not_returned(layer: nn.Module, dtype: torch.dtype) -> None:
    """A tensor made for its shape and strides alone is on the meta device: it takes no memory."""
    layer = copy.deepcopy(layer).to(dtype)
    sc.swap(layer)
    x = torch.randn(2, 4, 32, 32, dtype=dtype, requires_grad=True)
    grad_output = torch.ones_like(layer(x))
    with torch.profiler.profile(profile_memory=True) as profile:
        torch.autograd.grad(layer(x), [x, *layer.parameters()], grad_output)
    allocated = {event.key: event.self_cpu_memory_usage for event in profile.key_averages()}
    assert not {name: size for name, size in allocated.items() if size > 1024}
