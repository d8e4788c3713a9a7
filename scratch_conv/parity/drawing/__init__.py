"""What is drawn: a call of an operator, and what a candidate claims of it.

It is not called `cases`, as that would hide the function `scratch_conv.parity.cases`.
"""
