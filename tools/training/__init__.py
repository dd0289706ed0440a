"""Training with `caffe train`: stages, logs, initial weights and choice of a snapshot."""
