"""Activation layers."""

import torch

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
]


class CELU(torch.nn.CELU):
    """`torch.nn.CELU` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class ELU(torch.nn.ELU):
    """`torch.nn.ELU` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class GELU(torch.nn.GELU):
    """`torch.nn.GELU` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class Hardsigmoid(torch.nn.Hardsigmoid):
    """`torch.nn.Hardsigmoid` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class Hardswish(torch.nn.Hardswish):
    """`torch.nn.Hardswish` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class Hardtanh(torch.nn.Hardtanh):
    """`torch.nn.Hardtanh` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class LeakyReLU(torch.nn.LeakyReLU):
    """`torch.nn.LeakyReLU` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class Mish(torch.nn.Mish):
    """`torch.nn.Mish` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class PReLU(torch.nn.PReLU):
    """`torch.nn.PReLU` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output (N, num_parameters, *), or of any one shape where that is 1.
    """


class ReLU(torch.nn.ReLU):
    """`torch.nn.ReLU` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class ReLU6(torch.nn.ReLU6):
    """`torch.nn.ReLU6` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class SELU(torch.nn.SELU):
    """`torch.nn.SELU` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class Sigmoid(torch.nn.Sigmoid):
    """`torch.nn.Sigmoid` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class SiLU(torch.nn.SiLU):
    """`torch.nn.SiLU` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class Softplus(torch.nn.Softplus):
    """`torch.nn.Softplus` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class Softsign(torch.nn.Softsign):
    """`torch.nn.Softsign` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """


class Tanh(torch.nn.Tanh):
    """`torch.nn.Tanh` in every respect but who computes it: NumPy, by hand-written derivatives.

    Shapes: input and output of any one shape.
    """
