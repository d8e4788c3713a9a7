"""Side-by-side measurements, each run from a checkout as `python -m benchmarks.NAME`."""
