"""The pictures that are made of a matte, and the files they go to."""
