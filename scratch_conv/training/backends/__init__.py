"""How each backend trains."""
