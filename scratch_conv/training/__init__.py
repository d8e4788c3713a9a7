"""The trainer: data sets, the backends, the comparison of torch's layers with ours, and its report."""
