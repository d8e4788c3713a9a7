"""The forms in which an implementation may come."""
