"""Normalization by mean and variance: one bound for all."""
