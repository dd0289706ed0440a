"""The generators that write every net definition of this project."""
