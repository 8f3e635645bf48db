"""The vocabulary of the house: the types that flow between stages and the ports between them."""
