"""Small, pictured walks through the idea, on the layers in NumPy: `scratch-conv demo edges` and others."""
