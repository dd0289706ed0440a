"""Table 1 of the paper on our portraits: its rows, how they are trained, tuned and measured."""
