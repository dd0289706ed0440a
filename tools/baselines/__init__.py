"""Methods of Table 1 that are neither ours nor a net alone."""
