"""Implementations of convolutions, wrong and right."""
