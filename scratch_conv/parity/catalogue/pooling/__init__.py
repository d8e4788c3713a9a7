"""Implementations of pooling, wrong and right."""
