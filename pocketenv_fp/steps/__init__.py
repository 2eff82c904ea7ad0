"""What a program is made of: operations, steps, and the functions that combine them."""
