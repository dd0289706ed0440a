"""Programs people run, and the prediction and evaluation code they share."""
