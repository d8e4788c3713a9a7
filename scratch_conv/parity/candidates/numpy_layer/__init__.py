"""Layers in plain NumPy, the form in which most people write them first.

The protocol: a class that is constructed like its namesake in torch.nn, by torch's keyword names (arguments
at torch's default are passed only where the constructor requires them, a square kernel_size is one number),
with `forward(x)`, which returns an array, and `backward(dy)`, which returns the gradient of x, or a tuple of
it and the gradients of weight and bias. Without a `backward`, only results are compared. A layer is called
twice in the same way; gradients that it adds up over calls are cleared in between by its `zero_grad()`.

Its parameters are arrays among its attributes or in a dictionary `parameters` or `params`, and so are their
gradients after `backward` (in `gradients` or `grads`). `candidates.layer.SPELLINGS` lists what a parameter
may be called: weight, W, kernel, gamma, ..., bias, b, beta, ...; the gradient of W may be called grad_W, dW,
W_grad or d_W. A gradient has the shape of the parameter, in the layer or in torch, and its dtype; a matrix of
shape (in, out), which is torch's transposed, is given and taken as such. Batch normalisation is told whether
it trains by `forward(x, training=...)`, by `train()` and `eval()`, or by an attribute `training`, and holds
its running_mean and running_var.
"""
