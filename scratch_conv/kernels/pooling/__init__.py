"""Pooling: the maximum and the average under each window."""
