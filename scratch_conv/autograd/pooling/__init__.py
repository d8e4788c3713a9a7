"""Pooling as Functions."""

from scratch_conv.autograd.pooling.average import *
from scratch_conv.autograd.pooling.maximum import *
from scratch_conv.autograd.pooling.picked import *
from scratch_conv.autograd.pooling.unpooling import *
