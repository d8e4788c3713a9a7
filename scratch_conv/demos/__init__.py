"""Small illustrated demonstrations on the NumPy layers: `scratch-conv demo edges` and others."""
