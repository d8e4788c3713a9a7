"""What a report says of networks and of their predictions, against plain counts."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scratch_conv.swapping import swap
from scratch_conv.training.data.images import ImageSet
from scratch_conv.training.reporting.images import disagreements, examples, feature_maps
from scratch_conv.training.reporting.network import MOST_STAGES, architecture, stages
from scratch_conv.training.reporting.sections import confusion_matrix


def probabilities(classes: list[int], count: int = 3) -> Tensor:
    """Return predictions of these classes."""
    return torch.eye(count)[classes]


def test_confusions_are_counted_by_class_and_prediction() -> None:
    generator = np.random.default_rng(0)
    labels, guesses = generator.integers(5, size=(2, 200))
    expected = [
        [sum(pair == (row, column) for pair in zip(labels, guesses, strict=True)) for column in range(5)]
        for row in range(5)
    ]
    assert confusion_matrix(labels, probabilities(guesses.tolist(), 5)).tolist() == expected


def test_images_on_which_any_backend_disagrees_are_found() -> None:
    one, other, third = [0, 1, 2, 1], [0, 1, 1, 1], [0, 2, 2, 1]
    named = {"torch": one, "scratch": other, "numpy": third}
    assert disagreements({name: probabilities(each) for name, each in named.items()}) == [1, 2]
    assert disagreements({"torch": probabilities(one)}) == []


def test_an_example_says_who_is_right() -> None:
    test = np.zeros((1, 3, 200, 200), np.uint8), np.array([1])
    data = ImageSet("folder", "", ("cat", "dog", "owl"), test, test)
    (image,) = examples(data, {"torch": probabilities([1]), "scratch": probabilities([2])}, [0])
    assert image.lines == ["dog", "✓ torch: dog 100%", "✗ scratch: owl 100%"]
    assert max(image.pixels.shape) <= 64


class Twice(nn.Module):
    """A network that calls one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.grouped = nn.Conv2d(4, 8, (3, 2), stride=2, padding=1, groups=2)
        self.dense = nn.Linear(5, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return 5 numbers for each row of each channel."""
        return self.scale * self.dense(self.dense(self.grouped(x)))


def test_parameters_and_multiplications_are_as_counted_by_hand() -> None:
    rows = architecture(Twice(), torch.zeros(1, 4, 9, 8))
    assert [(row.name, row.kind, row.shape) for row in rows] == [
        ("grouped", "Conv2d", "8 × 5 × 5"),  # noqa: RUF001
        ("dense", "Linear", "8 × 5 × 5"),  # noqa: RUF001
        ("network", "Twice", "8 × 5 × 5"),  # noqa: RUF001
    ]
    assert [row.parameters for row in rows] == [8 * 2 * 3 * 2 + 8, 25, 1]
    # 8 x 5 x 5 numbers, each of 2 channels of 3 x 2; 8 x 5 rows of 5 numbers, each of 5, and that twice.
    assert [row.multiplications for row in rows] == [200 * 2 * 3 * 2, 2 * 40 * 5 * 5, 0]


def test_stages_are_as_deep_as_there_is_room_for() -> None:
    def block(size: int) -> nn.Module:
        return nn.Sequential(*(nn.ReLU() for _ in range(size)))

    assert stages(nn.Sequential(block(2), nn.ReLU())) == ["0.0", "0.1", "1"]
    assert stages(nn.Sequential(block(MOST_STAGES), nn.ReLU())) == ["0", "1"]
    assert stages(block(MOST_STAGES + 1)) == [""]
    assert stages(nn.ReLU()) == [""]


def test_feature_maps_show_where_networks_differ() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True), nn.Flatten())
    ours = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True), nn.Flatten())
    ours.load_state_dict(network.state_dict())
    swap(ours)
    images = feature_maps({"torch": network, "scratch": ours}, torch.ones(1, 1, 100, 100))
    assert [*images] == ["0 Conv2d, 2 × 100 × 100", "1 ReLU, 2 × 100 × 100", "2 Flatten, 20000"]  # noqa: RUF001
    assert {shown[-1].lines[1] for shown in images.values()} == {"none: equal in every bit"}
    assert max(max(each.pixels.shape) for shown in images.values() for each in shown) <= 4 * 65 + 1
    with torch.no_grad():
        ours.get_parameter("0.bias")[1] += 0.25
    first, *_ = feature_maps({"torch": network, "scratch": ours}, torch.ones(1, 1, 4, 4)).values()
    assert [each.lines[0] for each in first] == ["torch", "scratch", "difference"]
    assert first[2].lines[1] == "0 to 2.5e-01"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_feature_maps_of_a_network_that_diverged(value: float) -> None:
    ((shown,),) = feature_maps({"torch": nn.ReLU()}, torch.full((1, 1, 2, 2), value)).values()
    assert shown.lines == ["torch", "0 to 0"]
