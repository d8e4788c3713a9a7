"""Implementations of activations."""
