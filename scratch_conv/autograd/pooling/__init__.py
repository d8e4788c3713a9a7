"""Pooling as Functions."""
