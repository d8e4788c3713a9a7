"""How each backend trains, each run in a process of its own."""
