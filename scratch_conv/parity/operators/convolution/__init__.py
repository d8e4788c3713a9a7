"""Conv2d."""
