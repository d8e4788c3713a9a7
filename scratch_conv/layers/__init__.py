"""Networks in NumPy: layers whose forward and backward passes are called by hand. No torch.

A training step:

    network = Sequential(Conv2D(1, 8, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(1352, 10))
    loss, optimizer = SoftmaxCrossEntropy(), SGD(network, lr=0.01, momentum=0.9)

    loss.forward(network.forward(images), labels)
    network.backward(loss.backward())
    optimizer.step()

or, for all of it, `fit(network, images, labels, epochs=3)`.

Where to start: `layer.py` defines what a layer is, `linear.py` is the simplest one with all its derivatives.
"""

from scratch_conv.layers.activation import *
from scratch_conv.layers.convolution import *
from scratch_conv.layers.cross_entropy import *
from scratch_conv.layers.dropout import *
from scratch_conv.layers.fitting import *
from scratch_conv.layers.flatten import *
from scratch_conv.layers.gradient_checking import *
from scratch_conv.layers.initialization import *
from scratch_conv.layers.layer import *
from scratch_conv.layers.linear import *
from scratch_conv.layers.network import *
from scratch_conv.layers.normalization import *
from scratch_conv.layers.optimizers import *
from scratch_conv.layers.pooling import *
from scratch_conv.layers.softmax import *
from scratch_conv.layers.squared_error import *

__all__ = [
    "MSE",
    "SGD",
    "Adam",
    "AvgPool2D",
    "BatchNorm2D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2D",
    "GradientCheck",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool2D",
    "ReLU",
    "ResidualBlock",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Tanh",
    "accuracy",
    "fit",
    "glorot_normal",
    "glorot_uniform",
    "gradient_check",
    "he_normal",
    "he_uniform",
    "predict",
]
