"""Faults of convolution."""
