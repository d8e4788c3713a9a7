"""The trainer: data sets, models, the experiment that compares torch's layers with ours, and its report."""
