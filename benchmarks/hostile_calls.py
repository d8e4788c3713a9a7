"""Draws hostile calls: a sensible call of an operator, of which some arguments are replaced by odd ones.

A call is text, to be evaluated anew for torch and for ours, and printed as it is. `lib` stands in it for
`torch.nn.functional` or `scratch_conv.functional`, `t` for small whole numbers as a tensor.
"""

import math
import random
from collections.abc import Callable
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Call(NamedTuple):
    """A call of an operator with some `sensible` and some `odd` arguments, texts; and what is done `then`.

    `way` is "functional" for a call of `scratch_conv.functional`, or "override" for torch's own within it.
    """

    operator: str
    sensible: dict[str, str]
    odd: dict[str, str]
    then: str = "forward"
    way: str = "functional"

    def expression(self) -> str:
        """Return the call as text."""
        named = [f"{name}={text}" for name, text in self.arguments().items()]
        return f"lib.{self.operator}({', '.join(named)})"

    def arguments(self) -> dict[str, str]:
        """Return the text of each argument. In those of odd tensors, X stands for the sensible one."""
        odd = {
            name: text.replace("X", self.sensible.get(name, "None")) if name in TENSOR_ARGUMENTS else text
            for name, text in self.odd.items()
        }
        return {**self.sensible, **odd}

    def without(self, name: str) -> "Call":
        """Return the call with the sensible argument of this name."""
        odd = {key: text for key, text in self.odd.items() if key != name}
        return self._replace(odd=odd)


class Index:
    """An integer by `__index__` alone."""

    def __index__(self) -> int:
        return 2


class Number:
    """A number by `__float__` alone."""

    def __float__(self) -> float:
        return 0.5


class Two(IntEnum):
    """An integer that is of a subclass of int."""

    TWO = 2


class Subclass(Tensor):
    """A tensor subclass without rules of its own."""


def t(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return small whole numbers, the same for the same shape, so that sums are exact."""
    count = math.prod(shape)
    values = (torch.arange(count) * 7919 + 3) % 11 - 4
    return values.reshape(shape).to(dtype)


TENSOR_ARGUMENTS = ("input", "weight", "bias", "target", "running_mean", "running_var")

NAMES: dict[str, Any] = {
    **{"torch": torch, "np": np, "nn": nn, "t": t, "nan": math.nan, "inf": math.inf},
    **{"Fraction": Fraction, "Decimal": Decimal, "Index": Index, "Number": Number, "Two": Two},
    "Subclass": Subclass,
}
"""What the texts of the arguments may name."""


def _texts(separated: str) -> list[str]:
    """Split texts at spaces; none of them contains one."""
    return separated.split()


INTEGERS = _texts("""
    0  -1  1  2  3  7  1000  2**31-1  2**31  2**32+1  2**40  2**62  2**63-1  2**63  2**64  -2**31  -2**63
    -2**63-1  True  False  None  1.0  1.5  1j  nan  inf  '1'  'same'  b'1'  bytearray(b'1')  Fraction(2)
    Decimal(2)  Index()  Number()  Two.TWO  np.int64(2)  np.int8(2)  np.uint64(2)  np.uint64(2**63)
    np.float64(2)  np.bool_(True)  np.array(2)  np.array([2])  np.array([1,2])  np.array([1.0,2.0])
    np.array([2],dtype=np.int8)  torch.tensor(2)  torch.tensor([2])  torch.tensor([1,2])
    torch.tensor([[2]])  torch.tensor([])  torch.tensor(2.0)  torch.tensor(2.0,requires_grad=True)
    torch.tensor(True)  torch.tensor(2,dtype=torch.int8)  torch.tensor(2,device='meta')  torch.float32
    object()  len  {}  {1}  {1:2}
""")
"""Texts of odd integers."""

PAIRS = _texts("""
    ()  (1,)  (2,)  (1,2)  (2,1)  [1,2]  [2]  []  (1,2,3)  [1,1,1,1]  (1,None)  (None,2)  (1.0,2)  (1,2.0)
    (True,1)  ('1',1)  (b'1',1)  (np.int64(1),2)  (np.int64(1),np.int64(2))  (torch.tensor(1),2)
    (torch.tensor([1]),2)  (torch.tensor(1.0),2)  (np.array(1),2)  (np.float64(1),2)  (np.bool_(True),1)
    (Index(),1)  (Two.TWO,1)  (Fraction(1),1)  torch.Size([1,2])  range(1,3)  iter((1,2))  [[1,2]]
    ((1,2),(1,2))  (2**63,1)  (1,2**63)  (2**62,2**62)  (2**31,2**31)  (2**63-1,2**63-1)  (-1,1)  (1,-2**63)
    (0,1)  (1,0)  {1,2}  (torch.tensor(1.0,requires_grad=True),1)  (1,1000000)  (100000,1)
""")

NUMBERS = _texts("""
    0  1  0.5  0.25  -0.1  1.1  -0.0  1e-300  1e300  1e-46  nan  inf  -inf  2**53+1  2**70  10**400
    -10**400  True  False  None  1j  'a'  '0.5'  b'1'  b'0.5'  Fraction(1,2)  Fraction(1)  Decimal('0.5')
    Decimal('NaN')  Number()  Index()  Two.TWO  np.float32(0.5)  np.float16(0.5)  np.float64(0.5)
    np.longdouble(0.5)  np.int64(1)  np.bool_(True)  np.complex64(1)  np.array(0.5)  np.array([0.5])
    np.array([0.5,0.5])  torch.tensor(0.5)  torch.tensor([0.5])  torch.tensor([0.5,0.5])
    torch.tensor(0.5,dtype=torch.float16)  torch.tensor(1)  torch.tensor(True)
    torch.tensor(0.5,requires_grad=True)  torch.tensor([0.5],requires_grad=True)  torch.tensor(1j)
    torch.tensor(0.5,device='meta')  (0.5,)  [0.5]  ()  {}  object()  len
""")

BOOLEANS = _texts("""
    True  False  0  1  2  -1  None  1.0  0.0  nan  'True'  ''  b''  []  [1]  ()  {}  np.bool_(True)
    np.bool_(False)  np.int64(1)  np.array(True)  np.array([True])  torch.tensor(True)  torch.tensor(False)
    torch.tensor([True])  torch.tensor(1)  torch.tensor(1.0,requires_grad=True)
    torch.tensor(True,device='meta')  Index()  object()  Fraction(1)  Two.TWO
""")

STRINGS = _texts("""
    None  'mean'  'sum'  'none'  ''  'Mean'  1  True  b'mean'  []  ('mean',)  np.str_('mean')  object()
""")

DTYPES = _texts("""
    None  torch.float64  torch.float32  torch.float16  torch.bfloat16  torch.int64  torch.bool
    torch.complex64  torch.float8_e4m3fn  float  int  bool  complex  'float32'  np.float32
    np.dtype('float64')  1  torch.strided  torch.uint16
""")

TENSORS = _texts("""
    X.double()  X.half()  X.bfloat16()  X.float()  X.long()  X.int()  X.short()  X.to(torch.uint8)
    X.to(torch.int8)  X.bool()  X.to(torch.complex64)  X.to(torch.complex128)  X.to(torch.float8_e4m3fn)
    X.to(torch.uint16)  X.to(torch.uint64)  X.mT  X.transpose(0,-1)  X.flip(-1)  X.requires_grad_()
    X.double().requires_grad_()  X.double().requires_grad_()*1  X.half().requires_grad_()
    X.bfloat16().requires_grad_()  X.to(torch.complex64).requires_grad_()  X.to(torch.complex64).conj()
    torch.complex(X,X).conj().imag  torch.complex(X,X).real  X[...,:1].expand_as(X)
    X.as_strided(X.shape,[0]*X.dim())  X.as_strided(X.shape,[1]*X.dim())  X.repeat_interleave(2,-1)[...,::2]
    X[:0]  X[...,:0]  X[...,:1]  X[:1]  X[:,:0]  X[:,:1]  X.flatten()  X[0]  X.squeeze()  X.unsqueeze(0)
    X.unsqueeze(-1)  X.sum()  X.sum().reshape(1)  X.reshape([1]*61+[-1])  torch.ones([1]*65)
    torch.ones([1]*64)  torch.ones([1]*70).transpose(0,69)  torch.ones(())  torch.ones(0)  torch.ones(4)
    torch.ones(0,3,4,4)  torch.ones(1,0,4,4)  torch.ones(1,3,0,4)  torch.ones(2,2)  torch.empty(2**31,0)
    nn.Parameter(X)  nn.Buffer(X)  X.as_subclass(Subclass)  X.detach()  X.numpy()  X.tolist()  None  1  1.0
    'a'  b'a'  True  np.float32(1)  object()  torch.float32  (X,)  [X]  X.to('meta')  X.to_sparse()
    X.to_mkldnn()  torch.nested.nested_tensor([X])  torch.nested.nested_tensor([X,X],layout=torch.jagged)
    torch.quantize_per_tensor(X,0.1,0,torch.qint8)  X.contiguous(memory_format=torch.channels_last)  X*nan
    X*inf  X*1e30  -X  X.abs()  X*0+300  X.clamp(0,2).long()  torch.inference_mode()(lambda:X+0)()
    nn.UninitializedParameter()  torch.ones(1).expand(2**20,2**20)
""")

SHAPES = [(1, 2, 5, 6), (2, 4, 6, 5), (3, 1, 4, 4), (2, 4, 8, 8), (0, 2, 5, 5), (2, 5, 4), (1, 3, 1, 1)]

THEN = {
    "forward": 5,
    "backward": 4,
    "backward twice": 1,
    "double backward": 1,
    "output written before backward": 1,
    "input written before backward": 1,
    "output written": 1,
    "no_grad": 1,
    "inference": 1,
    "autocast": 1,
}
"""What is done with the result, and how often."""


def draw(seed: int, number: int) -> Call:
    """Draw the call of a number."""
    chance = random.Random(f"{seed} {number}")
    operator = chance.choice(sorted(OPERATORS))
    sensible, kinds = OPERATORS[operator](chance)
    count = chance.choices((0, 1, 2, 3), (1, 6, 3, 1))[0]
    odd = {name: chance.choice(kinds[name]) for name in chance.sample(sorted(kinds), min(count, len(kinds)))}
    then = chance.choices(list(THEN), list(THEN.values()))[0]
    if chance.random() < 0.5 and "input" not in odd and then != "forward":
        odd["input"] = "X.requires_grad_()"
    return Call(operator, sensible, odd, then, chance.choices(("functional", "override"), (4, 1))[0])


def _text(*shape: int, **named: str) -> str:
    inside = [*map(str, shape), *(f"{key}={value}" for key, value in named.items())]
    return f"t({', '.join(inside)})"


def _shape(chance: random.Random) -> tuple[int, ...]:
    shape = chance.choice(SHAPES)
    return shape[1:] if chance.random() < 0.15 and len(shape) == 4 else shape


_PAIR = INTEGERS + PAIRS

Drawn = tuple[dict[str, str], dict[str, list[str]]]
"""The sensible arguments of a call, and what may replace each."""


def _convolution(chance: random.Random, *, axes: int = 2, transposed: bool = False) -> Drawn:
    groups = chance.choice((1, 1, 2))
    channels, outs = 2 * groups, groups * chance.choice((1, 2))
    size = [chance.choice((4, 5, 6)) for _ in range(axes)]
    kernel = [chance.choice((1, 2, 3)) for _ in range(axes)]
    weight = (channels, outs // groups) if transposed else (outs, channels // groups)
    sensible = {
        "input": _text(chance.choice((1, 2, 2, 0)), channels, *size),
        "weight": _text(*weight, *kernel),
        "bias": chance.choice(("None", _text(outs))),
        "stride": chance.choice(("1", "2", {1: "(1,)", 2: "(1,2)", 3: "(1,2,1)"}[axes])),
        "padding": chance.choice(("0", "1")),
        "dilation": chance.choice(("1", "1", "2")) if max(kernel) < 3 else "1",
        "groups": str(groups),
    }
    kinds = dict.fromkeys(("input", "weight", "bias"), TENSORS)
    kinds |= dict.fromkeys(("stride", "padding", "dilation"), _PAIR) | {"groups": INTEGERS}
    if transposed:
        sensible["output_padding"], kinds["output_padding"] = "0", _PAIR
    return sensible, kinds


def _pooling(chance: random.Random, name: str) -> Drawn:
    sensible = {"input": _text(*_shape(chance)), "kernel_size": chance.choice(("1", "2", "(1,2)"))}
    kinds = {"input": TENSORS, "kernel_size": _PAIR, "stride": _PAIR, "padding": _PAIR, "ceil_mode": BOOLEANS}
    sensible |= chance.choice(({}, {"stride": "2"}, {"stride": "1"}, {"ceil_mode": "True"}))
    if name == "avg_pool2d":
        kinds |= {"count_include_pad": BOOLEANS, "divisor_override": INTEGERS}
    else:
        kinds |= {"dilation": _PAIR, "return_indices": BOOLEANS}
    return sensible, kinds


def _adaptive(chance: random.Random) -> Drawn:
    sensible = {
        "input": _text(*_shape(chance)),
        "output_size": chance.choice(("1", "2", "(1,2)", "(None,3)")),
    }
    return sensible, {"input": TENSORS, "output_size": _PAIR}


def _linear(chance: random.Random) -> Drawn:
    features, outs = chance.choice((1, 3, 4)), chance.choice((1, 2, 4))
    batch = chance.choice(((), (2,), (2, 3), (0,), (1, 2, 2)))
    weight = (features,) if chance.random() < 0.15 else (outs, features)
    bias = chance.choice(("None", _text(outs), _text(outs), _text()))
    sensible = {"input": _text(*batch, features), "weight": _text(*weight), "bias": bias}
    return sensible, dict.fromkeys(sensible, TENSORS)


def _batch_norm(chance: random.Random) -> Drawn:
    shape = chance.choice((*SHAPES, (4, 3), (2, 3, 2, 2, 2)))
    channels = shape[1]
    sensible = {"input": _text(*shape)}
    for name in ("running_mean", "running_var", "weight", "bias"):
        text = f"{_text(channels)}.abs().add(1)" if name == "running_var" else _text(channels)
        sensible[name] = text if chance.random() < 0.8 or name.startswith("running") else "None"
    sensible["training"] = chance.choice(("True", "False"))
    if sensible["training"] == "True" and chance.random() < 0.3:
        sensible["running_mean"] = sensible["running_var"] = "None"
    kinds = dict.fromkeys(("input", "running_mean", "running_var", "weight", "bias"), TENSORS)
    return sensible, kinds | {"training": BOOLEANS, "momentum": NUMBERS, "eps": NUMBERS}


def _dropout(chance: random.Random) -> Drawn:
    shape = chance.choice((*SHAPES, (), (3,), (2, 3), (1, 2, 2, 2, 2)))
    sensible = {"input": _text(*shape), "p": chance.choice(("0.5", "0.0", "1.0", "0.25"))}
    sensible["training"] = chance.choice(("True", "True", "False"))
    return sensible, {"input": TENSORS, "p": NUMBERS, "training": BOOLEANS, "inplace": BOOLEANS}


def _relu(chance: random.Random) -> Drawn:
    shape = chance.choice((*SHAPES, (), (3,)))
    return {"input": _text(*shape)}, {"input": TENSORS, "inplace": BOOLEANS}


def _flatten(chance: random.Random) -> Drawn:
    shape = chance.choice((*SHAPES, (), (3,), (2, 3)))
    sensible = {"input": _text(*shape), "start_dim": str(chance.choice((0, 1, -1)) if len(shape) > 1 else 0)}
    return sensible, {"input": TENSORS, "start_dim": INTEGERS, "end_dim": INTEGERS}


def _softmax(chance: random.Random) -> Drawn:
    shape = chance.choice((*SHAPES, (), (3,), (2, 3)))
    sensible = {"input": _text(*shape), "dim": str(chance.choice((0, -1)))}
    return sensible, {"input": TENSORS, "dim": INTEGERS, "dtype": DTYPES}


def _cross_entropy(chance: random.Random) -> Drawn:
    shape = chance.choice(((2, 3), (3,), (2, 3, 4), (1, 4, 2, 2), (0, 3)))
    classes = shape[0 if len(shape) == 1 else 1]
    batch = (*shape[:1], *shape[2:]) if len(shape) > 1 else ()
    target = _text(*shape) if chance.random() < 0.3 else f"{_text(*batch)}.abs().long() % {classes}"
    sensible = {"input": _text(*shape), "target": target}
    sensible["weight"] = chance.choice(("None", f"{_text(classes)}.abs()"))
    kinds = dict.fromkeys(("input", "target", "weight"), TENSORS)
    kinds |= {"ignore_index": INTEGERS, "label_smoothing": NUMBERS, "reduction": STRINGS}
    return sensible, kinds | {"size_average": BOOLEANS, "reduce": BOOLEANS}


OPERATORS: dict[str, Callable[[random.Random], Drawn]] = {
    "conv1d": lambda chance: _convolution(chance, axes=1),
    "conv2d": _convolution,
    "conv3d": lambda chance: _convolution(chance, axes=3),
    "conv_transpose1d": lambda chance: _convolution(chance, axes=1, transposed=True),
    "conv_transpose2d": lambda chance: _convolution(chance, transposed=True),
    "conv_transpose3d": lambda chance: _convolution(chance, axes=3, transposed=True),
    "linear": _linear,
    "batch_norm": _batch_norm,
    "max_pool2d": lambda chance: _pooling(chance, "max_pool2d"),
    "avg_pool2d": lambda chance: _pooling(chance, "avg_pool2d"),
    "adaptive_avg_pool2d": _adaptive,
    "dropout": _dropout,
    "dropout2d": _dropout,
    "relu": _relu,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "cross_entropy": _cross_entropy,
    "flatten": _flatten,
}
"""Draws the sensible arguments of each operator, and names what may replace them."""
