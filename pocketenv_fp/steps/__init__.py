"""The parts of a program: operations, steps, and the functions that combine them."""
