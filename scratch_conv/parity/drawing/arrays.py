"""The tensors of a case: described by a few words, made from a seed, and written as code."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace
from itertools import count
from math import gcd
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

Kind: TypeAlias = Literal[
    "counting",
    "integers",
    "normal",
    "graded",
    "special",
    "zeros",
    "offset",
    "classes",
    "places",
    "probabilities",
]
Layout: TypeAlias = Literal["contiguous", "channels_last", "transposed", "sliced", "expanded", "image"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

INTEGER_KINDS = frozenset({"counting", "integers", "zeros"})
_SECOND = 101  # added to the seed of the direction of a second derivative
_INLINE = 64  # a tensor of more elements is written as a call of torch's generator


@dataclass(frozen=True, repr=False)
class Array:
    """One tensor of a case.

    Attributes:
        shape: its shape.
        kind: its values. counting: 1 to 9, over and over; integers: -3 to 3, so that every sum is exact and
            ties abound; normal; graded: normal numbers times powers of two from 2**-20 to 2**20; special:
            integers, one in eight replaced by a NaN, an infinity, a subnormal or the largest number (in an
            integer dtype by its least or greatest), and no zeros, since a BLAS may skip 0 · inf; zeros: 0.0,
            -0.0, 1 and -1; offset: normal about 1000; classes: 0 to high - 1; places: the same, so that each
            is met once among as many elements that follow each other; probabilities: from 0 to 1, one
            in four a multiple of a quarter.
        layout: its strides. expanded: the first axis has stride 0; image: of one in a channels_last batch,
            an axis put before it where the shape has one.
        seed: where the values come from.
        dtype: name of the dtype where it differs from the case's.
        high: the number of classes or places; of special values, one in so many, where that is not one in
            eight (of one in two, half are -inf); of probabilities, 2 to leave out 0 and 1.
        positive: whether the absolute values are taken (a variance).
    """

    shape: tuple[int, ...]
    kind: Kind = "counting"
    layout: Layout = "contiguous"
    seed: int = 0
    dtype: str | None = None
    high: int = 1
    positive: bool = False

    def __repr__(self) -> str:
        """Return the constructor's call, without what is at its default."""
        return short_repr(self)

    def reshaped(self, shape: tuple[int, ...]) -> Array:
        """Return the array with another shape."""
        return replace(self, shape=shape)

    def made_positive(self) -> Array:
        """Return the array of the absolute values."""
        return replace(self, positive=True)

    def directed(self) -> Array:
        """Return the array along which the gradient of this one is differentiated."""
        return replace(self, layout="contiguous", seed=self.seed + _SECOND)

    def make(self, dtype: torch.dtype) -> Tensor:
        """Return the tensor, of `dtype` unless the array names its own."""
        dtype = dtype if self.dtype is None else getattr(torch, self.dtype)
        shape = self.shape
        if self.layout == "expanded" and shape and shape[0] > 1:
            shape = (1, *shape[1:])
        values = _VALUES[self.kind](self, shape, dtype)
        if self.positive:
            values = values.abs()
        return _arrange(values.to(dtype), self.layout, self.shape)

    def code(self, dtype: torch.dtype) -> str:
        """Return an expression that makes the tensor with nothing but torch."""
        tensor = self.make(dtype)
        if self.layout == "expanded" and self.shape and self.shape[0] > 1:
            tensor = tensor[:1]
        values = f"torch.tensor({_literal(tensor)}, dtype={tensor.dtype})"
        if tensor.numel() == 0:
            values = f"torch.zeros({tuple(tensor.shape)}, dtype={tensor.dtype})"
        elif (
            tensor.numel() > _INLINE
            and self.kind in _CODE
            and not (dtype.is_complex and self.kind != "counting")
        ):
            inner = self.high == 2
            values = _CODE[self.kind].format(
                shape=tuple(tensor.shape),
                n=tensor.numel(),
                seed=self.seed,
                following=self.seed + 1,
                high=self.high,
                step=_step(self),
                fewer=" // 5" if dtype == torch.float16 else "",
                quarters="1, 4" if inner else "0, 5",
            )
            values += f"{'.abs()' if self.positive else ''}.to({tensor.dtype})"
        return values + _arrange_code(tensor, self.layout, self.shape)


def short_repr(instance: Any) -> str:
    """Return a dataclass instance as a call of its constructor that leaves out what is at its default."""
    given = []
    for each in fields(instance):
        default = each.default if each.default_factory is MISSING else each.default_factory()
        value = getattr(instance, each.name)
        if value != default:
            given.append(f"{each.name}={value!r}")
    return f"{type(instance).__name__}({', '.join(given)})"


def _literal(tensor: Tensor) -> str:
    """Return the nested list of a tensor's values, NaN and infinities as float(...)."""
    text = str(tensor.tolist())
    return text.replace("nan", "float('nan')").replace("inf", "float('inf')")


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _counting(array: Array, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return (torch.arange(torch.Size(shape).numel()) % 9 + 1).reshape(shape)


def _integers(array: Array, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    values = torch.randint(-3, 4, shape, generator=_generator(array.seed))
    if dtype.is_complex:
        return torch.complex(values.double(), values.double().flatten().flip(0).reshape(shape))
    return values


def _normal(array: Array, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    kind = torch.complex128 if dtype.is_complex else torch.float64
    return torch.randn(shape, generator=_generator(array.seed), dtype=kind)


def _graded(array: Array, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    exponents = torch.randint(-20, 21, shape, generator=_generator(array.seed + 1))
    if dtype == torch.float16:
        exponents = exponents // 5
    return _normal(array, shape, dtype) * 2.0**exponents


def _special(array: Array, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    if not (dtype.is_floating_point or dtype.is_complex):
        return _extreme(array, shape, dtype)
    finfo = torch.finfo(dtype)
    inf, nan = torch.inf, torch.nan
    words = [nan, inf, -inf, finfo.smallest_normal * finfo.eps, finfo.smallest_normal, finfo.max, finfo.min]
    if array.high == 2:  # whole windows are -inf
        words += [-inf] * 5
    generator = _generator(array.seed)
    sizes = torch.randint(1, 4, shape, generator=generator).double()
    values = sizes * (2 * torch.randint(0, 2, shape, generator=generator) - 1)
    chosen = torch.tensor(words, dtype=torch.float64)[
        torch.randint(0, len(words), shape, generator=generator)
    ]
    share = array.high if array.high > 1 else 8
    return torch.where(torch.randint(0, share, shape, generator=generator) == 0, chosen, values)


def _extreme(array: Array, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return integers, one in eight replaced by the least or the greatest one of the dtype."""
    values = _integers(array, shape, dtype)
    if dtype == torch.bool:
        return values
    info, generator = torch.iinfo(dtype), _generator(array.seed + 1)
    chosen = torch.tensor([info.min, info.max])[torch.randint(0, 2, shape, generator=generator)]
    return torch.where(torch.randint(0, 8, shape, generator=generator) == 0, chosen, values)


def _offset(array: Array, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return _normal(array, shape, dtype) + 1000


def _zeros(array: Array, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    floating = dtype.is_floating_point or dtype.is_complex
    words = torch.tensor([0.0, -0.0, 1.0, -1.0], dtype=torch.float64 if floating else torch.int64)
    return words[torch.randint(0, len(words), shape, generator=_generator(array.seed))]


def _classes(array: Array, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.randint(0, array.high, shape, generator=_generator(array.seed))


def _places(array: Array, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    numbers = torch.arange(torch.Size(shape).numel())
    return ((numbers * _step(array) + array.seed) % array.high).reshape(shape)


def _step(array: Array) -> int:
    """Return the distance between places, the multiples of which meet all of them."""
    return next(step for step in count(array.seed % array.high + 1) if gcd(step, array.high) == 1)


def _probabilities(array: Array, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    generator, inner = _generator(array.seed), array.high == 2
    values = torch.rand(shape, generator=generator, dtype=torch.float64) * 0.96 + 0.02
    quarters = torch.randint(1 if inner else 0, 4 if inner else 5, shape, generator=generator) / 4
    return torch.where(torch.randint(0, 4, shape, generator=generator) == 0, quarters, values)


_VALUES = {
    "counting": _counting,
    "integers": _integers,
    "normal": _normal,
    "graded": _graded,
    "special": _special,
    "zeros": _zeros,
    "offset": _offset,
    "classes": _classes,
    "places": _places,
    "probabilities": _probabilities,
}

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}

_CODE = {
    "counting": "(torch.arange({n}) % 9 + 1).reshape({shape})",
    "integers": "torch.randint(-3, 4, {shape}, generator=torch.Generator().manual_seed({seed}))",
    "normal": "torch.randn({shape}, generator=torch.Generator().manual_seed({seed}), dtype=torch.float64)",
    "graded": "torch.randn({shape}, generator=torch.Generator().manual_seed({seed}), dtype=torch.float64)"
    ".mul(2.0 ** (torch.randint(-20, 21, {shape}, "
    "generator=torch.Generator().manual_seed({following})){fewer}))",
    "offset": "torch.randn({shape}, generator=torch.Generator().manual_seed({seed}), dtype=torch.float64)"
    ".add(1000)",
    "probabilities": "(lambda g: (lambda values, quarters: torch.where("
    "torch.randint(0, 4, {shape}, generator=g) == 0, quarters, values))("
    "torch.rand({shape}, generator=g, dtype=torch.float64) * 0.96 + 0.02, "
    "torch.randint({quarters}, {shape}, generator=g) / 4))(torch.Generator().manual_seed({seed}))",
    "classes": "torch.randint(0, {high}, {shape}, generator=torch.Generator().manual_seed({seed}))",
    "places": "((torch.arange({n}) * {step} + {seed}) % {high}).reshape({shape})",
}


def _arrange(values: Tensor, layout: Layout, shape: tuple[int, ...]) -> Tensor:
    """Return the values with the strides of `layout`."""
    if layout == "channels_last" and values.ndim in _CHANNELS_LAST:
        return values.contiguous(memory_format=_CHANNELS_LAST[values.ndim])
    if layout == "image" and _is_image(shape):
        image = values if values.ndim == 4 else values[None]
        image = image.contiguous(memory_format=torch.channels_last)[0]
        return image[None] if values.ndim == 4 else image
    if layout == "transposed" and values.ndim >= 2:
        return values.transpose(-1, -2).contiguous().transpose(-1, -2)
    if layout == "sliced" and values.ndim >= 1:
        return torch.stack([values, values], -1)[..., 0]
    if layout == "expanded":
        return values.expand(shape)
    return values.contiguous()


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 or (len(shape) == 4 and shape[0] == 1)


def _arrange_code(tensor: Tensor, layout: Layout, shape: tuple[int, ...]) -> str:
    """Return what is appended to an expression of the values to give them the strides of `layout`."""
    if layout == "channels_last" and tensor.ndim in _CHANNELS_LAST:
        return f".contiguous(memory_format={_CHANNELS_LAST[tensor.ndim]})"
    if layout == "image" and _is_image(shape):
        before, after = ("", "[None]") if tensor.ndim == 4 else ("[None]", "")
        return f"{before}.contiguous(memory_format=torch.channels_last)[0]{after}"
    if layout == "transposed" and tensor.ndim >= 2:
        return ".mT.contiguous().mT"
    if layout == "sliced" and tensor.ndim >= 1:
        return ".repeat_interleave(2, -1)[..., ::2]"
    if layout == "expanded" and tuple(tensor.shape) != shape:
        return f".expand({shape})"
    return ""
