"""Which algorithm computes a convolution."""

from collections.abc import Iterator
from contextlib import suppress
from types import ModuleType

import numpy as np
import pytest

from scratch_conv import kernels
from scratch_conv.kernels import Window
from scratch_conv.kernels.convolution import choosing, im2col, kn2row, mec, winograd, winograd_transforms
from scratch_conv.kernels.convolution.choosing import ALGORITHMS
from scratch_conv.kernels.convolution.shapes import Shapes
from scratch_conv.kernels.windows import Array, Pair

pytestmark = pytest.mark.mutation

PADDED = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
FRACTIONS = np.full((1, 1), 0.5)
WHOLE = np.full((1, 1), 3.0)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    with kernels.using_num_threads(2):
        yield


@pytest.fixture
def winograd_allowed() -> Iterator[None]:
    with kernels.using_winograd(True):
        yield


with_winograd = pytest.mark.usefixtures("winograd_allowed")


def shapes(
    batch: int = 8,
    channels: int = 32,
    outs: int = 32,
    size: int = 16,
    window: Window = PADDED,
    groups: int = 1,
) -> Shapes:
    height, width = window.output_size((size, size))
    return Shapes(batch, channels, outs, (size, size), (height, width), window, groups, np.dtype(np.float32))


def test_an_algorithm_is_chosen_for_a_block_and_no_longer() -> None:
    window = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    shapes = Shapes(1, 1, 1, (5, 5), (5, 5), window, 1, np.dtype(np.float32))
    usual = choosing._algorithm(shapes)
    for name, module in ALGORITHMS.items():
        if not module.accepts(shapes):
            continue
        with suppress(ArithmeticError), kernels.convolution_algorithm("im2col"):
            with kernels.convolution_algorithm(name):
                assert choosing._algorithm(shapes) is module
            assert choosing._algorithm(shapes) is im2col
            raise ArithmeticError
        assert choosing._algorithm(shapes) is usual
    with pytest.raises(KeyError, match="unheard of"), kernels.convolution_algorithm("unheard of"):
        pass


def test_what_decides_is_what_an_operation_is_given() -> None:
    """Its shapes, the same for the three of a convolution, and the numbers of both operands."""
    window = Window((3, 2), (1, 2), ((0, 1), (2, 0)), (1, 1))
    x, w, y = (np.ones(shape, dtype=np.float32) for shape in ((9, 10, 7, 15), (4, 5, 3, 2), (9, 4, 6, 8)))
    asked: list[tuple[Shapes, tuple[Array, ...], bool]] = []

    def noted(shapes: Shapes, *operands: Array, backwards: bool = False) -> ModuleType:
        asked.append((shapes, operands, backwards))
        return im2col

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "_algorithm", noted)
        kernels.conv2d(x, w, None, window, 2)
        kernels.conv2d_grad_weight(y, x, window, 2)
        kernels.conv2d_grad_input(y, w, (7, 15), window, 2)
    expected = Shapes(9, 10, 4, (7, 15), (6, 8), window, 2, np.dtype(np.float32))
    assert [(shapes, backwards) for shapes, _, backwards in asked] == [
        (expected, False),
        (expected, False),
        (expected, True),
    ]
    operands = [{id(operand) for operand in operands} for _, operands, _ in asked]
    assert operands == [{id(x), id(w)}, {id(x), id(y)}, {id(w), id(y)}]


@with_winograd
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (shapes(), winograd),
        (shapes(channels=31), mec),
        (shapes(outs=31), mec),
        (shapes(batch=2), winograd),  # of 16 tiles each
        (shapes(batch=1), mec),
        (shapes(batch=31, size=4), kn2row),
        (shapes(batch=32, size=4), winograd),
    ],
)
def test_winograd_is_used_where_it_is_fast_and_near(asked: Shapes, expected: ModuleType) -> None:
    assert choosing._algorithm(asked, FRACTIONS, FRACTIONS) is expected


@with_winograd
@pytest.mark.parametrize(("batch", "is_small"), [(1, True), (28, True), (29, False), (57, False)])
@pytest.mark.parametrize(("backwards", "small"), [(False, im2col), (True, mec)])
def test_what_is_small_is_computed_by_what_starts_soonest(
    batch: int, is_small: bool, backwards: bool, small: ModuleType
) -> None:
    """At most 65,536 numbers of columns; 32 channels x 9 taps x 8 windows x 28 images are 64,512."""
    asked = shapes(batch, 32, 32, 8)._replace(input_size=(2, 4), output_size=(2, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "_ENOUGH_FOR_WINOGRAD", 1)
        assert choosing._algorithm(asked, FRACTIONS, backwards=backwards) is (small if is_small else winograd)


@pytest.mark.parametrize(("batch", "expected"), [(2, im2col), (3, mec)])
def test_just_65536_numbers_of_columns_are_few(batch: int, expected: ModuleType) -> None:
    """32 channels x 4 taps x 256 windows x 2 images."""
    asked = shapes(batch, outs=31, size=17, window=Window((2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1)))
    assert choosing._algorithm(asked, FRACTIONS) is expected


@pytest.mark.parametrize(
    ("size", "stride", "groups", "expected"),
    [
        (18, (2, 2), 1, mec),  # 81 outputs
        (24, (3, 2), 1, im2col),  # 96
        (20, (2, 2), 1, im2col),
        (32, (2, 2), 1, im2col),
        (34, (2, 2), 1, mec),
        (20, (2, 2), 2, mec),
        (14, (2, 1), 1, im2col),
        (14, (1, 2), 1, im2col),
        (14, (1, 1), 1, mec),
    ],
)
def test_strides_with_some_outputs_copy_columns(
    size: int, stride: Pair, groups: int, expected: ModuleType
) -> None:
    window = PADDED._replace(stride=stride)
    asked = shapes(64, 31, 31)._replace(
        input_size=(size, size), output_size=window.output_size((size, size)), window=window, groups=groups
    )
    assert choosing._algorithm(asked, FRACTIONS) is expected


def test_small_convolutions_copy_columns_but_not_for_the_gradient_of_the_input() -> None:
    x, w, called = np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), list[str]()
    with pytest.MonkeyPatch.context() as patch:
        for module in (im2col, mec):
            for operation in ("conv", "conv_grad_weight", "conv_grad_input"):
                name = f"{module.__name__.rsplit('.', 1)[-1]}.{operation}"
                patch.setattr(module, operation, lambda *_, name=name: called.append(name))
        kernels.conv2d(x, w, None, PADDED, 1)
        kernels.conv2d_grad_weight(x, x, PADDED, 1)
        kernels.conv2d_grad_input(x, w, (4, 4), PADDED, 1)
    assert called == ["im2col.conv", "im2col.conv_grad_weight", "mec.conv_grad_input"]


def test_a_single_tap_is_one_product() -> None:
    window = Window((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
    assert choosing._algorithm(shapes(window=window), FRACTIONS, backwards=True) is im2col
    assert choosing._algorithm(shapes(window=window, groups=2), FRACTIONS, backwards=True) is im2col
    for asked, expected in (
        (shapes(channels=512, outs=512, size=8), kn2row),
        (shapes(channels=512, outs=512, size=8, groups=2), im2col),
        (shapes(channels=512, outs=511, size=8), im2col),
        (shapes(channels=512, outs=512, size=9), im2col),
        (shapes(batch=1, channels=512, outs=512, size=8), im2col),
    ):
        asked = asked._replace(window=window, output_size=asked.input_size)
        assert choosing._algorithm(asked, FRACTIONS, backwards=True) is expected
    for other in (
        window._replace(kernel_size=(1, 2)),
        window._replace(kernel_size=(2, 1)),
        window._replace(stride=(1, 2)),
        window._replace(stride=(2, 1)),
        window._replace(padding=((0, 1), (0, 0))),
        window._replace(padding=((0, 0), (-1, 0))),
    ):
        assert choosing._algorithm(shapes(batch=32, channels=31, size=40, window=other), FRACTIONS) is mec


@with_winograd
def test_whole_numbers_are_summed_directly() -> None:
    soon, later = np.array([[1.0, 2.5], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 4.5]])
    for operands, expected in (
        ((WHOLE, WHOLE), kn2row),
        ((WHOLE, FRACTIONS), kn2row),
        ((FRACTIONS, WHOLE), kn2row),
        ((later, FRACTIONS), winograd),
        ((soon, FRACTIONS), winograd),
        ((np.full((1, 1), np.inf), FRACTIONS), kn2row),
    ):
        assert choosing._algorithm(shapes(), *operands) is expected
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 10, (8, 32, 16, 16)).astype(np.float32)
    w = rng.integers(-9, 10, (32, 32, 3, 3)).astype(np.float32)
    y = kernels.conv2d(x, w, None, PADDED, 1)
    np.testing.assert_array_equal(y, im2col.conv(x, w, None, PADDED, 1))
    grad_weight = kernels.conv2d_grad_weight(y, x, PADDED, 1)
    np.testing.assert_array_equal(grad_weight, im2col.conv_grad_weight(y, x, PADDED, 1))
    grad_input = kernels.conv2d_grad_input(y, w, (16, 16), PADDED, 1)
    np.testing.assert_array_equal(grad_input, im2col.conv_grad_input(y, w, (16, 16), PADDED, 1))


@with_winograd
def test_fractions_show_in_the_first_plane() -> None:
    """The others are not read."""
    read: list[int] = []
    rint = np.rint

    def noted(numbers: Array) -> Array:
        read.append(numbers.size)
        return rint(numbers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "rint", noted)
        assert choosing._algorithm(shapes(), np.full((8, 32, 16, 16), 0.5)) is winograd
    assert read == [16 * 16]


def test_winograd_is_off_and_can_be_switched_on() -> None:
    assert not kernels.winograd_enabled()
    for enabled, expected in ((False, kn2row), (True, winograd)):
        with kernels.using_winograd(enabled):
            assert kernels.winograd_enabled() is enabled
            assert choosing._algorithm(shapes(), FRACTIONS) is expected
        assert not kernels.winograd_enabled()
    with pytest.raises(ArithmeticError), kernels.using_winograd(True):
        raise ArithmeticError
    assert not kernels.winograd_enabled()
    with pytest.raises(TypeError, match=r"^expected True or False, got 'on'$"):
        kernels.enable_winograd("on")  # type: ignore[arg-type]
    assert not kernels.winograd_enabled()
    kernels.enable_winograd(True)
    try:
        assert choosing._algorithm(shapes(), FRACTIONS) is winograd
    finally:
        kernels.enable_winograd(False)


@pytest.mark.parametrize(
    ("changed", "accepted"),
    [
        (shapes(1, 1, 1, 3), True),
        (shapes(window=PADDED._replace(kernel_size=(3, 5))), True),
        (shapes(window=PADDED._replace(kernel_size=(5, 3), dilation=(4, 4))), True),
        (shapes(window=PADDED._replace(kernel_size=(3, 1))), False),
        (shapes(window=PADDED._replace(kernel_size=(4, 3))), False),
        (shapes(window=PADDED._replace(kernel_size=(3, 7))), False),
        (shapes(window=PADDED._replace(stride=(1, 2))), False),
        (shapes(window=PADDED._replace(stride=(2, 1))), False),
        (shapes(window=PADDED._replace(dilation=(1, 5))), False),
        (shapes(window=PADDED._replace(dilation=(5, 1))), False),
        (shapes(groups=2), False),
        (shapes()._replace(dtype=np.dtype(np.float64)), True),
        (shapes()._replace(dtype=np.dtype(np.complex64)), False),
        (shapes()._replace(dtype=np.dtype(np.int64)), False),
    ],
)
def test_winograd_is_for_small_steps_of_real_numbers(changed: Shapes, accepted: bool) -> None:
    """What it does not accept is computed by another algorithm, though it be forced."""
    assert winograd.accepts(changed) is accepted
    many = changed.groups == 1 and changed.channels > 1 and changed.dtype.kind in "fc"
    other = im2col if changed.window.stride != (1, 1) else kn2row if many else mec
    with kernels.convolution_algorithm("winograd"):
        assert choosing._algorithm(changed, WHOLE, backwards=True) is (winograd if accepted else other)


def test_a_row_of_tiles_must_fit_into_memory() -> None:
    """Just fit: of 8x8 values a tile, for 5x5 taps."""
    tile_bytes, most = 64 * 2 * 4, winograd._BLOCK_BYTES[1]
    tiles, rest = divmod(most, tile_bytes * winograd_transforms.STRIP_TILES)
    assert rest == 0
    padded = PADDED._replace(kernel_size=(5, 5), padding=((2, 2), (2, 2)))
    asked = shapes(1, 1, 1, window=padded)._replace(input_size=(16, 4 * tiles), output_size=(16, 4 * tiles))
    assert winograd.accepts(asked)
    assert not winograd.accepts(asked._replace(input_size=(16, 4 * tiles + 1)))
