"""Measurements, each run from a checkout as `python -m benchmarks.NAME`; see README.md beside this file."""
