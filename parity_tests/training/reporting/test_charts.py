"""What charts draw, looked up in matplotlib's own lines."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from scratch_conv.training.reporting import charts
from scratch_conv.training.reporting.drawing import BACKENDS, Panel, svgs

STYLE = BACKENDS["scratch"].style()


def drawn(panel: Panel) -> Axes:
    """Return axes on which a chart is drawn."""
    axes: Axes = Figure().subplots()
    panel(axes)
    return axes


def points(axes: Axes, number: int = 0) -> list[tuple[float, float]]:
    """Return the points of a line."""
    return [(float(x), float(y)) for x, y in np.asarray(axes.lines[number].get_xydata())]


def test_zeros_lie_on_a_floor_below_all_differences() -> None:
    lines = {
        "scratch": ({1: 0.0, 2: 3e-7, 3: float("nan"), 4: 2e-3}, STYLE),
        "torch on 1 thread": ({1: 5e-9, 2: 0.0}, STYLE),
    }
    axes = drawn(charts.differences(lines, "difference"))
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "difference\n(0 is drawn at 1e-10)"
    (_, zero), (_, small), (_, gap), (_, last) = points(axes)
    assert zero == pytest.approx(1e-10)
    assert (small, last) == (3e-7, 2e-3)
    assert np.isnan(gap)
    assert points(axes, 1)[1][1] == zero


def test_differences_that_are_all_zero_are_drawn() -> None:
    axes = drawn(charts.differences({"scratch": ({1: 0.0, 2: 0.0}, STYLE)}, "difference"))
    (_, one), (_, other) = points(axes)
    assert one == other > 0


def test_of_many_steps_the_largest_difference_since_the_point_before_is_drawn() -> None:
    values = dict.fromkeys(range(1, 1001), 1e-6)
    values[777] = 0.5
    found = points(drawn(charts.differences({"scratch": (values, STYLE)}, "difference")))
    steps = [step for step, _ in found]
    assert len(steps) <= 60
    assert (steps[0], steps[-1]) == (1, 1000)
    assert [step for step, value in found if value == 0.5] == [min(step for step in steps if step >= 777)]


@pytest.mark.parametrize("steps", [1, 7, 200, 201, 450])
def test_many_steps_are_drawn_as_means(steps: int) -> None:
    losses = [float(step**2 % 17) for step in range(steps)]
    found = points(drawn(charts.over_steps({"scratch": ([losses], STYLE)}, "loss")))
    size = -(-steps // charts.POINTS)
    assert [value for _, value in found] == pytest.approx(
        [np.mean(losses[start : start + size]) for start in range(0, steps, size)]
    )
    assert [step for step, _ in found] == pytest.approx(
        [np.mean(range(start + 1, min(start + size, steps) + 1)) for start in range(0, steps, size)]
    )


def test_seeds_are_drawn_as_mean_and_deviation() -> None:
    axes = drawn(charts.over_epochs({"scratch": ([[1, 4], [3, 8]], STYLE)}, "loss"))
    assert points(axes) == [(1, 2), (2, 6)]
    (band,) = axes.collections
    edges = {float(y) for x, y in np.asarray(band.get_paths()[0].vertices) if x == 2}
    assert sorted(edges) == pytest.approx([6 - 8**0.5, 6 + 8**0.5])


def test_the_slowest_layers_are_drawn_in_the_order_of_the_network() -> None:
    count = charts.MOST_LAYERS + 3
    times = [(str(number), "Conv2d", 1.0 + number % 2, 0.5) for number in range(count)]
    labels = charts.slowest_layers({"torch": times, "scratch": times})
    assert len(labels) == charts.MOST_LAYERS
    assert [*labels] == sorted(labels, key=int)
    assert {name for name, _, forward, _ in times if forward == 2.0} <= labels.keys()


def test_the_time_of_a_pass_is_drawn_in_milliseconds() -> None:
    times = {"torch": [("0", "Conv2d", 0.001, 0.003)], "scratch": [("0", "Conv2d", 0.002, 0.004)]}
    for direction, expected in (("Forward", [1, 2]), ("Backward", [3, 4])):
        axes = drawn(charts.by_layer(times, direction))
        assert [bar.get_bbox().width for bar in axes.patches if isinstance(bar, Rectangle)] == pytest.approx(
            expected
        )


def test_what_users_name_is_text_in_a_chart() -> None:
    panel = charts.confusion(np.eye(2, dtype=np.int64), ["<b>$x$", "&"])
    ((svg, _),) = svgs({"Confusions": panel})
    assert "&lt;b&gt;$x$" in svg
    assert "&amp;" in svg
    assert "<b>" not in svg
