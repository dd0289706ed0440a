"""Work on a machine without network: what is carried there, and what is brought back."""
