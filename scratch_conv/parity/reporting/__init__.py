"""What is said of a difference."""
