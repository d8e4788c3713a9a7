"""A classifier is trained, watched and tested by `fit`, `predict` and `accuracy`."""

import sys
from typing import Any

import numpy as np
import pytest

from scratch_conv.layers import (
    SGD,
    Adam,
    BatchNorm2D,
    Dense,
    Dropout,
    Flatten,
    Sequential,
    SoftmaxCrossEntropy,
    accuracy,
    fit,
    predict,
)


def points(count: int) -> tuple[Any, Any]:
    """Draw points of two classes, apart by a line."""
    x = np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64)


def test_the_loss_falls_and_each_epoch_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    network, (x, labels) = Dense(4, 2, rng=0), points(60)
    history = fit(network, x, labels, 10, 7, Adam(network, lr=0.1), validation=points(40), rng=0)
    assert [len(numbers) for numbers in history.values()] == [10, 10, 10]
    assert history["loss"][-1] < history["loss"][0] / 2
    assert accuracy(network, x, labels) > 0.9
    assert history["validation_accuracy"][-1] == accuracy(network, *points(40))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"epoch {epoch}/10" for epoch in range(1, 11)]
    assert f"loss {history['loss'][-1]:.4f}, accuracy {history['accuracy'][-1]:.1%}" in lines[-1]


def test_a_terminal_shows_the_steps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fit(Dense(4, 2, rng=0), *points(6), epochs=1, batch_size=2)
    steps = "".join(f"\repoch 1/1: step {step}/3 " for step in (1, 2, 3))
    assert capsys.readouterr().err == steps + "\r\x1b[K"


def test_an_epoch_is_a_loop_by_hand() -> None:
    x, labels = points(10)
    fitted, by_hand = Dense(4, 2, rng=0), Dense(4, 2, rng=0)
    history = fit(fitted, x, labels, 1, 4, SGD(fitted, lr=0.1), rng=3, verbose=False)
    loss, optimizer, losses = SoftmaxCrossEntropy(), SGD(by_hand, lr=0.1), []
    for batch in np.array_split(np.random.default_rng(3).permutation(10), 3):
        losses += [float(loss(by_hand(x[batch]), labels[batch]))] * len(batch)
        by_hand.backward(loss.backward())
        optimizer.step()
    np.testing.assert_array_equal(fitted.weight, by_hand.weight)
    assert history["loss"] == pytest.approx([np.mean(losses)])


def test_it_trains_in_training_mode_and_predicts_in_evaluation() -> None:
    network = Sequential(BatchNorm2D(1), Flatten(), Dropout(0.5, rng=0), Dense(4, 2, rng=0)).eval()
    x = points(8)[0].reshape(8, 1, 2, 2)
    fit(network, x, np.zeros(8, int), rng=0, validation=(x, np.zeros(8, int)), verbose=False)
    assert network.training
    assert network.state["0.num_batches_tracked"] == 1
    network[0].eval()
    predicted = predict(network, x, batch_size=3)
    assert [network.training, *(layer.training for layer in network)] == [True, False, True, True, True]
    np.testing.assert_array_equal(predicted, network.eval()(x))
    assert predict(network, x[:0]).shape == (0, 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": np.zeros(3, int)}, r"got 4 images, labels of shape \(3,\)"),
        ({"labels": np.zeros((4, 1), int)}, r"got 4 images, labels of shape \(4, 1\)"),
        ({"images": np.zeros((0, 4)), "labels": np.zeros(0, int)}, "got 0 images, batch_size=64"),
        ({"validation": (np.zeros((2, 4)), np.zeros(3, int))}, r"got 2 images, labels of shape \(3,\)"),
        ({"validation": (np.zeros((2, 4)),)}, "validation must be images and their labels; got 1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"epochs": -1}, "epochs must be an integer of at least 0; got -1"),
        ({"optimizer": SGD(Dense(4, 2))}, "the optimizer is of another network"),
        ({"optimizer": SGD}, r"expected one such as SGD\(network, lr=0.01\)"),
    ],
)
def test_what_cannot_be_fitted_is_refused(changed: dict[str, Any], message: str) -> None:
    network = Dense(4, 2)
    before = network.weight.copy()
    with pytest.raises(ValueError, match=message):
        fit(network, **{"images": np.zeros((4, 4)), "labels": np.zeros(4, int), **changed})
    np.testing.assert_array_equal(network.weight, before)


@pytest.mark.parametrize("labels", [np.zeros((4, 1), int), np.eye(4), np.zeros(1, int)])
def test_accuracy_takes_one_label_for_each_image(labels: Any) -> None:
    with pytest.raises(ValueError, match="got 4 images, labels of shape"):
        accuracy(Dense(4, 2), points(4)[0], labels)
