"""`sc.verify` compares a model's layers with torch's, finds what is wrong, and changes nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import scratch_conv as sc
from scratch_conv import kernels
from scratch_conv.swapping import Verification


class Doubled(nn.Conv2d):
    """A layer with a forward pass of its own, which no bound is known for."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


class Unpooled(nn.Module):
    """Max pooling and its partial inverse, which is called with two tensors."""

    def __init__(self, name: str, *window: Any) -> None:
        super().__init__()
        self.pool = getattr(nn, f"MaxPool{name}")(*window, return_indices=True)
        self.unpool = getattr(nn, f"MaxUnpool{name}")(*window)

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self.unpool(*self.pool(input), output_size=input.shape)
        return output


class Model(nn.Module):
    """Every kind of layer, functional calls, nested inputs and outputs, and a layer that is never called."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.images = nn.Sequential(
            weight_norm(nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect")),
            nn.BatchNorm2d(4, momentum=None),
            nn.GroupNorm(2, 4),
            nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
            nn.LayerNorm((6, 7)),
            nn.ReLU(inplace=True),
            nn.Unfold((2, 1), padding=(0, 1)),
            nn.Fold((6, 7), (2, 1), padding=(0, 1)),
            nn.ChannelShuffle(2),
            nn.PixelShuffle(2),
            nn.PixelUnshuffle(2),
            nn.ReplicationPad2d((2, 1, -1, 1)),
            nn.ZeroPad2d((-2, -1, 0, 0)),
            Unpooled("2d", 2),
            nn.MaxPool2d(2, 1),
            nn.Dropout2d(0.3),
            nn.Unflatten(1, (2, 2)),
            nn.Dropout3d(0.2),
            nn.Flatten(1, 2),
            nn.AvgPool2d(2, count_include_pad=False, padding=1),
            nn.LogSigmoid(),
            nn.Upsample(scale_factor=1.5, mode="bicubic"),
            nn.UpsamplingNearest2d(size=(7, 8)),
            nn.ConvTranspose2d(4, 4, 3, stride=2).requires_grad_(False),
            Doubled(4, 4, 1),
            nn.AdaptiveMaxPool2d((4, 5)),
            nn.Unflatten(2, (2, 2)),
            nn.MaxPool3d((1, 2, 2), 1),
            Unpooled("3d", (2, 1, 2)),
            nn.AdaptiveMaxPool3d((2, None, 4)),
            nn.AdaptiveAvgPool3d((2, None, 5)),
            nn.Flatten(2, 3),
            nn.AdaptiveAvgPool2d((2, 3)),
            nn.Flatten(2),
            nn.MaxPool1d(3, 1, 1),
            Unpooled("1d", 2, 2),
            nn.AvgPool1d(3, 1, 1),
            nn.AdaptiveMaxPool1d(5),
            nn.AdaptiveAvgPool1d(6),
            nn.Dropout1d(0.1),
            nn.AlphaDropout(0.1),
            nn.FeatureAlphaDropout(0.1),
        )
        self.rows = nn.Sequential(
            nn.Conv1d(4, 3, 2), nn.LocalResponseNorm(2, 0.5), nn.BatchNorm1d(3), sc.nn.ReLU(), nn.Flatten()
        )
        self.volumes = nn.Sequential(
            nn.Unflatten(1, (3, 5)),
            nn.ConvTranspose1d(3, 2, 4, stride=2),
            nn.Unflatten(2, (3, 2, 2)),
            nn.Conv3d(2, 3, (3, 2, 1), padding=(1, 0, 0)),
            nn.ConvTranspose3d(3, 1, (3, 2, 2), padding=(1, 0, 0)),
            nn.Flatten(),
            nn.Linear(18, 15),
        )
        self.classes = nn.Sequential(nn.Linear(15, 5), nn.Dropout(), nn.LogSoftmax(1))
        self.weights, self.loss = nn.Softmax(dim=-1), nn.CrossEntropyLoss(label_smoothing=0.1)
        self.unused = nn.Linear(2, 2)

    def forward(self, given: dict[str, Any], *, target: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, (factor, _) = given["x"], given["more"]
        x = self.classes(self.volumes(self.rows(self.images(factor * x))))
        return self.loss(x, target), [self.weights(F.relu(x))]


def given(dtype: torch.dtype = torch.float32) -> tuple[Any, dict[str, Any]]:
    x = torch.randn(3, 2, 6, 7, generator=torch.Generator().manual_seed(1)).to(dtype)
    return {"x": x.requires_grad_(), "more": (2, None)}, {"target": torch.tensor([1, 0, 4])}


def everything(model: nn.Module) -> list[Any]:
    """Return what `verify` must leave as it was, to be compared by equality."""
    modules = [
        (type(module), module.training, {name: id(value) for name, value in vars(module).items()})
        for module in model.modules()
    ]
    hooks = [
        [len(value) for name, value in vars(m).items() if "hooks" in name and value] for m in model.modules()
    ]
    tensors = {name: value.tolist() for name, value in model.state_dict().items()}
    gradients = [None if each.grad is None else each.grad.tolist() for each in model.parameters()]
    return [modules, hooks, tensors, gradients, [*model.parameters()], torch.get_rng_state().tolist()]


def prepared(how: str) -> nn.Module:
    model = Model()
    inputs, named = given()
    if how != "torch's":
        sc.swap(model, exclude="rows.*" if how == "swapped in part" else None)
    if how == "in evaluation":
        model.eval()
    if how == "trained":
        model(inputs, **named)[0].backward()
    return model


@pytest.mark.parametrize("how", ["torch's", "swapped", "swapped in part", "in evaluation", "trained"])
def test_all_layers_are_within_their_bounds_and_the_model_stays_as_it_was(how: str) -> None:
    model = prepared(how)
    inputs, named = given()
    before = everything(model)
    report = sc.verify(model, inputs, **named)
    assert all(map(same, everything(model), before))
    assert report, str(report)
    assert report.passed
    assert {row.name for row in report.rows} >= {"images.0", "images.7", "classes.0", "weights", "loss"}
    assert "unused" in report.uncalled
    assert all(row.calls == 1 and row.seconds > 0 and row.torchs_seconds > 0 for row in report.rows)
    assert max(row.gradients.ours for row in report.rows) > 0
    assert report.model.values.ours < 1e-5


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and one and isinstance(one[0], nn.Parameter):
        return all(a is b for a, b in zip(one, other, strict=True))
    return bool(one == other)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions_are_within_their_bounds(dtype: torch.dtype) -> None:
    inputs, named = given(dtype)
    report = sc.verify(Model().to(dtype), inputs, **named)
    assert report, str(report)


def test_an_average_of_volumes_is_within_its_bound() -> None:  # torch has none in half precision
    assert sc.verify(nn.Sequential(nn.AvgPool3d((2, 1, 3), 1, (1, 0, 1))), torch.randn(1, 2, 3, 4, 5))


def test_the_report_is_printed_and_names_what_stays_torchs(capsys: pytest.CaptureFixture[str]) -> None:
    inputs, named = given()
    report = sc.verify(Model(), inputs, **named)
    printed = capsys.readouterr().out
    assert printed == f"{report}\n"
    assert max(map(len, printed.splitlines())) <= 100
    assert report.torchs["LogSigmoid"] == 1
    assert report.functions["torch.nn.functional.relu"] == 1
    assert "scratch_conv.override()" in printed
    assert "LogSigmoid" in printed


def verify_linear(monkeypatch: pytest.MonkeyPatch, change: Callable[..., Any]) -> Verification:
    right = kernels.linear
    monkeypatch.setattr(kernels, "linear", lambda *args: change(right(*args)))
    torch.manual_seed(0)
    model = nn.Sequential(nn.ReLU(), nn.Linear(20, 3), nn.ReLU())
    return sc.verify(model, torch.randn(2, 20))


@pytest.mark.parametrize("fault", [1 + 1e-4, float("nan")])
def test_a_wrong_layer_is_found(monkeypatch: pytest.MonkeyPatch, fault: float) -> None:
    report = verify_linear(monkeypatch, lambda output: output * type(output.flat[0])(fault))
    assert not report
    assert [row.name for row in report.rows if not row.passed] == ["1"]
    assert report.rows[1].values.ours > 1 > report.rows[1].values.torchs
    assert "!1 Linear" in str(report)


def test_a_layer_that_raises_is_named_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(output: Any) -> Any:
        raise ValueError("the kernel is broken")

    report = verify_linear(monkeypatch, broken)
    assert [row.failure for row in report.rows] == ["", "ValueError: the kernel is broken", ""]
    assert not report
    assert "the kernel is broken" in str(report)


def test_a_model_that_fails_by_torch_raises_torchs_error_and_stays_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(4, 2))
    x = torch.randn(2, 3)
    before = everything(model)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        sc.verify(model, x)
    assert all(map(same, everything(model), before))


def test_the_mode_of_gradients_does_not_matter() -> None:
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.randn(2, 4)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            report = sc.verify(model, x)
        assert report
        assert report.rows[0].gradients.ours > 0


def test_a_layer_that_is_called_twice_has_one_row() -> None:
    relu = nn.ReLU()
    report = sc.verify(nn.Sequential(relu, nn.Linear(2, 2), relu), torch.randn(2, 2))
    assert [(row.name, row.calls) for row in report.rows] == [("0", 2), ("1", 1)]


def test_without_a_layer_nothing_is_proved() -> None:
    report = sc.verify(nn.Sequential(nn.LogSigmoid(), nn.Identity()), torch.ones(2))
    assert not report
    assert report.torchs == {"LogSigmoid": 1}


def test_what_cannot_be_verified_is_refused() -> None:
    with pytest.raises(TypeError, match="expects a torch"):
        sc.verify(F.relu)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="call it once"):
        sc.verify(nn.LazyConv2d(2, 3), torch.ones(1, 2, 4, 4))
    with sc.override(), pytest.raises(RuntimeError, match="override"):
        sc.verify(nn.ReLU(), torch.ones(2))


class Losses(nn.Module):
    """Every loss of two tensors, and of a tensor and its classes."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        weight, kept = torch.tensor([0.5, 2.0, 1.0]), dict[str, Any](reduction=reduction)
        self.plain = nn.ModuleList([nn.MSELoss(**kept), nn.L1Loss(**kept), nn.SmoothL1Loss(beta=0.5, **kept)])
        self.plain += [nn.HuberLoss(delta=0.7, **kept), nn.BCEWithLogitsLoss(**kept)]
        self.plain += [nn.BCEWithLogitsLoss(weight, pos_weight=2 * weight, **kept)]
        self.likely = nn.ModuleList([nn.BCELoss(**kept), nn.BCELoss(weight, **kept)])
        self.picking = nn.ModuleList([nn.NLLLoss(**kept), nn.NLLLoss(weight, ignore_index=1, **kept)])

    def forward(self, x: Tensor, target: Tensor, classes: Tensor) -> Tensor:
        losses = [loss(x, target) for loss in self.plain]
        losses += [loss(x.sigmoid(), target) for loss in self.likely]
        losses += [loss(x.movedim(-1, 1).contiguous(), classes) for loss in self.picking]
        return torch.stack([loss.sum() for loss in losses]).sum()


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_losses_are_within_their_bounds(reduction: str) -> None:
    torch.manual_seed(0)
    x, target = 3 * torch.randn(2, 4, 5, 3), torch.rand(2, 4, 5, 3)
    report = sc.verify(Losses(reduction), x, target, torch.randint(0, 3, (2, 4, 5)))
    assert report, str(report)
    assert len(report.rows) == 10
