"""Optimisers, which take the same steps as torch's."""

import numpy as np

from scratch_conv.kernels.windows import Array
from scratch_conv.layers.layer import Layer

__all__ = ["SGD", "Adam"]


class SGD:
    """Stochastic gradient descent with momentum.

        g ← g + weight_decay · w
        v ← momentum · v + g
        w ← w - lr · v

    Args:
        network: the network whose parameters are updated by the gradients of its last backward pass.
        lr: the learning rate.
        momentum: how much of v is kept; 0 is plain gradient descent.
        weight_decay: how strongly weights are pulled towards zero.

    Raises:
        TypeError: network is not a layer, or one of the others not a number.
        ValueError: one of these is negative, or NaN.

    Attributes:
        velocities: v, by the parameter's name; zero at first.
    """

    def __init__(
        self, network: Layer, lr: float = 0.01, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        _expect_network(self, network)
        _expect_not_negative(lr=lr, momentum=momentum, weight_decay=weight_decay)
        self.network, self.lr, self.momentum, self.weight_decay = network, lr, momentum, weight_decay
        self.velocities = {name: np.zeros_like(weight) for name, weight in network.parameters.items()}

    def step(self) -> None:
        """Update every parameter once."""
        gradients = self.network.gradients
        for name, weight in self.network.parameters.items():
            gradient, velocity = gradients[name], self.velocities[name]
            velocity *= self.momentum
            velocity += gradient
            if self.weight_decay:
                velocity += self.weight_decay * weight
            weight -= self.lr * velocity

    @property
    def state(self) -> dict[str, Array]:
        """The arrays that a checkpoint needs, to be read or overwritten."""
        return {f"velocity.{name}": velocity for name, velocity in self.velocities.items()}


class Adam:
    """Adam, whose steps do not depend on the scale of the gradient.

        g ← g + weight_decay · w
        m ← β₁ · m + (1 - β₁) · g           the mean of recent gradients
        v ← β₂ · v + (1 - β₂) · g²          the mean of their squares
        w ← w - lr · m̂ / (√v̂ + eps)         m̂ = m / (1 - β₁ᵗ),  v̂ = v / (1 - β₂ᵗ)

    m and v start at zero; the divisors correct for that (Kingma and Ba, Adam, 2015, algorithm 1).

    Args:
        network: the network whose parameters are updated by the gradients of its last backward pass.
        lr: the learning rate.
        betas: β₁ and β₂.
        eps: keeps the quotient finite.
        weight_decay: how strongly weights are pulled towards zero.

    Raises:
        TypeError: network is not a layer, or one of the others not a number.
        ValueError: one of these is negative or NaN, or a β is not below 1.

    Attributes:
        means: m, by the parameter's name.
        squares: v, by the parameter's name.
        steps: t, an array without axes.
    """

    def __init__(
        self,
        network: Layer,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        _expect_network(self, network)
        _expect_not_negative(lr=lr, beta1=betas[0], beta2=betas[1], eps=eps, weight_decay=weight_decay)
        if max(betas) >= 1:
            raise ValueError(f"betas must be below 1; got {betas}")
        self.network, self.lr, self.betas, self.eps = network, lr, betas, eps
        self.weight_decay = weight_decay
        self.means = {name: np.zeros_like(weight) for name, weight in network.parameters.items()}
        self.squares = {name: np.zeros_like(weight) for name, weight in network.parameters.items()}
        self.steps = np.zeros((), np.int64)

    def step(self) -> None:
        """Update every parameter once."""
        gradients = self.network.gradients
        self.steps += 1
        steps, (beta1, beta2) = int(self.steps), self.betas
        for name, weight in self.network.parameters.items():
            gradient, mean, square = gradients[name], self.means[name], self.squares[name]
            if self.weight_decay:
                gradient = gradient + self.weight_decay * weight
            mean *= beta1
            mean += (1 - beta1) * gradient
            square *= beta2
            square += (1 - beta2) * gradient**2
            scale = np.sqrt(square / (1 - beta2**steps)) + self.eps
            weight -= self.lr / (1 - beta1**steps) * mean / scale

    @property
    def state(self) -> dict[str, Array]:
        """The arrays that a checkpoint needs, to be read or overwritten."""
        means = {f"mean.{name}": mean for name, mean in self.means.items()}
        squares = {f"square.{name}": square for name, square in self.squares.items()}
        return {"steps": self.steps, **means, **squares}


def _expect_network(optimizer: object, network: object) -> None:
    if not isinstance(network, Layer):
        name, given = type(optimizer).__name__, type(network).__name__
        raise TypeError(f"expected the network itself, as in {name}(network, lr=0.01); got {given}")


def _expect_not_negative(**numbers: float) -> None:
    for name, number in numbers.items():
        if not isinstance(number, (int, float, np.integer, np.floating)):
            raise TypeError(f"{name} must be a number; got {number!r}")
        if not number >= 0:  # NaN is not either
            raise ValueError(f"{name} must be a number of at least 0; got {number}")
