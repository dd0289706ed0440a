"""Studies of the training recipe: each is a program of its own."""
