"""What is drawn: a call of an operator, and what a candidate claims of it."""
