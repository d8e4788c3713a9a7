"""Whole networks in NumPy: layers with a forward and a backward pass that are called by hand. No torch.

A training step:

    network = Sequential(Conv2D(1, 8, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(1352, 10))
    loss, optimizer = SoftmaxCrossEntropy(), SGD(network, lr=0.01, momentum=0.9)

    loss.forward(network.forward(images), labels)
    network.backward(loss.backward())
    optimizer.step()

To read: `layer.py` says what every layer is, `dense.py` holds the simplest one with all its derivatives.
"""

from scratch_conv.layers.activation import ReLU, Softmax
from scratch_conv.layers.checking import GradientCheck, gradient_check
from scratch_conv.layers.convolution import Conv2D
from scratch_conv.layers.cross_entropy import SoftmaxCrossEntropy
from scratch_conv.layers.dropout import Dropout
from scratch_conv.layers.initialization import glorot_normal, glorot_uniform, he_normal, he_uniform
from scratch_conv.layers.layer import Layer
from scratch_conv.layers.linear import Dense, Flatten
from scratch_conv.layers.network import ResidualBlock, Sequential
from scratch_conv.layers.normalization import BatchNorm2D
from scratch_conv.layers.optimizers import SGD, Adam
from scratch_conv.layers.pooling import AvgPool2D, MaxPool2D

__all__ = [
    "SGD",
    "Adam",
    "AvgPool2D",
    "BatchNorm2D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GradientCheck",
    "Layer",
    "MaxPool2D",
    "ReLU",
    "ResidualBlock",
    "Sequential",
    "Softmax",
    "SoftmaxCrossEntropy",
    "glorot_normal",
    "glorot_uniform",
    "gradient_check",
    "he_normal",
    "he_uniform",
]
